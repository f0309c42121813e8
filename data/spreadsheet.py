"""Tables of text for people, as CSV or XLSX: what is written comes back, also after a spreadsheet program saved it.

openpyxl is imported on first use, and only here.
"""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.writing import replacing

_LONGEST: Final = 32_767
"""Characters that a cell of an XLSX file can hold."""
_WIDE: Final = 60


class SheetRow(NamedTuple):
    """One row: its number as spreadsheet programs show it (the header is 1), and column -> text."""

    number: int
    cells: Mapping[str, str]


def write_sheet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table, by the ending of its name as CSV (UTF-8 with a mark, so that Excel reads it) or XLSX.

    Args:
        path: ``.csv`` or ``.xlsx``.
        columns: the header.
        rows: a text for each column; in XLSX texts are kept from being taken for numbers, dates or formulas.

    Raises:
        ConfigError: another ending.
        DataError: a text is too long for XLSX.
    """
    kind = _kind(path)
    with replacing(path) as temporary:
        if kind == ".csv":
            with temporary.open("w", encoding="utf-8-sig", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                writer.writerows(rows)
        else:
            _write_xlsx(path, temporary, columns, rows)


def read_sheet(path: Path) -> Iterator[SheetRow]:
    """Yield the rows of a table that `write_sheet` wrote, and a person may have saved with another program.

    Commas, semicolons and tabs between cells are understood; empty rows are passed over.

    Raises:
        ConfigError: neither ``.csv`` nor ``.xlsx``.
        DataError: the file is not there, is no such table, has no header or a column twice, a row has more cells than
            the header, or a cell holds a date or a formula.
    """
    kind = _kind(path)
    if not path.is_file():
        raise DataError("no such file", path=path, hint="write one: spanferry review export BUILD -o FILE")
    rows: Iterable[list[str]] = _read_csv(path) if kind == ".csv" else _read_xlsx(path)
    header: list[str] | None = None
    for number, cells in enumerate(rows, 1):
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            while header and not header[-1]:
                header.pop()
            if twice := [name for name in header if header.count(name) > 1]:
                raise DataError(f"row {number}: found the column {twice[0]!r} twice, expected it once", path=path)
            continue
        if any(cells[len(header) :]):
            raise DataError(f"row {number}: found {len(cells)} cells, expected {len(header)}, as the header", path=path)
        yield SheetRow(number, {name: cells[index] if index < len(cells) else "" for index, name in enumerate(header)})
    if header is None:
        raise DataError("found an empty table, expected a header", path=path)


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".xlsx"):
        raise ConfigError(f"{path}: found the ending {kind or 'none'!r}, expected .csv or .xlsx")
    return kind


def _read_csv(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            separator = max(",;\t", key=first.count)
            csv.field_size_limit(2**31 - 1)
            yield from csv.reader(stream, delimiter=separator, strict=True)
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", path=path, hint="save it as CSV UTF-8, or as .xlsx") from None
    except csv.Error as error:
        raise DataError(f"broken CSV: {error}", path=path) from None


def _write_xlsx(path: Path, temporary: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    sheet = book.create_sheet("review")
    sheet.freeze_panes = "A2"
    for index, name in enumerate(columns, 1):
        sheet.column_dimensions[get_column_letter(index)].width = _WIDE if name.startswith(("source", "target")) else 12

    def cell(text: str, number: int, **style: Any) -> Any:
        if len(text) > _LONGEST:
            raise DataError(
                f"row {number}: a text of {len(text):,} characters, and a cell of an XLSX file holds {_LONGEST:,}",
                path=path,
                hint="write a .csv",
            )
        made = WriteOnlyCell(sheet, value=text)
        made.data_type = "s"  # a text that looks like a formula stays a text
        made.number_format = "@"
        for name, value in style.items():
            setattr(made, name, value)
        return made

    sheet.append([cell(name, 1, font=Font(bold=True)) for name in columns])
    for number, row in enumerate(rows, 2):
        sheet.append([cell(text, number, alignment=Alignment(wrap_text=True, vertical="top")) for text in row])
    with temporary.open("wb") as stream:
        book.save(stream)


def _read_xlsx(path: Path) -> list[list[str]]:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of styles and extensions that it does not know, nor do we
        try:
            book = load_workbook(path, read_only=True)
        except (InvalidFileException, zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
            raise DataError(f"not an XLSX file: {error}", path=path) from None
        try:
            with closing(book.worksheets[0].iter_rows()) as rows:  # else a row that is refused leaves the file open
                return [[_text(cell, number, path) for cell in row] for number, row in enumerate(rows, 1)]
        finally:
            book.close()


def _text(cell: Any, number: int, path: Path) -> str:
    """Return the text of a cell that a person may have typed, in a program that takes some texts for something else.

    Raises:
        DataError: it holds a formula, the error of one, or a date, whose text nobody knows any more.
    """
    kinds = {"f": "a formula", "e": "the error of a formula", "d": "a date", "b": "a truth value"}
    if cell.value is not None and (kind := kinds.get(cell.data_type)) is not None:
        raise DataError(
            f"row {number}, column {cell.column_letter}: found {kind}, {str(cell.value)!r}, expected text",
            path=path,
            hint="give the cell the format Text and type it again; a text that begins with = begins with \\=",
        )
    return "" if cell.value is None else str(cell.value)
