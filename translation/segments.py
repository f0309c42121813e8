"""Long text to sentences and back, without losing a character.

A text is cut into *ranges* to be translated; what lies between them (white space, line breaks, list bullets) is not
shown to the model and stands between the translations as it stood between the sources. The `Segment` of each range
then maps offsets both ways.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import regex

from spanferry.data.errors import DataError
from spanferry.translation.base import Translation
from spanferry.translation.sentences import sentence_starts

Range = tuple[int, int]
"""Half-open range of Unicode code points in a text."""

# What str.splitlines takes for the end of a line.
_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_BULLET = re.compile(r"(?:[-*+•‣◦▪·–—]|#{1,6}|>+)\s+")


def sentence_ranges(text: str, language: str, *, apart: Sequence[Range] = (), sentences: bool = True) -> list[Range]:
    r"""Return the ranges of ``text`` to translate, in order: its sentences, without the white space around them.

    A line break always ends a sentence (data that is hard-wrapped should be joined first), and a list bullet, a
    heading's ``#`` or a dialogue dash at the start of a line is left out of it.

    Args:
        text: any text.
        language: its FLORES-200 code (or any BCP 47 tag), see `spanferry.translation.sentences`.
        apart: ranges that are not to be translated at all (code blocks), in order.
        sentences: False cuts at line breaks only.

    >>> text = "Dear Dr. Li,\r\n\r\n  - It works.  Thanks!\n"
    >>> [text[a:b] for a, b in sentence_ranges(text, "eng_Latn")]
    ['Dear Dr. Li,', 'It works.', 'Thanks!']
    """
    ranges: list[Range] = []
    begin = 0
    for stop, resume in (*apart, (len(text), len(text))):
        for line in _LINE.finditer(text, begin, stop):
            ranges.extend(_in_line(text, *line.span(), language, sentences))
        begin = resume
    return ranges


def _in_line(text: str, start: int, end: int, language: str, sentences: bool) -> list[Range]:
    line = text[start:end]
    start += len(line) - len(line.lstrip())
    if bullet := _BULLET.match(text, start, end):
        start = bullet.end()
    line = text[start:end].rstrip()
    if not line:
        return []
    if not sentences:
        return [(start, start + len(line))]
    starts = [0, *sentence_starts(line, language), len(line)]
    return [(start + a, start + a + len(line[a:b].rstrip())) for a, b in pairwise(starts)]


def join_across(text: str, ranges: Sequence[Range], whole: Iterable[Range]) -> list[Range]:
    """Join neighbouring ``ranges`` that part one of ``whole``, unless a line break lies between them.

    A label that lies across the end of a sentence (``St. Gallen``, an answer of two sentences) would be lost with the
    two sides translated apart.

    >>> text = "He plays for St. Gallen. They lost."
    >>> [text[a:b] for a, b in join_across(text, [(0, 16), (17, 24), (25, 35)], [(13, 23)])]
    ['He plays for St. Gallen.', 'They lost.']
    """
    whole = list(whole)
    joined: list[Range] = []
    for start, end in ranges:
        parts = bool(joined) and any(a < joined[-1][1] and start < b for a, b in whole)
        if parts and (joined[-1][1] == start or _LINE.fullmatch(text, joined[-1][1], start)):
            joined.append((joined.pop()[0], end))
        else:
            joined.append((start, end))
    return joined


# Where a sentence may be cut when it must, best first: after what could end a sentence, between clauses, at a comma or
# bracket, at white space, between any two graphemes (never between a letter and its accent). ASCII marks count before
# white space only: they also stand inside numbers and addresses.
_GRAPHEME = regex.compile(r"\X")
_EXTENDER = regex.compile(r"[\p{M}\u200d]")
_CUTS = (
    regex.compile(r"[.!?…]\p{P}*\s+|[。！？｡।॥።۔؟]\p{P}*\s*"),
    regex.compile(r"[;:–]\p{P}*\s+|[—；：၊፤፥፣؛]\p{P}*\s*"),
    regex.compile(r"[,)\]]\p{P}*\s+|[，、､،」』）]\p{P}*\s*"),
    regex.compile(r"\s+"),
    _GRAPHEME,
)


def cut_long(
    sentences: Sequence[str], limit: int, count_tokens: Callable[[Sequence[str]], list[int]]
) -> list[list[Range]]:
    """Cut each sentence into ranges of at most ``limit`` tokens, about as few and as equal as its boundaries allow.

    Tokens are counted for all sentences at once, round by round. Only a single grapheme that is longer than the limit
    by itself comes back longer.

    Args:
        sentences: sentences, without white space around them.
        limit: tokens that the model takes.
        count_tokens: returns the length of each text in tokens.

    Returns:
        For each sentence its ranges, in order, without the white space between them; one range for a short sentence.

    >>> sentence = "We came, we saw the whole of it, and we went home again."
    >>> [sentence[a:b] for a, b in cut_long([sentence], 8, lambda texts: [len(t.split()) for t in texts])[0]]
    ['We came, we saw the whole of it,', 'and we went home again.']
    """
    done: list[list[Range]] = [[] for _ in sentences]
    waiting = [(number, (0, len(sentence))) for number, sentence in enumerate(sentences)]
    while waiting:
        counts = count_tokens([sentences[number][start:end] for number, (start, end) in waiting])
        again: list[tuple[int, Range]] = []
        for (number, (start, end)), count in zip(waiting, counts, strict=True):
            # Aiming at seven eighths of the limit leaves room to move each cut to a good boundary.
            parts = [] if count <= limit else _cut(sentences[number], start, end, -(-8 * count // (7 * limit)))
            if len(parts) > 1:
                again.extend((number, part) for part in parts)
            else:
                done[number].append((start, end))
        waiting = again
    return [sorted(ranges) for ranges in done]


def _cut(sentence: str, start: int, end: int, parts: int) -> list[Range]:
    """Cut ``sentence[start:end]`` once for every multiple of its ``parts``-th length, at the best boundary near it."""
    length = (end - start) / parts
    ranges, begin = [], start
    for number in range(1, parts):
        middle = start + number * length
        at = _best_cut(sentence, begin, end, middle, length / 2)
        if at is not None:
            ranges.append((begin, at))
            begin = at
    if not ranges:  # no boundary near any of the places: then any grapheme will do
        at = _best_cut(sentence, start, end, (start + end) / 2, (end - start) / 2)
        ranges, begin = ([(start, at)], at) if at is not None else ([], start)
    ranges.append((begin, end))
    return [(a, b) for a, b in (_strip(sentence, *part) for part in ranges) if a < b]


def _best_cut(sentence: str, start: int, end: int, middle: float, reach: float) -> int | None:
    """Return the place nearest to ``middle``, of the best kind that there is within ``reach`` of it."""
    low, high = max(start + 1, int(middle - reach)), min(end - 1, int(middle + reach))
    for pattern in _CUTS:
        # Graphemes are counted from a known boundary: from elsewhere, the second half of a flag looks like a whole.
        begin = start if pattern is _GRAPHEME else low - 1
        cuts: list[int] = [
            match.end()
            for match in pattern.finditer(sentence, begin, high + 1)
            if low <= match.end() <= high and not _EXTENDER.match(sentence, match.end())
        ]
        if cuts:
            return min(cuts, key=lambda at: abs(at - middle))
    return None


def _strip(sentence: str, start: int, end: int) -> Range:
    part = sentence[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def to_target(translation: Translation, start: int, end: int) -> Range:
    """Return the smallest range of the translation that holds what became of ``source[start:end]``.

    Characters between segments, and in segments that came through unchanged, map one to one; a range that touches any
    other segment maps to the whole of that segment.

    Raises:
        DataError: the range is empty, reversed or outside the text.

    >>> from spanferry.translation.base import Segment
    >>> translation = Translation("Yes. No!", "Ja. Nein!", (Segment(0, 4, 0, 3), Segment(5, 8, 4, 9)))
    >>> to_target(translation, 1, 3), to_target(translation, 4, 5), to_target(translation, 2, 6)
    ((0, 3), (3, 4), (0, 9))
    """
    segments = [(s.source_start, s.source_end, s.target_start, s.target_end) for s in translation.segments]
    return _map(segments, translation.source, translation.text, start, end)


def to_source(translation: Translation, start: int, end: int) -> Range:
    """Return the smallest range of the source that holds what ``text[start:end]`` came from; see `to_target`.

    >>> from spanferry.translation.base import Segment
    >>> translation = Translation("Yes. No!", "Ja. Nein!", (Segment(0, 4, 0, 3), Segment(5, 8, 4, 9)))
    >>> to_source(translation, 5, 9)
    (5, 8)
    """
    segments = [(s.target_start, s.target_end, s.source_start, s.source_end) for s in translation.segments]
    return _map(segments, translation.text, translation.source, start, end)


def _map(segments: list[tuple[int, int, int, int]], here: str, there: str, start: int, end: int) -> Range:
    if not 0 <= start < end <= len(here):
        raise DataError(
            f"range {start}:{end} is not in the text, which has {len(here)} characters",
            hint="ranges are half-open and hold at least one character: 0 <= start < end <= length",
        )
    return _map_character(segments, here, there, start)[0], _map_character(segments, here, there, end - 1)[1]


def _map_character(segments: list[tuple[int, int, int, int]], here: str, there: str, position: int) -> Range:
    index = bisect_right(segments, position, key=lambda segment: segment[0]) - 1
    if index < 0:  # before the first segment both texts are the same
        return position, position + 1
    here_start, here_end, there_start, there_end = segments[index]
    if position >= here_end:
        return there_end + position - here_end, there_end + position - here_end + 1
    if here[here_start:here_end] == there[there_start:there_end]:
        return there_start + position - here_start, there_start + position - here_start + 1
    return there_start, there_end
