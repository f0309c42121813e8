"""The way out of the review loop: what people should look at, as a spreadsheet, see `spanferry.flows.review_sheet`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.outputs import check_output
from spanferry.data.spreadsheet import write_sheet
from spanferry.flows.build_outcomes import (
    Row,
    disagrees,
    filter_none,
    languages_of,
    lowest_score,
    reasons_of,
    rows_of,
    sample,
    task_of,
)
from spanferry.flows.members import Build
from spanferry.flows.outcomes import Outcome
from spanferry.flows.review_sheet import review_cells, review_columns, sheet_fields

By = Literal["lowest-score", "disagreement", "random"]


def export_review(
    build: Build, path: Path, *, by: str = "lowest-score", n: int = 100, seed: int = 0, language: str | None = None
) -> int:
    """Write the examples that a person should look at; return how many there were.

    Rows that a person corrected before, and dropped ones, are left out.

    Args:
        build: a finished build.
        path: ``.csv`` or ``.xlsx``.
        by: ``"lowest-score"``: the least sure first. ``"disagreement"``: those first whose methods disagreed on most
            spans. ``"random"``: a uniform sample, from which the whole can be judged.
        n: how many of each language.
        seed: of the random sample.
        language: one language only.

    Raises:
        ConfigError: ``by``, the language or the file's ending is unknown, or the file cannot be written.
        DataError: a text is too long for the file.
    """
    if by not in get_args(By):
        raise ConfigError(f"--by {by}: {did_you_mean(by, get_args(By))}")
    check_output(path)
    task, predicted = task_of(build), build.direction == "translate-test"
    chosen: list[tuple[str, Row]] = []
    for name in languages_of(build, language):
        kept = (row for row in rows_of(build, name) if not row.outcome["reasons"] and "machine" not in row.outcome)
        chosen += [(name, row) for row in _choose(kept, by, n, f"{seed}/{name}")]
    fields = sheet_fields(task, (row.outcome for _, row in chosen))
    cells = (
        review_cells(
            task,
            fields,
            row.outcome,
            about=(name, row.split),
            score=_score(row.outcome),
            why=_why(row.outcome),
        )
        for name, row in chosen
    )
    write_sheet(path, review_columns(task, fields, predicted=predicted), cells)
    return len(chosen)


def _choose(rows: Iterable[Row], by: str, n: int, seed: str) -> list[Row]:
    if by == "random":
        return sample(rows, n, seed)
    need = _least_sure if by == "lowest-score" else _most_disputed
    order = count()
    ranked = ((rank, next(order), row) for row in rows if (rank := need(row.outcome)) is not None)
    return [row for _, _, row in heapq.nsmallest(n, ranked, key=lambda item: item[:2])]


def _least_sure(outcome: Outcome) -> tuple[float, ...] | None:
    """Return the least score of an example; after those with spans come the others."""
    score = _score(outcome)
    return None if score is None else (not outcome["projections"], score)


def _most_disputed(outcome: Outcome) -> tuple[float, ...] | None:
    disputed = sum(map(disagrees, outcome["projections"]))
    return (-disputed, lowest_score(outcome) or 0.0) if disputed else None


def _score(outcome: Mapping[str, Any]) -> float | None:
    """Return how sure the machine is of an example: the least score of what it put there."""
    said = outcome.get("prediction", {"scores": (), "label_scores": {}})
    known = filter_none([lowest_score(outcome), *said["scores"], *said["label_scores"].values()])
    if known or outcome["projections"]:
        return min(known, default=None)
    return min(filter_none(each["score"] for each in outcome["translations"].values()), default=None)


def _why(outcome: Outcome) -> list[str]:
    disputed = [each["label"] for each in outcome["projections"] if disagrees(each)]
    return [*reasons_of(outcome), *outcome["flags"], *(f"methods disagree on {label}" for label in disputed)]
