"""Spans carried by constrained decoding: where would the translation model itself put the markers?

Each span is marked in its source, and the translation, which stays as it is to the character, is the template: the
places for the markers that make the marked template most probable are the span's place (Codec, Le et al. 2024; the
search is exact, see `placement_search`). It needs no word alignment, and serves both ways: the template may be
a translation of the labelled text, or a text of the user's own whose translation carries the spans (translate-test).

The score is a probability: that of the model writing the opening marker where it stands, and that of the closing one,
each given what stands before; their geometric mean. For a place that is not the best of its span it is
that of the best, times exp(difference of the log-probabilities of the marked templates).

Each span is placed on its own. Where two that stood apart in the source come to overlap, the next places of both are
looked at too, if they are at least exp(-5) times as probable as the best, and the choice with the highest sum of
scores wins (`selection`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.data.settings import check_settings
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.marked_template import MarkedTemplate, PieceEncoder
from spanferry.projection.marker_choice import (
    DEFAULT_MARKERS,
    Markers,
    choose_markers,
    usable_markers,
)
from spanferry.projection.placement_search import Found, Placement, Problem, SearchSettings, search_all
from spanferry.projection.selection import Candidate, select
from spanferry.projection.stretches import stretch_of, target_tokens
from spanferry.translation.languages import get_language
from spanferry.translation.prefix_scorer import PrefixScorer

_METHOD = "constrained"
_WHEN_IN_CONFLICT = 5
"""So many places of a span are looked at when its best one is in another span's way."""
_FARTHEST = 5.0
"""And none that is worse than the best by more nats: a label is better lost, with its reason, than put at random."""


@dataclass(frozen=True, slots=True)
class SpanPlaces:
    """Where a span may go.

    Attributes:
        places: offsets into the whole target text, best first; empty exactly when `reason` is set.
        found: what the search said of itself; None when there was nothing to search.
        reason, detail: why there is no place.
    """

    places: tuple[Placement, ...]
    found: Found | None = None
    reason: Reason | None = None
    detail: str = ""

    @property
    def margin(self) -> float | None:
        """Nats by which the best place leads the second; None when fewer than two are known."""
        return self.places[0].log_prob - self.places[1].log_prob if len(self.places) > 1 else None

    def score(self, number: int = 0) -> float:
        """Return the score of a place in 0..1, see the module."""
        best, place = self.places[0], self.places[number]
        return math.exp(0.5 * (best.opening + best.closing) + place.log_prob - best.log_prob)


@dataclass(frozen=True, slots=True)
class _Task:
    """One span's stretch of the text on both sides."""

    source: str
    template: MarkedTemplate
    offset: int


class ConstrainedProjector:
    """Carries spans by constrained decoding.

    Args:
        model: a folder, a hub id or ``"bundled"``, or any `PrefixScorer`.
        n_best: places to find for each span, at least 1. With 2 or more, `Projection.detail` has the margin between
            the first two.
        delta: None to search exactly. Else nats, >= 0: see `SearchSettings.delta`; several times faster, and
            `Projection.detail` says that it was used, with the most that a better place could have gained.
        delta_from: ``"opening"`` assumes it of what stands between the markers too, see `SearchSettings.delta_from`.
        min_score: a span whose best place scores less has none, reason ``low_score``; 0..1.
        markers: pairs to choose from, in this order: the first that the model can write and the text does not hold.
        engine: ``"torch"`` or ``"ctranslate2"``: what to load a model into; not for a `PrefixScorer`.
        settings: what the engine takes, see `load_torch_scorer` and `load_ctranslate2`. ``precision: bfloat16`` is up
            to twice as fast on a CPU that has it; places that are nearly equal may change their order, and
            `Projection.detail` says that it was used.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: there is no such model.

    >>> from spanferry.translation.fake_scorer import FakePrefixScorer
    >>> projector = ConstrainedProjector(FakePrefixScorer({"red": "rojas", "houses": "casas"}))
    >>> text = TranslatedText("red houses", "casas rojas", (Span(0, 3, "COLOUR"),))
    >>> [[projection]] = projector.project([text], source="eng_Latn", target="spa_Latn")
    >>> text.target[projection.target.start : projection.target.end], round(projection.score, 2)
    ('rojas', 0.9)
    """

    def __init__(
        self,
        model: PrefixScorer | str | Path = "bundled",
        *,
        n_best: int = 1,
        delta: float | None = None,
        delta_from: Literal["opening", "closing"] = "closing",
        min_score: float = 0.0,
        markers: Sequence[tuple[str, str]] = DEFAULT_MARKERS,
        engine: str = "torch",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= min_score <= 1:
            raise ConfigError(f"min_score is {min_score}: expected 0 to 1")
        if not markers or not all(opening.strip() and closing.strip() for opening, closing in markers):
            raise ConfigError(f"markers are {markers!r}: expected at least one pair (opening, closing), neither blank")
        self.settings = SearchSettings(n_best, delta, delta_from)
        self.min_score = min_score
        self.markers = tuple(Markers(*pair) for pair in markers)
        self.scorer = _load(model, engine, settings or {}) if isinstance(model, (str, Path)) else model

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections."""
        used = self.settings
        since = " from opening" if used.delta is not None and used.delta_from == "opening" else ""
        pairs = "".join(f"{opening}{closing}" for opening, closing in self.markers)
        return (
            f"constrained/1(n_best={used.n_best},delta={used.delta}{since},min_score={self.min_score},markers={pairs!r},"
            f"model={self.scorer.fingerprint})"
        )

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``.

        A span that lies across segments is searched for in all segments that it touches, as one sentence.
        """
        found = self.find(texts, source=source, target=target)
        chosen = [_choose(text.spans, places) for text, places in zip(texts, found, strict=True)]
        # Spans that are in one another's way may have other places that are not.
        again = [
            number
            for number, (places, choice) in enumerate(zip(found, chosen, strict=True))
            if any(place.places and pick != 0 for place, pick in zip(places, choice, strict=True))
        ]
        if again and self.settings.n_best < _WHEN_IN_CONFLICT:
            more = replace(self.settings, n_best=_WHEN_IN_CONFLICT)
            retried = self._find([texts[number] for number in again], source, target, more)
            for number, places in zip(again, retried, strict=True):
                found[number], chosen[number] = places, _choose(texts[number].spans, places)
        return [
            tuple(self._projection(*row) for row in zip(text.spans, places, choice, strict=True))
            for text, places, choice in zip(texts, found, chosen, strict=True)
        ]

    def _projection(self, span: Span, places: SpanPlaces, pick: int | None) -> Projection:
        if not places.places:
            return Projection(span, None, _METHOD, None, places.reason, places.detail)
        score = places.score(pick or 0)
        # Engines that round say to what.
        detail = _remark(places, self.settings, getattr(self.scorer, "precision", "float32"))
        if pick is None:
            return Projection(span, None, _METHOD, score, Reason.OVERLAP, detail)
        if score < self.min_score:
            low = f"best place scores {score:.3f}, threshold {self.min_score}"
            return Projection(span, None, _METHOD, score, Reason.LOW_SCORE, "; ".join(filter(None, (low, detail))))
        place = places.places[pick]
        return Projection(span, Span(place.start, place.end, span.label, span.field), _METHOD, score, None, detail)

    def find(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[list[SpanPlaces]]:
        """Return the `n_best` places of every span, each on its own, whatever other spans there are."""
        return self._find(texts, source, target, self.settings)

    def _find(
        self, texts: Sequence[TranslatedText], source: str, target: str, settings: SearchSettings
    ) -> list[list[SpanPlaces]]:
        tasks = self._tasks(texts, source, target)
        # Equal tasks (a premise that many examples share) are searched once.
        distinct: dict[tuple[str, int], Problem] = {}
        for row in tasks:
            for task in row:
                if isinstance(task, _Task):
                    distinct.setdefault((task.source, id(task.template)), Problem(task.source, task.template))
        results = search_all(list(distinct.values()), self.scorer, source=source, target=target, settings=settings)
        found = dict(zip(distinct, results, strict=True))

        def places(task: _Task | SpanPlaces) -> SpanPlaces:
            if isinstance(task, SpanPlaces):
                return task
            result = found[task.source, id(task.template)]
            return SpanPlaces(tuple(_moved(place, task.offset) for place in result.places), result)

        return [[places(task) for task in row] for row in tasks]

    def _tasks(self, texts: Sequence[TranslatedText], source: str, target: str) -> list[list[_Task | SpanPlaces]]:
        """Lay out one search a span, or say at once why there is none."""
        scripts = get_language(source).script, get_language(target).script
        scorer = self.scorer
        usable = usable_markers(self.markers, lambda pieces: scorer.encode_source(pieces, source), scorer.unknown)
        usable = usable_markers(usable, lambda pieces: scorer.encode_target(pieces, target), scorer.unknown)
        encoder = PieceEncoder(lambda pieces: scorer.encode_target(pieces, target))
        tokens = target_tokens(texts, target)
        templates: dict[tuple[str, tuple[Token, ...], Markers], MarkedTemplate] = {}
        rows: list[list[_Task | SpanPlaces]] = []
        for text, units in zip(texts, tokens, strict=True):
            row: list[_Task | SpanPlaces] = []
            for span in text.spans:
                here = stretch_of(span, text)
                if here is None:
                    row.append(_nowhere(Reason.TRUNCATED, "in no translated segment"))
                    continue
                (first, last), (begin, stop) = here
                passage, rendering = text.source[first:last], text.target[begin:stop]
                inside = tuple(
                    Token(start - begin, end - begin) for start, end in units if begin <= start and end <= stop
                )
                if not inside:
                    row.append(_nowhere(Reason.NO_CANDIDATE, "nothing to choose from: the translation is empty"))
                    continue
                markers = choose_markers(usable, passage, rendering)
                if markers is None:
                    row.append(_nowhere(Reason.NO_CANDIDATE, "the text holds every pair of markers"))
                    continue
                key = rendering, inside, markers
                if key not in templates:
                    starts, ends = [start for start, _ in inside], [end for _, end in inside]
                    fitted = markers.fitted(scripts[1])
                    templates[key] = MarkedTemplate(rendering, starts, ends, fitted, encoder=encoder, end=scorer.end)
                marked = markers.fitted(scripts[0]).around(passage, span.start - first, span.end - first)
                row.append(_Task(marked, templates[key], begin))
            rows.append(row)
        return self._short_enough(rows, source)

    def _short_enough(self, rows: list[list[_Task | SpanPlaces]], source: str) -> list[list[_Task | SpanPlaces]]:
        """Take out what is longer than the model can read or write."""
        sources = list(dict.fromkeys(task.source for row in rows for task in row if isinstance(task, _Task)))
        lengths = dict(zip(sources, map(len, self.scorer.encode_source(sources, source)), strict=True))

        def checked(task: _Task | SpanPlaces) -> _Task | SpanPlaces:
            if isinstance(task, _Task):
                tokens = max(lengths[task.source], task.template.longest)
                if tokens > self.scorer.max_tokens:
                    most = self.scorer.max_tokens
                    return _nowhere(Reason.NO_CANDIDATE, f"{tokens} tokens with markers, the model takes {most}")
            return task

        return [[checked(task) for task in row] for row in rows]


def _load(model: str | Path, engine: str, settings: Mapping[str, Any]) -> PrefixScorer:
    if engine == "torch":
        from spanferry.translation.torch_scorer import load_torch_scorer

        check_settings("engine 'torch'", settings, load_torch_scorer, given=("model",))
        return load_torch_scorer(model, **settings)
    if engine == "ctranslate2":
        from spanferry.translation.ct2 import load_ctranslate2
        from spanferry.translation.ct2_scorer import CTranslate2PrefixScorer

        return CTranslate2PrefixScorer(load_ctranslate2(model, **settings))
    raise ConfigError(f"engine is {engine!r}: expected 'torch' or 'ctranslate2'")


def _nowhere(reason: Reason, detail: str) -> SpanPlaces:
    return SpanPlaces((), None, reason, detail)


def _moved(place: Placement, offset: int) -> Placement:
    return Placement(place.start + offset, place.end + offset, place.log_prob, place.opening, place.closing)


def _choose(spans: Sequence[Span], places: Sequence[SpanPlaces]) -> list[int | None]:
    """Return the number of the place that each span gets when all are to go together."""
    candidates = [
        [
            Candidate(place.start, place.end, each.score(number))
            for number, place in enumerate(each.places)
            if place.log_prob >= each.places[0].log_prob - _FARTHEST
        ]
        for each in places
    ]
    chosen = select([(span.start, span.end) for span in spans], candidates).chosen
    return [None if pick is None else options.index(pick) for pick, options in zip(chosen, candidates, strict=True)]


def _remark(places: SpanPlaces, settings: SearchSettings, precision: str) -> str:
    return "; ".join(_remarks(places, settings, precision))


def _remarks(places: SpanPlaces, settings: SearchSettings, precision: str) -> Iterable[str]:
    if settings.n_best > 1 and places.margin is not None:
        yield f"margin {places.margin:.2f}"
    if settings.delta is not None and places.found is not None:
        proven = "proven" if places.found.exact else f"gap at most {places.found.gap:.2f}"
        since = " from opening" if settings.delta_from == "opening" else ""
        yield f"delta={settings.delta:g}{since} ({proven})"
    if precision != "float32" and places.found is not None:
        yield f"scored in {precision}"
