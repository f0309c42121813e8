"""Markers on both sides of a training pair, so that the model learns to carry them.

Mark-then-translate (EasyProject, Chen et al. 2023) and constrained decoding (Codec, Le et al. 2024) ask a model to
copy `[ ... ]` or `<a> ... </a>` to the right place. Two sources of such pairs: texts whose translators carried inline
marks themselves (`<1>...</1>`, :func:`from_inline_marks`), and phrase pairs that agree with a word alignment
(:func:`phrase_pairs`). Marked pairs keep their links, and each marker is linked with its counterpart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from spanferry.translation.corpus import Range, SentencePair, words

Phrase = tuple[Range, Range]
"""Character ranges of a phrase in the source and in the target."""

_NAMES = "abcdefgh"
_NUMBERS = "12345678"
_INLINE = re.compile(r"<(/?)(\d+)>")


def phrase_pairs(pair: SentencePair, *, longest: int = 5) -> list[Phrase]:
    """Phrases of one to `longest` source words that agree with the links of `pair`.

    A phrase agrees when it has a link, no link leaves it on either side, and its first and last words are linked
    (Koehn, Och and Marcu 2003, section 3.1, without the unaligned rims). Phrases that begin or end with punctuation
    are left out, and so is a phrase that is the whole sentence.

    >>> pair = SentencePair("eng_Latn", "deu_Latn", "old house", "altes Haus", "x",
    ...                     links=(((0, 3), (0, 5)), ((4, 9), (6, 10))))
    >>> phrase_pairs(pair)
    [((0, 3), (0, 5)), ((4, 9), (6, 10))]
    """
    source_words = words(pair.source)
    targets_of: dict[Range, list[Range]] = {}
    sources_of: dict[Range, list[Range]] = {}
    for source, target in pair.links:
        targets_of.setdefault(source, []).append(target)
        sources_of.setdefault(target, []).append(source)
    target_ranges = sorted(sources_of)
    found = []
    for first, start in enumerate(source_words):
        if start not in targets_of or not pair.source[start[0]].isalnum():
            continue
        for last in range(first, min(first + longest, len(source_words))):
            end = source_words[last]
            if end not in targets_of or not pair.source[end[0]].isalnum():
                continue
            source = (start[0], end[1])
            linked = [target for word in source_words[first : last + 1] for target in targets_of.get(word, ())]
            target = (min(linked)[0], max(linked)[1])
            inside = [word for word in target_ranges if target[0] <= word[0] and word[1] <= target[1]]
            agrees = all(
                source[0] <= word[0] and word[1] <= source[1] for inner in inside for word in sources_of[inner]
            )
            rim = pair.target[target[0]].isalnum() and pair.target[target[1] - 1].isalnum()
            whole = first == 0 and not any(pair.source[word[0]].isalnum() for word in source_words[last + 1 :])
            if agrees and rim and not whole:
                found.append((source, target))
    return found


def choose_phrases(phrases: Sequence[Phrase], chance: random.Random, *, most: int = 3) -> list[Phrase]:
    """One to `most` of the phrases at random, in source order, that overlap on neither side."""
    wanted = min(chance.choice((1, 1, 1, 2, 2, 3)), most)
    chosen: list[Phrase] = []
    for phrase in chance.sample(phrases, len(phrases)):
        if all(_apart(phrase[side], other[side]) for other in chosen for side in (0, 1)):
            chosen.append(phrase)
        if len(chosen) == wanted:
            break
    return sorted(chosen)


def _apart(one: Range, other: Range) -> bool:
    return one[1] <= other[0] or other[1] <= one[0]


def marker_style(number: int, chance: random.Random) -> list[tuple[str, str]]:
    """Opening and closing markers for `number` phrases, in one of the forms that projectors use.

    The forms: `[ x ]` and `[x]` (no types, so every phrase has the same), `<a>x</a>` with one letter a phrase,
    `<1>x</1>` with one number a phrase, each with and without inner spaces.

    >>> marker_style(2, random.Random(0))
    [('<1>', '</1>'), ('<2>', '</2>')]
    """
    form = chance.random()
    space = " " if chance.random() < 0.5 else ""
    if form < 0.5:
        return [(f"[{space}", f"{space}]")] * number
    names = _NAMES if form < 0.8 else _NUMBERS
    return [(f"<{name}>{space}", f"{space}</{name}>") for name in names[:number]]


def insert_markers(pair: SentencePair, phrases: Sequence[Phrase], markers: Sequence[tuple[str, str]]) -> SentencePair:
    """Put the markers around the phrases on both sides; links move along, and markers are linked to markers.

    >>> pair = SentencePair("eng_Latn", "deu_Latn", "See Rome.", "Sieh Rom.", "x", links=(((4, 8), (5, 8)),))
    >>> marked = insert_markers(pair, [((4, 8), (5, 8))], [("[ ", " ]")])
    >>> marked.source, marked.target
    ('See [ Rome ].', 'Sieh [ Rom ].')
    >>> [(marked.source[slice(*one)], marked.target[slice(*two)]) for one, two in marked.links]
    [('Rome', 'Rom'), ('[', '['), (']', ']')]
    """
    source = _Inserted(pair.source, [phrase[0] for phrase in phrases], markers)
    target = _Inserted(pair.target, [phrase[1] for phrase in phrases], markers)
    links = [(source.moved(one), target.moved(other)) for one, other in pair.links]
    links += zip(source.openings, target.openings, strict=True)
    links += zip(source.closings, target.closings, strict=True)
    return replace(pair, source=source.text, target=target.text, links=tuple(links))


class _Inserted:
    """A text with markers around some ranges of it, and where everything went."""

    def __init__(self, text: str, ranges: Sequence[Range], markers: Sequence[tuple[str, str]]) -> None:
        self.openings: list[Range] = [(0, 0)] * len(ranges)
        self.closings: list[Range] = [(0, 0)] * len(ranges)
        self._cuts: list[tuple[int, bool, int]] = []
        pieces, length, position = [], 0, 0
        for number in sorted(range(len(ranges)), key=lambda number: ranges[number]):
            start, end = ranges[number]
            opening, closing = markers[number]
            pieces += [text[position:start], opening, text[start:end], closing]
            length += start - position
            self.openings[number] = (length, length + len(opening.rstrip()))
            length += len(opening) + end - start
            self.closings[number] = (length + len(closing) - len(closing.lstrip()), length + len(closing))
            length += len(closing)
            self._cuts += [(start, True, len(opening)), (end, False, len(closing))]
            position = end
        self.text = "".join([*pieces, text[position:]])

    def moved(self, span: Range) -> Range:
        """Where a range of the old text stands in the new one."""
        before_start = sum(length for at, opens, length in self._cuts if at < span[0] or at == span[0])
        before_end = sum(length for at, _, length in self._cuts if at < span[1])
        return span[0] + before_start, span[1] + before_end


def from_inline_marks(pair: SentencePair) -> tuple[SentencePair, list[Phrase]] | None:
    """Take the numbered marks out of a pair: the plain pair and the marked phrases.

    None where the marks are nested, unbalanced, empty, not the same on both sides, or more than eight.

    >>> tagged = SentencePair("eng_Latn", "deu_Latn", "Press <1>Esc</1>.", "<1>Esc</1> drücken.", "gnome")
    >>> plain, phrases = from_inline_marks(tagged)
    >>> plain.source, plain.target, phrases
    ('Press Esc.', 'Esc drücken.', [((6, 9), (0, 3))])
    """
    source, target = _strip_marks(pair.source), _strip_marks(pair.target)
    if (
        source is None
        or target is None
        or source[1].keys() != target[1].keys()
        or not 0 < len(source[1]) <= len(_NAMES)
    ):
        return None
    phrases = sorted((source[1][name], target[1][name]) for name in source[1])
    return replace(pair, source=source[0], target=target[0], links=()), phrases


def _strip_marks(text: str) -> tuple[str, dict[str, Range]] | None:
    pieces, length, position = [], 0, 0
    open_name, open_at = "", 0
    ranges: dict[str, Range] = {}
    for match in _INLINE.finditer(text):
        pieces.append(text[position : match.start()])
        length += match.start() - position
        position = match.end()
        closes, name = match.groups()
        if closes:
            if name != open_name or length == open_at:
                return None
            ranges[name] = (open_at, length)
            open_name = ""
        else:
            if open_name or name in ranges:
                return None
            open_name, open_at = name, length
    if open_name:
        return None
    return "".join([*pieces, text[position:]]), ranges
