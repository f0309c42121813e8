"""What every reader yields, and the lines of a text file as they are: numbered, and honest about their encoding."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from spanferry.data.errors import ConfigError, DataError

_PACKED: Final = {
    b"\x1f\x8b": ("a gzip file", "unpack it (gunzip) and name the unpacked file"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "unpack it (zstd -d) and name the unpacked file"),
    b"\xfd7zXZ\0": ("an xz file", "unpack it (unxz) and name the unpacked file"),
    b"PK\x03\x04": ("a zip file", "unpack it (unzip) and name a file in it; save a spreadsheet as CSV UTF-8"),
    b"PAR1\x15": ("a Parquet file", "set format: parquet"),
}
"""First bytes, which no text has -> what the file is, and what to do."""
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(slots=True)
class Record:
    """One row of a source, and where it stands; either ``row`` or ``error``.

    Attributes:
        raw: the row as it was found, for the file of rejects.
        row: column -> value.
        error: why there is no row.
        line: one-based line of a text file (the first of several).
        number: zero-based row of a table.
        tag_lines: for data with one tag a line, the line of each.
    """

    raw: Any
    row: Mapping[str, Any] | None = None
    error: DataError | None = None
    line: int | None = None
    number: int | None = None
    tag_lines: Sequence[int] = ()


class Line(NamedTuple):
    """One line of a text file, without its line break ``end``; ``error`` says why it could not be decoded.

    A line that could not be decoded still has a text, in which each bad byte stands as a lone surrogate (PEP 383).
    """

    number: int
    text: str
    end: str = "\n"
    error: DataError | None = None


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[Line]:
    r"""Yield the lines of a text file, one at a time.

    Lines end at ``\n`` or ``\r\n`` and nowhere else: U+2028, U+0085, form feeds and lone carriage returns are part of a
    line (``str.splitlines`` would break JSON strings there). A byte order mark is dropped.

    Raises:
        ConfigError: Python knows no such encoding.
        DataError: the file is packed, or it has an encoding whose lines cannot be told apart byte by byte (UTF-16), and
            is broken.
    """
    if not is_bytewise(encoding):
        yield from _read_wide_lines(path, encoding)
        return
    offset = 0
    with path.open("rb") as file:
        start = file.peek(8)
        for magic, (found, hint) in _PACKED.items():
            if start.startswith(magic):
                raise DataError(f"found {found}, expected text", path=path, hint=hint)
        for number, raw in enumerate(file, 1):
            end = "\r\n" if raw.endswith(b"\r\n") else "\n"
            line = raw[: -len(end)] if raw.endswith(b"\n") else raw  # the last line may have no break
            mark = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
            line = line[mark:]
            try:
                yield Line(number, line.decode(encoding), end)
            except UnicodeError as error:
                bad = getattr(error, "start", 0)  # idna does not say where
                at = offset + mark + bad
                problem = f"byte 0x{line[bad]:02x} at offset {at} of the file is not {encoding}"
                yield Line(
                    number, _undecoded(line, encoding), end, DataError(problem, hint=_encoding_hint(line, number))
                )
            offset += len(raw)


def is_bytewise(encoding: str) -> bool:
    """Tell whether a line break is one byte, so that the lines of a file can be told apart before they are decoded.

    Raises:
        ConfigError: Python knows no such encoding of text.

    >>> is_bytewise("cp1252"), is_bytewise("utf-16")
    (True, False)
    """
    try:
        return "\n".encode(encoding) == b"\n"
    except (LookupError, ValueError):  # 'undefined' is an encoding that encodes nothing
        raise ConfigError(f"unknown encoding {encoding!r}: give a name that Python knows, such as utf-8") from None


def _undecoded(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding, "surrogateescape")
    except UnicodeError:  # not every codec can
        return line.decode("ascii", "surrogateescape")


def _read_wide_lines(path: Path, encoding: str) -> Iterator[Line]:
    with path.open(encoding=encoding, newline="\n") as file:
        number = 0
        try:
            for number, line in enumerate(file, 1):
                text = line.removesuffix("\n").removesuffix("\r")
                yield Line(number, text, "\r\n" if line.endswith("\r\n") else "\n")
        except UnicodeError as error:
            raise DataError(f"not {encoding}: {error}", path=path, line=number + 1) from None


def _encoding_hint(line: bytes, number: int) -> str:
    """Return what to try instead, from the bytes of the first line that is not in the encoding asked for."""
    if (number == 1 and line.startswith(_UTF16)) or b"\0" in line:
        return "the file looks like UTF-16: set encoding: utf-16"
    for name in ("utf-8", "cp1252"):
        try:
            line.decode(name)
        except UnicodeDecodeError:
            continue
        return f"this line can be read as {name}: try encoding: {name}"
    return "say which encoding the file has (encoding: ...), or convert it to utf-8"


def has_surrogate(text: str) -> bool:
    r"""Tell whether a text holds half a UTF-16 pair, which is no character and cannot be written (JSON's ``\ud800``).

    >>> has_surrogate("\ud83d"), has_surrogate("🙂")
    (True, False)
    """
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
