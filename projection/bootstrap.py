"""How sure a score is: intervals by bootstrap resampling of examples, and paired tests between two systems.

After Koehn ("Statistical Significance Tests for Machine Translation Evaluation", 2004): examples are drawn with
replacement, as many as there are, and the score is computed anew, from counts that add up. Two systems are compared on
the same draws. The p-value is that of sacreBLEU: differences are shifted to the mean 0, as if the systems were equal,
and p is the share of draws in which such a difference is larger than the one observed, the observed one counted in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spanferry.data.errors import ConfigError, DataError

Counts: TypeAlias = NDArray[np.float64]
Value: TypeAlias = Callable[[Counts], NDArray[np.float64]]
"""From counts [..., k], summed over examples, to scores [...]."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often examples are drawn, and from which seed; the defaults are sacreBLEU's.

    Raises:
        ConfigError: a number is out of range.
    """

    samples: int = 1000
    seed: int = 12345
    confidence: float = 95.0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.seed < 0 or not 0 < self.confidence < 100:
            raise ConfigError(
                f"{self}: expected samples of 1 or more, a seed of 0 or more, a confidence between 0 and 100 (per cent)"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return {"samples": self.samples, "seed": self.seed, "confidence": self.confidence}


DEFAULT = Resampling()


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, and the bounds of the middle ``confidence`` per cent of the resampled scores."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three, rounded to two decimals."""
        return {"value": round(self.value, 2), "low": round(self.low, 2), "high": round(self.high, 2)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same examples.

    Attributes:
        first, second: their scores.
        difference: second minus first.
        p_value: probability of so large a difference between systems that are equal, 0..1.
    """

    first: Interval
    second: Interval
    difference: Interval
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; scores rounded to two decimals, the p-value to four."""
        parts = {"first": self.first, "second": self.second, "difference": self.difference}
        return {name: part.to_json() for name, part in parts.items()} | {"p_value": round(self.p_value, 4)}


def bootstrap(counts: Counts, value: Value, settings: Resampling = DEFAULT) -> Interval:
    """Return the score of ``counts`` [examples, k] with its interval.

    The order of the examples matters to the draws: give them in an order of their own, such as that of their ids.

    >>> right = np.array([[1.0, 1.0]] * 80 + [[0.0, 1.0]] * 20)          # right, examples
    >>> accuracy = bootstrap(right, lambda sums: 100 * sums[..., 0] / sums[..., 1])
    >>> accuracy.value, 70 < accuracy.low < 75, 85 < accuracy.high < 90
    (80.0, True, True)
    """
    [sums] = _resampled([counts], settings)
    return _interval(float(value(counts.sum(axis=0))), value(sums), settings)


def paired_bootstrap(first: Counts, second: Counts, value: Value, settings: Resampling = DEFAULT) -> Comparison:
    """Compare two systems by their counts [examples, k] on the same examples, in the same order.

    Raises:
        DataError: the two have different numbers of examples.

    >>> worse, better = np.array([[1.0], [0.0]] * 50), np.array([[1.0], [1.0]] * 50)
    >>> comparison = paired_bootstrap(worse, better, lambda sums: sums[..., 0])
    >>> comparison.difference.value, comparison.p_value < 0.01
    (50.0, True)
    """
    if len(first) != len(second):
        raise DataError(f"paired systems have {len(first)} and {len(second)} examples: expected the same ones")
    sums = _resampled([first, second], settings)
    values = [value(each) for each in sums]
    observed = [float(value(counts.sum(axis=0))) for counts in (first, second)]
    differences = values[1] - values[0]
    difference = observed[1] - observed[0]
    larger = int((np.abs(differences - differences.mean()) > abs(difference)).sum())
    return Comparison(
        _interval(observed[0], values[0], settings),
        _interval(observed[1], values[1], settings),
        _interval(difference, differences, settings),
        (larger + 1) / (settings.samples + 1),
    )


def _resampled(systems: list[Counts], settings: Resampling) -> list[Counts]:
    """Return, a system, the sums of its counts over each draw of examples: [samples, k]."""
    examples = len(systems[0])
    draw = np.random.default_rng(settings.seed)
    sums = [np.zeros((settings.samples, counts.shape[1])) for counts in systems]
    for sample in range(settings.samples if examples else 0):
        times = np.bincount(draw.integers(examples, size=examples), minlength=examples)
        for system, counts in zip(sums, systems, strict=True):
            system[sample] = times @ counts
    return sums


def _interval(value: float, values: NDArray[np.float64], settings: Resampling) -> Interval:
    tail = (100 - settings.confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
