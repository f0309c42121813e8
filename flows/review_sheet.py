"""The spreadsheet of the review loop: which columns it has, and how an example stands in them.

A row is one kept example: which one it is, why a person should look at it, then every text twice, source and target
side by side, spans written into both, see `spanferry.data.inline`. A question with choices has a pair of columns for
each choice. The target is to be edited. In a build of predictions the source is the translation that the predictor saw
and the target is the user's own text, of which only the spans are to be edited; predicted labels have a column each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spanferry.data.inline import inline_fields, to_inline
from spanferry.data.multiple_choice import choice_fields
from spanferry.data.tasks import Task
from spanferry.flows.build_outcomes import source_spans, target_fields, target_spans
from spanferry.flows.outcomes import Outcome
from spanferry.projection.prediction import Label

ABOUT: Final = ("language", "split", "id")
"""Columns that say which example a row is."""


def text_columns(task: Task, field: str) -> tuple[str, str]:
    """Return the columns that hold a field's source and target.

    >>> from spanferry.data.tasks import get_task
    >>> text_columns(get_task("ner"), "text"), text_columns(get_task("multiple-choice"), "choice1")
    (('source', 'target'), ('source_choice1', 'target_choice1'))
    """
    return ("source", "target") if len(task.fields) == 1 else (f"source_{field}", f"target_{field}")


def sheet_fields(task: Task, outcomes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the fields that a sheet of these examples has: those that any of them has, choices last, in their order.

    >>> from spanferry.data.tasks import get_task
    >>> questions = [{"question": "?", "choice1": "a", "choice2": "b"}, {"context": "c", "question": "?"}]
    >>> sheet_fields(get_task("multiple-choice"), [{"source": each} for each in questions])
    ['context', 'question', 'choice1', 'choice2']
    """
    found = dict.fromkeys(name for outcome in outcomes for name in outcome["source"])
    if all(map(task.has_field, task.fields)):
        return list(task.fields)
    single = [name for name in task.fields if name in {*found, *task.required_fields}]
    return [*single, *choice_fields({**found, **dict.fromkeys(task.required_fields)})]


def label_columns(task: Task, outcome: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of labels that are to be edited: predicted ones."""
    return task.labels if is_predicted(outcome) else ()


def is_predicted(outcome: Mapping[str, Any]) -> bool:
    """Tell whether the labels of an example are predictions on the user's own text."""
    return "original" in outcome


def review_columns(task: Task, fields: Sequence[str], *, predicted: bool) -> list[str]:
    """Return the columns of a sheet."""
    texts = [column for field in fields for column in text_columns(task, field)]
    return [*ABOUT, "score", "why", *texts, *(task.labels if predicted else ())]


def review_cells(
    task: Task,
    fields: Sequence[str],
    outcome: Outcome,
    *,
    about: Sequence[str],
    score: float | None,
    why: Sequence[str],
) -> list[str]:
    """Return the cells of one example; empty ones for fields that it does not have.

    Args:
        task: shape of the data.
        fields: those of the sheet, see `sheet_fields`.
        outcome: what became of the example.
        about: its language and split.
        score: how sure the machine is.
        why: reasons to look at it.
    """
    sources = inline_fields(list(outcome["source"].items()), source_spans(outcome))
    targets = inline_fields(list(target_fields(outcome).items()), target_spans(outcome))
    texts = [side.get(field, "") for field in fields for side in (sources, targets)]
    labels = [_shown(outcome["target"]["labels"].get(name)) for name in label_columns(task, outcome)]
    first = [*about, to_inline(outcome["id"], ()), "" if score is None else f"{score:.4f}", "; ".join(why)]
    return [*first, *texts, *labels]


def _shown(label: Label) -> str:
    """Return a label as a cell: a number that is one as it is, so that it can be edited as one."""
    return "" if label is None else str(label) if isinstance(label, float) else to_inline(str(label), ())
