"""``spanferry diff``: what changed between two builds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spanferry.flows.diff import Diff

Folder = Annotated[str, typer.Argument(help="Folder or URL of a finished build.")]


def diff_command(
    *,
    build_a: Folder,
    build_b: Folder,
    lang: Annotated[str | None, typer.Option(metavar="de", help="This language only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Say what changed from one build to another: settings, rows, spans and scores, by id."""
    from spanferry.flows.diff import diff_builds
    from spanferry.flows.members import open_build

    found = diff_builds(open_build(build_a), open_build(build_b), lang)
    if as_json:
        print(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(found)))


def lines(found: Diff) -> list[str]:
    """Return a comparison as lines to read on a terminal; nothing is said of what did not change."""
    said = [f"signature {name}: {_value(old)} -> {_value(new)}" for name, (old, new) in found.signature.items()]
    for side, names in zip(("first", "second"), found.only, strict=True):
        if names:
            said.append(f"only in the {side}: {', '.join(names)}")
    for language, each in found.languages.items():
        rows = ", ".join(f"{kind} {number:,}" for kind, number in each.to_json()["rows"].items() if number)
        spans = ", ".join(f"{kind} {number:,}" for kind, number in each.to_json()["spans"].items() if number)
        said.append(f"{language} rows: {rows or 'none'}")
        said += [f"{language} spans: {spans}"] if spans else []
        for name, facts in each.to_json()["scores"].items():
            if facts["up"] or facts["down"]:
                said.append(
                    f"{language} {name}: {facts['mean_change']:+.4f} on average, up in {facts['up']:,} rows, "
                    f"down in {facts['down']:,}"
                )
        for kind, ids in each.ids.items():
            more = ", ..." if each.rows[kind] > len(ids[:5]) else ""
            said.append(f"  {kind}: {', '.join(ids[:5])}{more}")
    return said


def _value(value: object) -> str:
    return "not there" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
