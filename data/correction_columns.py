"""Columns that say what a person corrected: only in datasets of which some row was.

For a task with the field ``text``::

    post_edited      whether a person corrected this row: then ``text`` and ``spans`` are the person's
    machine_text     what the machine had; null where nobody corrected it
    machine_spans    its spans, [{start, end, label}]; only for tasks with spans

Of a prediction the text is the user's own and is never another; what was corrected is ``predicted_spans`` or
``predicted_label``, and beside ``machine_spans`` there is ``machine_label``.

The columns of provenance (``projections``, scores, ``flags``) go on to describe the machine's version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanferry.data.column_names import set_aside
from spanferry.data.example import Example
from spanferry.data.tasks import Task

POST_EDITED = "post_edited"


def correction_row(
    task: Task, row: Mapping[str, Any], machine: Example | None, *, predicted: bool = False
) -> dict[str, Any]:
    """Return a row of the dataset with the columns of corrections.

    A column of the source that has the name of one of ours goes by ``original_`` and its name, see
    `spanferry.data.column_names`.

    Args:
        task: shape of the data.
        row: as it is without them.
        machine: the example as the machine left it; None where nobody corrected it.
        predicted: whether spans and labels are predictions on the user's own text.

    >>> from spanferry.data.tasks import get_task
    >>> correction_row(get_task("text-classification"), {"text": "Gut.", "post_edited": 3}, None)
    {'text': 'Gut.', 'original_post_edited': 3, 'post_edited': False, 'machine_text': None}
    """
    ours: dict[str, Any] = {POST_EDITED: machine is not None}
    if predicted:
        labels = {} if machine is None else machine.labels
        ours |= {f"machine_{name}": None if labels.get(name) is None else str(labels[name]) for name in task.labels}
    else:
        texts = dict.fromkeys(task.fields) if machine is None else task.text_columns(machine.fields)
        ours |= {f"machine_{column}": text for column, text in texts.items()}
    if task.spans_in:
        spans = None if machine is None else machine.spans
        ours["machine_spans"] = spans and [
            {"start": each.start, "end": each.end, "label": each.label} for each in spans
        ]
    return {set_aside(name, ours, "original_"): value for name, value in row.items()} | ours


def correction_features(task: Task, *, predicted: bool = False) -> Any:
    """Return the ``datasets.Features`` of the columns of corrections; the arguments are those of `correction_row`."""
    from datasets import Features, List, Value

    found: dict[str, Any] = {POST_EDITED: Value("bool")}
    texts = dict.fromkeys(task.labels, Value("string")) if predicted else task.text_features(Value("string"))
    found |= {f"machine_{column}": feature for column, feature in texts.items()}
    if task.spans_in:
        found["machine_spans"] = List({"start": Value("int32"), "end": Value("int32"), "label": Value("string")})
    return Features(found)
