"""CoNLL-style columns: one token a line, an empty line after each sentence.

    # id = 1
    # text = Zoë lives in Köln.
    # intent = travel/info
    Zoë     B-PER
    ...

Any order of columns, tabs or blanks between them, ``-DOCSTART-`` lines, and comments before a sentence: ``# id``,
``# text`` and the task's own labels are read as such (with ``=`` or ``:``, as in xSID and CoNLL-U), others travel in
the example's meta. What columns and comments cannot hold (nested spans, numbers, line breaks in a text) stands in one
more comment, ``# spanferry = {JSON}``, so that nothing is lost in a file that other programs can still read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TextIO

from spanferry.data.detokenize import locate
from spanferry.data.errors import ConfigError, DataError, shortened
from spanferry.data.records import Line, Record, read_lines
from spanferry.data.spans import Scheme, tags_to_spans

_COMMENT: Final = re.compile(r"#\s+([A-Za-z_][\w.-]*)\s*[=:](.*)", re.DOTALL)
_KEY: Final = re.compile(r"[A-Za-z_][\w.-]*")
_TAG: Final = re.compile(r"O|[BIESLUM](?:-.+)?", re.DOTALL)
_BLANKS: Final = re.compile(r"[ \t]+")
_EXTRA: Final = "spanferry"
_DOCSTART: Final = re.compile(r"-DOCSTART-(?![^ \t])")
_PEEK: Final = 50  # sentences that the columns are guessed from


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things stand in a line.

    Attributes:
        tokens, tags: zero-based columns.
        width: number of columns of every line.
        separator: None for runs of blanks and tabs.
        index: a column that counts the tokens, made anew when written; None where there is none.
        labels: label of the example -> column that repeats it on every line.
    """

    tokens: int
    tags: int | None
    width: int
    separator: str | None
    index: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)

    def split(self, text: str) -> list[str]:
        """Return the cells of a line."""
        return _split(text, self.separator)


def _split(text: str, separator: str | None) -> list[str]:
    return _BLANKS.split(text.strip(" \t")) if separator is None else text.split(separator)


def read_conll(
    path: Path,
    *,
    encoding: str = "utf-8",
    columns: Mapping[str, int] | None = None,
    separator: str | None = None,
    labels: Sequence[str] = (),
    labelled: bool = True,
) -> Iterator[Record]:
    """Yield one record a sentence, with the columns ``tokens``, ``tags``, what the comments say, and ``column_N``.

    Args:
        path: the file.
        encoding: of the file.
        columns: ``tokens``, ``tags`` or a label -> zero-based column, counted from the end if negative. By default the
            tags are the last column that holds tags, and the tokens are the first that does not count the lines.
        separator: between columns; by default a tab where the first token line has one, else runs of blanks.
        labels: example-level labels to look for in comments.
        labelled: False where the file need not have tags.

    Raises:
        ConfigError: ``columns`` names what is no column, or the separator is empty or a line break.
        DataError: no column holds tags; or ``columns`` names one that is not there.
    """
    if unknown := set(columns or ()) - {"tokens", "tags", *labels}:
        known = ", ".join(("tokens", "tags", *labels))
        raise ConfigError(f"columns: {unknown.pop()} cannot be a numbered column of CoNLL: expected one of {known}")
    if separator is not None and (not separator or {*"\r\n"} & {*separator}):
        raise ConfigError(
            f'separator {separator!r}: expected what stands between columns, a tab ("\\t" in YAML) or a blank'
        )
    blocks = _blocks(path, encoding)
    head = list(islice(blocks, _PEEK))
    layout = _guess(head, columns or {}, separator, labels, labelled=labelled, path=path)
    if layout is None:
        return
    document: int | None = None
    for block in chain(head, blocks):
        if block.starts_document:
            document = 0 if document is None else document + 1
        record = _record(block, layout, labels)
        if record is not None:
            if record.row is not None and document is not None:
                record.row = {**record.row, "document": document}
            yield record


@dataclass(slots=True)
class _Block:
    """The lines of one sentence; ``starts_document``: a -DOCSTART- line stood among them or right before."""

    lines: list[Line] = field(default_factory=list)
    starts_document: bool = False


def _blocks(path: Path, encoding: str) -> Iterator[_Block]:
    block = _Block()
    for line in read_lines(path, encoding):
        if line.text.startswith("-DOCSTART-") and _DOCSTART.match(line.text):
            if block.lines:
                yield block
                block = _Block()
            block.starts_document = True
        elif line.text.strip():
            block.lines.append(line)
        elif block.lines:
            yield block
            block = _Block()
    if block.lines:
        yield block


def _guess(
    blocks: Sequence[_Block],
    given: Mapping[str, int],
    separator: str | None,
    labels: Sequence[str],
    *,
    labelled: bool,
    path: Path,
) -> Columns | None:
    """Work out the columns from the first sentences; None where the file has no token line."""
    first = next((line for block in blocks for line in block.lines if not line.text.startswith("#")), None)
    if first is None:
        first = next((line for block in blocks for line in block.lines if _ends_in_tag(line.text, separator)), None)
    if first is None:  # at most sentences of no token, as an empty text has
        return Columns(0, 1, 2, "\t") if any(_tells_text(_comments(block.lines)[0]) for block in blocks) else None
    if separator is None and "\t" in first.text:
        separator = "\t"
    width = len(_split(first.text, separator))
    places = {role: column + width if column < 0 else column for role, column in given.items()}
    for role, column in places.items():
        if not 0 <= column < width:
            raise DataError(
                f"columns: {role} is column {given[role]}, but the line has {width} columns",
                path=path,
                line=first.number,
                hint="columns count from 0, or from the end with -1",
            )
    tables = [(block, table) for block in blocks if (table := _table(block, separator, width))]
    tags = places.get("tags")
    if tags is None:
        free = [column for column in range(width - 1, -1, -1) if column not in places.values()]
        tags = next((column for column in free if _holds_tags([t for _, t in tables], column)), None)
    if tags is None and labelled:
        raise DataError(
            f"no column holds tags (O, B-LABEL, I-LABEL ...) in {shortened(first.text)}",
            path=path,
            line=first.number,
            hint="say which columns they are, from 0: columns: {tokens: 0, tags: 3}",
        )
    rest = [column for column in range(width) if column != tags and column not in places.values()]
    index = None
    if len(rest) > 1:
        index = next((column for column in rest if all(_counts(table, column) for _, table in tables)), None)
    tokens = places.get("tokens", next((column for column in rest if column != index), None))
    if tokens is None:
        raise DataError(
            f"no column is left for the tokens in {shortened(first.text)}",
            path=path,
            line=first.number,
            hint="say which columns they are, from 0: columns: {tokens: 0, tags: 1}",
        )
    found = {role: column for role, column in places.items() if role in labels}
    for column in rest:
        for label in labels:
            if column not in (index, tokens) and label not in found and _repeats(tables, column, label):
                found[label] = column
    return Columns(tokens, tags, width, separator, index, found)


def _ends_in_tag(text: str, separator: str | None) -> bool:
    """Tell a token that begins with # from a comment, before the columns are known."""
    cells = _split(text, separator or ("\t" if "\t" in text else None))
    return len(cells) > 1 and not _COMMENT.match(text) and _TAG.fullmatch(cells[-1]) is not None


def _table(block: _Block, separator: str | None, width: int) -> list[list[str]]:
    rows = [_split(line.text, separator) for line in block.lines if not _COMMENT.match(line.text)]
    return [row for row in rows if len(row) == width]


def _holds_tags(tables: Sequence[list[list[str]]], column: int) -> bool:
    """Tell whether nearly all cells are tags: nearly, so that a bad tag is reported where it stands."""
    cells = [row[column] for table in tables for row in table]
    return sum(_TAG.fullmatch(cell) is not None for cell in cells) > 0.9 * len(cells)


def _counts(table: Sequence[Sequence[str]], column: int) -> bool:
    return all(row[column] == str(number) for number, row in enumerate(table, 1))


def _repeats(tables: Sequence[tuple[_Block, list[list[str]]]], column: int, label: str) -> bool:
    """Tell whether a column says on every line what the comment ``label`` says."""
    for block, table in tables:
        comments, _ = _comments(block.lines)
        if label not in comments or any(row[column] != comments[label] for row in table):
            return False
    return bool(tables)


def _comments(lines: Sequence[Line], layout: Columns | None = None) -> tuple[dict[str, Any], int]:
    """Return what the comments at the head of a sentence say, and how many lines they take."""
    found: dict[str, Any] = {}
    other: list[str] = []
    count = 0
    for line in lines:
        if not line.text.startswith("#") or (layout is not None and _is_token_line(line.text, layout)):
            break
        count += 1
        match = _COMMENT.fullmatch(line.text)
        if match is None:
            other.append(line.text[1:].strip())
        else:
            found[match[1]] = match[2].strip()
    if other:
        found["comments"] = other
    return found, count


def _is_token_line(text: str, layout: Columns) -> bool:
    """Tell a token that begins with # from a comment: it has all columns, and a tag among them."""
    cells = layout.split(text)
    if len(cells) != layout.width or layout.width == 1:
        return False
    if layout.separator is None and _COMMENT.match(text):
        return False
    return layout.tags is None or _TAG.fullmatch(cells[layout.tags]) is not None


def _record(block: _Block, layout: Columns, labels: Sequence[str]) -> Record | None:
    lines = block.lines
    raw = "\n".join(line.text for line in lines)
    try:
        row, tag_lines = _row(lines, layout, labels)
    except DataError as error:
        return Record(raw=raw, error=error, line=error.line or lines[0].number)
    if row is None:
        return None
    first = tag_lines[0] if tag_lines else lines[0].number
    return Record(raw=raw, row=row, line=first, tag_lines=tag_lines)


def _row(lines: Sequence[Line], layout: Columns, labels: Sequence[str]) -> tuple[dict[str, Any] | None, list[int]]:
    for line in lines:
        if line.error is not None:
            raise DataError(line.error.problem, line=line.number, hint=line.error.hint)
    row, skip = _comments(lines, layout)
    cells: list[list[str]] = []
    for line in lines[skip:]:
        found = layout.split(line.text)
        if len(found) != layout.width:
            raise DataError(
                f"found {len(found)} columns in {shortened(line.text)}: expected {layout.width}, as in the first "
                "sentence",
                line=line.number,
                hint="set the separator if columns may hold blanks; separate sentences by an empty line",
            )
        cells.append(found)
    if not cells and not _tells_text(row):
        return None, []  # comments that belong to no sentence
    extra = _extra(row.pop(_EXTRA, None), lines[0].number)
    row["tokens"] = [found[layout.tokens] for found in cells]
    if layout.tags is not None:
        row["tags"] = [found[layout.tags] for found in cells]
    for name, column in layout.labels.items():
        values = {found[column] for found in cells} | ({row[name]} if name in row else set())
        if len(values) > 1:
            raise DataError(
                f"{name} has several values in one sentence ({', '.join(sorted(values))}): expected one",
                line=lines[0].number,
            )
        if values:
            row[name] = values.pop()
    known = {layout.tokens, layout.tags, layout.index, *layout.labels.values()}
    for column in range(layout.width):
        if column not in known:
            row[f"column_{column}"] = [found[column] for found in cells]
    return {**row, **extra}, [line.number for line in lines[skip:]]


def _tells_text(comments: Mapping[str, Any]) -> bool:
    """Tell whether comments alone make a sentence, as those of an empty text do."""
    return "text" in comments or _EXTRA in comments


def _extra(value: str | None, line: int) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        extra = json.loads(value)
    except ValueError as error:
        raise DataError(f"broken JSON in the comment '# {_EXTRA} =': {error}", line=line) from None
    if not isinstance(extra, dict):
        raise DataError(f"the comment '# {_EXTRA} =' holds {shortened(value)}: expected a JSON object", line=line)
    return extra


def write_conll(
    rows: Iterable[Mapping[str, Any]], file: TextIO, *, scheme: Scheme = "IOB2", separator: str = "\t"
) -> None:
    """Write sentences of two columns, token and tag, with comments for all else; `read_conll` reads them back equal.

    Raises:
        DataError: a row has no tokens, or a token has a line break or the separator in it.
    """
    if separator not in ("\t", " "):
        raise ConfigError(f"separator {separator!r}: expected a tab or a blank")
    for row in rows:
        if "tokens" not in row:
            raise DataError(
                f"example {row['id']!r} has no tokens, and CoNLL columns need them",
                hint="pass tokenize=, which makes the tokens of the text",
            )
        file.writelines(_comment_lines(row, scheme))
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            if not _fits(token, separator) or not _fits(tag, separator) or _DOCSTART.match(token):
                raise DataError(
                    f"example {row['id']!r}: token {token!r} with tag {tag!r} does not fit one line of columns",
                    hint="a token may hold no line break, no separator and no -DOCSTART-; JSONL and Parquet hold any",
                )
            file.write(f"{token}{separator}{tag}\n")
        file.write("\n")


def _comment_lines(row: Mapping[str, Any], scheme: Scheme) -> Iterator[str]:
    """Yield the comments of a sentence: plain where a line of text can say it, the rest as JSON."""
    extra: dict[str, Any] = {}
    for key, value in row.items():
        if key in ("tokens", "tags", "token_starts", "spans"):
            continue
        plain = isinstance(value, str) and value == value.strip() and not set("\n\r\t") & set(value)
        if plain and _KEY.fullmatch(key) and key not in (_EXTRA, "comments"):
            yield f"# {key} = {value}\n"
        else:
            extra[key] = value
    offsets = list(zip(row["token_starts"], (s + len(t) for s, t in _starts(row)), strict=True))
    if not _can_locate(row, offsets):
        extra["token_starts"] = row["token_starts"]
    told = [{"start": s.start, "end": s.end, "label": s.label} for s in tags_to_spans(row["tags"], offsets, scheme)]
    if told != row["spans"]:
        extra["spans"] = row["spans"]
    if extra:
        yield f"# {_EXTRA} = {json.dumps(extra, ensure_ascii=False)}\n"


def _starts(row: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    return zip(row["token_starts"], row["tokens"], strict=True)


def _can_locate(row: Mapping[str, Any], offsets: list[tuple[int, int]]) -> bool:
    """Tell whether a reader will find the tokens in the text where they are."""
    try:
        return list(locate(row["tokens"], row["text"])) == offsets
    except DataError:
        return False


def _fits(cell: str, separator: str) -> bool:
    if separator == " ":
        return bool(cell) and not set(" \t\n\r") & set(cell)
    return not set("\t\n\r") & set(cell)
