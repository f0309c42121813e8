"""``spanferry publish``: a finished build to the dataset hub."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from spanferry.data.errors import ConfigError
from spanferry.flows.options import stated


def publish_command(
    *,
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")],
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Dataset repository on the hub.", callback=stated)
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    tag: Annotated[str | None, typer.Option(metavar="v1", help="Tag of the commit.", callback=stated)] = None,
    source: Annotated[bool, typer.Option("--source", help="Publish the source rows too, as a config.")] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="Publish translation pairs too, a config a language.")] = False,
    license_: Annotated[
        str | None,
        typer.Option("--license", metavar="cc-by-4.0", help="License, if the build does not say it.", callback=stated),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder, load it back, send nothing.")] = False,
    prefect: Annotated[bool, typer.Option("--prefect", help="Run as a Prefect flow.")] = False,
) -> None:
    """Publish a finished build on the dataset hub, card first, as one commit: all of it, or nothing.

    Doing it again sends only what changed. The token is taken from HF_TOKEN or `hf auth login`.
    """
    from spanferry.flows.publish import Choices, publish, rehearse

    choices = Choices(private=private, tag=tag, source=source, pairs=pairs, license=license_)
    if dry_run:
        print("\n".join(rehearse(build, choices, repo)))
        return
    if repo is None:
        raise ConfigError("--repo: expected where to publish, for example --repo my-name/my-dataset, or --dry-run")
    if prefect:
        from spanferry.flows.publish_flow import run_as_flow

        published = run_as_flow(build, repo, choices)
    else:
        published = publish(build, repo, choices, say=lambda line: print(f"spanferry: {line}", file=sys.stderr))
    changes = published.changes
    done = f"{len(changes.upload)} files sent, {len(changes.remove)} removed, {len(changes.same)} as they were"
    print(f"{published.url}\n{done}; commit {published.commit}" + (f", tag {published.tag}" if published.tag else ""))
