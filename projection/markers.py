"""Spans carried by marks in the text: translate it with the marks, and read them back.

Mark-then-translate is EasyProject (Chen et al. 2023) with brackets and LabelPigeon (2026) with tags. Its target text is
the marked translation without the marks, and every place is exact. But the marks change what a model writes, and a text
of one's own (translate-test, gold data) is never what came with the marks. So there are two ways of work:

- The text itself was translated with the marks in it (``text: marked`` in a build): `TranslatedText.placed` says where
  they came out, and no search is needed.
- Otherwise the source is marked and translated besides, and each marked piece is looked up in the text
  (`piece_search`): where both read the same its place is exact, else by likeness.

The score is the likeness of the piece and the text at its place, 0..1; 1 where they read the same. A span whose marks
came back broken, or whose piece is not in the text, is left to another method, and its projection says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from spanferry.alignment.base import Aligner, Token
from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText
from spanferry.projection.marked_text import BROKEN, Style, Unmarked
from spanferry.projection.marked_translation import translate_marked
from spanferry.projection.marks import Range
from spanferry.projection.piece_search import Piece, find_piece, snapped
from spanferry.projection.selection import Candidate, select
from spanferry.projection.snap import trim_punctuation
from spanferry.projection.stretches import stretch_of, target_tokens
from spanferry.translation.base import Translator

Snap = Literal["auto", "token", "character"]
TextMode = Literal["plain", "marked"]

ReadingKey = tuple[str, tuple[Range, ...]]
"""A text and the ranges of its spans, in the order of the spans."""


class MarkersProjector:
    """Carries spans by marks that are translated with the text.

    Args:
        model: what translates the marked text: any `Translator`, a folder, a hub id, or ``"bundled"``. None where every
            text comes with its marks placed, or with a reading (`given`), as in builds, where the model that
            translates the data does this too.
        aligner: for the fallback, if that takes one; None takes the default aligner.
        style: ``"brackets"`` or ``"tags"``, see `marks`: what to try first; a sentence that holds brackets gets tags.
        text: what a build takes for the text of its dataset. ``"plain"``: the plain translation, so that the choice of
            the method changes no text. ``"marked"``: the translation with the marks, without the marks.
        min_similarity: a piece is found where the text reads as much like it as this, 0..1.
        snap: as for `AlignmentSettings`.
        fallback: the method, or its name, for spans that marks do not place; None loses them with a reason.
        fallback_settings: what the fallback takes.
        compare: share of the marked texts, 0..1, that a build with ``text: marked`` also translates plain, to report
            how often marks change the translation. (With ``text: plain`` both are there, and all are compared.)
        settings: what the model's translator takes.

    Raises:
        ConfigError: a setting is unknown or out of range.
        ModelError: there is no such model.

    >>> from spanferry.translation.fake import FakeTranslator
    >>> projector = MarkersProjector(FakeTranslator({"red": "rojas", "houses": "casas"}), fallback=None)
    >>> text = TranslatedText("red houses", "Casas rojas", (Span(0, 3, "COLOUR"), Span(4, 10, "THING")))
    >>> [projections] = projector.project([text], source="eng_Latn", target="spa_Latn")
    >>> [(text.target[p.target.start : p.target.end], p.score) for p in projections]
    [('rojas', 1.0), ('Casas', 1.0)]
    """

    method: ClassVar[str] = "markers"

    def __init__(
        self,
        model: Translator | str | Path | None = "bundled",
        *,
        aligner: Aligner | None = None,
        style: Style = "brackets",
        text: TextMode = "plain",
        min_similarity: float = 0.7,
        snap: Snap = "auto",
        fallback: Projector | str | None = "alignment",
        fallback_settings: Mapping[str, Any] | None = None,
        compare: float = 0.05,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, allowed in (("style", style, Style), ("text", text, TextMode), ("snap", snap, Snap)):
            if value not in get_args(allowed):
                raise ConfigError(f"markers: {name} is {value!r}: {did_you_mean(str(value), get_args(allowed))}")
        for name, number in (("min_similarity", min_similarity), ("compare", compare)):
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
                raise ConfigError(f"markers: {name} is {number!r}, expected a number from 0 to 1")
        self.style, self.text, self.snap = style, text, snap
        self.min_similarity, self.compare = min_similarity, compare
        self.translator = _translator(model, settings or {}) if isinstance(model, str | Path) else model
        self.fallback = _fallback(fallback, aligner, fallback_settings or {})
        self._readings: Mapping[ReadingKey, Unmarked] = {}

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections."""
        model = "given" if self.translator is None else self.translator.fingerprint
        compare = f",compare={self.compare}" if self.text == "marked" else ""
        fallback = None if self.fallback is None else self.fallback.fingerprint
        return (
            f"markers/2(style={self.style},text={self.text}{compare},min_similarity={self.min_similarity},"
            f"snap={self.snap},model={model},fallback={fallback})"
        )

    def given(self, readings: Mapping[ReadingKey, Unmarked]) -> MarkersProjector:
        """Return the same projector with marked translations that were made before: it makes no others of these."""
        projector = copy(self)
        projector._readings = readings
        return projector

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``."""
        readings = self._read(texts, source, target)
        rows = [
            self._places(text, reading, units)
            for text, reading, units in zip(texts, readings, target_tokens(texts, target), strict=True)
        ]
        return self._with_fallback(texts, rows, source, target)

    def _read(self, texts: Sequence[TranslatedText], source: str, target: str) -> list[Unmarked | None]:
        """Translate with marks what was not; None for texts with their marks placed and for those with no words."""
        wanted = [text for text in texts if text.placed is None and text.spans and text.target.strip()]
        missing = {key: text for text in wanted if (key := reading_key(text.source, text.spans)) not in self._readings}
        if missing and self.translator is None:
            raise ConfigError("markers: there is no model to translate the marked text with; name one (model)")
        made: dict[ReadingKey, Unmarked] = {}
        if missing and self.translator is not None:
            read = translate_marked(
                [text.source for text in missing.values()],
                [text.spans for text in missing.values()],
                self.translator,
                source=source,
                target=target,
                style=self.style,
            )
            made = dict(zip(missing, read, strict=True))
        keys = [reading_key(text.source, text.spans) for text in texts]
        return [
            None if text.placed is not None else self._readings.get(key) or made.get(key)
            for text, key in zip(texts, keys, strict=True)
        ]

    def _places(self, text: TranslatedText, reading: Unmarked | None, units: Sequence[Token]) -> list[_Placed]:
        """Choose a place for each span among those where its piece may stand."""
        found = [self._candidates(text, number, reading, units) for number in range(len(text.spans))]
        chosen, exact = select([(span.start, span.end) for span in text.spans], [candidates for candidates, _ in found])
        whole_tokens = self.snap == "token" or (self.snap == "auto" and text.target_tokens is not None)
        row: list[_Placed] = []
        for span, place, (candidates, why) in zip(text.spans, chosen, found, strict=True):
            if place is None:
                row.append("another span has its place" if candidates else why)
                continue
            start, end = place.start, place.end
            if not whole_tokens:
                start, end = trim_punctuation(text.target, start, end, like=text.source[span.start : span.end])
            goal = Span(start, end, span.label, span.field)
            remark = "" if exact else "search cut off: a better set of places may exist"
            row.append(Projection(span, goal, self.method, round(place.score, 6), None, remark))
        return row

    def _candidates(
        self, text: TranslatedText, number: int, reading: Unmarked | None, units: Sequence[Token]
    ) -> tuple[list[Candidate], str]:
        """Return where a span may go, best first; or why nowhere."""
        if not text.target.strip():
            return [], "the translation is empty"
        if text.placed is not None:
            placed = text.placed[number]
            return ([], BROKEN) if placed is None else ([Candidate(*snapped(units, *placed), 1.0)], "")
        if reading is None or (place := reading.places[number]) is None:
            return [], BROKEN if reading is None else reading.reasons[number]
        span = text.spans[number]
        stretch = stretch_of(span, text)
        if stretch is None:
            return [], "in no translated segment"
        marked = reading.translation
        same = text.segments and stretch_of(span, TranslatedText(text.source, marked.text, text.spans, marked.segments))
        begin, stop = same[1] if same else (0, len(marked.text))
        begin, stop = min(begin, place[0]), max(stop, place[1])
        words = text.source[span.start : span.end]
        piece = Piece(marked.text[begin:stop], place[0] - begin, place[1] - begin, words)
        found = find_piece(piece, text.target, stretch[1], units, at_least=self.min_similarity)
        return found, f"nothing in the text reads like {marked.text[slice(*place)]!r}"

    def _with_fallback(
        self, texts: Sequence[TranslatedText], rows: Sequence[Sequence[_Placed]], source: str, target: str
    ) -> list[tuple[Projection, ...]]:
        """Ask the fallback about what has no place."""
        open_rows = [number for number, row in enumerate(rows) if any(isinstance(each, str) for each in row)]
        asked: dict[int, tuple[Projection, ...]] = {}
        if open_rows and self.fallback is not None:
            answers = self.fallback.project([texts[number] for number in open_rows], source=source, target=target)
            asked = dict(zip(open_rows, answers, strict=True))
        done = []
        for number, row in enumerate(rows):
            taken = [each for each in row if isinstance(each, Projection)]
            done.append(
                tuple(
                    each if isinstance(each, Projection) else self._settled(span, each, asked.get(number), i, taken)
                    for i, (span, each) in enumerate(zip(texts[number].spans, row, strict=True))
                )
            )
        return done

    def _settled(
        self, span: Span, why: str, answers: Sequence[Projection] | None, number: int, taken: Sequence[Projection]
    ) -> Projection:
        if answers is None:
            return Projection(span, None, self.method, None, Reason.NO_CANDIDATE, why)
        answer = answers[number]
        detail = "; ".join(filter(None, (f"markers: {why}", answer.detail)))
        reason, goal = answer.reason, answer.target
        if goal is not None and any(_in_the_way(answer, other) for other in taken):
            reason, goal = Reason.OVERLAP, None
        return Projection(
            span, goal, answer.method, answer.score, reason, detail, answer.source_coverage, answer.target_coverage
        )


_Placed = Projection | str
"""Where a span went, or why marks do not say."""


def reading_key(source: str, spans: Sequence[Span]) -> ReadingKey:
    """Return what `MarkersProjector.given` finds the reading of a text by.

    >>> reading_key("Rome", [Span(0, 4, "LOC")])
    ('Rome', ((0, 4),))
    """
    return source, tuple((span.start, span.end) for span in spans)


def _in_the_way(one: Projection, other: Projection) -> bool:
    """Tell whether two places overlap although their spans did not."""
    here, there = one.target, other.target
    return (
        here is not None
        and there is not None
        and here.start < there.end
        and there.start < here.end
        and not (one.source.start < other.source.end and other.source.start < one.source.end)
    )


def _translator(model: str | Path, settings: Mapping[str, Any]) -> Translator:
    from spanferry.translation.registry import load_translator

    return load_translator(model, **settings)


def _fallback(chosen: Projector | str | None, aligner: Aligner | None, settings: Mapping[str, Any]) -> Projector | None:
    if not isinstance(chosen, str):
        return chosen
    from spanferry.alignment.registry import DEFAULT_ALIGNER
    from spanferry.projection.registry import Aligners, load_projector

    return load_projector(chosen, Aligners(DEFAULT_ALIGNER if aligner is None else aligner), **settings)
