"""``spanferry diff``: what changed between two builds."""

from __future__ import annotations

import json
from itertools import takewhile
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
    said = [
        f"signature {name}: {' -> '.join(_apart(_value(old), _value(new)))}"
        for name, (old, new) in found.signature.items()
    ]
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


_LONG = 60
"""Characters of a value that is shown whole, whatever it shares with the other."""


def _apart(old: str, new: str) -> tuple[str, str]:
    """Return two values without most of what they share, where they are long; they are cut between settings.

    >>> shared = "alignment/2(form=candidates,gap_cost=0.1,identical=True,snap=auto,"
    >>> _apart(f"{shared}aligner=joint:0.1)", f"{shared}aligner=fake)")
    ('...aligner=joint:0.1)', '...aligner=fake)')
    """
    if min(len(old), len(new)) <= _LONG:
        return old, new
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = max(old.rfind(mark, 0, same) for mark in ",(|") + 1
    return (f"...{old[start:]}", f"...{new[start:]}") if start else (old, new)
