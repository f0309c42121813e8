"""Rows of predictions: the user's own row as it was, and beside it what a model said of it by way of a translation.

For a task with the fields ``text``::

    id, text, spans, ...     the row as it was read: text, tokens, labels of its own (if it has any), other columns
    predicted_spans          the predictions, on this very text; `predicted_tags` too where the row has tokens,
                             `predicted_answers` for questions, `predicted_label` or `predicted_intent` for labels
    predicted_label_score    the predictor's probability of a label
    pivot_text               the translation that the model saw
    translation_score        mean natural-log probability a target token, <= 0; null where the translator has none
    flags                    what a reader should know: names of failed filters, "empty_translation", "unfinished", ...
    projections              one entry a predicted span: {pivot_start, pivot_end, label, prediction_score, start, end,
                             score, method, reason}; start and end are null, and reason is set, where it was lost

A task with several columns of text has ``pivot_`` for each, and ``translation_score_`` for each; for choices both are
lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanferry.data.column_names import set_aside
from spanferry.data.example import Example
from spanferry.data.provenance import score_column
from spanferry.data.schema import Schema
from spanferry.data.tasks import Task

_VIEW: Final = ("tokens", "token_starts")
"""Columns of spans that say nothing of them: a prediction has none of its own."""
_PROJECTION: Final = {
    "pivot_start": "int32",
    "pivot_end": "int32",
    "label": "string",
    "prediction_score": "float64",
    "start": "int32",
    "end": "int32",
    "score": "float64",
    "method": "string",
    "reason": "string",
}


def prediction_columns(task: Task) -> set[str]:
    """Return the names of all columns that a row of predictions may have beside those of the source.

    >>> from spanferry.data.tasks import get_task
    >>> sorted(prediction_columns(get_task("text-classification")))
    ['flags', 'pivot_text', 'predicted_label', 'predicted_label_score', 'translation_score']
    """
    spans = [f"predicted_{name}" for name in task.span_roles if name not in _VIEW]
    labels = [f"predicted_{name}{ending}" for name in task.labels for ending in ("", "_score")]
    texts = [name for field in task.fields for name in (f"pivot_{field}", score_column(task, field))]
    return {*spans, *labels, *texts, "flags", *(["projections"] if task.spans_in else [])}


def prediction_row(
    task: Task,
    original: Example,
    predicted: Example,
    *,
    labelled: bool,
    label_scores: Mapping[str, float | None],
    pivot: Mapping[str, str],
    translation_scores: Mapping[str, float | None],
    flags: list[str],
    projections: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the row of one example.

    A column of the source that has the name of one of ours goes by ``original_`` and its name, see
    `spanferry.data.column_names`.

    Args:
        task: shape of the data.
        original: the example as it was read.
        predicted: the same texts with the spans and labels that were predicted.
        labelled: whether the data has labels of its own.
        label_scores: label column -> the predictor's probability.
        pivot: field -> translation.
        translation_scores: field -> score.
        flags, projections: see the module; entries of ``projections`` may have more keys.
    """
    ours: dict[str, Any] = {}
    if task.spans_in:
        columns = task.span_columns(predicted, tags=True, scheme="IOB2", policy="expand")
        ours |= {f"predicted_{name}": value for name, value in columns.items() if name not in _VIEW}
    for name in task.labels:
        label = predicted.labels.get(name)
        ours[f"predicted_{name}"] = None if label is None else str(label)
        ours[f"predicted_{name}_score"] = label_scores.get(name)
    ours |= {f"pivot_{column}": text for column, text in task.text_columns(pivot).items()}
    ours |= {score_column(task, column): score for column, score in task.text_columns(translation_scores).items()}
    ours["flags"] = flags
    if task.spans_in:
        ours["projections"] = [{name: each[name] for name in _PROJECTION} for each in projections]
    names = prediction_columns(task)
    own = {
        set_aside(name, names, "original_"): value
        for name, value in task.to_row(original).items()
        if labelled or name not in _gold(task)
    }
    return own | ours


def prediction_features(task: Task, schema: Schema, *, tokens: bool, labelled: bool) -> Any:
    """Return the ``datasets.Features`` of `prediction_row`, columns of the source's own excluded.

    Predicted labels are strings: a model may know others than the data.
    """
    from datasets import Features, List, Value

    found = {
        name: feature
        for name, feature in task.features(schema, tokens=tokens).items()
        if labelled or name not in _gold(task)
    }
    if task.spans_in:
        columns = task.span_features(Schema(), tokens=tokens, scheme="IOB2")
        found |= {f"predicted_{name}": feature for name, feature in columns.items() if name not in _VIEW}
    for name in task.labels:
        found |= {f"predicted_{name}": Value("string"), f"predicted_{name}_score": Value("float64")}
    texts, scores = task.text_features(Value("string")), task.text_features(Value("float64"))
    found |= {f"pivot_{column}": feature for column, feature in texts.items()}
    found |= {score_column(task, column): feature for column, feature in scores.items()}
    found["flags"] = List(Value("string"))
    if task.spans_in:
        found["projections"] = List({name: Value(kind) for name, kind in _PROJECTION.items()})
    return Features(found)


def _gold(task: Task) -> set[str]:
    """Return the columns that only labelled data has."""
    return {*task.labels, *(name for name in task.span_roles if name not in _VIEW)}
