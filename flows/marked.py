"""The work of a shard whose labels are carried by marks: translate texts with marks in them, and count what came back.

A text that several examples share (the context of many questions) is marked once, with the spans of all of them, so
that they share its translation too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from spanferry.data.errors import ConfigError
from spanferry.data.example import Example, Span
from spanferry.flows.jobs import Direction
from spanferry.flows.parts import Parts, markers_of
from spanferry.projection.base import Projector
from spanferry.projection.calibrated import CalibratedProjector
from spanferry.projection.marked_text import Unmarked
from spanferry.projection.marked_translation import translate_marked
from spanferry.projection.markers import MarkersProjector, ReadingKey, reading_key
from spanferry.projection.marks import Range
from spanferry.translation.base import Translation
from spanferry.translation.pipeline import translate_texts
from spanferry.translation.remembering import TranslationStats
from spanferry.translation.segments import to_target

FLAG = "marks_broken"

Place = tuple[int, str]
"""Index of an example, and a field of it."""


@dataclass(frozen=True)
class Marks:
    """What the marks of a shard's texts told.

    Attributes:
        projector: what carries the labels, with the marked translations at hand.
        placed: where the text of the dataset is the marked translation: the places of the spans of each text in it, in
            the order of the spans. Empty otherwise.
        counts: index of an example -> of its sentences with spans, how many were marked (``sentences``), came back
            with broken marks (``broken``), were translated plain besides (``compared``) and differ (``different``). A
            text that several examples share counts for the first of them.
    """

    projector: Projector
    placed: Mapping[Place, tuple[Range | None, ...]]
    counts: Mapping[int, Mapping[str, int]]


def translate_with_marks(
    examples: Sequence[Example],
    parts: Parts,
    direction: Direction,
    *,
    progress: Callable[[int, int], None] | None = None,
    stats: TranslationStats | None = None,
) -> tuple[dict[Place, Translation], Marks]:
    """Translate the texts of all fields of all examples, with marks and as far as needed without.

    Raises:
        ConfigError: the build carries no labels by marks.
    """
    markers = markers_of(parts.projector)
    if markers is None:
        raise ConfigError("the projection method is not markers")
    spans: dict[str, dict[tuple[int, int, str], Span]] = {}
    for example in examples:
        for field, text in example.fields.items():
            row = spans.setdefault(text, {})
            row.update(((s.start, s.end, s.label), s) for s in example.spans if s.field == field)
    rows = {text: [row[key] for key in sorted(row)] for text, row in spans.items()}
    shard = _Shard(parts, direction, markers, stats)
    if markers.text == "marked":
        read = shard.marked(rows, whole_texts=True, progress=progress)
        plain = shard.plain({text: rows[text] for text in rows if rows[text] and _sampled(text, markers.compare)})
        translations = {text: each.translation for text, each in read.items()}
    else:
        plain = shard.plain(rows, progress=progress)
        read = shard.marked({text: row for text, row in rows.items() if row}, whole_texts=False)
        translations = plain
    flagged = {text: _flagged(each, read.get(text)) for text, each in translations.items()}
    places = [(index, field) for index, example in enumerate(examples) for field in example.fields]
    own = {(i, field): [s for s in examples[i].spans if s.field == field] for i, field in places}
    found: dict[Place, tuple[Range | None, ...]] = {}
    readings: dict[ReadingKey, Unmarked] = {}
    for (index, field), wanted in own.items():
        text = examples[index].fields[field]
        if wanted:
            reading = _of_spans(read[text], rows[text], wanted)
            readings[reading_key(text, wanted)] = reading
            if markers.text == "marked":
                found[index, field] = reading.places
    counts = {text: _count(each, plain.get(text)) for text, each in read.items()}
    projector: Projector = markers.given(readings)
    if isinstance(parts.projector, CalibratedProjector):
        used = parts.projector
        projector = CalibratedProjector(projector, used.calibration, min_confidence=used.min_confidence)
    by_example: dict[int, Counter[str]] = {}
    for index, field in places:
        by_example.setdefault(index, Counter()).update(counts.pop(examples[index].fields[field], {}))
    done = {(index, field): flagged[examples[index].fields[field]] for index, field in places}
    return done, Marks(projector, found, by_example)


@dataclass(frozen=True)
class _Shard:
    parts: Parts
    direction: Direction
    markers: MarkersProjector
    stats: TranslationStats | None

    def plain(
        self, rows: Mapping[str, Sequence[Span]], *, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Translation]:
        """Translate texts without marks."""
        translations = translate_texts(
            list(rows),
            self.parts.translator,
            source=self.direction.source,
            target=self.direction.target,
            memory=self.parts.memory,
            whole=[[(span.start, span.end) for span in row] for row in rows.values()],
            settings=self.parts.text,
            progress=progress,
            stats=self.stats,
        )
        return dict(zip(rows, translations, strict=True))

    def marked(
        self,
        rows: Mapping[str, Sequence[Span]],
        *,
        whole_texts: bool,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Unmarked]:
        """Translate texts with marks, and take the marks out."""
        read = translate_marked(
            list(rows),
            list(rows.values()),
            self.parts.translator,
            source=self.direction.source,
            target=self.direction.target,
            style=self.markers.style,
            whole_texts=whole_texts,
            memory=self.parts.memory,
            settings=self.parts.text,
            progress=progress,
            stats=self.stats,
        )
        return dict(zip(rows, read, strict=True))


def _sampled(text: str, share: float) -> bool:
    """Choose texts by their content, so that the same text is always in the sample or never."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest) < share * 2**32


def _flagged(translation: Translation, read: Unmarked | None) -> Translation:
    if read is None or not read.broken:
        return translation
    return replace(translation, flags=tuple(sorted({*translation.flags, FLAG})))


def _of_spans(read: Unmarked, spans: Sequence[Span], wanted: Sequence[Span]) -> Unmarked:
    """Return the reading of a text for some of its spans, in their order."""
    numbers = {(span.start, span.end, span.label): number for number, span in enumerate(spans)}
    chosen = [numbers[span.start, span.end, span.label] for span in wanted]
    return replace(read, places=tuple(read.places[i] for i in chosen), reasons=tuple(read.reasons[i] for i in chosen))


def _count(read: Unmarked, plain: Translation | None) -> dict[str, int]:
    different = compared = 0
    for source, (start, end) in read.sentences if plain is not None else ():
        assert plain is not None  # for the type checker: the loop is empty without it
        begin, stop = to_target(plain, *source)
        compared += 1
        different += plain.text[begin:stop] != read.translation.text[start:end]
    broken = len(read.broken)
    return {
        "sentences": len(read.sentences) + broken,
        "broken": broken,
        "compared": compared,
        "different": different,
    }
