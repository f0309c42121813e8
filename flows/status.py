"""How far a build is, read from its folder: from any machine that sees it, without a model and without disturbing it.

A build notes at its beginning which shards it is made of, see `spanferry.flows.jobs.note_plan`; their sidecars say
which are done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import noted_jobs
from spanferry.flows.progress import duration
from spanferry.flows.report import Counts, add_counts
from spanferry.flows.shards import is_held, sidecar_path


@dataclass(frozen=True)
class LanguageStatus:
    """How far one language is.

    Attributes:
        shards: how many it is made of.
        done: how many of them are done.
        rows: rows of the source.
        rows_done: rows of the shards that are done.
        counts: what became of these, see `spanferry.flows.outcomes.count`.
    """

    shards: int
    done: int
    rows: int
    rows_done: int
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class BuildStatus:
    """How far a build is.

    Attributes:
        folder: where it lies.
        state: ``"running"``, ``"finished"``, or ``"stopped"`` before it was.
        languages: how far each is, in the order of the build.
        rate: rows a second since the build was begun or taken up again, all languages together; None while nothing
            was done since.
        seconds_left: what the other rows take at this rate; None where there is none.
    """

    folder: Path
    state: str
    languages: Mapping[str, LanguageStatus]
    rate: float | None
    seconds_left: float | None


def status(place: str | Path) -> BuildStatus:
    """Return how far the build in a folder is.

    Raises:
        BuildError: there is no build, or none that has read its source yet.
    """
    folder = BuildFolder(Path(place))
    shards = noted_jobs(folder)
    began = folder.plan.stat().st_mtime
    languages, fresh, moments = {}, 0, [began]
    for language, jobs in shards.items():
        done = 0, 0
        counts = []
        for job in jobs:
            path = sidecar_path(Path(job.output))
            sidecar = folder.read_json(path)
            if sidecar is None or sidecar.get("key") != job.key:
                continue
            done = done[0] + 1, done[1] + job.rows
            counts.append(sidecar["counts"])
            if (moment := path.stat().st_mtime) >= began:
                fresh += job.rows
                moments.append(moment)
        total = sum(job.rows for job in jobs)
        languages[language] = LanguageStatus(len(jobs), done[0], total, done[1], add_counts(counts))
    left = sum(each.rows - each.rows_done for each in languages.values())
    seconds = max(moments) - began
    rate = fresh / seconds if fresh and seconds > 0 else None
    state = "running" if is_held(folder.lock) else "finished" if not left and folder.report.exists() else "stopped"
    return BuildStatus(folder.root, state, languages, rate, left / rate if rate else None)


def print_status(found: BuildStatus, *, as_json: bool = False) -> None:
    """Print how far a build is, for people or for programs."""
    if as_json:
        print(json.dumps(asdict(found) | {"folder": str(found.folder)}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("language", "shards", "rows", "done", "kept", "dropped", "because of"):
        table.add_column(header, justify="left" if header in {"language", "because of"} else "right")
    for language, each in found.languages.items():
        share = f"{each.rows_done / each.rows:.0%}" if each.rows else ""
        reasons = _reasons(each.counts.get("dropped_by_reason", {}))
        numbers = (f"{each.counts.get(name, 0):,}" for name in ("kept", "dropped"))
        table.add_row(language, f"{each.done:,}/{each.shards:,}", f"{each.rows:,}", share, *numbers, reasons)
    console.print(table)
    rate = "" if found.rate is None else f", {found.rate:,.1f} rows a second"
    unfinished = found.state != "finished" and found.seconds_left is not None
    left = f", {duration(found.seconds_left or 0)} left at this rate" if unfinished else ""
    console.print(f"{found.folder}: {found.state}{rate}{left}")


def _reasons(counts: Mapping[str, Any]) -> str:
    by_frequency = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number:,}" for reason, number in by_frequency)
