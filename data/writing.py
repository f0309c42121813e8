"""Examples to a file: streamed, under a temporary name, moved into place when complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from spanferry.data.conll import write_conll
from spanferry.data.errors import DataError
from spanferry.data.example import Example
from spanferry.data.hf import save_datasets
from spanferry.data.parquet import TableTypes, with_known_labels, write_parquet
from spanferry.data.rows import write_csv, write_jsonl
from spanferry.data.schema import Schema
from spanferry.data.sidecar import features_path
from spanferry.data.sources import check_fit, target_format
from spanferry.data.spans import Snap, get_scheme
from spanferry.data.squad import write_squad
from spanferry.data.tasks import Task, get_task

Row = Mapping[str, Any]
Tokenize = Callable[[Sequence[str]], Sequence[Sequence[tuple[int, int]]]]

_BATCH: Final = 256  # examples tokenised or typed at once


def write_examples(
    examples: Iterable[Example],
    path: str | Path,
    task: str | Task,
    *,
    format: str | None = None,
    schema: Schema | None = None,
    tokenize: Tokenize | None = None,
    tags: bool = True,
    scheme: str = "IOB2",
    policy: Snap = "expand",
    separator: str | None = None,
) -> int:
    """Write examples to one file (or folder, for ``datasets``), streamed and atomically; return how many.

    `read_examples` gives them back equal. A table (CSV, Parquet, datasets) has the same columns in every row, so that a
    meta column which an example lacks comes back as null; CSV knows text only, so that numbers and lists come back as
    such only where ``schema`` is given, which puts their types beside the file (``.FILE.features``, as JSONL has too).

    Args:
        examples: what to write.
        path: the file; folders above it are made.
        task: the shape of the data, or its name.
        format: one of `FORMATS`, where the suffix does not tell.
        schema: the labels there are; columns of labels are then ``ClassLabel`` where the format has such.
        tokenize: texts -> (start, end) of the tokens of each, for examples that bring none: CoNLL needs tokens.
        tags: whether rows of tokens have tags beside the spans (always in CoNLL).
        scheme: chunk scheme of the tags.
        policy: how tags treat a span whose ends are inside a token, see `spanferry.data.spans.snap`. Spans themselves
            are written as they are.
        separator: between columns, where it is not the format's own (tab; comma in CSV).

    Raises:
        DataError: an example does not fit the task or the format, or has a label outside the schema.
    """
    if isinstance(task, str):
        task = get_task(task)
    path = Path(path)
    kind = target_format(path, format)
    check_fit(kind, task, path)
    chunks = get_scheme(scheme)
    stream = _tokenized(iter(examples), tokenize, task.spans_in if task.tagged else None)
    head = list(islice(stream, 1))
    count = 0

    def rows() -> Iterator[Row]:
        nonlocal count
        for example in chain(head, stream):
            if schema is not None:
                schema.check(example)
            count += 1
            yield task.to_row(example, tags=tags or kind == "conll", scheme=chunks, policy=policy)

    def features() -> Any:
        """Return the types known before the first row; labels without an inventory are typed by the rows."""
        known = task.features(schema, tokens=any(example.tokens for example in head), scheme=chunks)
        return with_known_labels(known, task.labels)

    if kind == "parquet":
        with replacing(path) as temporary:
            write_parquet(rows(), temporary, features())
    elif kind == "datasets":
        with replacing(path) as temporary:
            table = temporary.with_name(f"{temporary.name}.parquet")
            try:
                write_parquet(rows(), table, features())
                save_datasets(table, temporary)
            finally:
                table.unlink(missing_ok=True)
    else:
        types = TableTypes(features()) if schema is not None and kind not in ("conll", "squad") else None
        typed = rows() if types is None else _typed(rows(), types)
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            try:
                if kind == "jsonl":
                    write_jsonl(typed, file)
                elif kind == "squad":
                    write_squad(typed, file)
                elif kind == "conll":
                    write_conll(typed, file, scheme=chunks, separator=separator or "\t")
                else:
                    write_csv(typed, file, separator=separator or ("\t" if kind == "tsv" else ","))
            except UnicodeEncodeError as error:
                raise DataError(f"example number {count} cannot be written: {error}", path=path) from None
        _write_features(path, types)
    return count


def _tokenized(examples: Iterator[Example], tokenize: Tokenize | None, field: str | None) -> Iterator[Example]:
    """Yield the examples with tokens, made where they bring none."""
    if tokenize is None or field is None:
        yield from examples
        return
    while batch := list(islice(examples, _BATCH)):
        bare = [index for index, example in enumerate(batch) if field not in example.tokens]
        made = tokenize([batch[index].fields[field] for index in bare])
        for index, tokens in zip(bare, made, strict=True):
            batch[index] = replace(batch[index], tokens={field: tuple((start, end) for start, end in tokens)})
        yield from batch


def _typed(rows: Iterator[Row], types: TableTypes) -> Iterator[Row]:
    """Yield the rows, taking note of the types of their columns."""
    while batch := list(islice(rows, _BATCH)):
        types.table(batch)
        yield from batch


def _write_features(path: Path, types: TableTypes | None) -> None:
    """Write the types beside the file; a file of types from before, which may be wrong now, goes."""
    beside = features_path(path)
    if types is None:
        beside.unlink(missing_ok=True)
        return
    with replacing(beside) as temporary:
        temporary.write_text(json.dumps(types.all_features.to_dict(), ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write a file or folder to; moved to ``path`` at the end, or removed.

    Whoever looks at a file sees the old content or the new, whole, even if the power fails in between. An old folder
    is removed right before the new one takes its place.

    Raises:
        OSError: it cannot be written; `check_output` says so before the work, and in the words of the command line.
    """
    if not path.name:  # the folder that one is in; it has no name to put a dot before
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
