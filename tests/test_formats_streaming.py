"""Files larger than memory go through: what is held at once does not grow with the file."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanferry.data.example import Example, Span
from spanferry.data.formats import read_examples, write_examples

ROWS = 4_000
PADDING = "Rain fell on the long road home. " * 150  # 5 kB a row, 20 MB in all
LIMIT = 12_000_000  # bytes: a batch of 1,024 rows of Parquet, the next one, and the ids


def examples(rows: int = ROWS) -> Iterator[Example]:
    for number in range(rows):
        yield Example(str(number), {"text": f"{number} {PADDING}"}, (Span(0, len(str(number)), "N"),))


def tokenize(texts: object) -> list[list[tuple[int, int]]]:
    return [[(0, text.index(" "))] for text in texts]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("large")
    found = {kind: folder / f"large.{kind}" for kind in ("jsonl", "csv", "parquet", "conll")}
    for kind, path in found.items():
        write_examples(examples(), path, "ner", tokenize=tokenize if kind == "conll" else None)
    return found


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "conll"])
def test_reading_holds_a_bounded_part(kind: str, files: dict[str, Path]) -> None:
    next(iter(read_examples(files[kind], "ner")))  # what is imported on first use does not count
    tracemalloc.start()
    count = sum(1 for _ in read_examples(files[kind], "ner"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == ROWS
    assert peak < LIMIT
    assert files[kind].stat().st_size > 0


@pytest.mark.parametrize("kind", ["jsonl", "csv", "conll"])
def test_writing_holds_a_bounded_part(kind: str, tmp_path: Path) -> None:
    tokens = tokenize if kind == "conll" else None
    write_examples(examples(1), tmp_path / f"a.{kind}", "ner", tokenize=tokens)
    tracemalloc.start()
    write_examples(examples(), tmp_path / f"a.{kind}", "ner", tokenize=tokens)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < LIMIT


def test_the_first_example_comes_before_the_last_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = {"id": "1", "text": "a", "spans": []}
    path.write_text(json.dumps(good) + "\nbroken\n")
    assert next(iter(read_examples(path, "ner"))).id == "1"


def test_parquet_is_read_by_batches_within_a_row_group(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    short = (Example(str(number), {"text": "a"}, (), {"label": "x"}) for number in range(20_000))
    write_examples(short, tmp_path / "a.parquet", "text-classification")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 2  # groups of 10,000: large enough to compress, small enough to hold
    assert next(file.iter_batches(batch_size=1024)).num_rows == 1024
