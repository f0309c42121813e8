"""Columns that say what a person corrected: only in datasets of which some row was.

For a task with the field ``text``::

    post_edited      whether a person corrected this row: then ``text`` and ``spans`` are the person's
    machine_text     what the machine had; null where nobody corrected it
    machine_spans    its spans, [{start, end, label}]; only for tasks with spans

The columns of provenance (``projections``, ``translation_score``, ``flags``) go on to describe the machine's version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanferry.data.example import Example
from spanferry.data.tasks import Task

POST_EDITED = "post_edited"


def correction_row(task: Task, row: Mapping[str, Any], machine: Example | None) -> dict[str, Any]:
    """Return a row of the dataset with the columns of corrections.

    A column of the source that has the name of one of ours goes by ``original_`` and its name.

    Args:
        task: shape of the data.
        row: as it is without them.
        machine: the example as the machine left it; None where nobody corrected it.

    >>> from spanferry.data.tasks import get_task
    >>> correction_row(get_task("text-classification"), {"text": "Gut.", "post_edited": 3}, None)
    {'text': 'Gut.', 'original_post_edited': 3, 'post_edited': False, 'machine_text': None}
    """
    ours: dict[str, Any] = {POST_EDITED: machine is not None}
    texts = dict.fromkeys(task.fields) if machine is None else task.text_columns(machine.fields)
    ours |= {f"machine_{column}": text for column, text in texts.items()}
    if task.spans_in:
        spans = None if machine is None else machine.spans
        ours["machine_spans"] = spans and [
            {"start": each.start, "end": each.end, "label": each.label} for each in spans
        ]
    return {(f"original_{name}" if name in ours else name): value for name, value in row.items()} | ours


def correction_features(task: Task) -> Any:
    """Return the ``datasets.Features`` of the columns of corrections."""
    from datasets import Features, List, Value

    found: dict[str, Any] = {POST_EDITED: Value("bool")}
    found |= {f"machine_{column}": feature for column, feature in task.text_features(Value("string")).items()}
    if task.spans_in:
        found["machine_spans"] = List({"start": Value("int32"), "end": Value("int32"), "label": Value("string")})
    return Features(found)
