"""``spanferry serve``: a build on a schedule, by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve_command(  # noqa: PLR0917  (options of a command line)
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The build's settings.")],
    cron: Annotated[
        str, typer.Option(metavar='"0 3 * * *"', help="When: minute, hour, day of the month, month, day of the week.")
    ],
    name: Annotated[str | None, typer.Option(help="Of the deployment; that of the file if absent.")] = None,
    timezone: Annotated[str, typer.Option(metavar="Europe/Berlin", help="Of the times.")] = "UTC",
    port: Annotated[int, typer.Option(help="Of the server that is started, where PREFECT_API_URL names none.")] = 4200,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
) -> None:
    """Run a build on a schedule, as a Prefect flow, until stopped; Prefect's page shows its runs.

    What is finished is not done again: a run that finds nothing new costs seconds.
    """
    from spanferry.flows.config import load_config
    from spanferry.flows.serve import serve

    serve(load_config(config, set_ or []), cron, name=name or config.stem, timezone=timezone, port=port)
