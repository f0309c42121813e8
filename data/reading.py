"""A source as a stream of examples: bad rows refused or set aside with their reasons, ids given out, labels noted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spanferry.data.column_types import ColumnTypes
from spanferry.data.conll import read_conll
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example
from spanferry.data.hf import read_datasets
from spanferry.data.identity import Identities
from spanferry.data.parquet import Names, names_in, parquet_names, read_parquet
from spanferry.data.records import Record, has_surrogate, is_bytewise
from spanferry.data.rows import read_csv, read_jsonl
from spanferry.data.schema import Schema, SchemaCollector
from spanferry.data.sidecar import read_features
from spanferry.data.sources import check_fit, missing, source_format
from spanferry.data.spans import TagError, get_scheme
from spanferry.data.squad import read_squad
from spanferry.data.tasks import Reading, Task, declared_schema, get_task

_TEXT_CELLS = frozenset({"csv", "tsv", "conll"})
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+")


@dataclass
class ReadReport:
    """What became of a source; filled while `read_examples` runs.

    Attributes:
        source, format: what was read.
        read: examples given out.
        rejected: rows refused (``on_error="skip"``); ``read + rejected`` are all rows there are.
        problems: kind of problem (its message, with ``*`` for each value and number) -> how often.
        declared: the labels that the source itself declares (features, ``names``), as far as it does.
    """

    source: str = ""
    format: str = ""
    read: int = 0
    rejected: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    declared: Schema = field(default_factory=Schema)
    _collector: SchemaCollector = field(default_factory=SchemaCollector, repr=False)

    @property
    def schema(self) -> Schema:
        """The labels that the source declares, and where it declares none, those seen so far."""
        seen = self._collector.schema
        return Schema(self.declared.spans or seen.spans, {**seen.labels, **self.declared.labels})


def read_examples(
    source: str | Path,
    task: str | Task,
    *,
    format: str | None = None,
    columns: Mapping[str, str | int | None] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    schema: Schema | None = None,
    scheme: str = "IOB2",
    repair: bool = False,
    labelled: bool = True,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    encoding: str = "utf-8",
    separator: str | None = None,
    quotes: bool = True,
    table: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    rejects: str | Path | None = None,
    report: ReadReport | None = None,
) -> Iterator[Example]:
    """Return the examples of a source, one after the other; see the module for the formats.

    Ids are the source's own, each of which must be there once; where it has none they are made from texts, labels and
    the position among examples of equal content (`Identities` says what that costs in memory).

    Args:
        source: a file, a folder, or a dataset's name on the hub.
        task: the shape of the data, or its name in `spanferry.data.tasks.TASKS`.
        format: one of `FORMATS`, where the suffix does not tell.
        columns: role -> column, where the usual names do not fit; in CoNLL a number, from 0 or from -1 backwards.
            ``{"id": None}`` has ids made though there is a column of that name.
        names: column -> label names in order, for columns of numbers in sources that do not say themselves.
        schema: labels that may occur; any other is an error.
        scheme, repair: chunk scheme of the tags, see `spanferry.data.spans.tags_to_ranges`.
        labelled: False for text without labels.
        split, config, revision: which part of a dataset (folder or hub).
        encoding, separator, quotes: of text files; see `read_conll` and `read_csv`.
        table: whether labels and meta are to become columns of a table (Parquet): a row with a value of another type
            than the rows before have there is then a bad one, and so is one with a label that the source's own list of
            names does not have.
        on_error: ``"raise"`` stops at the first bad row. ``"skip"`` writes it to ``rejects`` and goes on; a CoNLL
            sentence is skipped whole.
        rejects: JSONL file of bad rows: source, line or row, problem, hint, and the row as it was found.
        report: filled while the examples are read.

    Raises:
        DataError: at once if there is no such source; while reading for a bad row, an empty source, or one of which
            every row is bad.
        ConfigError: at once, for settings that are unknown or do not go together.
    """
    if isinstance(task, str):
        task = get_task(task)
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error {on_error!r}: expected 'raise' or 'skip'")
    if on_error == "skip" and rejects is None:
        raise ConfigError("on_error 'skip' needs rejects, the file that bad rows go to")
    kind = source_format(source, format)
    check_fit(kind, task, source)
    columns = columns or {}
    places = {role: column for role, column in columns.items() if isinstance(column, int)}
    if places and kind != "conll":
        raise ConfigError(f"columns: {places}: only CoNLL columns have numbers; give the column's name")
    settings = _TextSettings(encoding, separator, quotes, labelled)
    records, found = _open(source, task, kind, places, settings, split=split, config=config, revision=revision)
    reading = Reading(
        columns={role: column for role, column in columns.items() if not isinstance(column, int)},
        names={**found, **(names or {})},
        scheme=get_scheme(scheme),
        repair=repair,
        labelled=labelled,
        typed=kind not in _TEXT_CELLS,
    )
    report = report if report is not None else ReadReport()
    report.source, report.format = str(source), kind
    aside = Path(rejects) if rejects is not None and on_error == "skip" else None
    types = ColumnTypes() if table else None
    return _examples(records, task, reading, schema=schema, types=types, report=report, rejects=aside)


@dataclass(frozen=True, slots=True)
class _TextSettings:
    encoding: str
    separator: str | None
    quotes: bool
    labelled: bool


def _open(
    source: str | Path,
    task: Task,
    kind: str,
    places: Mapping[str, int],
    settings: _TextSettings,
    **which: str | None,
) -> tuple[Iterator[Record], Names]:
    """Return the records of a source and the label names that it declares."""
    path = Path(source)
    if kind in ("datasets", "hub"):
        if kind == "datasets" and not path.is_dir():
            raise missing(path) if not path.exists() else DataError("is a file: expected a folder", path=path)
        return read_datasets(str(source), **which)
    if given := [name for name, value in which.items() if value is not None]:
        raise ConfigError(f"{source}: {given[0]} belongs to datasets (a folder or a hub id), not to a {kind} file")
    if not path.exists():
        raise missing(path)
    if path.is_dir():
        raise DataError(f"is a folder: expected a {kind} file", path=path, hint="name the file in it")
    if path.stat().st_size == 0:
        raise _empty(path)
    if kind == "parquet":
        return read_parquet(path), parquet_names(path)
    encoding = settings.encoding
    is_bytewise(encoding)  # one that is unknown is told at once
    if kind == "conll":
        separator, labelled = settings.separator, settings.labelled
        return (
            read_conll(
                path, encoding=encoding, columns=places, separator=separator, labels=task.labels, labelled=labelled
            ),
            {},
        )
    if kind == "squad":
        return read_squad(path, encoding=encoding), {}
    declared = read_features(path)
    if kind == "jsonl":
        return read_jsonl(path, encoding=encoding), names_in(declared)
    separator = settings.separator if settings.separator is not None else ("\t" if kind == "tsv" else ",")
    structured = [name for name, feature in declared.items() if not _is_text(feature)]
    return (
        read_csv(path, encoding=encoding, separator=separator, quotes=settings.quotes, json_columns=structured),
        names_in(declared),
    )


def _is_text(feature: Any) -> bool:
    """Tell whether a column holds text in a CSV file; label names are text there too."""
    return isinstance(feature, Mapping) and (feature.get("_type") == "ClassLabel" or feature.get("dtype") == "string")


def _examples(
    records: Iterator[Record],
    task: Task,
    reading: Reading,
    *,
    schema: Schema | None,
    types: ColumnTypes | None,
    report: ReadReport,
    rejects: Path | None,
) -> Iterator[Example]:
    identities = Identities()
    first_problem: DataError | None = None
    count = 0  # the report may go on from another source
    with ExitStack() as stack:
        reject = stack.enter_context(_rejects_file(rejects)) if rejects else None
        for record in records:
            try:
                if record.error is not None:
                    raise record.error
                row = record.row or {}
                if not count:
                    report.declared = declared_schema(task, reading, tuple(row))
                example = task.to_example(row, reading, make_id=identities.make)
                if schema is not None:
                    schema.check(example)
                if types is not None:
                    if reading.labelled:
                        _check_declared(report.declared, example)
                    types.add({**(example.labels if reading.labelled else {}), **example.meta})
                identities.check(example.id)
            except DataError as error:
                problem = _placed(error, record, report.source)
                if reject is None:
                    raise problem from None
                first_problem = first_problem or problem
                reject(problem, record.raw)
                report.rejected += 1
                report.problems[_VALUES.sub("*", problem.problem)] += 1
                continue
            count += 1
            report.read += 1
            report._collector.add(example)
            yield example
    if first_problem is not None and not count:
        raise DataError(f"all rows are bad; the first: {first_problem}", path=report.source)
    if not count:
        raise _empty(report.source)


def _check_declared(declared: Schema, example: Example) -> None:
    try:
        declared.check(example)
    except DataError as error:
        hint = "the source's own names say so: those of `names`, of a ClassLabel, or of the file of types beside it"
        raise DataError(error.problem, hint=hint) from None


def _placed(error: DataError, record: Record, source: str) -> DataError:
    """Return the error with the place where the record stands."""
    line = record.line if error.line is None else error.line
    if isinstance(error, TagError) and error.position < len(record.tag_lines):
        line = record.tag_lines[error.position]
    return DataError(error.problem, path=source, line=line, row=record.number, hint=error.hint)


@contextmanager
def _rejects_file(path: Path) -> Iterator[Callable[[DataError, Any], None]]:
    """Open the file of bad rows; where there are none in the end, there is no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as file:

            def reject(problem: DataError, raw: Any) -> None:
                nonlocal count
                count += 1
                entry = {
                    "source": str(problem.path),
                    "line": problem.line,
                    "row": problem.row,
                    "problem": problem.problem,
                    "hint": problem.hint,
                    "raw": raw,
                }
                line = json.dumps(entry, ensure_ascii=False, default=str)
                # A byte that could not be decoded is half a surrogate pair here, and stands as an escape (0xff: udcff).
                file.write((json.dumps(entry, default=str) if has_surrogate(line) else line) + "\n")
                file.flush()

            yield reject
    finally:
        if not count:
            path.unlink(missing_ok=True)


def _empty(source: str | Path) -> DataError:
    return DataError("empty: found no rows, expected at least one", path=source)
