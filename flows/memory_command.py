"""``spanferry memory``: what the translation memory holds, taken out, or thrown away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spanferry.data.errors import ConfigError
from spanferry.flows.options import stated

if TYPE_CHECKING:
    from spanferry.projection.predict_remembered import PredictionMemory, PredictionScope
    from spanferry.projection.remembering import ProjectionMemory
    from spanferry.translation.memory import TranslationMemory
    from spanferry.translation.memory_upkeep import Choice, Scope

memory = typer.Typer(
    name="memory", help="Look at the translation memory, export it, make it smaller.", no_args_is_help=True
)

MemoryFile = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The memory (`run.memory`); the user's own if absent.")
]
Model = Annotated[
    str | None, typer.Option(help="Only what models with this in their fingerprint translated.", callback=stated)
]
SourceLanguage = Annotated[str | None, typer.Option(metavar="en", help="Only from this language.")]
TargetLanguage = Annotated[str | None, typer.Option(metavar="de", help="Only into this language.")]

_UNITS = {"d": 86_400, "w": 7 * 86_400, "m": 30 * 86_400, "y": 365 * 86_400}


@memory.command()
def info(file: MemoryFile = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what the memory holds: models, languages, how many sentences, since when, how large.

    Projections and predictions lie in files of their own beside it, and are counted too.
    """
    from spanferry.translation.memory_upkeep import scopes

    with _opened(file) as opened:
        found = scopes(opened)
        size = opened.path.stat().st_size
    with _projections(opened.path) as beside_it:
        projections = None if beside_it is None else (str(beside_it.path), len(beside_it))
    with _predictions(opened.path) as beside_it_too:
        predictions = None if beside_it_too is None else (str(beside_it_too.path), beside_it_too.scopes())
    if as_json:
        rows = [
            {
                "model": scope.fingerprint, "source": scope.source, "target": scope.target, "entries": scope.entries,
                "characters": scope.characters, "oldest": _moment(scope.oldest), "newest": _moment(scope.newest),
            }
            for scope in found
        ]  # fmt: skip
        found_there = None if projections is None else {"file": projections[0], "entries": projections[1]}
        facts = {"file": str(opened.path), "bytes": size, "scopes": rows, "projections": found_there}
        facts["predictions"] = predictions and {
            "file": predictions[0],
            "scopes": [
                {
                    "predictor": each.predictor, "language": each.language, "entries": each.entries,
                    "oldest": _moment(each.oldest), "newest": _moment(each.newest),
                }
                for each in predictions[1]
            ],
        }  # fmt: skip
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    print(f"{opened.path}: {sum(scope.entries for scope in found):,} sentences, {size / 1e6:,.1f} MB")
    for scope in found:
        print(f"{scope.entries:>12,}  {scope.source} -> {scope.target}  {_days(scope)}  {scope.fingerprint}")
    if projections is not None:
        print(f"{projections[0]}: what became of the spans of {projections[1]:,} texts")
    if predictions is not None:
        print(f"{predictions[0]}: predictions on {sum(each.entries for each in predictions[1]):,} texts")
        for each in predictions[1]:
            print(f"{each.entries:>12,}  {each.language}  {_days(each)}  {each.predictor}")


@memory.command()
def export(
    *,
    file: MemoryFile = None,
    output: Annotated[Path, typer.Option(help="JSONL file to write, a sentence a line.")],
    model: Model = None,
    source: SourceLanguage = None,
    target: TargetLanguage = None,
) -> None:
    """Write what the memory holds as JSONL: model, languages, source, target, score, when."""
    from spanferry.data.formats import check_output, replacing
    from spanferry.projection.remembering import beside
    from spanferry.translation.memory_upkeep import entries

    number = 0
    with _opened(file) as opened:
        check_output(output, [opened.path, beside(opened.path), beside(opened.path, "predictions")])
        with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
            for entry in entries(opened, _choice(model, source, target)):
                number += 1
                row = {
                    "model": entry.fingerprint, "source_language": entry.source_language,
                    "target_language": entry.target_language, "source": entry.source, "target": entry.hypothesis.text,
                    "score": entry.hypothesis.score, "finished": entry.hypothesis.finished,
                    "created": _moment(entry.created),
                }  # fmt: skip
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"wrote {number:,} sentences to {output}")


@memory.command()
def prune(
    *,
    file: MemoryFile = None,
    older_than: Annotated[str | None, typer.Option(metavar="90d", help="Older than so many d, w, m or y.")] = None,
    model: Model = None,
    source: SourceLanguage = None,
    target: TargetLanguage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
) -> None:
    """Remove sentences from the memory, and make the file smaller. At least one condition must say which.

    Projections know no model and no language; those that are too old go when age is all that is asked for. Predictions
    go by age and by their predictor's fingerprint (--model).
    """
    from spanferry.translation.memory_upkeep import Choice, count
    from spanferry.translation.memory_upkeep import prune as remove

    choice = _choice(model, source, target, older_than)
    if choice == Choice():
        raise ConfigError(
            "nothing says what to remove: give --older-than, --model, --source or --target; to empty the memory, "
            "delete its file"
        )
    with _opened(file) as opened:
        if dry_run:
            print(f"would remove {count(opened, choice):,} of {len(opened):,} sentences")
        if choice == Choice(model=choice.model, before=choice.before):
            _prune_predictions(opened.path, choice, dry_run=dry_run)
        if dry_run:
            return
        before = opened.path.stat().st_size
        removed = remove(opened, choice)
        if choice == Choice(before=choice.before) and choice.before is not None:
            _prune_projections(opened.path, choice.before)
        print(f"removed {removed:,} sentences, {(before - opened.path.stat().st_size) / 1e6:,.1f} MB")


def _opened(file: Path | None) -> TranslationMemory:
    """Open a memory that is there: looking at one must not make one, not in an empty file either."""
    from spanferry.translation.checkpoints import cache_folder
    from spanferry.translation.memory import TranslationMemory

    path = file or cache_folder() / "memory.sqlite"
    if not _is_there(path):
        found = "is empty, it holds" if path.is_file() else "there is"
        raise ConfigError(f"{path}: {found} no translation memory; a build makes it, where its `run.memory` says")
    return TranslationMemory(path)


def _is_there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@contextmanager
def _projections(memory_file: Path) -> Iterator[ProjectionMemory | None]:
    """Open the memory of projections beside that of translations, if it is there."""
    from spanferry.projection.remembering import ProjectionMemory, beside

    if not _is_there(path := beside(memory_file)):
        yield None
        return
    with ProjectionMemory(path) as opened:
        yield opened


@contextmanager
def _predictions(memory_file: Path) -> Iterator[PredictionMemory | None]:
    """Open the memory of predictions beside that of translations, if it is there."""
    from spanferry.projection.predict_remembered import PredictionMemory
    from spanferry.projection.remembering import beside

    if not _is_there(path := beside(memory_file, "predictions")):
        yield None
        return
    with PredictionMemory(path) as opened:
        yield opened


def _prune_predictions(memory_file: Path, choice: Choice, *, dry_run: bool) -> None:
    with _predictions(memory_file) as opened:
        if opened is not None and dry_run:
            wanted = opened.count(predictor=choice.model, before=choice.before)
            print(f"would remove {wanted:,} of {len(opened):,} predictions")
        elif opened is not None:
            print(f"removed {opened.prune(predictor=choice.model, before=choice.before):,} predictions")


def _prune_projections(memory_file: Path, before: int) -> None:
    with _projections(memory_file) as opened:
        if opened is not None:
            print(f"removed {opened.prune(before):,} projections")


def _choice(model: str | None, source: str | None, target: str | None, older_than: str | None = None) -> Choice:
    from spanferry.translation.languages import get_language
    from spanferry.translation.memory_upkeep import Choice

    def flores(code: str | None) -> str | None:
        return None if code is None else get_language(code).flores

    before = None if older_than is None else int(time.time()) - _seconds(older_than)
    return Choice(model, flores(source), flores(target), before)


def _seconds(age: str) -> int:
    """Return an age in seconds.

    >>> _seconds("2w")
    1209600
    """
    found = re.fullmatch(r"(\d+)([dwmy])", age.strip())
    if found is None:
        raise ConfigError(f"--older-than {age}: expected a number of days, weeks, months or years: 90d, 12w, 6m, 2y")
    return int(found[1]) * _UNITS[found[2]]


def _days(scope: Scope | PredictionScope) -> str:
    return f"{_moment(scope.oldest)[:10]} to {_moment(scope.newest)[:10]}"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
