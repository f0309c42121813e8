"""Columns that are no columns of a table: told row by row, as the table itself would tell at its end."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Features
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.column_types import ColumnTypes
from spanferry.data.errors import DataError
from spanferry.data.parquet import read_parquet, write_parquet

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64])
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def fits(rows: list[dict[str, Any]]) -> bool:
    types = ColumnTypes()
    try:
        for row in rows:
            types.add(row)
    except DataError:
        return False
    return True


def alike(found: Any, wanted: Any) -> bool:
    """Tell whether a table gave back what it was given: keys that a row lacks are null, an object of no key may be."""
    if isinstance(wanted, dict):
        return (found is None and not wanted) or (
            isinstance(found, dict) and all(alike(found[key], wanted.get(key)) for key in {*found, *wanted})
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(alike, found, wanted))
    return bool(found == wanted)


@given(st.lists(VALUES, min_size=1, max_size=5), st.integers(1, 5))
def test_columns_hold_what_the_table_holds(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], group: int
) -> None:
    rows = [{"id": str(index), "n": value} for index, value in enumerate(values)]
    path = tmp_path_factory.mktemp("t") / "a.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanferry.data.parquet._GROUP_ROWS", group)
        if not fits(rows):
            # Tables are easier with some: an object of no key is null, and beside 0.5 false is 0.0.
            if not any(lenient in repr(values) for lenient in ("{}", "True", "False")):
                with pytest.raises(DataError, match=r"cannot be one column of a table|changes its type"):
                    write_parquet(rows, path, Features())
            return
        write_parquet(rows, path, Features())
    assert alike([(record.row or {})["n"] for record in read_parquet(path)], values)


@pytest.mark.parametrize(
    ("before", "value", "message"),
    [
        (1, "x", r"column 'n' is 'x' \(text\): expected a whole number, as in the rows before. Hint: .*on_error: skip"),
        ("x", {"a": 1}, r"column 'n' is {'a': 1} \(an object\): expected text"),
        ({"a": [1]}, {"a": ["x"]}, r"column 'n.a' is 'x' \(text\): expected a whole number"),
        (True, 1, r"is 1 \(a whole number\): expected true or false"),
        (None, ["x", 1], r"is 1 \(a whole number\): expected text, as in the items before"),
        (0.5, 2**53 + 1, r"is 9007199254740993 \(a whole number beyond 2\*\*53, .*\): expected a number"),
        (0, 2**63, r"is 9223372036854775808: expected a whole number of 64 bits .*Hint: write it as text"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(before: Any, value: Any, message: str) -> None:
    types = ColumnTypes()
    types.add({"n": before})
    with pytest.raises(DataError, match=message):
        types.add({"other": 1, "n": value})
    types.add({"other": "the row that was refused left no trace", "n": before})
