"""Rows of numbers of any length, kept on disk as flat arrays and mapped into memory when they are read."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


class RowWriter:
    """Collects rows and writes them as two `.npy` arrays a column: the numbers, and where each row's end.

    >>> from tempfile import TemporaryDirectory
    >>> writer = RowWriter({"ids": 1, "links": 2})
    >>> writer.add({"ids": [5, 6, 7], "links": [(0, 1), (2, 0)]})
    >>> writer.add({"ids": [8], "links": []})
    >>> with TemporaryDirectory() as folder:
    ...     writer.save(Path(folder))
    ...     rows = FlatRows(Path(folder), {"ids": 1, "links": 2})
    ...     len(rows), rows[0]["links"].tolist(), rows[1]["ids"].tolist()
    (2, [[0, 1], [2, 0]], [8])
    """

    def __init__(self, columns: Mapping[str, int]) -> None:
        self._columns = columns
        self._flat = {name: array("i") for name in columns}
        self._ends = {name: array("q") for name in columns}

    def add(self, row: Mapping[str, Iterable[Any]]) -> None:
        """Add a row: for every column numbers or, where its width is over 1, tuples of them."""
        for name, width in self._columns.items():
            if width == 1:
                self._flat[name].extend(row[name])
            else:
                for values in row[name]:
                    self._flat[name].extend(values)
            self._ends[name].append(len(self._flat[name]))

    def size(self, name: str) -> int:
        """Return how many numbers a column has so far."""
        return len(self._flat[name])

    def save(self, folder: Path) -> None:
        """Write all columns to a folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._columns:
            np.save(folder / f"{name}.npy", np.asarray(self._flat[name], dtype=np.int32))
            np.save(folder / f"{name}_ends.npy", np.asarray(self._ends[name], dtype=np.int64))


class FlatRows(torch.utils.data.Dataset[dict[str, Any]]):
    """What a `RowWriter` wrote: item i is column -> numbers, with a second axis where the column's width is over 1."""

    def __init__(self, folder: Path, columns: Mapping[str, int]) -> None:
        self._columns = columns
        self._values = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in columns}
        self._ends = {name: np.load(folder / f"{name}_ends.npy") for name in columns}

    def __len__(self) -> int:
        return len(next(iter(self._ends.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {}
        for name, width in self._columns.items():
            ends = self._ends[name]
            values = self._values[name][int(ends[index - 1]) if index else 0 : int(ends[index])]
            item[name] = values if width == 1 else values.reshape(-1, width)
        return item

    def lengths(self, *names: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return for every row how many numbers the longest of these columns has."""
        sizes = [np.diff(self._ends[name], prepend=0) for name in names]
        longest: np.ndarray[Any, np.dtype[np.int64]] = np.maximum.reduce(sizes)
        return longest
