"""Precision, recall and F1 of spans against gold, summed over examples before dividing. Pure functions.

Exact: a predicted span counts when field, start, end and label are all those of a gold span (as seqeval does for
tags). All labels together give the micro average, the mean of the labels' own figures is the macro average. Partial:
besides, a predicted span that overlaps a gold span of its label counts half; each span is matched at most once
(SemEval-2013 task 9, evaluation by partial match, here with the label required).

Worked example: gold (0, 4, PER), (9, 14, LOC); predicted (0, 4, PER), (9, 12, LOC), (20, 22, LOC). Exact: 1 right, 2
wrong, 1 missed, so precision 1/3, recall 1/2, F1 = 2 * 1 / (3 + 2) = 40.0. Partial: 1 + 0.5, so F1 = 60.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spanferry.data.errors import DataError
from spanferry.data.example import Span


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Right (tp), wrong (fp) and missed (fn) spans, and the percentages, 0..100, that follow.

    A percentage whose denominator is 0 is 0.0, as in seqeval.

    >>> counts = SpanCounts(tp=1, fp=2, fn=1)
    >>> round(counts.precision, 1), counts.recall, counts.f1
    (33.3, 50.0, 40.0)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def precision(self) -> float:
        """Percentage of the predicted spans that are right."""
        return percent(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Percentage of the gold spans that were found."""
        return percent(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return percent(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def __add__(self, other: SpanCounts) -> SpanCounts:
        return SpanCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def to_json(self) -> dict[str, float]:
        """Return counts and percentages, rounded to two decimals."""
        rates = {name: round(getattr(self, name), 2) for name in ("precision", "recall", "f1")}
        return {"tp": self.tp, "fp": self.fp, "fn": self.fn} | rates


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Scores over examples.

    Attributes:
        exact: exact matches over all labels.
        per_label: the same for each label, in alphabetical order.
        overlapping: predicted spans that are not right but overlap a gold span of their label, one to one.
    """

    exact: SpanCounts = field(default_factory=SpanCounts)
    per_label: Mapping[str, SpanCounts] = field(default_factory=dict)
    overlapping: int = 0

    @property
    def macro_precision(self) -> float:
        """Mean of the labels' precision, 0..100; every label of gold or predicted spans counts the same."""
        return _mean([counts.precision for counts in self.per_label.values()])

    @property
    def macro_recall(self) -> float:
        """Mean of the labels' recall, 0..100."""
        return _mean([counts.recall for counts in self.per_label.values()])

    @property
    def macro_f1(self) -> float:
        """Mean of the labels' F1, 0..100."""
        return _mean([counts.f1 for counts in self.per_label.values()])

    @property
    def partial_precision(self) -> float:
        """Precision with half credit for overlap, 0..100."""
        return percent(self.exact.tp + self.overlapping / 2, self.exact.tp + self.exact.fp)

    @property
    def partial_recall(self) -> float:
        """Recall with half credit for overlap, 0..100."""
        return percent(self.exact.tp + self.overlapping / 2, self.exact.tp + self.exact.fn)

    @property
    def partial_f1(self) -> float:
        """F1 with half credit for overlap, 0..100."""
        return percent(2 * self.exact.tp + self.overlapping, 2 * self.exact.tp + self.exact.fp + self.exact.fn)

    def __add__(self, other: SpanScores) -> SpanScores:
        labels = sorted({*self.per_label, *other.per_label})
        per_label = {
            label: self.per_label.get(label, SpanCounts()) + other.per_label.get(label, SpanCounts())
            for label in labels
        }
        return SpanScores(self.exact + other.exact, per_label, self.overlapping + other.overlapping)

    def to_json(self) -> dict[str, object]:
        """Return ``exact``, ``partial`` and ``per_label`` as plain data; percentages rounded to two decimals."""
        rates = ("precision", "recall", "f1")
        partial = {name: round(getattr(self, f"partial_{name}"), 2) for name in rates}
        return {
            "exact": self.exact.to_json(),
            "partial": {"overlapping": self.overlapping} | partial,
            "per_label": {label: counts.to_json() for label, counts in self.per_label.items()},
        }


def span_scores(gold: Mapping[str, Iterable[Span]], predicted: Mapping[str, Iterable[Span]]) -> SpanScores:
    """Compare predicted with gold spans, example by example.

    Args:
        gold, predicted: id of the example -> its spans, in any order.

    Raises:
        DataError: the two hold different ids.

    >>> gold = {"1": [Span(0, 4, "PER"), Span(9, 14, "LOC")]}
    >>> scores = span_scores(gold, {"1": [Span(0, 4, "PER"), Span(9, 12, "LOC"), Span(20, 22, "LOC")]})
    >>> scores.exact, scores.overlapping, scores.partial_f1
    (SpanCounts(tp=1, fp=2, fn=1), 1, 60.0)
    """
    check_same_ids(gold, predicted)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    overlapping = 0
    for key, spans in gold.items():
        expected, found = Counter(spans), Counter(predicted[key])
        extra, absent = found - expected, expected - found
        right.update(span.label for span in (found & expected).elements())
        wrong.update(span.label for span in extra.elements())
        missed.update(span.label for span in absent.elements())
        overlapping += _overlapping(list(extra.elements()), list(absent.elements()))
    per_label = {
        label: SpanCounts(right[label], wrong[label], missed[label]) for label in sorted({*right, *wrong, *missed})
    }
    return SpanScores(sum(per_label.values(), SpanCounts()), per_label, overlapping)


def _overlapping(extra: Sequence[Span], absent: Sequence[Span]) -> int:
    """Count the pairs of overlapping spans of one label, each span used once, the largest overlaps first."""
    pairs = sorted(
        (
            (min(one.end, other.end) - max(one.start, other.start), i, k)
            for i, one in enumerate(extra)
            for k, other in enumerate(absent)
            if one.label == other.label and one.field == other.field
        ),
        key=lambda pair: -pair[0],
    )
    used_extra: set[int] = set()
    used_absent: set[int] = set()
    for overlap, i, k in pairs:
        if overlap > 0 and i not in used_extra and k not in used_absent:
            used_extra.add(i)
            used_absent.add(k)
    return len(used_extra)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def check_same_ids(gold: Mapping[str, object], predicted: Mapping[str, object]) -> None:
    """Refuse predictions of other examples than the gold ones.

    Raises:
        DataError: it names the first ids that only one of the two has.
    """
    if different := sorted(gold.keys() ^ predicted.keys()):
        listing = ", ".join(map(repr, different[:5]))
        raise DataError(f"gold and predictions differ in {len(different)} example ids: {listing}")


def percent(part: float, whole: float) -> float:
    """Return ``part`` of ``whole`` in per cent; 0.0 of nothing."""
    return 100.0 * part / whole if whole else 0.0
