"""``spanferry review``: examples out to people as a spreadsheet, and their corrections back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spanferry.flows.review_import import Reviewed

review = typer.Typer(
    name="review", help="Have people look at a build, and bring their corrections back.", no_args_is_help=True
)

Folder = Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")]


@review.command("export")
def export_command(
    *,
    build: Folder,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A .csv or .xlsx file.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many examples of each language.")] = 100,
    by: Annotated[
        str, typer.Option(metavar="lowest-score|disagreement|random", help="Which examples a person should look at.")
    ] = "lowest-score",
    seed: Annotated[int, typer.Option(help="Which random examples.")] = 0,
    lang: Annotated[str | None, typer.Option(metavar="de", help="This language only.")] = None,
) -> None:
    """Write the examples that most need a person as a spreadsheet, spans written as [Marie Curie](PER).

    Of predictions the spans are those on your own text, and only these and the labels are to be edited.
    """
    from spanferry.flows.members import open_build
    from spanferry.flows.review import export_review

    rows = export_review(open_build(build), output, by=by, n=n, seed=seed, language=lang)
    how = f"random, seed {seed}" if by == "random" else by
    print(f"wrote {output}: {rows:,} rows ({how}). Edit the target columns, then:")
    print(f"  spanferry review import {build} {output}")


@review.command("import")
def import_command(
    *,
    build: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `spanferry review export` wrote, edited.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Check and keep corrections: the dataset has them at once, and after every later build."""
    from spanferry.flows.members import open_build
    from spanferry.flows.review_import import import_review

    found = import_review(open_build(build), file)
    if as_json:
        print(json.dumps({name: each.to_json() for name, each in found.items()}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(found)))


def lines(found: dict[str, Reviewed]) -> list[str]:
    """Return what came back as lines to read on a terminal."""
    if not found:
        return ["no rows: nothing was changed"]
    width = max(8, *map(len, found))
    said = [f"{'language':{width}}  {'rows':>6} {'changed':>8} {'chrF':>6} {'TER':>6} {'span F1':>8}"]
    if any(each.labels is not None for each in found.values()):
        said[0] += f" {'labels %':>8}"
    for name, each in found.items():
        f1 = f"{each.spans.exact.f1:8.2f}" if each.spans.per_label else f"{'-':>8}"
        labels = "" if each.labels is None else f" {each.labels:8.2f}"
        said.append(f"{name:{width}}  {each.rows:6,} {each.changed:8,} {each.chrf:6.2f} {each.ter:6.2f} {f1}{labels}")
    return [*said, "the machine's version against what came back, over all rows of the file; chrF and TER by sacrebleu"]
