"""The way out of the review loop: what people should look at, as a spreadsheet.

A row of the spreadsheet is one kept example: source and target side by side, spans written into both, see
`spanferry.data.inline`. The target is theirs to edit; everything else says which example it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, get_args

from spanferry.data.errors import BuildError, ConfigError, did_you_mean
from spanferry.data.inline import inline_fields, to_inline
from spanferry.data.spreadsheet import write_sheet
from spanferry.data.tasks import Task
from spanferry.flows.build_outcomes import (
    Row,
    disagrees,
    filter_none,
    languages_of,
    lowest_score,
    reasons_of,
    rows_of,
    sample,
    source_spans,
    target_fields,
    target_spans,
    task_of,
)
from spanferry.flows.members import Build
from spanferry.flows.outcomes import Outcome

By = Literal["lowest-score", "disagreement", "random"]
ABOUT: Final = ("language", "split", "id")
"""Columns that say which example a row is."""


def export_review(
    build: Build, path: Path, *, by: str = "lowest-score", n: int = 100, seed: int = 0, language: str | None = None
) -> int:
    """Write the examples that a person should look at; return how many there were.

    Rows that a person corrected before, and dropped ones, are left out.

    Args:
        build: a finished build whose text a machine translated.
        path: ``.csv`` or ``.xlsx``.
        by: ``"lowest-score"``: the least sure first. ``"disagreement"``: those first whose methods disagreed on most
            spans. ``"random"``: a uniform sample, from which the whole can be judged.
        n: how many of each language.
        seed: of the random sample.
        language: one language only.

    Raises:
        ConfigError: ``by``, the language or the file's ending is unknown.
        BuildError: the build translates test data, whose text is the user's own.
    """
    check_direction(build)
    if by not in get_args(By):
        raise ConfigError(f"--by {by}: {did_you_mean(by, get_args(By))}")
    task = task_of(build)
    if not all(map(task.has_field, task.fields)):
        raise ConfigError(f"review: task {task.name!r} has lists of texts, and a sheet has one text a column")
    names = languages_of(build, language)
    columns = [*ABOUT, "score", "why", *(column for field in task.fields for column in text_columns(task, field))]
    written = 0

    def rows() -> Iterator[Sequence[str]]:
        nonlocal written
        for name in names:
            kept = (row for row in rows_of(build, name) if not row.outcome["reasons"] and "machine" not in row.outcome)
            for row in _choose(kept, by, n, f"{seed}/{name}"):
                written += 1
                yield _cells(name, row, task)

    write_sheet(path, columns, rows())
    return written


def check_direction(build: Build) -> None:
    """Refuse a build whose texts no machine wrote.

    Raises:
        BuildError: it is of test data.
    """
    if build.direction == "translate-test":
        raise BuildError(
            f"{build.folder.root}: found a translate-test build, expected one whose text a machine translated: the "
            "text of test data is your own"
        )


def text_columns(task: Task, field: str) -> tuple[str, str]:
    """Return the columns that hold a field's source and target."""
    return ("source", "target") if len(task.fields) == 1 else (f"source_{field}", f"target_{field}")


def _choose(rows: Iterable[Row], by: str, n: int, seed: str) -> list[Row]:
    if by == "random":
        return sample(rows, n, seed)
    need = _least_sure if by == "lowest-score" else _most_disputed
    order = count()
    ranked = ((rank, next(order), row) for row in rows if (rank := need(row.outcome)) is not None)
    return [row for _, _, row in heapq.nsmallest(n, ranked, key=lambda item: item[:2])]


def _least_sure(outcome: Outcome) -> tuple[float, ...] | None:
    """Return the least score of an example's spans; after these come examples without any, by their translation's."""
    score = _score(outcome)
    return None if score is None else (not outcome["projections"], score)


def _most_disputed(outcome: Outcome) -> tuple[float, ...] | None:
    disputed = sum(map(disagrees, outcome["projections"]))
    return (-disputed, lowest_score(outcome) or 0.0) if disputed else None


def _score(outcome: Mapping[str, Any]) -> float | None:
    if outcome["projections"]:
        return lowest_score(outcome)
    return min(filter_none(each["score"] for each in outcome["translations"].values()), default=None)


def _cells(language: str, row: Row, task: Task) -> list[str]:
    outcome = row.outcome
    score = _score(outcome)
    disputed = [each["label"] for each in outcome["projections"] if disagrees(each)]
    why = [*reasons_of(outcome), *outcome["flags"], *(f"methods disagree on {label}" for label in disputed)]
    sources = inline_fields(list(outcome["source"].items()), source_spans(outcome))
    targets = inline_fields(list(target_fields(outcome).items()), target_spans(outcome))
    texts = [text for field in task.fields for text in (sources[field], targets[field])]
    about = [language, row.split, to_inline(outcome["id"], ())]
    return [*about, "" if score is None else f"{score:.4f}", "; ".join(why), *texts]
