"""From a method's score to a probability: how often a span with this score is right, as measured on gold.

A method's score orders its projections; what share of them is right at a given score has to be measured. On gold data
(source spans projected onto a translation whose own spans are known, as in `spanferry score`), a calibration is fitted
by isotonic regression: the function of the score that never falls and is closest to the outcomes in least squares
(pool adjacent violators, Ayer et al. 1955; as calibration Zadrozny and Elkan, KDD 2002).

Two things keep it honest where data is thin. Spans are put into bins of at least `MIN_BIN` by score, and each bin is
given `PRIOR` more spans of the curve's mean rate, before the regression; between the mean scores of two bins the
confidence is a straight line. And what is reported of a calibration (`cross_fit`) is held out: every span gets its
confidence from curves that were fitted without its fold, and spans of one source text are never in two folds.

For a method made of methods (`cascade`), the score alone says too little: whether the methods agreed matters more. Its
projections are put into groups by the step that decided and the number of votes for the place ("match: 1 of 1",
"cascade: 2 of 3"), and each group with at least `MIN_GROUP` spans has a curve of its own; the rest share one.

A right projection has the label and both ends of a gold span. Whether the gold is right is another matter: where
each language was annotated on its own, even a perfect projector is not always right.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanferry.data.errors import ConfigError, DataError
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText
from spanferry.projection.reliability import Reliability, measure_reliability

Floats = npt.NDArray[np.float64]

MIN_BIN = 25
"""Spans that a bin holds at least."""
PRIOR = 1.0
"""Spans of the mean rate that are added to each bin, so that no confidence is 0 or 1 by chance."""
MIN_GROUP = 100
"""Spans that a group needs for a curve of its own."""
FOLDS = 5

_FORMAT = "spanferry-calibration/1"
_EVERYTHING = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A projection, and whether gold has it.

    Attributes:
        projection: one with a target.
        right: gold has a span with its ends, label and field.
        unit: what must not be split between fitting and measuring: the source text.
    """

    projection: Projection
    right: bool
    unit: str


def pool_adjacent_violators(values: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Return the non-decreasing sequence closest to ``values`` in weighted least squares.

    Its weighted mean is that of ``values``.

    Args:
        values, weights: equally long; weights above 0.

    >>> pool_adjacent_violators([1, 3, 2, 4], [1, 1, 1, 1]).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    means: list[float] = []
    masses: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(np.asarray(values, float), np.asarray(weights, float), strict=True):
        mean, mass, length = float(value), float(weight), 1
        while means and means[-1] >= mean:
            below, under = means.pop(), masses.pop()
            mean, mass, length = (below * under + mean * mass) / (under + mass), under + mass, length + lengths.pop()
        means.append(mean)
        masses.append(mass)
        lengths.append(length)
    return np.repeat(means, lengths)


@dataclass(frozen=True, slots=True)
class Curve:
    """Confidence as a non-decreasing function of the score.

    Attributes:
        scores: mean score of each bin, rising.
        rates: confidence at each of them, 0..1, never falling.
        spans: how many spans each bin holds.
    """

    scores: tuple[float, ...]
    rates: tuple[float, ...]
    spans: tuple[int, ...]

    def at(self, score: float) -> float:
        """Return the confidence at a score: on the line between two bins, level beyond the first and the last.

        >>> round(Curve((0.2, 0.6), (0.5, 0.9), (30, 30)).at(0.4), 6)
        0.7
        """
        return float(np.interp(score, self.scores, self.rates))


def fit_curve(scores: npt.ArrayLike, right: npt.ArrayLike, *, min_bin: int = MIN_BIN, prior: float = PRIOR) -> Curve:
    """Fit a curve to scores and outcomes, in any order, at least one.

    Args:
        scores: of each span.
        right: whether each span is right, 0 or 1.
        min_bin: spans of a bin, at least 1; equal scores are never parted.
        prior: spans of the mean rate to add to each bin, 0 or more.

    >>> fit_curve([0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1], min_bin=2, prior=0).rates
    (0.5, 1.0)
    """
    order = np.argsort(np.asarray(scores, float), kind="stable")
    ranked, outcomes = np.asarray(scores, float)[order], np.asarray(right, float)[order]
    starts = [0]
    for index in range(1, len(ranked)):
        full = index - starts[-1] >= min_bin and len(ranked) - index >= min_bin
        if full and ranked[index] > ranked[index - 1]:
            starts.append(index)
    spans = np.diff([*starts, len(ranked)])
    rates = (np.add.reduceat(outcomes, starts) + prior * outcomes.mean()) / (spans + prior)
    rising = pool_adjacent_violators(rates, spans + prior)
    means = np.add.reduceat(ranked, starts) / spans
    return Curve(
        tuple(round(float(mean), 6) for mean in means),
        tuple(round(float(rate), 6) for rate in rising),
        tuple(int(number) for number in spans),
    )


@dataclass(frozen=True)
class Calibration:
    """Curves for one method with its settings, and what they were fitted on.

    Attributes:
        method: fingerprint of the method; no other may use it.
        data: signature of the scoring run that it was fitted on.
        spans: projections that it was fitted on; ``right`` of them were right.
        right: see ``spans``.
        curves: group -> curve; ``""`` is for every group without one.
        held_out: how reliable such a calibration is on data that it was not fitted on: `cross_fit` on the same data.
    """

    method: str
    data: str
    spans: int
    right: int
    curves: Mapping[str, Curve] = field(default_factory=dict)
    held_out: Reliability | None = None

    def confidence(self, projection: Projection) -> float | None:
        """Return the probability that a projection is right, 0..1; None for a span without a place."""
        if projection.target is None:
            return None
        curve = self.curves.get(group_of(projection), self.curves[_EVERYTHING])
        return round(curve.at(_score(projection)), 6)

    @property
    def digest(self) -> str:
        """Short identity of the curves."""
        return hashlib.sha256(json.dumps(_plain(self.curves), sort_keys=True).encode()).hexdigest()[:12]

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            DataError: the file cannot be written.
        """
        values = {
            "format": _FORMAT,
            "method": self.method,
            "data": self.data,
            "spans": self.spans,
            "right": self.right,
            "settings": {"min_bin": MIN_BIN, "prior": PRIOR, "min_group": MIN_GROUP, "folds": FOLDS},
            "curves": _plain(self.curves),
            "held_out": None if self.held_out is None else self.held_out.to_json(),
        }
        try:
            Path(path).write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", path=path) from error


def load_calibration(path: str | Path) -> Calibration:
    """Read what `Calibration.save` wrote.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"no calibration can be read: {error.strerror}",
            path=path,
            hint="spanferry score ... --fit-calibration FILE makes one",
        ) from error
    except ValueError as error:
        raise DataError(f"not JSON ({error}), expected a calibration", path=path) from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise DataError(f"format {found!r}, expected a calibration ({_FORMAT!r})", path=path)
    try:
        curves = {
            str(group): Curve(tuple(map(float, one["scores"])), tuple(map(float, one["rates"])), tuple(one["spans"]))
            for group, one in values["curves"].items()
        }
        held_out = Reliability.from_json(values["held_out"]) if values["held_out"] else None
        made = Calibration(values["method"], values["data"], values["spans"], values["right"], curves, held_out)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"a damaged calibration: {type(error).__name__} {error}; fit it again", path=path) from error
    if _EVERYTHING not in curves or not all(_sound(curve) for curve in curves.values()):
        raise DataError("a damaged calibration: its curves are not whole or not rising; fit it again", path=path)
    return made


def fit_calibration(judged: Sequence[Judged], *, method: str, data: str, held_out: bool = True) -> Calibration:
    """Fit a calibration to judged projections.

    Args:
        judged: at least `MIN_BIN` of them.
        method: fingerprint of the projector that made them.
        data: signature of the data, for the record.
        held_out: cross-fit too, and keep how reliable it is.

    Raises:
        DataError: there are too few projections.

    >>> from spanferry.data.example import Span
    >>> judged = [Judged(Projection(Span(0, 4, "LOC"), Span(0, 4, "LOC"), "alignment", score), score > 0.3, str(n))
    ...           for n in range(50) for score in (0.2, 0.6)]
    >>> calibration = fit_calibration(judged, method="alignment/1(...)", data="task:ner")
    >>> [round(calibration.confidence(each.projection), 2) for each in judged[:2]]
    [0.01, 0.99]
    """
    if len(judged) < MIN_BIN:
        raise DataError(f"{len(judged)} projections to fit a calibration to, expected at least {MIN_BIN}")
    tested = measure_reliability(cross_fit(judged), [each.right for each in judged]) if held_out else None
    right = sum(each.right for each in judged)
    return Calibration(method, data, len(judged), right, _curves(judged), tested)


def cross_fit(judged: Sequence[Judged], *, folds: int = FOLDS) -> list[float]:
    """Return for each projection the confidence by a calibration that was fitted without its fold.

    The fold of a projection follows from its ``unit`` alone, so a text is in one fold whatever stands beside it.
    """
    fold = [zlib.crc32(each.unit.encode("utf-8", "surrogatepass")) % folds for each in judged]
    confidences = [0.0] * len(judged)
    for number in range(folds):
        rest = [each for each, own in zip(judged, fold, strict=True) if own != number]
        if not rest:  # every text is the same one
            rest = list(judged)
        without = Calibration("", "", len(rest), 0, _curves(rest))
        for index, each in enumerate(judged):
            if fold[index] == number:
                confidences[index] = without.confidence(each.projection) or 0.0
    return confidences


def group_of(projection: Projection) -> str:
    """Return which curve a projection belongs to: the step that decided, and how many votes its place has.

    >>> from spanferry.data.example import Span
    >>> from spanferry.projection.base import Vote
    >>> place = Span(0, 4, "LOC")
    >>> group_of(Projection(place, place, "cascade", votes=(Vote("match", None), Vote("alignment", place))))
    'cascade: 1 of 2'
    """
    if not projection.votes:
        return _EVERYTHING
    agreeing = sum(vote.target == projection.target for vote in projection.votes)
    return f"{projection.method}: {agreeing} of {len(projection.votes)}"


class CalibratedProjector:
    """Gives every projection of a method its confidence.

    Args:
        projector: the method.
        calibration: one that was fitted for this very method with these settings.
        min_confidence: a span whose place is less sure has none, reason ``low_score``; 0..1. What to set it to, the
            curve says that `spanferry score --curve` draws.

    Raises:
        ConfigError: the calibration is for another method, or ``min_confidence`` is out of range.
    """

    def __init__(self, projector: Projector, calibration: Calibration, *, min_confidence: float = 0.0) -> None:
        if isinstance(min_confidence, bool | str) or not 0 <= min_confidence <= 1:
            raise ConfigError(f"min_confidence is {min_confidence!r}: expected a number from 0 to 1")
        if calibration.method != projector.fingerprint:
            raise ConfigError(
                f"the calibration was fitted for {calibration.method!r}, this method is {projector.fingerprint!r}: "
                "fit one for it (spanferry score ... --fit-calibration FILE)"
            )
        self.projector = projector
        self.calibration = calibration
        self.min_confidence = min_confidence

    @property
    def fingerprint(self) -> str:
        """Identity of the method, its calibration and the threshold."""
        used = f"min_confidence={self.min_confidence},calibration={self.calibration.digest}"
        return f"calibrated/1({used},method={self.projector.fingerprint})"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return the method's projections with their confidence, and without those that are not sure enough."""
        rows = self.projector.project(texts, source=source, target=target)
        return [tuple(self._judge(projection) for projection in row) for row in rows]

    def _judge(self, projection: Projection) -> Projection:
        confidence = self.calibration.confidence(projection)
        if confidence is None or confidence >= self.min_confidence:
            return replace(projection, confidence=confidence)
        detail = f"right with probability {confidence:.3f}, wanted {self.min_confidence:g}"
        return replace(projection, target=None, reason=Reason.LOW_SCORE, detail=detail, confidence=confidence)


def calibrated(
    projector: Projector, calibration: str | Path | None = None, min_confidence: float | None = None
) -> CalibratedProjector:
    """Wrap a projector, given the settings ``calibration`` and ``min_confidence`` as a configuration has them.

    Raises:
        ConfigError: a threshold without a calibration, or as `CalibratedProjector`.
        DataError: the file is no calibration.
    """
    if calibration is None:
        raise ConfigError(
            "min_confidence needs a calibration, a file that says how sure a score is "
            "(spanferry score ... --fit-calibration FILE makes one)"
        )
    if not isinstance(calibration, str | Path):
        raise ConfigError(f"calibration is {calibration!r}: expected the path of a file")
    try:
        return CalibratedProjector(projector, load_calibration(calibration), min_confidence=min_confidence or 0.0)
    except ConfigError as error:
        raise ConfigError(f"{calibration}: {error}") from error


def _curves(judged: Sequence[Judged]) -> dict[str, Curve]:
    groups: dict[str, list[Judged]] = {_EVERYTHING: list(judged)}
    for each in judged:
        if (group := group_of(each.projection)) != _EVERYTHING:
            groups.setdefault(group, []).append(each)
    return {
        group: fit_curve([_score(each.projection) for each in members], [each.right for each in members])
        for group, members in sorted(groups.items())
        if group == _EVERYTHING or len(members) >= MIN_GROUP
    }


def _score(projection: Projection) -> float:
    return projection.score or 0.0


def _plain(curves: Mapping[str, Curve]) -> dict[str, Any]:
    return {
        group: {"scores": list(curve.scores), "rates": list(curve.rates), "spans": list(curve.spans)}
        for group, curve in curves.items()
    }


def _sound(curve: Curve) -> bool:
    steps = np.diff(curve.rates), np.diff(curve.scores)
    whole = 0 < len(curve.scores) == len(curve.rates) == len(curve.spans)
    return whole and all((step >= 0).all() for step in steps) and 0 <= curve.rates[0] <= curve.rates[-1] <= 1
