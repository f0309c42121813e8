"""``spanferry inspect``: examples of a build on the terminal, source above target, spans coloured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from spanferry.data.example import Span
    from spanferry.flows.build_outcomes import Row
    from spanferry.flows.members import Build

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta")


def inspect_command(
    *,
    build: Annotated[str, typer.Argument(metavar="BUILD", help="Folder or URL of a finished build.")],
    lang: Annotated[str | None, typer.Option(metavar="de", help="This language only.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many examples.")] = 20,
    lost: Annotated[bool, typer.Option("--lost", help="Only examples that were dropped or lost a span.")] = False,
    label: Annotated[str | None, typer.Option(metavar="PER", help="Only examples with a span of this label.")] = None,
    seed: Annotated[int, typer.Option(help="Which random examples.")] = 0,
) -> None:
    """Show random examples of a finished build: what was labelled, where it went, and what was lost, with reasons."""
    from rich.console import Console

    from spanferry.flows.build_outcomes import languages_of
    from spanferry.flows.members import open_build

    opened = open_build(build)
    languages = languages_of(opened, lang)
    check_label(opened, label)
    console = Console(highlight=False, soft_wrap=True)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    chosen = draw(opened, languages, n=n, lost=lost, label=label, seed=seed)
    if not chosen:
        wanted = " ".join(["lost" if lost else "", f"with label {label}" if label else ""]).strip()
        print(f"no example {wanted} in {build}" if wanted else f"no example in {build}")
    for language, row in chosen:
        for line in lines_of(opened, language, row, coloured=coloured):
            console.print(line)


def check_label(build: Build, label: str | None) -> None:
    """Refuse a label that no span of the build has.

    Raises:
        ConfigError: it has none such.
    """
    from spanferry.data.errors import ConfigError, did_you_mean

    known = sorted({name for entry in build.report["languages"].values() for name in entry["total"].get("labels", ())})
    if label is not None and label not in known:
        hint = did_you_mean(label, known) if known else "its spans have no labels"
        raise ConfigError(f"--label {label}: no span of {build.folder.root} has it; {hint}")


def draw(
    build: Build, languages: Iterable[str], *, n: int, lost: bool, label: str | None, seed: int
) -> list[tuple[str, Row]]:
    """Return ``n`` random examples, language after language in the order of the build; fewer where there are fewer.

    Args:
        build: the build.
        languages: BCP-47; the examples are drawn from all of them together.
        n: how many.
        lost: only those that were dropped or lost a span.
        label: only those with a span of this label.
        seed: the same seed draws the same examples.
    """
    from spanferry.flows.build_outcomes import reasons_of, rows_of, sample

    def fitting() -> Iterator[tuple[str, Row]]:
        for language in languages:
            for row in rows_of(build, language):
                labels = {each["label"] for each in row.outcome["projections"]}
                if (label is None or label in labels) and not (lost and not reasons_of(row.outcome)):
                    yield language, row

    return sample(fitting(), n, seed)


def lines_of(build: Build, language: str, row: Row, *, coloured: bool) -> Iterator[Text]:
    """Yield an example as lines: its id and fate, each field's source and target, and each span that was lost."""
    from rich.text import Text

    from spanferry.flows.build_outcomes import languages_between, reasons_of, source_spans, target_fields, target_spans

    outcome = row.outcome
    fate, reasons = "dropped" if outcome["reasons"] else "kept", ", ".join(reasons_of(outcome))
    notes = [f"{fate}: {reasons}" if outcome["reasons"] else f"{fate}, a span lost: {reasons}" if reasons else fate]
    notes += [f"flags: {', '.join(outcome['flags'])}"] if outcome["flags"] else []
    notes += ["post-edited"] if "machine" in outcome else []
    yield Text(
        " · ".join([f"{language}/{row.split} {outcome['id']}", *notes]), style="bold" if fate == "kept" else "bold red"
    )
    source, target = languages_between(build, language)
    width = max(len(source), len(target))
    for field, text in outcome["source"].items():
        name = f"{field} " if len(outcome["source"]) > 1 else ""
        sides = (
            (source, text, source_spans(outcome)),
            (target, target_fields(outcome)[field], target_spans(outcome)),
        )
        for tag, words, spans in sides:
            own = [span for span in spans if span.field == field]
            yield Text.assemble((f"  {name}{tag:{width}}  ", "dim"), _marked(words, own, outcome, coloured))
    for each in outcome["projections"]:
        yield from _line_of_span(outcome, each)
    yield Text("")


def _line_of_span(outcome: Mapping[str, Any], projection: Mapping[str, Any]) -> Iterator[Text]:
    """Yield a line for a span that has no place, or on which methods did not agree."""
    from rich.text import Text

    from spanferry.flows.build_outcomes import disagrees, votes_of

    words = outcome["source"][projection["field"]][projection["source_start"] : projection["source_end"]]
    if projection["reason"] is not None:
        why = f"{projection['reason']}{': ' if projection['detail'] else ''}{projection['detail']}"
        yield Text(f"  lost {projection['label']} {words!r}: {why}", style="red")
    elif disagrees(projection):
        votes = ", ".join(
            f"{method} {'no place' if chosen is None else repr(chosen)}"
            for method, chosen in votes_of(outcome, projection)
        )
        yield Text(f"  unsure {projection['label']} {words!r}: {votes}", style="yellow")


def _marked(text: str, spans: list[Span], outcome: Mapping[str, Any], coloured: bool) -> Text:
    """Return a text with its spans in brackets, each label in its colour: readable without colours too."""
    from rich.text import Text

    from spanferry.data.inline import to_inline

    if not coloured:
        return Text(to_inline(text, spans))
    labels = sorted({each["label"] for each in outcome["projections"]})
    marked = Text(text)
    for span in spans:
        colour = _COLOURS[labels.index(span.label) % len(_COLOURS)] if span.label in labels else "white"
        marked.stylize(f"bold {colour}", span.start, span.end)
    for span in sorted(spans, key=lambda each: -each.end):
        marked = Text.assemble(marked[: span.end], (f"|{span.label}", "dim"), marked[span.end :])
    return marked
