"""Spans carried because they read the same on both sides: names, numbers, dates, and words that languages share.

It needs no model, and is meant for the first step of a cascade: cheap, and certain where it says so. The score says
how the place was found:

=============  ====================================================================================================
1              the same characters
0.98           the same but for case, accents, width, hyphens, spaces, or the locale of a number (``1,234.5``)
0.95           the same time of day (``7:30 pm``, ``19.30 Uhr``) or date (``3/25/2024``, ``25.03.2024``); a date whose
               order is not sure on either side is none
0.9 * s        alike: ``s`` = 1 - edits / longer length (Levenshtein) of the two without case, accents and
               punctuation, in the order of the words as they stand or, a tenth less, in alphabetical order
               ("European Parliament", "Parlamento Europeo"); numbers must agree, and what has three letters is never
               merely alike
=============  ====================================================================================================

The score is halved for a short word in lower case, which means something else in most languages, and a tenth less
where a mention stands more or less often in the translation than in the source. Mentions of equal number go one
to one, in order; else each goes to the one that is nearest by its relative place. Spans that stood apart stay apart
(`selection`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.links import is_mark
from spanferry.projection.quantities import moments, numbers_agree
from spanferry.projection.selection import Candidate, select
from spanferry.projection.snap import trim_punctuation
from spanferry.projection.stretches import source_tokens, stretch_of, target_tokens
from spanferry.projection.surface import is_telling, similarity, surface_key

_METHOD = "match"
_SAME, _SAME_KEY, _SAME_MOMENT, _ALIKE, _REORDERED = 1.0, 0.98, 0.95, 0.9, 0.9
_UNTELLING, _UNEVEN = 0.5, 0.9
_LEAST_ALIKE = 4  # characters of a key
_LONGEST_MOMENT = 5  # tokens: "3", "/", "25", "/", "2024"


@dataclass(frozen=True, slots=True)
class _Side:
    """The words of one text: their places, what they read like, and what they read like without punctuation."""

    text: str
    tokens: Sequence[Token]
    keys: Sequence[str]

    @classmethod
    def of(cls, text: str, tokens: Sequence[Token]) -> _Side:
        return cls(text, tokens, [surface_key(text[start:end]) for start, end in tokens])

    def within(self, start: int, end: int) -> _Side:
        """Return the side with the words alone that lie between two offsets of the text."""
        inside = [number for number, token in enumerate(self.tokens) if start <= token.start and token.end <= end]
        return _Side(self.text, [self.tokens[i] for i in inside], [self.keys[i] for i in inside])

    def words(self, first: int, last: int) -> str:
        """Return the text of the words `first` to `last`, the latter excluded."""
        return self.text[self.tokens[first].start : self.tokens[last - 1].end]

    def reading(self, key: str) -> list[tuple[int, int]]:
        """Return the ranges of words, from left to right and apart, that read like `key`."""
        found: list[tuple[int, int]] = []
        for first, own in enumerate(self.keys):
            if not own or not key.startswith(own) or (found and first < found[-1][1]):
                continue
            read, last = own, first + 1
            while read != key and last < len(self.keys) and key.startswith(read + self.keys[last]):
                read += self.keys[last]
                last += 1
            if read == key:
                found.append((first, last))
        return found


class MatchProjector:
    """Carries spans to where the translation reads the same or nearly so; spans that read otherwise are not carried.

    Args:
        fuzzy: least similarity ``s`` (see the module) of what is merely alike, 0..1; 1 asks for the same.
        glossary: source words -> how they are rendered (a rendering, or several): counts as the same. Case, accents
            and punctuation do not matter.
        min_score: a span whose best place scores less has none, reason ``low_score``; 0..1.

    Raises:
        ConfigError: a value is out of range.

    >>> text = TranslatedText("The Commission met Ana.", "Ana traf die Kommission.", (Span(4, 14, "ORG"), Span(19, 22, "PER")))
    >>> [projections] = MatchProjector().project([text], source="eng_Latn", target="deu_Latn")
    >>> [(text.target[p.target.start : p.target.end], round(p.score, 2)) for p in projections]
    [('Kommission', 0.81), ('Ana', 1.0)]
    """  # noqa: E501

    def __init__(
        self,
        *,
        fuzzy: float = 0.75,
        glossary: Mapping[str, str | Sequence[str]] | None = None,
        min_score: float = 0.0,
    ) -> None:
        if not 0 < fuzzy <= 1 or not 0 <= min_score <= 1:
            raise ConfigError(
                f"projection settings fuzzy={fuzzy}, min_score={min_score}: expected 0 < fuzzy <= 1 and "
                "0 <= min_score <= 1"
            )
        self.fuzzy, self.min_score = fuzzy, min_score
        self._glossary = {
            surface_key(words): tuple(map(surface_key, [known] if isinstance(known, str) else known))
            for words, known in (glossary or {}).items()
        }

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections."""
        glossary = hashlib.sha256(repr(sorted(self._glossary.items())).encode()).hexdigest()[:12]
        known = f",glossary={glossary}" if self._glossary else ""
        return f"match/1(fuzzy={self.fuzzy:g},min_score={self.min_score:g}{known})"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``."""
        found = self.find(texts, source=source, target=target)
        return [self._project(text, options) for text, options in zip(texts, found, strict=True)]

    def find(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[list[list[Candidate] | None]]:
        """Return the places of every span, offsets into the target, best first, each span on its own.

        None for a span whose part of the text was not translated.
        """
        rows = zip(texts, source_tokens(texts, source), target_tokens(texts, target), strict=True)
        return [self._find(text, here, there) if text.spans else [] for text, here, there in rows]

    def _find(
        self, text: TranslatedText, here: Sequence[Token], there: Sequence[Token]
    ) -> list[list[Candidate] | None]:
        sides = _Side.of(text.source, here), _Side.of(text.target, there)
        return [self._options(span, text, *sides) for span in text.spans]

    def _project(self, text: TranslatedText, options: Sequence[list[Candidate] | None]) -> tuple[Projection, ...]:
        candidates = [each or [] for each in options]
        chosen = select([(span.start, span.end) for span in text.spans], candidates).chosen
        projections = []
        for span, found, place in zip(text.spans, options, chosen, strict=True):
            if place is None:
                reason = Reason.TRUNCATED if found is None else Reason.OVERLAP if found else Reason.NO_CANDIDATE
                projections.append(Projection(span, None, _METHOD, reason=reason))
                continue
            score = round(place.score, 6)
            if score < self.min_score:
                detail = f"best place scores {score:.3f}, threshold {self.min_score:g}"
                projections.append(Projection(span, None, _METHOD, score, Reason.LOW_SCORE, detail))
                continue
            goal = Span(place.start, place.end, span.label, span.field)
            projections.append(Projection(span, goal, _METHOD, score))
        return tuple(projections)

    def _options(self, span: Span, text: TranslatedText, here: _Side, there: _Side) -> list[Candidate] | None:
        """Return the places of a span in characters, best first; None when its part of the text was not translated."""
        stretch = stretch_of(span, text)
        if stretch is None:
            return None
        (begin, stop), (first, last) = stretch
        if text.segments:
            here, there = here.within(begin, stop), there.within(first, last)
        words = text.source[span.start : span.end]
        middle = (span.start + span.end - 2 * begin) / (2 * (stop - begin))
        whole_tokens = text.target_tokens is not None
        best: dict[tuple[int, int], Candidate] = {}
        for start, end, score in self._places(span, words, here, there, whole_tokens):
            distance = abs((start + end - 2 * first) / (2 * (last - first)) - middle)
            known = best.get((start, end))
            if known is None or known.score < score:
                best[start, end] = Candidate(start, end, score, distance)
        return sorted(best.values(), key=lambda place: (-place.worth, place.start, place.end))

    def _places(
        self, span: Span, words: str, here: _Side, there: _Side, whole_tokens: bool
    ) -> Iterator[tuple[int, int, float]]:
        key = surface_key(words)
        telling = 1.0 if is_telling(words) else _UNTELLING
        mentions = _mentions(span, words, key, here)
        same = _same(words, key, there, whole_tokens)
        for number, (start, end, score) in enumerate(same):
            # Mentions of equal number go one to one; the others of them are there in case that one is taken.
            mine = len(mentions) == len(same) and mentions[number]
            yield start, end, score * telling * (1.0 if mine else _UNEVEN)
        for known in self._glossary.get(key, ()):
            for first, last in there.reading(known):
                yield *_fitted(words, there, first, last, whole_tokens), _SAME_KEY
        for first, last in _same_moment(words, there):
            yield *_fitted(_without_point(words), there, first, last, whole_tokens), _SAME_MOMENT
        if self.fuzzy < 1:
            parts = list(filter(None, here.within(span.start, span.end).keys))
            for first, last, score in _alike(parts or [key], words, there, self.fuzzy):
                yield *_fitted(words, there, first, last, whole_tokens), _ALIKE * score * telling


def _mentions(span: Span, words: str, key: str, here: _Side) -> list[bool]:
    """Return, for each mention of the words in the source, whether it is the span itself."""
    ranges = [(start, end) for start, end, _ in _same(words, key, here, whole_tokens=True)]
    return [start < span.end and span.start < end for start, end in ranges]


def _same(words: str, key: str, side: _Side, whole_tokens: bool) -> list[tuple[int, int, float]]:
    """Return where a text reads the same, as offsets, from left to right, with the score."""
    found = []
    starts, ends = {token.start for token in side.tokens}, {token.end for token in side.tokens}
    at = side.text.find(words)
    while at >= 0:
        if at in starts and at + len(words) in ends:
            found.append((at, at + len(words), _SAME))
            at += len(words) - 1
        at = side.text.find(words, at + 1)
    for first, last in side.reading(key) if key else ():
        start, end = side.tokens[first].start, side.tokens[last - 1].end
        if any(start < other_end and other_start < end for other_start, other_end, _ in found):
            continue
        if numbers_agree(words, side.words(first, last)):
            found.append((*_fitted(words, side, first, last, whole_tokens), _SAME_KEY))
    return sorted(found)


def _same_moment(words: str, side: _Side) -> Iterator[tuple[int, int]]:
    """Yield the ranges of words that name the same time or date, the longest from each first word."""
    wanted = moments(words)
    if not wanted:
        return
    for first in range(len(side.tokens)):
        if not any(map(str.isdigit, side.keys[first])):
            continue
        for last in range(min(first + _LONGEST_MOMENT, len(side.tokens)), first, -1):
            found = moments(side.words(first, last))
            if not wanted.isdisjoint(found) and min(len(wanted), len(found)) == 1:
                yield first, last
                break


def _alike(parts: Sequence[str], words: str, side: _Side, least: float) -> Iterator[tuple[int, int, float]]:
    """Yield the ranges of words that read alike, with the similarity; `parts` are the keys of the span's words."""
    wanted = " ".join(parts)
    if sum(map(len, parts)) < _LEAST_ALIKE:
        return
    in_order = " ".join(sorted(parts))
    for first, own in enumerate(side.keys):
        read: list[str] = []
        length = -1
        for last in range(first + 1, len(side.keys) + 1 if own else 0):
            if not (key := side.keys[last - 1]):
                continue
            read.append(key)
            length += 1 + len(key)
            if length > len(wanted) / least:
                break
            if length < max(_LEAST_ALIKE, least * len(wanted)):
                continue
            score = similarity(wanted, " ".join(read), least)
            if len(parts) > 1 and len(read) > 1:
                score = max(score, _REORDERED * similarity(in_order, " ".join(sorted(read)), least))
            if score and numbers_agree(words, side.words(first, last)):
                yield first, last, score


def _fitted(words: str, side: _Side, first: int, last: int, whole_tokens: bool) -> tuple[int, int]:
    """Return the offsets of a range with as much punctuation around it as the source span has.

    >>> side = _Side.of("see « Rome » now", [Token(0, 3), Token(4, 5), Token(6, 10), Token(11, 12), Token(13, 16)])
    >>> _fitted("[Rome]", side, 2, 3, False), _fitted("Rome", side, 2, 3, False)
    ((4, 12), (6, 10))
    """
    before = len(words) - len(_without_marks(words))
    after = len(words) - len(_without_marks(words[::-1]))
    while before and first and not side.keys[first - 1]:
        first, before = first - 1, before - 1
    while after and last < len(side.keys) and not side.keys[last]:
        last, after = last + 1, after - 1
    start, end = side.tokens[first].start, side.tokens[last - 1].end
    return (start, end) if whole_tokens else trim_punctuation(side.text, start, end, like=words)


def _without_point(words: str) -> str:
    """Return a time or date without the point of an abbreviation: "6 p.m." is "18 Uhr"."""
    return words.rstrip(".")


def _without_marks(words: str) -> str:
    """Return a text without the punctuation that it begins with."""
    number = next((number for number, sign in enumerate(words) if not is_mark(sign)), len(words))
    return words[number:]
