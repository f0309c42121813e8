"""``spanferry report``: a finished build as one page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spanferry.flows.figures import Tokenize
    from spanferry.flows.members import Build


def report_command(
    *,
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The page; BUILD/report.html if absent.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Count tokens with this model's: a folder, a tokenizer.json, a hub id."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which random examples.")] = 0,
    links: Annotated[
        bool, typer.Option("--links/--no-links", help="Link the words of the examples, with the build's aligner.")
    ] = True,
) -> None:
    """Write a page that shows what a build kept and lost, and examples: one file that needs nothing else."""
    place = write_report(build, output, tokenizer=tokenizer, seed=seed, links=links)
    print(f"wrote {place}: {place.stat().st_size / 1000:,.0f} kB. Open it in a browser")


def write_report(
    place: str | Path,
    output: Path | None = None,
    *,
    tokenizer: str | None = None,
    seed: int = 0,
    links: bool = True,
) -> Path:
    """Write the page of a finished build; return where.

    Args:
        place: folder or URL of the build.
        output: the file; ``report.html`` in the build if None.
        tokenizer: what to count tokens with; the translation model's own if None and it has one in a file.
        seed: of the random samples; the same seed gives the same page.
        links: load the build's aligner and link the words of the examples.

    Raises:
        SpanferryError: there is no finished build, the page cannot be written or is a file of the build's, or no such
            tokenizer.
    """
    from spanferry.data.formats import check_output
    from spanferry.flows.build_outcomes import languages_of
    from spanferry.flows.figures import collect
    from spanferry.flows.members import open_build
    from spanferry.flows.page import pick_examples, render
    from spanferry.flows.page_links import NOT_ASKED, PageLinks, link_examples
    from spanferry.flows.shards import writing_text

    build = open_build(place)
    page = output or build.folder.root / "report.html"
    check_output(page, build.folder.own)
    name, count = choose_tokenizer(build, tokenizer)
    figures = {each: collect(build, each, tokenize=count, seed=seed) for each in languages_of(build)}
    chosen = pick_examples(figures)
    found = link_examples(build, chosen) if links else PageLinks(NOT_ASKED)
    with writing_text(page) as stream:
        stream.write(render(build, figures, chosen, found, tokenizer=name))
    return page


def choose_tokenizer(build: Build, wanted: str | None) -> tuple[str | None, Tokenize | None]:
    """Return a tokenizer's name, and what counts the tokens of texts with it; None twice where there is none.

    Raises:
        ModelError: the one that was asked for is not there.
    """
    from spanferry.data.errors import ModelError
    from spanferry.translation.checkpoints import find_tokenizer
    from spanferry.translation.registry import TRANSLATORS
    from spanferry.translation.subwords import UNKNOWN, FastSubwords

    settings = build.report["settings"]["translation"]
    if wanted is None and settings["model"] in TRANSLATORS.names():  # no model but a kind of translator
        return None, None
    name, revision = (wanted, None) if wanted is not None else (settings["model"], settings["revision"])
    file = find_tokenizer(name, revision=revision)
    if file is None:
        if wanted is None:
            return None, None
        raise ModelError(
            f"--tokenizer {wanted}: found no tokenizer.json there; give a folder or file that has one, or a hub id"
        )
    subwords = FastSubwords(file)
    unknown = {UNKNOWN, "[UNK]"}
    return name, lambda texts: [(len(row), sum(token in unknown for token in row)) for row in subwords.encode(texts)]
