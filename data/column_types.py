"""What the columns of a table may hold, found row by row: a value that does not fit is refused where it stands.

Rows of JSONL may hold anything; a column of Parquet holds values of one type. The types are those that
`spanferry.data.parquet.TableTypes` finds for a whole table, known here without pyarrow and in memory that does not grow
with the rows.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spanferry.data.errors import DataError, shortened

_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2**53  # beyond it a float has no room for every whole number
_HINT: Final = (
    "a column of a dataset holds values of one type; write them alike, or leave the column out of the source "
    "(on_error: skip sets such rows aside)"
)


@dataclass(frozen=True, slots=True)
class _Wide:
    """Whole numbers, one of which no float can hold."""


@dataclass(frozen=True, slots=True)
class _List:
    item: _Type


@dataclass(frozen=True, slots=True)
class _Object:
    keys: Mapping[str, _Type]


# None for what was null so far, a Python type for plain values.
_Type = type | _Wide | _List | _Object | None

_WIDE: Final = _Wide()
_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    bytes: "bytes",
    datetime.datetime: "a date with a time",
    datetime.date: "a date",
    datetime.time: "a time",
    datetime.timedelta: "a length of time",
    decimal.Decimal: "a decimal number",
}


class ColumnTypes:
    """The types of the columns of the rows so far.

    >>> types = ColumnTypes()
    >>> types.add({"year": 1843, "note": None})
    >>> types.add({"year": 1843.5, "note": {"by": "Ada"}})
    >>> types.add({"year": "unknown"})
    Traceback (most recent call last):
        ...
    spanferry.data.errors.DataError: column 'year' is 'unknown' (text): expected a number, as in the rows before. ...
    """

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take note of the types of one row; of a row that is refused nothing is noted.

        Raises:
            DataError: a value is of another type than the rows before have in its column, or no table can hold it.
        """
        wider: dict[str, _Type] = {}
        for name, value in row.items():
            known = self._types.get(name)
            if not _holds(known, value):
                wider[name] = _merged(known, _type_of(value, name), value, name)
        self._types |= wider


def _holds(known: _Type, value: Any) -> bool:
    """Tell whether a value fits as it is, as most do: at little cost, which every row has to bear."""
    if value is None:
        return True
    kind = type(value)
    if kind is int:
        return (known is int or known is float) and -_EXACT <= value <= _EXACT
    if isinstance(known, _List):
        return kind is list and all(_holds(known.item, each) for each in value)
    if isinstance(known, _Object):
        return kind is dict and all(key in known.keys and _holds(known.keys[key], each) for key, each in value.items())
    return known is kind


def _type_of(value: Any, where: str) -> _Type:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if value not in _INT64:
            raise DataError(
                f"column {where!r} is {shortened(value)}: expected a whole number of 64 bits "
                f"({_INT64[0]} to {_INT64[-1]})",
                hint="write it as text",
            )
        return int if -_EXACT <= value <= _EXACT else _WIDE
    if isinstance(value, Mapping):
        return _Object({str(key): _type_of(inner, f"{where}.{key}") for key, inner in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        item: _Type = None
        for inner in value:
            item = _merged(item, _type_of(inner, where), inner, where, "the items before")
        return _List(item)
    return type(value)


def _merged(known: _Type, found: _Type, value: Any, where: str, before: str = "the rows before") -> _Type:
    """Return the type that holds what ``known`` holds, and ``value``, whose own type is ``found``."""
    if known == found or found is None:
        return known
    if known is None:
        return found
    if isinstance(known, _List) and isinstance(found, _List):
        item = known.item
        for inner in value:
            item = _merged(item, _type_of(inner, where), inner, where, before)
        return _List(item)
    if isinstance(known, _Object) and isinstance(found, _Object):
        keys = {str(key): inner for key, inner in value.items()}
        widened = {
            key: _merged(known.keys.get(key), each, keys[key], f"{where}.{key}", before)
            for key, each in found.keys.items()
        }
        return _Object({**known.keys, **widened})
    pair = (known, found)
    if pair in ((int, _WIDE), (_WIDE, int)):
        return _WIDE
    if pair in ((int, float), (float, int)):
        return float
    raise DataError(
        f"column {where!r} is {shortened(value)} ({_name(found)}): expected {_name(known)}, as in {before}", hint=_HINT
    )


def _name(kind: _Type) -> str:
    if isinstance(kind, _Wide):
        return "a whole number beyond 2**53, where fractions are not exact"
    if isinstance(kind, _List):
        return "a list"
    if isinstance(kind, _Object):
        return "an object"
    return "nothing" if kind is None else _NAMES.get(kind, kind.__name__)
