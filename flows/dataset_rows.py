"""Rows of the dataset, made from outcomes: carried examples in translate-train, predictions in translate-test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from spanferry.data.column_names import set_aside
from spanferry.data.parquet import with_known_labels
from spanferry.data.prediction_columns import prediction_features, prediction_row
from spanferry.data.provenance import provenance_columns, provenance_features, provenance_row
from spanferry.data.schema import Schema
from spanferry.data.tasks import Task, get_task
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.outcomes import Outcome, unpack


@dataclass(frozen=True)
class RowWriter:
    """How the rows of a build's dataset are made.

    Attributes:
        step: goes up when the same outcomes would make other rows.
        features: labels, and whether examples have tokens -> the ``datasets.Features`` of a row.
        row: what became of an example that was kept -> its row.
    """

    step: str
    features: Callable[[Schema, bool], Any]
    row: Callable[[Outcome], dict[str, Any]]


def writer_of(config: AnyConfig) -> RowWriter:
    """Return how the rows of this build are made."""
    task = get_task(config.task)
    if isinstance(config, BuildConfig):
        return RowWriter("dataset/2", partial(_carried_features, task), partial(carried_row, task))
    labelled = config.source.labelled
    features = partial(_predicted_features, task, labelled)
    return RowWriter(f"predictions/2,labelled={labelled}", features, partial(predicted_row, task, labelled))


def carried_row(task: Task, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a translated example.

    A column of the source that has the name of one of our columns goes by ``original_`` and its name, see
    `spanferry.data.column_names`.
    """
    target = unpack(outcome["target"])
    ours = provenance_columns(task)
    found = {set_aside(name, ours, "original_"): value for name, value in task.to_row(target).items()}
    scores = {field: each["score"] for field, each in outcome["translations"].items()}
    return found | provenance_row(task, outcome["source"], scores, outcome["flags"], outcome["projections"])


def predicted_row(task: Task, labelled: bool, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an example that was predicted on; see `spanferry.data.prediction_columns`."""
    projections = [
        {**each, "pivot_start": each["source_start"], "pivot_end": each["source_end"], "prediction_score": score}
        for each, score in zip(outcome["projections"], outcome["prediction"]["scores"], strict=True)
    ]
    return prediction_row(
        task,
        unpack(outcome["original"]),
        unpack(outcome["target"]),
        labelled=labelled,
        label_scores=outcome["prediction"]["label_scores"],
        pivot=outcome["source"],
        translation_scores={field: each["score"] for field, each in outcome["translations"].items()},
        flags=list(outcome["flags"]),
        projections=projections,
    )


def _carried_features(task: Task, schema: Schema, tokens: bool) -> Any:
    features = with_known_labels(task.features(schema, tokens=tokens), task.labels)
    features.update(provenance_features(task))
    return features


def _predicted_features(task: Task, labelled: bool, schema: Schema, tokens: bool) -> Any:
    return with_known_labels(prediction_features(task, schema, tokens=tokens, labelled=labelled), task.labels)
