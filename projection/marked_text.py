"""Whole texts with marks around their spans: written, and read back from their translations.

Sentences are those of a plain translation and marked one by one, so that names of tags begin anew in each, every
sentence is read by itself, and one whose marks break leaves the others as they are. The offsets of what is read back
lead to the text without marks on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

from spanferry.data.example import Span
from spanferry.projection.marker_choice import DEFAULT_MARKERS, Markers, usable_markers
from spanferry.projection.marks import Alike, MarksRead, Range, Stripped, read_marks, tag_markers, write_marks
from spanferry.projection.similarity import similarity
from spanferry.translation.base import Segment, Translation, Translator

Style = Literal["brackets", "tags"]

BROKEN = "the marks came back broken"
NO_MARKS_LEFT = "the text holds every kind of marks"
NOT_IN_A_SENTENCE = "in no sentence, or in more than one"

# Braces are left out: where nothing stands between them and the words, they make a placeholder ({name}).
_BRACKETS = tuple(pair for pair in DEFAULT_MARKERS if pair.opening.strip() in {"[", "(", "«"})
_TAGS = Markers("<a>", "</a>")


@runtime_checkable
class Speller(Protocol):
    """A translator that knows what its vocabulary has."""

    def can_spell(self, texts: Sequence[str]) -> list[bool]:
        """Tell of each text whether the vocabulary has all of it."""
        ...


@dataclass(frozen=True, slots=True)
class MarkedSentence:
    """A sentence with marks.

    Attributes:
        start, end: where it stands in the marked text.
        source: where it stands in the text without marks.
        ranges: what is marked in it, counted from its start, without marks.
        pairs: the marks of each.
        spans: the spans of the text that each range stands for.
    """

    start: int
    end: int
    source: Range
    ranges: tuple[Range, ...]
    pairs: tuple[Markers, ...]
    spans: tuple[tuple[int, ...], ...]

    @property
    def by_name(self) -> bool:
        """Whether each range has a mark of its own."""
        return len(set(self.pairs)) == len(self.pairs)

    def compared(self, spans: Sequence[Span]) -> bool:
        """Whether what stands in its brackets is compared with translations of what stood there in the source.

        That is where nothing else tells brackets apart, and a label could go to another's place.

        Args:
            spans: of the whole text.
        """
        return not self.by_name and len({spans[number].label for same in self.spans for number in same}) > 1


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with marks.

    Attributes:
        plain: without them.
        text: with them.
        removed: the stretches of `text` that are marks.
        cuts: the ranges of `text` to translate.
        sentences: those of them that have marks.
        reasons: span -> why it has none.
    """

    plain: str
    text: str
    removed: tuple[Range, ...]
    cuts: tuple[Range, ...]
    sentences: tuple[MarkedSentence, ...]
    reasons: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A text that was translated with marks, without them.

    Attributes:
        translation: of the text without marks; of its sentences without spans too, unless only the others were wanted.
        places: a span each, its place in ``translation.text``; None where `reasons` says why.
        reasons: a span each, ``""`` where it has a place.
        sentences: those whose marks all came back: their ranges in the source and in ``translation.text``.
        broken: the ranges in the source of those whose marks did not.
    """

    translation: Translation
    places: tuple[Range | None, ...]
    reasons: tuple[str, ...]
    sentences: tuple[tuple[Range, Range], ...]
    broken: tuple[Range, ...]


Choose = Callable[[str, Sequence[Range]], "list[Markers] | None"]
"""(sentence, ranges to mark) -> the marks of each range; None if the sentence holds every kind."""


def marks_chooser(translator: Translator, style: Style, script: str) -> Choose:
    """Return what chooses the marks of a sentence, among those that the model can spell.

    Args:
        translator: a `Speller`, or any other, which is taken to spell everything.
        style: what to try first.
        script: of the source (ISO 15924).

    Raises:
        ConfigError: the model can spell no marks at all.

    >>> from spanferry.translation.fake import FakeTranslator
    >>> choose = marks_chooser(FakeTranslator(), "brackets", "Latn")
    >>> choose("Rome", [(0, 4)]), choose("[Rome]", [(1, 5)])
    ([Markers(opening='[ ', closing=' ]')], [Markers(opening='<a>', closing='</a>')])
    """
    order = [_BRACKETS[0], _TAGS] if style == "brackets" else [_TAGS, _BRACKETS[0]]
    kinds = [*order, *_BRACKETS[1:]]
    if isinstance(translator, Speller):
        spell = translator.can_spell
        kinds = usable_markers(kinds, lambda texts: [[int(known)] for known in spell(texts)], 0)

    def choose(sentence: str, ranges: Sequence[Range]) -> list[Markers] | None:
        cross = any(a[0] < b[0] < a[1] < b[1] for a, b in _pairs(sorted(ranges)))
        for kind in kinds:
            if kind == _TAGS:
                return tag_markers(len(ranges), sentence)
            if not cross and kind.free_in(sentence):
                return [kind.fitted(script)] * len(ranges)
        return None

    return choose


def _pairs(ranges: Sequence[Range]) -> Iterator[tuple[Range, Range]]:
    return ((one, other) for number, one in enumerate(ranges) for other in ranges[number + 1 :])


def mark_text(
    text: str,
    spans: Sequence[Span],
    cuts: Sequence[Range],
    choose: Choose,
    *,
    without: Collection[int] = (),
    whole_text: bool = True,
) -> MarkedText:
    """Put marks around the spans of a text.

    Args:
        text: the text.
        spans: its spans; white space at their ends stays outside the marks.
        cuts: the ranges to translate, see `text_ranges`.
        choose: see `marks_chooser`.
        without: spans, by number, that get no marks.
        whole_text: False leaves sentences without marks out of ``cuts``.

    >>> choose = lambda sentence, ranges: [Markers("[ ", " ]")] * len(ranges)
    >>> mark_text("Ana. Bo.", [Span(5, 7, "PER")], [(0, 4), (5, 8)], choose).text
    'Ana. [ Bo ].'
    """
    reasons = {}
    inside: dict[Range, dict[Range, list[int]]] = {cut: {} for cut in cuts}
    for number, span in enumerate(spans):
        piece = text[span.start : span.end]
        start, end = span.start + len(piece) - len(piece.lstrip()), span.start + len(piece.rstrip())
        cut = next((cut for cut in cuts if cut[0] <= start and end <= cut[1]), None)
        if number in without:
            reasons[number] = BROKEN
        elif cut is None or start >= end:
            reasons[number] = NOT_IN_A_SENTENCE
        else:
            inside[cut].setdefault((start - cut[0], end - cut[0]), []).append(number)
    pieces: list[str] = []
    removed: list[Range] = []
    marked_cuts, sentences = [], []
    position = length = 0
    for (start, end), places in inside.items():
        pieces.append(text[position:start])
        length += start - position
        position = end
        sentence, ranges = text[start:end], tuple(places)
        pairs = choose(sentence, ranges) if ranges else None
        if pairs is None:
            reasons |= {number: NO_MARKS_LEFT for same in places.values() for number in same}
            written, begin = sentence, length
        else:
            written, marks = write_marks(sentence, ranges, pairs)
            begin = length
            removed += [(begin + a, begin + b) for a, b in marks]
            numbers = tuple(tuple(same) for same in places.values())
            sentences.append(MarkedSentence(begin, begin + len(written), (start, end), ranges, tuple(pairs), numbers))
        if pairs is not None or whole_text:
            marked_cuts.append((begin, begin + len(written)))
        pieces.append(written)
        length += len(written)
    return MarkedText(
        text,
        "".join([*pieces, text[position:]]),
        tuple(removed),
        tuple(marked_cuts),
        tuple(sentences),
        reasons,
    )


def read_text(
    marked: MarkedText, translation: Translation, spans: Sequence[Span], alone: Mapping[str, str] | None = None
) -> Unmarked:
    """Take the marks out of the translation of a marked text.

    Args:
        marked: the text with marks.
        translation: its translation, of ``marked.cuts``.
        spans: the spans that it was marked with.
        alone: stand-alone translations of marked texts, which help to tell brackets apart where that is worth it, see
            `MarkedSentence.compared`.
    """
    removed: list[Range] = []
    reads: list[tuple[MarkedSentence, Range, MarksRead]] = []
    for sentence in marked.sentences:
        begin, stop = _rendering(sentence, translation.segments)
        # What others asked for is not looked at: the answer would depend on the texts beside this one.
        known = (alone or {}) if sentence.compared(spans) else {}
        alike = None if sentence.by_name else _likeness(marked.plain, sentence, known)
        read = read_marks(translation.text[begin:stop], sentence.ranges, sentence.pairs, alike=alike)
        reads.append((sentence, (begin, stop), read))
        removed += [(begin + a, begin + b) for a, b in read.removed]
    here = Stripped.of(marked.text, marked.removed)
    there = Stripped.of(translation.text, removed)
    places: list[Range | None] = [None] * len(spans)
    reasons = [marked.reasons.get(number, BROKEN) for number in range(len(spans))]
    for sentence, (begin, _), read in reads:
        for place, same in zip(read.places, sentence.spans, strict=True):
            for number in same:
                if place is not None:
                    places[number] = there.at(begin) + place[0], there.at(begin) + place[1]
                    reasons[number] = ""
    segments = tuple(
        Segment(
            here.at(each.source_start), here.at(each.source_end), there.at(each.target_start), there.at(each.target_end)
        )
        for each in translation.segments
    )
    return Unmarked(
        replace(
            translation,
            source=marked.plain,
            text=there.text,
            segments=tuple(each for each in segments if _holds_text(each)),
        ),
        tuple(places),
        tuple(reasons),
        tuple(
            (sentence.source, (there.at(begin), there.at(stop)))
            for sentence, (begin, stop), read in reads
            if read.whole
        ),
        tuple(sentence.source for sentence, _, read in reads if not read.whole),
    )


def _rendering(sentence: MarkedSentence, segments: Sequence[Segment]) -> Range:
    inside = [each for each in segments if sentence.start <= each.source_start and each.source_end <= sentence.end]
    return (inside[0].target_start, inside[-1].target_end) if inside else (0, 0)


def _holds_text(segment: Segment) -> bool:
    """Tell a segment from one that was nothing but marks."""
    return segment.source_start < segment.source_end or segment.target_start < segment.target_end


def _likeness(text: str, sentence: MarkedSentence, alone: Mapping[str, str]) -> Alike:
    offset = sentence.source[0]

    def alike(number: int, piece: str) -> float:
        start, end = sentence.ranges[number]
        words = text[offset + start : offset + end]
        return max(similarity(piece, words), similarity(piece, alone.get(words, words)))

    return alike
