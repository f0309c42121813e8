"""``spanferry ensemble``: several predictions of the same test data, made one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spanferry.flows.ensemble import Ensemble


def ensemble_command(
    members: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH",
            help="Folders of translate-test builds, and files of predictions; most trusted first.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help="File to write.")],
    language: Annotated[str | None, typer.Option(help="Language of the test data, for builds with several.")] = None,
    gold: Annotated[
        str | None, typer.Option(metavar="FILE", help="Test data with labels; a build has its own.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Shape of the data; a build knows its own.")] = None,
    weights: Annotated[str | None, typer.Option(metavar="2,1,1", help="Weights of the members' votes.")] = None,
    ties: Annotated[
        str, typer.Option(metavar="first|keep|drop", help="A span with exactly half of the votes.")
    ] = "first",
    agree: Annotated[str, typer.Option(metavar="exact|overlap", help="What makes two spans the same.")] = "exact",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Average or vote over predictions of several models, translators or pivot languages; keep every vote on record.

    Members that all bring probabilities for words are averaged; where one brings spans only, each has its vote.
    """
    from spanferry.data.formats import check_output
    from spanferry.flows.ensemble import make_ensemble, named_members
    from spanferry.flows.folder import BuildFolder
    from spanferry.flows.shards import write_records

    paths = named_members(members).values()
    read = [each for path in paths for each in (BuildFolder(path).own if path.is_dir() else (path,))]
    check_output(output, [*read, gold])
    made = make_ensemble(
        members,
        language=language,
        gold=gold,
        task=task,
        weights=_numbers(weights),
        ties=ties,  # type: ignore[arg-type]  # checked there
        agree=agree,  # type: ignore[arg-type]  # checked there
    )
    write_records(output, made.rows())
    if as_json:
        quality = {
            name: {metric: each.to_json() for metric, each in found.items()} for name, found in made.quality.items()
        }
        print(json.dumps({"examples": len(made.examples), "quality": quality}, ensure_ascii=False, indent=2))
    else:
        print("\n".join([*table(made), f"{len(made.examples):,} predictions in {output}"]))


def table(made: Ensemble) -> list[str]:
    """Return what members and ensemble are worth as lines to read on a terminal; none without gold."""
    width = max(map(len, made.quality), default=0)
    return [
        f"{name:{width}}  {metric} {each.main.value:6.2f} [{each.main.low:.2f}, {each.main.high:.2f}]"
        for name, found in made.quality.items()
        for metric, each in found.items()
    ]


def _numbers(text: str | None) -> list[float] | None:
    from spanferry.data.errors import ConfigError

    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights {text}: expected numbers with commas between them, such as 2,1,1") from None
