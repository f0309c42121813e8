"""From what is seen of a projection to a probability: how often such a span is right, as measured on gold.

A method's score orders its projections; what share of them is right has to be measured. On gold data (source spans
projected onto a translation whose own spans are known, as in `spanferry score`), a calibration is fitted in two steps:

1. The score, the coverage, the lengths, and the votes of a method made of methods (`evidence`) are weighed by
   logistic regression, with a ridge of `RIDGE` on the weights of the standardised traits.
2. That index becomes a probability by isotonic regression: the function that never falls and is closest to the
   outcomes in least squares (pool adjacent violators, Ayer et al. 1955; for calibration Zadrozny and Elkan, KDD 2002).

Two things keep it honest where data is thin. Spans are put into bins of at least `MIN_BIN` by their index, and each bin
is given `PRIOR` more spans of the mean rate, before the isotonic regression; between the means of two bins the
confidence is a straight line. And what is reported of a calibration (`cross_fit`) is held out: every span gets its
confidence from weights and curve that were fitted without its fold, and no source text is in two folds.

A right projection has the label and both ends of a gold span. Whether the gold is right is another matter: where
each language was annotated on its own, even a perfect projector is not always right.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spanferry.data.errors import DataError
from spanferry.projection.base import Projection, TranslatedText
from spanferry.projection.evidence import evidence
from spanferry.projection.reliability import Reliability, measure_reliability

Floats = npt.NDArray[np.float64]

MIN_BIN = 25
"""Spans that a bin holds at least."""
PRIOR = 1.0
"""Spans of the mean rate that are added to each bin, so that no confidence is 0 or 1 by chance."""
RIDGE = 1.0
FOLDS = 5

_FORMAT = "spanferry-calibration/1"
_MOST_ITERATIONS = 50


@dataclass(frozen=True, slots=True)
class Judged:
    """A projection, and whether gold has it.

    Attributes:
        projection: one with a target.
        right: gold has a span with its ends, label and field.
        unit: what must not be split between fitting and measuring: the source text.
        evidence: its traits, see `spanferry.projection.evidence`.
    """

    projection: Projection
    right: bool
    unit: str
    evidence: Mapping[str, float]


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
    """Confidence as a non-decreasing function of an index.

    Attributes:
        at: mean index of each bin, rising.
        rates: confidence at each of them, 0..1, never falling.
        spans: how many spans each bin holds.
    """

    at: tuple[float, ...]
    rates: tuple[float, ...]
    spans: tuple[int, ...]

    def confidence(self, index: float) -> float:
        """Return the confidence at an index: on the line between two bins, level beyond the first and the last.

        >>> round(Curve((0.2, 0.6), (0.5, 0.9), (30, 30)).confidence(0.4), 6)
        0.7
        """
        return float(np.interp(index, self.at, self.rates))


def fit_curve(indices: npt.ArrayLike, right: npt.ArrayLike, *, min_bin: int = MIN_BIN, prior: float = PRIOR) -> Curve:
    """Fit a curve to indices and outcomes, in any order, at least one.

    Args:
        indices: of each span.
        right: whether each span is right, 0 or 1.
        min_bin: spans of a bin, at least 1; equal indices are never parted.
        prior: spans of the mean rate to add to each bin, 0 or more.

    >>> fit_curve([0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1], min_bin=2, prior=0).rates
    (0.5, 1.0)
    """
    order = np.argsort(np.asarray(indices, float), kind="stable")
    ranked, outcomes = np.asarray(indices, float)[order], np.asarray(right, float)[order]
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


@dataclass(frozen=True, slots=True)
class Trait:
    """What one trait of the evidence counts for: ``weight * (value - mean) / spread``; a missing value is 0."""

    name: str
    mean: float
    spread: float
    weight: float


@dataclass(frozen=True, slots=True)
class Model:
    """Weighed evidence, made a probability.

    Attributes:
        traits: what is weighed; traits that did not vary are left out.
        base: log-odds of a span whose traits are all at their mean.
        curve: from the logistic regression's probability, 0..1, to the confidence.
    """

    traits: tuple[Trait, ...]
    base: float
    curve: Curve

    def confidence(self, traits: Mapping[str, float]) -> float:
        """Return the probability that a span with these traits is right, 0..1."""
        weighed = (each.weight * (traits.get(each.name, 0.0) - each.mean) / each.spread for each in self.traits)
        return round(self.curve.confidence(_probability(self.base + math.fsum(weighed))), 6)


@dataclass(frozen=True)
class Calibration:
    """A model for one method with its settings, and what it was fitted on.

    Attributes:
        method: fingerprint of the method; no other may use it.
        data: signature of the scoring run that it was fitted on.
        spans: projections that it was fitted on; ``right`` of them were right.
        right: see ``spans``.
        model: see `Model`.
        held_out: how reliable such a calibration is on data that it was not fitted on: `cross_fit` on the same data.
    """

    method: str
    data: str
    spans: int
    right: int
    model: Model
    held_out: Reliability

    def confidence(self, projection: Projection, text: TranslatedText) -> float | None:
        """Return the probability that a projection is right, 0..1; None for a span without a place."""
        return None if projection.target is None else self.model.confidence(evidence(projection, text))

    @property
    def digest(self) -> str:
        """Short identity of the model."""
        return hashlib.sha256(json.dumps(asdict(self.model), sort_keys=True).encode()).hexdigest()[:12]

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            DataError: the file cannot be written.
        """
        settings = {"min_bin": MIN_BIN, "prior": PRIOR, "ridge": RIDGE, "folds": FOLDS}
        text = json.dumps({"format": _FORMAT, "settings": settings, **asdict(self)}, ensure_ascii=False, indent=1)
        try:
            Path(path).write_text(text + "\n", encoding="utf-8")
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
        curve = Curve(**{name: tuple(numbers) for name, numbers in values["model"]["curve"].items()})
        traits = tuple(Trait(**each) for each in values["model"]["traits"])
        model = Model(traits, float(values["model"]["base"]), curve)
        record = {name: values[name] for name in ("method", "data", "spans", "right")}
        made = Calibration(**record, model=model, held_out=Reliability.from_json(values["held_out"]))
        whole = _sound(model)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"a damaged calibration: {type(error).__name__} {error}; fit it again", path=path) from error
    if not whole:
        raise DataError("a damaged calibration: its numbers do not make a rising curve; fit it again", path=path)
    return made


def fit_calibration(judged: Sequence[Judged], *, method: str, data: str) -> Calibration:
    """Fit a calibration to judged projections, and cross-fit it to say how reliable it is.

    Args:
        judged: at least `MIN_BIN` of them.
        method: fingerprint of the projector that made them.
        data: signature of the data, for the record.

    Raises:
        DataError: there are too few projections.

    >>> from spanferry.data.example import Span
    >>> place = Span(0, 4, "LOC")
    >>> judged = [Judged(Projection(place, place, "alignment"), score > 0, str(n), {"score": score})
    ...           for n in range(50) for score in (-1.0, 1.0)]
    >>> calibration = fit_calibration(judged, method="alignment/1(...)", data="task:ner")
    >>> [round(calibration.model.confidence({"score": score}), 2) for score in (-1.0, 0.0, 1.0)]
    [0.01, 0.5, 0.99]
    """
    if len(judged) < MIN_BIN:
        raise DataError(f"{len(judged)} projections to fit a calibration to, expected at least {MIN_BIN}")
    held_out = measure_reliability(cross_fit(judged), [each.right for each in judged])
    return Calibration(method, data, len(judged), sum(each.right for each in judged), fit_model(judged), held_out)


def fit_model(judged: Sequence[Judged]) -> Model:
    """Fit the weights of the traits, and the curve of their index, to at least one judged projection."""
    right = np.array([each.right for each in judged], float)
    names = sorted({name for each in judged for name in each.evidence})
    values = np.array([[each.evidence.get(name, 0.0) for name in names] for each in judged], float)
    values = values.reshape(len(judged), len(names))
    means, spreads = values.mean(axis=0), values.std(axis=0)
    varied = spreads > 1e-9
    standard = (values[:, varied] - means[varied]) / spreads[varied]
    base, weights = _logistic(standard, right)
    kept = [name for name, varies in zip(names, varied, strict=True) if varies]
    columns = zip(kept, means[varied], spreads[varied], weights, strict=True)
    traits = tuple(Trait(name, *(float(f"{number:.9g}") for number in row)) for name, *row in columns)
    model = Model(traits, round(base, 9), Curve((0.0,), (0.0,), (1,)))
    indices = [_probability(base + float(row @ weights)) for row in standard]
    return replace(model, curve=fit_curve(indices, right))


def cross_fit(judged: Sequence[Judged], *, folds: int = FOLDS) -> list[float]:
    """Return for each projection the confidence by a model that was fitted without its fold.

    The fold of a projection follows from its ``unit`` alone, so a text is in one fold whatever stands beside it.

    Raises:
        DataError: all projections are of one fold, so there is nothing to fit on.
    """
    fold = [zlib.crc32(each.unit.encode("utf-8", "surrogatepass")) % folds for each in judged]
    if judged and len(set(fold)) == 1:
        raise DataError(f"{len(judged)} projections of too few different texts to hold some out, expected more texts")
    confidences = [0.0] * len(judged)
    for number in sorted(set(fold)):
        model = fit_model([each for each, own in zip(judged, fold, strict=True) if own != number])
        for index, each in enumerate(judged):
            if fold[index] == number:
                confidences[index] = model.confidence(each.evidence)
    return confidences


def _logistic(values: Floats, right: Floats) -> tuple[float, Floats]:
    """Return base and weights of the ridge-penalised logistic regression, by Newton's method."""
    columns = np.column_stack([np.ones(len(values)), values])
    # The base has a trace of a penalty too: where all spans are right, or none is, it would have no end.
    penalty = np.diag([1e-2, *([RIDGE] * values.shape[1])])
    weights = np.zeros(columns.shape[1])
    for _ in range(_MOST_ITERATIONS):
        rates = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        slope = columns.T @ (right - rates) - penalty @ weights
        step = np.linalg.solve((columns * (rates * (1 - rates))[:, None]).T @ columns + penalty, slope)
        # A long step may overshoot where nearly all spans are right; a shorter one in its direction does not.
        weights = weights + step * min(1.0, 5.0 / float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-9:
            break
    return float(weights[0]), weights[1:]


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -30.0), 30.0)))


def _sound(model: Model) -> bool:
    curve = model.curve
    whole = 0 < len(curve.at) == len(curve.rates) == len(curve.spans)
    rising = all((np.diff(numbers) >= 0).all() for numbers in (curve.at, curve.rates))
    numbers = [model.base, *(number for each in model.traits for number in (each.mean, each.spread, each.weight))]
    finite = all(math.isfinite(number) for number in numbers) and all(each.spread > 0 for each in model.traits)
    return whole and rising and finite and 0 <= curve.rates[0] <= curve.rates[-1] <= 1
