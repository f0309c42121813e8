"""``spanferry compare``: what translate-train, translate-test and both together give and cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spanferry.flows.compare import Compared
    from spanferry.flows.members import Build

Builds = Annotated[
    list[str],
    typer.Argument(metavar="BUILD", help="Configurations (built first, if need be), or folders or URLs of builds."),
]


def compare_command(
    builds: Builds,
    *,
    predictions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="What the model trained on the translate-train build predicts on the test data of the translate-test "
            "build, by its ids; {language} in the name for several languages.",
        ),
    ] = None,
    ties: Annotated[
        str,
        typer.Option(
            metavar="first|keep|drop",
            help="Both together: a span that only one of the two predicts is kept if it is translate-test's (first), "
            "always, or never.",
        ),
    ] = "keep",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare finished builds: quality on the test data beside time, characters, model calls and memory."""
    from spanferry.flows.compare import compare_builds

    opened = [_open(place, quiet or as_json) for place in builds]
    lines = compare_builds(opened, predictions=predictions, ties=ties)  # type: ignore[arg-type]  # checked there
    if as_json:
        print(json.dumps([line.to_json() for line in lines], ensure_ascii=False, indent=2))
    else:
        print("\n".join(table(lines)))


def _open(place: str, quiet: bool) -> Build:
    """Open a finished build; of a configuration, build what is missing first."""
    from spanferry.flows.members import open_build
    from spanferry.flows.storage import is_url

    if is_url(place) or Path(place).is_dir():
        return open_build(place)
    from spanferry.flows.build import build
    from spanferry.flows.config import load_config
    from spanferry.flows.progress import console_progress

    config = load_config(place)
    with console_progress(quiet) as progress:
        build(config, progress=progress)
    return open_build(config.output)


def table(lines: Sequence[Compared]) -> list[str]:
    """Return a comparison as lines to read on a terminal, one a build and language."""
    heads = ["", "", "", "quality", "examples", "time", "characters", "calls", "memory"]
    by_language = sorted(lines, key=lambda line: line.language)  # what is compared stands together
    rows = [heads, *(_cells(line) for line in by_language)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    text = [
        "  ".join(
            cell.ljust(width) if column < 4 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    notes = ["", "time, characters and calls: of 1,000 examples of the build's own data; those of translate-train are"]
    notes += ["training examples, and training a model on them is not part of it. memory: the peak of the process."]
    if any(line.cost is not None and line.cost.remembered for line in lines):
        notes += ["* some translations or predictions were remembered, paid for by an earlier run"]
    return text + notes


def _cells(line: Compared) -> list[str]:
    quality = ", ".join(
        f"{name} {each.main.value:.1f} [{each.main.low:.1f}, {each.main.high:.1f}]"
        for name, each in line.quality.items()
    )
    first = [line.direction, line.language, line.name, quality or "-"]
    if line.cost is None:
        return [*first, "-", "-", "-", "-", "-"]
    rate = line.cost.per_thousand()
    star = "*" if rate.remembered else ""
    peak = "-" if rate.peak_bytes is None else f"{rate.peak_bytes / 2**20:,.0f} MiB"
    examples = "" if line.direction == "both" else f"{line.cost.examples:,}"
    time = f"{rate.seconds:,.1f} s{star}"
    if not (rate.model_calls or rate.remembered):  # a Prefect flow counts neither
        return [*first, examples, time, "-", "-", peak]
    return [*first, examples, time, f"{rate.characters:,.0f}{star}", f"{rate.model_calls:,.0f}{star}", peak]
