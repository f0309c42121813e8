"""Finished builds in other forms: a plain folder, JSONL, CoNLL, spaCy's DocBin, pairs of source and target.

All but the plain folder are made from the outcomes, streamed, with what people corrected; the rows are those of the
dataset.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

from spanferry.alignment.tokens import tokenize
from spanferry.data.docbin import write_docbins
from spanferry.data.errors import BuildError, ConfigError, did_you_mean
from spanferry.data.example import Example
from spanferry.data.formats import Tokenize, check_output, replacing, write_examples
from spanferry.data.rows import write_jsonl
from spanferry.flows.build_outcomes import (
    languages_between,
    languages_of,
    rows_of,
    source_spans,
    target_fields,
    target_spans,
    task_of,
)
from spanferry.flows.corrections import has_corrections, with_corrections
from spanferry.flows.dataset_rows import RowWriter, carried_row, predicted_row
from spanferry.flows.members import Build
from spanferry.flows.outcomes import Outcome, unpack
from spanferry.translation.languages import get_language

Written = dict[Path, int]
"""Files, and the rows in each."""

Format = Literal["folder", "jsonl", "conll", "spacy", "pairs"]
_SUFFIX: Final = {"jsonl": ".jsonl", "conll": ".conll", "spacy": ".spacy", "pairs": ".jsonl"}
_READERS: Final = ("README.md", "report.json", "config.yaml", "data", "dropped")


def export_build(build: Build, output: Path, form: str, *, language: str | None = None) -> Written:
    """Write a finished build in another form; return the files, and the rows in each.

    Args:
        build: the build.
        output: a folder, with ``<language>/<split>`` and an ending in it; it must not be there, or be empty.
        form: ``"folder"``: what a reader needs of the build, as it is. ``"jsonl"``: the rows of the dataset.
            ``"conll"`` and ``"spacy"``: text and spans, for tasks with spans; of translate-test those predicted.
            ``"pairs"``: source and target in one row, each with its spans.
        language: one language only; not for ``"folder"``.

    Raises:
        ConfigError: the form is unknown, or does not fit the task.
        BuildError: the output is there already.
    """
    if form not in get_args(Format):
        raise ConfigError(f"--format {form}: {did_you_mean(form, get_args(Format))}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BuildError(f"{output}: found something there, expected nothing or an empty folder; name another -o")
    check_output(output, folder=True)
    names = languages_of(build, language)
    if form == "folder":
        if language is not None:
            raise ConfigError("--lang: a plain folder has all languages; choose another --format, or leave --lang out")
        return _copy(build, output)
    task = task_of(build)
    if form in ("conll", "spacy") and task.spans_in is None:
        raise ConfigError(f"--format {form}: task {task.name!r} has no spans; choose jsonl or pairs")
    if form == "conll" and not task.tagged:
        raise ConfigError(f"--format conll: task {task.name!r} has no tags; choose jsonl, spacy or pairs")
    written: Written = {}
    for name in names:
        for split in build.report["languages"][name]["splits"]:
            path = output / name / f"{split}{_SUFFIX[form]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = (row.outcome for row in rows_of(build, name, split) if not row.outcome["reasons"])
            written |= _WRITERS[form](build, name, path, kept)
    return written


def _copy(build: Build, output: Path) -> Written:
    """Copy what a reader needs, and nothing of the state."""
    root = build.folder.root
    output.mkdir(parents=True, exist_ok=True)
    for name in _READERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, output / name, dirs_exist_ok=True)
        elif (root / name).exists():
            shutil.copyfile(root / name, output / name)
    return {output / "data" / name: entry["total"]["kept"] for name, entry in build.report["languages"].items()}


def _write_rows(build: Build, language: str, path: Path, outcomes: Iterator[Outcome]) -> Written:
    return _write(path, map(_row_writer(build, language), outcomes))


def _row_writer(build: Build, language: str) -> Callable[[Outcome], dict[str, Any]]:
    """Return what makes the row of the dataset from an outcome."""
    task = task_of(build)
    predicted = build.direction == "translate-test"
    row = partial(carried_row, task)
    if predicted:
        row = partial(predicted_row, task, build.report["settings"]["source"]["labelled"])
    writer = RowWriter("", lambda schema, tokens: None, row)
    return with_corrections(writer, task, predicted=predicted).row if has_corrections(build.folder, language) else row


def _write_pairs(build: Build, language: str, path: Path, outcomes: Iterator[Outcome]) -> Written:
    source, target = languages_between(build, language)
    return _write(path, (pair(outcome, source, target) for outcome in outcomes))


def pair(outcome: Outcome, source: str, target: str) -> dict[str, Any]:
    """Return source and target of one example in one row, each with its spans.

    >>> span = {"field": "text", "label": "PER", "source_start": 0, "source_end": 3, "start": 0, "end": 3}
    >>> outcome = {"id": "1", "source": {"text": "Ana ran."}, "projections": [span],
    ...            "translations": {"text": {"text": "Ana lief."}},
    ...            "target": {"spans": [[0, 3, "PER", "text"]], "labels": {}}}
    >>> row = pair(outcome, "en", "de")
    >>> row["source_text"], row["target_text"], row["target_spans"]
    ('Ana ran.', 'Ana lief.', [{'start': 0, 'end': 3, 'label': 'PER', 'field': 'text'}])

    Args:
        outcome: of a kept example.
        source, target: BCP-47 of either side.
    """
    sides = (
        ("source", source, outcome["source"], source_spans(outcome)),
        ("target", target, target_fields(outcome), target_spans(outcome)),
    )
    row: dict[str, Any] = {"id": outcome["id"]}
    for side, language, fields, spans in sides:
        row[f"{side}_language"] = language
        row |= {f"{side}_{name}": text for name, text in fields.items()}
        row[f"{side}_spans"] = [
            {"start": span.start, "end": span.end, "label": span.label, "field": span.field} for span in spans
        ]
    return row | {"labels": outcome["target"]["labels"]}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> Written:
    written = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal written
        for row in rows:
            written += 1
            yield row

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        write_jsonl(counted(), stream)
    return {path: written}


def _write_conll(build: Build, language: str, path: Path, outcomes: Iterator[Outcome]) -> Written:
    cut = _tokenizer(build, language)
    return {path: write_examples(_examples(outcomes), path, task_of(build), format="conll", tokenize=cut)}


def _write_spacy(build: Build, language: str, path: Path, outcomes: Iterator[Outcome]) -> Written:
    field = task_of(build).spans_in or ""
    return write_docbins(_examples(outcomes), path.with_suffix(""), field, _tokenizer(build, language))


def _tokenizer(build: Build, language: str) -> Tokenize:
    code = get_language(languages_between(build, language)[1]).flores
    return lambda texts: [[(token.start, token.end) for token in each.tokens] for each in tokenize(texts, code)]


def _examples(outcomes: Iterator[Outcome]) -> Iterator[Example]:
    """Yield the examples of a dataset without the columns of its source that no tagger reads."""
    return (replace(unpack(outcome["target"]), meta={}) for outcome in outcomes)


_WRITERS: Final[dict[str, Callable[[Build, str, Path, Iterator[Outcome]], Written]]] = {
    "jsonl": _write_rows,
    "conll": _write_conll,
    "spacy": _write_spacy,
    "pairs": _write_pairs,
}
