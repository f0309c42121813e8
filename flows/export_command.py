"""``spanferry export``: a finished build in another form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    *,
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to; nothing may be there.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="folder|jsonl|conll|spacy|pairs",
            help="A plain copy, rows, tagged tokens, DocBin files, or source and target in one row.",
        ),
    ] = "jsonl",
    lang: Annotated[str | None, typer.Option(metavar="de", help="This language only.")] = None,
) -> None:
    """Write a finished build in another form: one file for each language and split."""
    from spanferry.flows.export import export_build
    from spanferry.flows.members import open_build

    written = export_build(open_build(build), output, form, language=lang)
    for path, rows in written.items():
        print(f"{path}: {rows:,} rows")
