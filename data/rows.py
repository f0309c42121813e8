"""Rows in text files: JSON lines, and tables with commas or tabs. Read and written one row at a time."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from spanferry.data.errors import ConfigError, DataError, shortened
from spanferry.data.records import Line, Record, has_surrogate, read_lines

# Columns of a CSV file whose cells hold JSON, when they look like it: what else is in a cell is text.
_JSON_ROLES: Final = frozenset({"spans", "tokens", "token_starts", "tags", "answers", "choices"})
_CELL_LIMIT: Final = 2**31 - 1


def read_jsonl(path: Path, *, encoding: str = "utf-8") -> Iterator[Record]:
    """Yield one record a line of JSON; lines of white space are passed over."""
    for line in read_lines(path, encoding):
        if line.error is None and not line.text.strip():
            continue
        row = error = None
        try:
            row = _json_row(line)
        except DataError as problem:
            error = problem
        yield Record(raw=line.text, row=row, error=error, line=line.number)


def _json_row(line: Line) -> Mapping[str, Any]:
    if line.error is not None:
        raise line.error
    one_list = line.number == 1 and line.text.lstrip().startswith("[")
    as_lines = "this file is one JSON list: write one object a line (jq -c '.[]')"
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        hint = "each line must be one whole JSON object"
        hint += f"; {as_lines}" if one_list else ""
        raise DataError(f"broken JSON: {what}, in {shortened(line.text)}", hint=hint) from None
    if not isinstance(row, dict):
        problem = f"found a JSON {_json_name(row)}: expected one object a line, in braces"
        raise DataError(problem, hint=as_lines if one_list else None)
    if "\\u" in line.text and has_surrogate(json.dumps(row, ensure_ascii=False)):
        raise DataError(
            "a \\u escape is half of a surrogate pair, which is no character",
            hint="write characters beyond U+FFFF as themselves, or as both halves",
        )
    return row


def _json_name(value: Any) -> str:
    return {list: "list", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def write_jsonl(rows: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write one JSON object a line. Dates become ISO 8601 text, since JSON has none."""
    encode = json.JSONEncoder(ensure_ascii=False, default=json_default).encode
    for row in rows:
        file.write(encode(row))
        file.write("\n")


def read_csv(
    path: Path, *, encoding: str = "utf-8", separator: str = ",", quotes: bool = True, json_columns: Iterable[str] = ()
) -> Iterator[Record]:
    """Yield one record a row of a table whose first row names the columns.

    Args:
        path: the file.
        encoding: of the file.
        separator: one character between cells.
        quotes: whether ``"`` encloses cells that hold separators or line breaks, RFC 4180; False where it is text.
        json_columns: columns whose cells hold JSON, beside those of spans, answers, choices, tokens and tags.

    Raises:
        ConfigError: the separator is not one character.
        DataError: the header names a column twice or none, or a quotation is broken.
    """
    _check_separator(separator, quotes=quotes)
    csv.field_size_limit(_CELL_LIMIT)  # the module's own limit is 131,072 characters
    lines = _Lines(read_lines(path, encoding))
    reader = csv.reader(
        lines,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    header: list[str] | None = None
    as_json = _JSON_ROLES | set(json_columns)
    while True:
        first, lines.bad = lines.number + 1, None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # What follows a broken quotation cannot be told from what is in it.
            raise DataError(
                f"broken table: {error}",
                path=path,
                line=first,
                hint="a cell with a line break or a quote must be in quotes, its own quotes doubled; set quotes: false "
                "where quotes are text",
            ) from None
        if header is None:
            header = _header(cells, path, first, lines.bad)
        elif cells:  # an empty line is no row
            yield _table_record(cells, header, as_json, first, lines.bad)


def _check_separator(separator: str, *, quotes: bool) -> None:
    if len(separator) != 1 or separator in "\r\n" or (quotes and separator == '"'):
        raise ConfigError(
            f"separator {separator!r}: expected one character between cells, as in ';' or a tab (\"\\t\" in YAML)"
        )


class _Lines:
    """The lines of a file for csv.reader, which wants their line breaks; remembers what was bad in the last row."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines, self.number, self.bad = lines, 0, None

    number: int
    bad: DataError | None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        self.bad = self.bad or line.error
        return line.text + line.end


def _header(cells: list[str], path: Path, line: int, bad: DataError | None) -> list[str]:
    if bad is not None:
        raise DataError(bad.problem, path=path, line=line, hint=bad.hint)
    twice = [name for index, name in enumerate(cells) if name in cells[:index]]
    if twice or not any(cells):
        found = f"column {twice[0]!r} twice" if twice else "no column names"
        raise DataError(f"the first row has {found}: expected one name a column", path=path, line=line)
    return cells


def _table_record(
    cells: list[str], header: list[str], as_json: frozenset[str] | set[str], line: int, bad: DataError | None
) -> Record:
    if bad is not None:
        return Record(raw=cells, error=bad, line=line)
    if len(cells) != len(header):
        problem = f"found {len(cells)} cells: expected {len(header)}, as many as the header ({', '.join(header)})"
        return Record(raw=cells, error=DataError(problem), line=line)
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    for name in as_json.intersection(header):
        try:
            row[name] = json.loads(row[name]) if row[name] else None
        except ValueError:
            problem = f"column {name!r} is {shortened(row[name])}: expected JSON"
            return Record(raw=cells, error=DataError(problem), line=line)
    return Record(raw=cells, row=row, line=line)


def write_csv(rows: Iterable[Mapping[str, Any]], file: TextIO, *, separator: str = ",") -> None:
    """Write a table whose header has the columns of the first row; lists and numbers are written as JSON, null as "".

    Raises:
        ConfigError: the separator is not one character.
        DataError: a later row has a column that the header has not.
    """
    _check_separator(separator, quotes=True)
    # A lone carriage return inside a cell would otherwise stay unquoted and end the row for a reader.
    writer = csv.writer(file, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] | None = None
    for row in rows:
        if header is None:
            header = list(row)
            writer.writerow(header)
        if extra := [name for name in row if name not in header]:
            raise DataError(
                f"example {row.get('id')!r} has a column {extra[0]!r}: expected those of the first row "
                f"({', '.join(header)})",
                hint="a table has the same columns in every row; JSONL holds rows of any kind",
            )
        writer.writerow([_cell(row.get(name)) for name in header])


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=json_default)


def json_default(value: Any) -> str:
    """Return what JSON has no form for as text, if it is a date or a time: for `json.JSONEncoder`.

    Raises:
        DataError: it is something else.
    """
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise DataError(
        f"a value of type {type(value).__name__} cannot be written as JSON: {shortened(value)}",
        hint="write Parquet, or leave the column out of the source",
    )
