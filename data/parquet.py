"""Parquet, read a batch at a time and written a row group at a time, with the features that ``datasets`` looks for.

Reading needs no ``datasets``: label names stand in the file's metadata as JSON. pyarrow is imported on first use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from spanferry.data.errors import DataError, shortened
from spanferry.data.records import Record

_READ_ROWS: Final = 1024
_GROUP_ROWS: Final = 10_000
_KEY: Final = b"huggingface"
_ONE_TYPE: Final = "a column holds values of one type"

Names = dict[str, tuple[str, ...]]


def read_parquet(path: Path) -> Iterator[Record]:
    """Yield one record a row; no more than 1,024 rows (and one row group's pages) are in memory.

    A map comes as a list of ``{"key": ..., "value": ...}``.

    Raises:
        DataError: the file is no Parquet file, or is cut off, or holds a time that Python has no value for.
    """
    import pyarrow as pa

    number = 0
    with _opened(path) as file:
        batches = file.iter_batches(batch_size=_READ_ROWS)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"broken Parquet data: {error}", path=path, row=number) from None
            if batch is None:
                return
            for row in _rows(batch, path, number):
                yield Record(raw=row, row=row, number=number)
                number += 1


def _rows(batch: Any, path: Path, number: int) -> list[dict[str, Any]]:
    """Return the rows of a batch, of which ``number`` is the first."""
    columns = {field.name: _values(batch, index, path, number) for index, field in enumerate(batch.schema)}
    return [{name: values[row] for name, values in columns.items()} for row in range(len(batch))]


def _values(batch: Any, index: int, path: Path, number: int) -> list[Any]:
    import pyarrow as pa

    def plain(column: Any) -> list[Any]:
        # `to_pylist` would cut nanoseconds off, the cast refuses to.
        found: list[Any] = (column.cast(pa.time64("us")) if column.type == pa.time64("ns") else column).to_pylist()
        if _holds(column.type, pa.types.is_map):
            return [_with_keys(value, column.type) for value in found]
        return found

    try:
        return plain(batch.column(index))
    except (pa.ArrowException, ValueError, OverflowError):
        for row in range(len(batch)):
            try:
                plain(batch.column(index).slice(row, 1))
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise DataError(
                    f"column {batch.schema.names[index]!r} has a value that Python cannot hold: {error}",
                    path=path,
                    row=number + row,
                    hint="expected times of whole microseconds in the years 1 to 9999; change it, or write it as text",
                ) from None
        raise


def _holds(kind: Any, test: Callable[[Any], bool]) -> bool:
    """Tell whether a type, or one inside it, passes a test."""
    return test(kind) or any(_holds(kind.field(index).type, test) for index in range(kind.num_fields))


def _with_keys(value: Any, kind: Any) -> Any:
    """Return a value in which pairs of a map, tuples to pyarrow, have names: keys and values may differ in type."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return [{"key": key, "value": _with_keys(inner, kind.item_type)} for key, inner in value]
    if pa.types.is_struct(kind):
        return {name: _with_keys(inner, kind.field(name).type) for name, inner in value.items()}
    return [_with_keys(item, kind.field(0).type) for item in value] if kind.num_fields else value


def parquet_names(path: Path) -> Names:
    """Return the label names that the file's metadata gives, by column; see `names_in`."""
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    if _KEY not in metadata:
        return {}
    try:
        found = json.loads(metadata[_KEY])
        for key in ("info", "features"):
            found = (found or {}).get(key)
        return names_in(found or {})
    except (ValueError, AttributeError, TypeError):  # no JSON, or other JSON than `datasets` writes
        raise DataError(
            f"the metadata {_KEY.decode()!r} is {shortened(metadata[_KEY])}: expected features of `datasets` as JSON",
            path=path,
            hint="write the file again without it: table.replace_schema_metadata(None)",
        ) from None


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not a Parquet file, or cut off: {error}", path=path) from None


def names_in(features: Mapping[str, Any]) -> Names:
    """Return the label names in the JSON form of ``datasets.Features``: column -> names, ``spans.label`` -> names.

    >>> names_in({"label": {"_type": "ClassLabel", "names": ["no", "yes"]},
    ...           "spans": {"_type": "List", "feature": {"label": {"_type": "ClassLabel", "names": ["PER"]}}}})
    {'label': ('no', 'yes'), 'spans.label': ('PER',)}
    """
    found: Names = {}

    def visit(name: str, feature: Any) -> None:
        if isinstance(feature, list):  # the old way to write a list
            visit(name, feature[0] if feature else None)
        elif isinstance(feature, Mapping):
            if feature.get("_type") == "ClassLabel":
                if names := feature.get("names"):  # `datasets` knows labels of which only the number is known
                    found[name] = tuple(names)
            elif "_type" in feature:
                visit(name, feature.get("feature"))
            else:
                for key, inner in feature.items():
                    visit(f"{name}.{key}", inner)

    for column, feature in features.items():
        visit(column, feature)
    return found


def with_known_labels(features: Any, labels: Sequence[str]) -> Any:
    """Return features without those of the ``labels`` that have no list of names: they are typed by the rows.

    Such a column may hold numbers (the similarity of two texts, the place of the right choice) as well as text.

    >>> from datasets import ClassLabel, Features, Value
    >>> features = Features({"text": Value("string"), "label": Value("string"), "intent": ClassLabel(names=["find"])})
    >>> list(with_known_labels(features, ["label", "intent"]))
    ['text', 'intent']
    """
    from datasets import ClassLabel

    kept = {name: each for name, each in features.items() if name not in labels or isinstance(each, ClassLabel)}
    return type(features)(kept)


class TableTypes:
    """The Arrow types of a table that grows: declared for some columns, found in the rows for the others.

    A column that is null at first, or whole numbers and later fractions, takes the wider type.
    """

    def __init__(self, features: Any) -> None:
        self.features = features  # datasets.Features of the declared columns
        self.schema = features.arrow_schema.remove_metadata()
        self._numbers = {
            name: {label: number for number, label in enumerate(labels)}
            for name, labels in names_in(features.to_dict()).items()
        }

    def table(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Return the rows as a table, and widen `schema` to hold it.

        Raises:
            DataError: a column has values of types that do not go together.
        """
        import pyarrow as pa

        arrays: dict[str, Any] = {}
        declared = set(self.features)
        columns = dict.fromkeys([*self.schema.names, *(name for row in rows for name in row)])
        for name in columns:
            values = [row.get(name) for row in rows]
            if name in self._numbers or f"{name}.label" in self._numbers:
                values = [self._numbered(name, value) for value in values]
            try:
                arrays[name] = _array(values, self.schema.field(name).type if name in declared else None)
            except (pa.ArrowException, OverflowError) as error:
                raise DataError(
                    f"column {name!r} cannot be one column of a table: {error}",
                    hint=_ONE_TYPE,
                ) from None
        found = pa.table(arrays)
        try:
            self.schema = pa.unify_schemas([self.schema, found.schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"a column changes its type: {error}",
                hint=_ONE_TYPE,
            ) from None
        return self.fit(found)

    def fit(self, table: Any) -> Any:
        """Return ``table`` with the columns and types of `schema`.

        Raises:
            DataError: the wider type of a column cannot hold a value: a whole number over 2**53 beside fractions.
        """
        import pyarrow as pa

        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                columns.append(pa.nulls(len(table), field.type))
                continue
            try:
                columns.append(_cast(table[field.name], field.type))
            except pa.ArrowException as error:
                raise DataError(
                    f"column {field.name!r} changes its type: {table.schema.field(field.name).type} in some rows, "
                    f"{field.type} in others, which cannot hold all of them: {error}",
                    hint=_ONE_TYPE,
                ) from None
        return pa.table(columns, schema=self.schema)

    @property
    def all_features(self) -> Any:
        """``datasets.Features`` of every column."""
        from datasets import Features

        found = Features.from_arrow_schema(self.schema)
        return Features({**found, **self.features})

    def _numbered(self, name: str, value: Any) -> Any:
        """Return a cell with its labels as their numbers: one label, a list of them, or a list of spans."""
        if value is None:
            return None
        if name not in self._numbers:
            numbers = self._numbers[f"{name}.label"]
            return [{**span, "label": _number(span["label"], numbers, name)} for span in value]
        numbers = self._numbers[name]
        if isinstance(value, list):
            return [_number(label, numbers, name) for label in value]
        return _number(value, numbers, name)


def _array(values: Sequence[Any], kind: Any) -> Any:
    """Return values as an array; objects without a key, for which Parquet has no form, are null in it."""
    import pyarrow as pa

    array = pa.array(values, type=kind)
    return pa.array(list(map(_without_empty, values))) if _holds(array.type, _is_empty) else array


def _is_empty(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind)) and not kind.num_fields


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_empty(inner) for key, inner in value.items()} or None
    return [_without_empty(item) for item in value] if isinstance(value, list | tuple) else value


def _cast(column: Any, kind: Any) -> Any:
    """Return a column as ``kind``; by way of Python where it is nested: pyarrow's cast breaks structs with nulls."""
    import pyarrow as pa

    if column.type == kind:
        return column
    return pa.chunked_array([pa.array(column.to_pylist(), type=kind)]) if kind.num_fields else column.cast(kind)


def _number(label: Any, numbers: Mapping[str, int], column: str) -> int:
    if label not in numbers:
        raise DataError(f"column {column!r} has label {label!r}: expected one of {', '.join(numbers)}")
    return numbers[label]


def write_parquet(rows: Iterable[Mapping[str, Any]], path: Path, features: Any) -> None:
    """Write rows as one Parquet file that ``datasets.load_dataset`` opens with its label names.

    Args:
        rows: streamed; 10,000 are in memory at a time.
        path: the file; where a later row needs a wider type than the first ones, it is written again so far.
        features: ``datasets.Features`` of the columns that are known beforehand; the others are found in the rows.

    Raises:
        DataError: a column has values of types that do not go together, or a label that its names do not have.
    """
    import pyarrow.parquet as pq

    stream = iter(rows)
    types = TableTypes(features)
    writer = None
    try:
        while True:
            before = types.schema
            group = list(islice(stream, _GROUP_ROWS))
            if group or writer is None:
                table = types.table(group)
                if writer is None:
                    writer = pq.ParquetWriter(path, _with_features(types))
                elif types.schema != before:
                    writer.close()
                    writer = _rewrite(path, types)
                if group:  # `datasets` cannot read a file that begins with an empty row group
                    writer.write_table(_with_metadata(table, types))
            if len(group) < _GROUP_ROWS:
                return
    finally:
        if writer is not None:
            writer.close()


def _with_features(types: TableTypes) -> Any:
    """Return the schema with the features in its metadata."""
    return types.schema.with_metadata(types.all_features.arrow_schema.metadata)


def _with_metadata(table: Any, types: TableTypes) -> Any:
    return table.replace_schema_metadata(_with_features(types).metadata)


def _rewrite(path: Path, types: TableTypes) -> Any:
    """Write the groups of ``path`` again under the wider types, and return the writer to go on with."""
    import pyarrow.parquet as pq

    old = path.with_name(f"{path.name}.narrow")
    path.rename(old)
    writer = pq.ParquetWriter(path, _with_features(types))
    try:
        with pq.ParquetFile(old) as file:
            for index in range(file.num_row_groups):
                writer.write_table(_with_metadata(types.fit(file.read_row_group(index)), types))
    except BaseException:
        writer.close()
        raise
    finally:
        old.unlink()
    return writer
