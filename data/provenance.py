"""Columns that say where a translated row came from: written beside the task's own, so that a reader may ignore them.

For a task with the fields ``text``::

    source_text          the text that was translated
    translation_score    mean natural-log probability a target token, <= 0; null where the translator has none
    flags                what a reader should know: names of failed filters, "protected_lost", "unfinished", ...
    projections          one entry a source span (only for tasks with spans): {source_start, source_end, label, start,
                         end, score, confidence, method, reason}; start and end are null, and reason is set, where it
                         was lost; confidence is null without a calibration

A task with several columns of text has ``source_`` for each, and ``translation_score_`` for each; for choices both are
lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spanferry.data.tasks import Task


def score_column(task: Task, column: str) -> str:
    """Return the column of the translation scores of a column of text.

    >>> from spanferry.data.tasks import get_task
    >>> score_column(get_task("ner"), "text"), score_column(get_task("pair-classification"), "premise")
    ('translation_score', 'translation_score_premise')
    """
    return "translation_score" if len(task.fields) == 1 else f"translation_score_{column}"


def provenance_columns(task: Task) -> list[str]:
    """Return the names of all columns of provenance, in the order in which they are written.

    >>> from spanferry.data.tasks import get_task
    >>> provenance_columns(get_task("ner"))
    ['source_text', 'translation_score', 'flags', 'projections']
    """
    texts = [f"source_{field}" for field in task.fields]
    scores = [score_column(task, field) for field in task.fields]
    return [*texts, *scores, "flags", *(["projections"] if task.spans_in else [])]


def provenance_row(
    task: Task,
    source: Mapping[str, str],
    scores: Mapping[str, float | None],
    flags: Iterable[str],
    projections: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the columns of provenance of one row."""
    row: dict[str, Any] = {f"source_{column}": text for column, text in task.text_columns(source).items()}
    row |= {score_column(task, column): score for column, score in task.text_columns(scores).items()}
    row["flags"] = list(flags)
    if task.spans_in:
        row["projections"] = [{name: each[name] for name in _PROJECTION} for each in projections]
    return row


def provenance_features(task: Task) -> Any:
    """Return the ``datasets.Features`` of the columns of provenance."""
    from datasets import Features, List, Value

    texts, scores = task.text_features(Value("string")), task.text_features(Value("float64"))
    found: dict[str, Any] = {f"source_{column}": feature for column, feature in texts.items()}
    found |= {score_column(task, column): feature for column, feature in scores.items()}
    found["flags"] = List(Value("string"))
    if task.spans_in:
        found["projections"] = List({name: Value(kind) for name, kind in _PROJECTION.items()})
    return Features(found)


_PROJECTION = {
    "source_start": "int32",
    "source_end": "int32",
    "label": "string",
    "start": "int32",
    "end": "int32",
    "score": "float64",
    "confidence": "float64",
    "method": "string",
    "reason": "string",
}
