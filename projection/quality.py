"""The worth of predictions for a whole task: every metric that its shape asks for, from gold and predicted examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from spanferry.data.errors import DataError
from spanferry.data.example import Example
from spanferry.data.question_answering import QuestionAnswering
from spanferry.data.tasks import Task
from spanferry.projection.answers import AnswerScores
from spanferry.projection.bootstrap import DEFAULT, Resampling
from spanferry.projection.evaluation import (
    ACCURACY,
    ANSWER_F1,
    CORRELATION,
    SPAN_F1,
    Evaluation,
    LabelScores,
    NumberScores,
    evaluate,
)
from spanferry.projection.metrics import SpanScores

AnyEvaluation: TypeAlias = (
    Evaluation[SpanScores] | Evaluation[LabelScores] | Evaluation[NumberScores] | Evaluation[AnswerScores]
)


def evaluate_examples(
    task: Task,
    gold: Sequence[Example],
    predicted: Sequence[Example],
    *,
    languages: Sequence[str] | None = None,
    resampling: Resampling = DEFAULT,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, AnyEvaluation]:
    """Compare predicted with gold examples by every metric of the task.

    Args:
        task: decides the metrics: ``"spans"`` where there are spans; ``"answers"`` where these answer questions, of
            which the first predicted one counts; and one for each label column, under its name. A column of numbers
            that are no classes (gold or a prediction is a decimal number) is compared by correlation.
        gold, predicted: the same examples, in the same order; of ``predicted`` only spans and labels are looked at.
        languages: of each example, for figures by language.
        resampling, settings: see `evaluate`.

    Raises:
        DataError: the two are not the same examples.

    >>> from spanferry.data.example import Span
    >>> from spanferry.data.tasks import get_task
    >>> text = {"text": "Wecke mich um sieben"}
    >>> gold = Example("1", text, (Span(11, 20, "time"),), labels={"intent": "alarm"})
    >>> found = evaluate_examples(get_task("slots"), [gold], [Example("1", text, labels={"intent": "alarm"})])
    >>> {name: each.main.value for name, each in found.items()}
    {'spans': 0.0, 'intent': 100.0}
    """
    _check_same(gold, predicted)
    keys = [f"{number:09d}" for number in range(len(gold))]  # ids may repeat, from one language to the next
    by_language = None if languages is None else dict(zip(keys, languages, strict=True))
    used = {"task": task.name, **(settings or {})}
    right, found = dict(zip(keys, gold, strict=True)), dict(zip(keys, predicted, strict=True))
    results: dict[str, AnyEvaluation] = {}
    if task.spans_in:
        results["spans"] = evaluate(
            SPAN_F1,
            {key: each.spans for key, each in right.items()},
            {key: each.spans for key, each in found.items()},
            languages=by_language,
            resampling=resampling,
            settings=used,
        )
    if isinstance(task, QuestionAnswering):
        results["answers"] = evaluate(
            ANSWER_F1,
            {key: [each.text_of(span) for span in each.spans] for key, each in right.items()},
            {key: each.text_of(each.spans[0]) if each.spans else "" for key, each in found.items()},
            languages=by_language,
            resampling=resampling,
            settings=used,
        )
    for column in task.labels:
        labels = {key: each.labels.get(column) for key, each in right.items()}
        chosen = {key: each.labels.get(column) for key, each in found.items()}
        shared: dict[str, Any] = {
            "languages": by_language,
            "resampling": resampling,
            "settings": {**used, "column": column},
        }
        if any(isinstance(label, float) for label in (*labels.values(), *chosen.values())):
            results[column] = evaluate(CORRELATION, _numbers(labels, gold), _numbers(chosen, predicted), **shared)
        elif any(label is not None for label in labels.values()):
            results[column] = evaluate(ACCURACY, _names(labels), _names(chosen), **shared)
    return results


def _check_same(gold: Sequence[Example], predicted: Sequence[Example]) -> None:
    if len(gold) != len(predicted):
        raise DataError(f"found {len(predicted)} predicted examples for {len(gold)} of gold: expected one each")
    for here, there in zip(gold, predicted, strict=True):
        if here.id != there.id or dict(here.fields) != dict(there.fields):
            raise DataError(
                f"gold has example {here.id!r} where the predictions have {there.id!r}, or another text: expected the "
                "same examples in the same order",
                hint="predictions are compared on the original text, not on a translation",
            )


def _names(labels: Mapping[str, Any]) -> dict[str, str | None]:
    """Return labels as text: one file writes the class 1 where another writes "1"."""
    return {key: None if label is None else str(label) for key, label in labels.items()}


def _numbers(labels: Mapping[str, Any], examples: Sequence[Example]) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for (key, label), example in zip(labels.items(), examples, strict=True):
        try:
            numbers[key] = None if label is None else float(label)
        except ValueError:
            raise DataError(f"example {example.id!r} has the label {label!r}, where others are numbers") from None
    return numbers
