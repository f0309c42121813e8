"""How far confidences can be trusted, and what a threshold on them buys: tables to read, numbers to compare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spanferry.projection.metrics import SpanCounts

DIAL = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975)
"""Thresholds at which `trade_off` looks."""
_BAR = 30


@dataclass(frozen=True, slots=True)
class Bin:
    """Spans whose confidence lies in ``low <= confidence < high`` (the last bin: up to 1).

    Attributes:
        low, high: the range, 0..1.
        spans: how many spans lie in it; ``right`` of them are right.
        right: see ``spans``.
        confidence: their mean confidence, 0..1.
    """

    low: float
    high: float
    spans: int
    right: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidences against outcomes.

    Attributes:
        bins: those that hold a span, from the lowest.
        error: expected calibration error: the mean distance, over spans, between the mean confidence of a bin and the
            share that is right in it; 0..1, 0 is perfect (Naeini et al., AAAI 2015).
    """

    bins: tuple[Bin, ...]
    error: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"error": self.error, "bins": [asdict(each) for each in self.bins]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Reliability:
        """Return what `to_json` made plain."""
        return cls(tuple(Bin(**each) for each in values["bins"]), float(values["error"]))

    def lines(self) -> Iterator[str]:
        """Yield a table to read on a terminal; a bar as long as the share that is right."""
        yield f"{'confidence':>11} {'spans':>7} {'mean':>6} {'right':>6}"
        for each in self.bins:
            share = each.right / each.spans
            numbers = f"{each.low:5.2f}-{each.high:.2f} {each.spans:8} {each.confidence:6.3f} {share:6.3f}"
            yield f"{numbers}  {'█' * round(share * _BAR)}"
        yield f"expected calibration error {self.error:.4f}"


def measure_reliability(confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> Reliability:
    """Compare confidences, 0..1, with outcomes in bins of equal width.

    >>> measure_reliability([0.85, 0.85, 0.25, 0.25], [True, True, False, True]).error
    0.2
    """
    members: dict[int, list[int]] = {}
    for index, confidence in enumerate(confidences):
        members.setdefault(min(int(confidence * bins), bins - 1), []).append(index)
    found = []
    error = 0.0
    for number, indices in sorted(members.items()):
        correct = sum(right[index] for index in indices)
        total = math.fsum(confidences[index] for index in indices)
        error += abs(total - correct) / len(confidences)
        mean = round(total / len(indices), 6)
        found.append(Bin(number / bins, (number + 1) / bins, len(indices), correct, mean))
    return Reliability(tuple(found), round(error, 6))


@dataclass(frozen=True, slots=True)
class Setting:
    """What is kept at one threshold.

    Attributes:
        min_confidence: the threshold, 0..1.
        counts: right, wrong and missed spans, see `SpanCounts`.
    """

    min_confidence: float
    counts: SpanCounts


def trade_off(
    confidences: Sequence[float], right: Sequence[bool], gold: int, *, dial: Sequence[float] = DIAL
) -> list[Setting]:
    """Return what each threshold keeps: the precision rises with it, the recall falls.

    Args:
        confidences: of every projected span, 0..1.
        right: whether each is right.
        gold: number of gold spans.
        dial: thresholds.

    >>> [(each.min_confidence, each.counts.tp, each.counts.fp, each.counts.fn)
    ...  for each in trade_off([0.9, 0.6, 0.4], [True, True, False], 3, dial=(0, 0.5, 0.8))]
    [(0, 2, 1, 1), (0.5, 2, 0, 1), (0.8, 1, 0, 2)]
    """
    settings = []
    for least in dial:
        kept = [correct for confidence, correct in zip(confidences, right, strict=True) if confidence >= least]
        hits = sum(kept)
        settings.append(Setting(least, SpanCounts(hits, len(kept) - hits, gold - hits)))
    return settings


def trade_off_lines(settings: Sequence[Setting]) -> Iterator[str]:
    """Yield a table to read on a terminal, with the precision (P) and the recall (R) drawn from 0 to 100 per cent."""
    yield f"{'min_confidence':>14} {'P':>6} {'R':>6} {'F1':>6} {'kept':>7}  {'0':<{_BAR}}100"
    for each in settings:
        counts = each.counts
        if not counts.tp + counts.fp:
            yield f"{each.min_confidence:14.3f} no span is as sure"
            continue
        rates = f"{counts.precision:6.2f} {counts.recall:6.2f} {counts.f1:6.2f}"
        axis = ["·"] * (_BAR + 1)
        axis[round(counts.recall * _BAR / 100)] = "R"
        at = round(counts.precision * _BAR / 100)
        axis[at] = "*" if axis[at] == "R" else "P"
        yield f"{each.min_confidence:14.3f} {rates} {counts.tp + counts.fp:7}  {''.join(axis)}"
