"""What predictions are worth where gold exists: a score with its interval, by label and by language, and a signature.

Four metrics, one road: `SPAN_F1` for spans, `ACCURACY` for labels, `CORRELATION` for labels that are numbers,
`ANSWER_F1` for answers to questions. Each counts every example on its own and makes a score of the sum, so that
examples can be drawn anew (`bootstrap`).

Span scores are those of seqeval in its default reading: `spanferry.data.spans.tags_to_ranges` with ``repair=True``
reads tags into the same spans, and micro, macro and per-label figures are equal (the tests hold both against it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final, Generic, TypeVar

import numpy as np

from spanferry.data.example import Span
from spanferry.data.signature import signature
from spanferry.projection.answers import AnswerScores, answer_scores
from spanferry.projection.bootstrap import (
    DEFAULT,
    Comparison,
    Counts,
    Interval,
    Resampling,
    Value,
    bootstrap,
    paired_bootstrap,
)
from spanferry.projection.metrics import SpanCounts, SpanScores, check_same_ids, percent, span_scores

Gold = TypeVar("Gold")
Predicted = TypeVar("Predicted")
Scores = TypeVar("Scores", SpanScores, "LabelScores", "NumberScores", AnswerScores)
Label = str | int | float | None


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Scores of labels, one an example.

    Attributes:
        right, total: examples labelled as in gold, of all.
        per_label: each label's counts, in alphabetical order: ``fp`` were given it wrongly, ``fn`` should have had it.
    """

    right: int = 0
    total: int = 0
    per_label: Mapping[str, SpanCounts] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Percentage of examples labelled as in gold."""
        return percent(self.right, self.total)

    @property
    def macro_f1(self) -> float:
        """Mean of the labels' F1, 0..100; every label of gold or predictions counts the same."""
        return sum(counts.f1 for counts in self.per_label.values()) / len(self.per_label) if self.per_label else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return counts and percentages, rounded to two decimals."""
        return {
            "right": self.right,
            "total": self.total,
            "accuracy": round(self.accuracy, 2),
            "macro_f1": round(self.macro_f1, 2),
            "per_label": {label: counts.to_json() for label, counts in self.per_label.items()},
        }


def label_scores(gold: Mapping[str, Label], predicted: Mapping[str, Label]) -> LabelScores:
    """Compare predicted with gold labels.

    Args:
        gold, predicted: id of the example -> label. Examples whose gold label is None are left out; a predicted None is
            no prediction, and wrong.

    Raises:
        DataError: the two hold different ids.

    >>> scores = label_scores({"1": "yes", "2": "no", "3": "no"}, {"1": "yes", "2": "yes", "3": None})
    >>> round(scores.accuracy, 2), scores.per_label["no"]
    (33.33, SpanCounts(tp=0, fp=0, fn=2))
    """
    check_same_ids(gold, predicted)
    pairs = [(label, predicted[key]) for key, label in gold.items() if label is not None]
    counts: dict[str, SpanCounts] = {}
    for expected, found in pairs:
        hit = expected == found
        counts[str(expected)] = counts.get(str(expected), SpanCounts()) + SpanCounts(tp=hit, fn=not hit)
        if not hit and found is not None:
            counts[str(found)] = counts.get(str(found), SpanCounts()) + SpanCounts(fp=1)
    return LabelScores(sum(expected == found for expected, found in pairs), len(pairs), dict(sorted(counts.items())))


@dataclass(frozen=True, slots=True)
class NumberScores:
    """Scores of labels that are numbers (similarity): how many have both, of all, and their correlation, -100..100."""

    examples: int = 0
    total: int = 0
    pearson: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and the correlation rounded to two decimals."""
        return {"examples": self.examples, "total": self.total, "pearson": round(self.pearson, 2)}


def number_scores(gold: Mapping[str, float | None], predicted: Mapping[str, float | None]) -> NumberScores:
    """Return Pearson's correlation of predicted with gold numbers, over the examples that have both, times 100.

    Raises:
        DataError: the two hold different ids.

    >>> number_scores({"1": 1.0, "2": 2.0, "3": 5.0}, {"1": 0.3, "2": 0.2, "3": None})
    NumberScores(examples=2, total=3, pearson=-100.0)
    """
    check_same_ids(gold, predicted)
    counts = np.array([_number_counts(number, predicted[key]) for key, number in gold.items()]).reshape(-1, 6)
    sums = counts.sum(axis=0)
    return NumberScores(int(sums[0]), len(gold), round(float(_correlation(sums)), 9))


@dataclass(frozen=True)
class Metric(Generic[Gold, Predicted, Scores]):
    """A way to compare predictions with gold.

    Attributes:
        name: as it stands in signatures and reports.
        settings: what else its signature says.
        score: everything it has to say.
        count: what it counts in one example: [k].
        value: its main figure, 0..100, from counts summed over examples.
        width: k.
    """

    name: str
    settings: Mapping[str, str]
    score: Callable[[Mapping[str, Gold], Mapping[str, Predicted]], Scores]
    count: Callable[[Gold, Predicted], tuple[float, ...]]
    value: Value
    width: int = 2


def _span_counts(gold: Sequence[Span], predicted: Sequence[Span]) -> tuple[float, ...]:
    exact = span_scores({"": gold}, {"": predicted}).exact
    return 2 * exact.tp, 2 * exact.tp + exact.fp + exact.fn


def _label_counts(gold: Label, predicted: Label) -> tuple[float, ...]:
    return float(gold is not None and gold == predicted), float(gold is not None)


def _answer_counts(gold: Sequence[str], predicted: str | None) -> tuple[float, ...]:
    return answer_scores({"": gold}, {"": predicted}).overlap, 1.0


def _number_counts(gold: float | None, predicted: float | None) -> tuple[float, ...]:
    if gold is None or predicted is None:
        return (0.0,) * 6
    return 1.0, gold, predicted, gold * gold, predicted * predicted, gold * predicted


def _correlation(sums: Counts) -> Counts:
    """Pearson's correlation times 100, from the sums of 1, x, y, xx, yy and xy; 0 where one of the two is constant."""
    count, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0)
    constant = spread <= 1e-12 * np.maximum(count * count * xx * yy, 1e-300)
    return np.asarray(np.where(constant, 0.0, 100 * (count * xy - x * y) / np.sqrt(np.where(constant, 1.0, spread))))


def _ratio(sums: Counts) -> Counts:
    """Percentage of the first count in the second; 0 of nothing."""
    return np.asarray(100 * sums[..., 0] / np.maximum(sums[..., 1], 1e-12))


SPAN_F1: Final = Metric[Sequence[Span], Sequence[Span], SpanScores](
    "span_f1", {"average": "micro", "match": "exact"}, span_scores, _span_counts, _ratio
)
ACCURACY: Final = Metric[Label, Label, LabelScores]("accuracy", {}, label_scores, _label_counts, _ratio)
CORRELATION: Final = Metric[float | None, float | None, NumberScores](
    "pearson", {}, number_scores, _number_counts, _correlation, width=6
)
ANSWER_F1: Final = Metric[Sequence[str], str | None, AnswerScores](
    "answer_f1", {"normalization": "squad"}, answer_scores, _answer_counts, _ratio
)


@dataclass(frozen=True)
class Evaluation(Generic[Scores]):
    """What predictions are worth.

    Attributes:
        metric: name of the main figure (``"span_f1"``: micro F1 of exact spans).
        main: that figure, 0..100, with its interval.
        scores: all figures.
        examples: how many were compared.
        languages: the same for each language, in alphabetical order; empty where none were told apart.
        signature: one line that reproduces the interval.
    """

    metric: str
    main: Interval
    scores: Scores
    examples: int
    languages: Mapping[str, Evaluation[Scores]]
    signature: str

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; percentages rounded to two decimals."""
        found: dict[str, Any] = {"metric": self.metric, **self.main.to_json(), "examples": self.examples}
        found["scores"] = self.scores.to_json()
        if isinstance(self.scores, SpanScores):
            rates = ("precision", "recall", "f1")
            found["scores"]["macro"] = {rate: round(getattr(self.scores, f"macro_{rate}"), 2) for rate in rates}
        if self.languages:
            found["languages"] = {name: each.to_json() for name, each in self.languages.items()}
        return found | {"signature": self.signature}


def evaluate(
    metric: Metric[Gold, Predicted, Scores],
    gold: Mapping[str, Gold],
    predicted: Mapping[str, Predicted],
    *,
    languages: Mapping[str, str] | None = None,
    resampling: Resampling = DEFAULT,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation[Scores]:
    """Compare predictions with gold, with an interval by bootstrap resampling of examples.

    Args:
        metric: `SPAN_F1`, `ACCURACY`, `CORRELATION` or `ANSWER_F1`.
        gold, predicted: id of the example -> spans, label, or right answers and answer; on the same (original) text.
        languages: id -> language, for figures by language.
        resampling: how often examples are drawn, and from which seed.
        settings: what else the signature should say (task, languages, model).

    Raises:
        DataError: gold, predictions and languages hold different ids.

    >>> gold = {"1": [Span(0, 4, "PER")], "2": [Span(3, 9, "LOC")]}
    >>> result = evaluate(SPAN_F1, gold, {"1": [Span(0, 4, "PER")], "2": []}, languages={"1": "de", "2": "es"})
    >>> round(result.main.value, 2), {name: each.main.value for name, each in result.languages.items()}
    (66.67, {'de': 100.0, 'es': 0.0})
    >>> result.signature[:83]
    'average:micro|bootstrap.confidence:95.0|bootstrap.samples:1000|bootstrap.seed:12345'
    """
    check_same_ids(gold, predicted)
    groups: dict[str, list[str]] = {}
    if languages is not None:
        check_same_ids(gold, languages)
        for key, language in languages.items():
            groups.setdefault(language, []).append(key)
    parts = {
        name: evaluate(
            metric,
            {key: gold[key] for key in keys},
            {key: predicted[key] for key in keys},
            resampling=resampling,
            settings={**(settings or {}), "language": name},
        )
        for name, keys in sorted(groups.items())
    }
    used = {
        **(settings or {}),
        "metric": metric.name,
        **metric.settings,
        "examples": len(gold),
        "bootstrap": resampling.to_json(),
        "version": version("spanferry"),
    }
    main = bootstrap(_counts(metric, gold, predicted), metric.value, resampling)
    return Evaluation(metric.name, main, metric.score(gold, predicted), len(gold), parts, signature(used))


def compare(
    metric: Metric[Gold, Predicted, Scores],
    gold: Mapping[str, Gold],
    first: Mapping[str, Predicted],
    second: Mapping[str, Predicted],
    *,
    resampling: Resampling = DEFAULT,
) -> Comparison:
    """Compare the predictions of two systems by the main figure of ``metric``, on the same draws of examples.

    Raises:
        DataError: the three hold different ids.

    >>> gold = {str(number): "yes" for number in range(50)}
    >>> comparison = compare(ACCURACY, gold, dict.fromkeys(gold, "no"), gold)
    >>> comparison.difference.value, round(comparison.p_value, 3)
    (100.0, 0.001)
    """
    check_same_ids(gold, first)
    check_same_ids(gold, second)
    counts = [_counts(metric, gold, system) for system in (first, second)]
    return paired_bootstrap(counts[0], counts[1], metric.value, resampling)


def _counts(
    metric: Metric[Gold, Predicted, Scores], gold: Mapping[str, Gold], predicted: Mapping[str, Predicted]
) -> Counts:
    """Count each example, in the order of the ids, so that the draws do not depend on how the data was cut."""
    rows = [metric.count(gold[key], predicted[key]) for key in sorted(gold)]
    return np.array(rows, dtype=np.float64).reshape(-1, metric.width)
