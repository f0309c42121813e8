"""``spanferry status``: how far a build is."""

from __future__ import annotations

from typing import Annotated

import typer


def status_command(
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a build, its `output`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Say how far a build is: shards done, running and failed, rows, what was lost and why, rate and time left.

    Reads the build's folder or URL only, so it works from any machine that sees it, while the build runs.
    """
    from spanferry.flows.status import print_status, status

    print_status(status(build), as_json=as_json)
