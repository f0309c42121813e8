"""How far a build is, read from its folder: from any machine that sees it, without a model and without disturbing it.

A build notes at its beginning which shards it is made of, see `spanferry.flows.jobs.note_plan`; their sidecars say
which are done, their claims which are worked on, and `spanferry.flows.failures` which failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spanferry.flows.claims import is_claimed
from spanferry.flows.failures import Failure, by_reason, failure_of
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import Job, noted_jobs
from spanferry.flows.mirror import mirrored
from spanferry.flows.progress import duration
from spanferry.flows.report import Counts, add_counts
from spanferry.flows.shards import is_held, sidecar_path
from spanferry.flows.storage import is_url


@dataclass(frozen=True)
class LanguageStatus:
    """How far one language is.

    Attributes:
        shards: how many it is made of.
        done: how many of them are done.
        rows: rows of the source.
        rows_done: rows of the shards that are done.
        running: how many shards a process works on now, on any machine.
        failures: the shards that failed, and that are neither done nor worked on since.
        counts: what became of the rows that are done, see `spanferry.flows.outcomes.count`.
    """

    shards: int
    done: int
    rows: int
    rows_done: int
    running: int = 0
    failures: tuple[Failure, ...] = ()
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class RejectedRows:
    """Source rows of one split that could not be read (``on_error: skip``).

    Attributes:
        rows: how many.
        problems: what is wrong with them -> how many; values are left out, and the rarest beyond twenty.
        file: where they are, each with its own problem.
    """

    rows: int
    problems: Mapping[str, int]
    file: str


@dataclass(frozen=True)
class BuildStatus:
    """How far a build is.

    Attributes:
        folder: where it lies; text where that is a URL.
        state: ``"running"``, ``"finished"``, or ``"stopped"`` before it was.
        languages: how far each is, in the order of the build.
        rejected: split -> its rows that could not be read, where there are any.
        rate: rows a second since the build was begun or taken up again, all languages together; None while nothing
            was done since.
        seconds_left: what the other rows take at this rate; None where there is none.
    """

    folder: Path | str
    state: str
    languages: Mapping[str, LanguageStatus]
    rejected: Mapping[str, RejectedRows]
    rate: float | None
    seconds_left: float | None


def status(place: str | Path) -> BuildStatus:
    """Return how far the build in a folder is, or at a URL.

    Raises:
        BuildError: there is no build, or none that has read its source yet; or the storage cannot be reached.
    """
    if is_url(str(place)):
        with mirrored(str(place)) as folder:
            return replace(_status(folder), folder=str(place))
    return _status(BuildFolder(Path(place)))


def _status(folder: BuildFolder) -> BuildStatus:
    shards = noted_jobs(folder)
    began = folder.plan.stat().st_mtime
    languages, fresh, moments = {}, 0, [began]
    for language, jobs in shards.items():
        done = 0, 0
        counts, running, failures = [], 0, []
        for job in jobs:
            path = sidecar_path(Path(job.output))
            sidecar = folder.read_json(path)
            if sidecar is None or sidecar.get("key") != job.key:
                if is_claimed(job):
                    running += 1
                elif (failure := failure_of(job)) is not None:
                    failures.append(failure)
                continue
            done = done[0] + 1, done[1] + job.rows
            counts.append(sidecar["counts"])
            if (moment := path.stat().st_mtime) >= began:
                fresh += job.rows
                moments.append(moment)
        total = sum(job.rows for job in jobs)
        languages[language] = LanguageStatus(
            len(jobs), done[0], total, done[1], running, tuple(failures), add_counts(counts)
        )
    left = sum(each.rows - each.rows_done for each in languages.values())
    seconds = max(moments) - began
    rate = fresh / seconds if fresh and seconds > 0 else None
    state = "running" if is_held(folder.lock) else "finished" if not left and folder.report.exists() else "stopped"
    rejected = _rejected(folder, (job for jobs in shards.values() for job in jobs))
    return BuildStatus(folder.root, state, languages, rejected, rate, left / rate if rate else None)


def _rejected(folder: BuildFolder, jobs: Iterable[Job]) -> dict[str, RejectedRows]:
    places = {Path(job.source).parent.relative_to(folder.state / "source").as_posix(): None for job in jobs}
    found = {}
    for place in places:
        facts = folder.read_json(folder.source_split(place)) or {}
        if number := facts.get("rejected"):
            file = folder.rejects(place).relative_to(folder.root).as_posix()
            found[place] = RejectedRows(number, facts.get("problems", {}), file)
    return found


def print_status(found: BuildStatus, *, as_json: bool = False) -> None:
    """Print how far a build is, for people or for programs."""
    if as_json:
        print(json.dumps(asdict(found) | {"folder": str(found.folder)}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("language", "shards", "running", "failed", "rows", "done", "kept", "dropped"):
        table.add_column(header, justify="left" if header == "language" else "right")
    for language, each in found.languages.items():
        share = f"{each.rows_done / each.rows:.0%}" if each.rows else ""
        shards = f"{each.done:,}/{each.shards:,}", f"{each.running:,}", f"{len(each.failures):,}"
        numbers = (f"{each.counts.get(name, 0):,}" for name in ("kept", "dropped"))
        table.add_row(language, *shards, f"{each.rows:,}", share, *numbers)
    console.print(table)
    for line in _lines(found):
        console.print(Text(f"  {line}"), soft_wrap=True)
    rate = "" if found.rate is None else f", {found.rate:,.1f} rows a second"
    unfinished = found.state != "finished" and found.seconds_left is not None
    left = f", {duration(found.seconds_left or 0)} left at this rate" if unfinished else ""
    console.print(Text(f"{found.folder}: {found.state}{rate}{left}"), soft_wrap=True)


def _lines(found: BuildStatus) -> Iterator[str]:
    """Say why shards failed, why rows and spans were lost, and why source rows could not be read."""
    for language, each in found.languages.items():
        for clause in by_reason(each.failures):
            yield f"{language}: {clause}"
        for what, reasons in (("rows dropped", "dropped_by_reason"), ("spans lost", "lost_by_reason")):
            if each.counts.get(reasons):
                where = f"; see dropped/{language}" if (Path(found.folder) / "dropped" / language).is_dir() else ""
                yield f"{language}: {what}: {_by_frequency(each.counts[reasons])}{where}"
    for split, each_split in found.rejected.items():
        problems = "".join(f"; {problem} ({number:,})" for problem, number in each_split.problems.items())
        yield f"{split}: {each_split.rows:,} source rows could not be read, see {each_split.file}{problems}"
    if any(each.failures for each in found.languages.values()):
        yield "`spanferry build CONFIG.yaml --only-failed` tries these shards again, and nothing else"


def _by_frequency(counts: Mapping[str, Any]) -> str:
    by_frequency = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {number:,}" for reason, number in by_frequency)
