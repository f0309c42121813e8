"""Every kind of bad input: one error that says where, what was found and what was expected; or set aside."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spanferry.data.errors import ConfigError, DataError, SpanferryError
from spanferry.data.example import Example
from spanferry.data.formats import ReadReport, read_examples, write_examples
from spanferry.data.schema import Schema

GOOD = {"id": "1", "text": "Zoë lacht.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}


def lines(*rows: Any) -> bytes:
    return b"".join(
        (row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()) + b"\n" for row in rows
    )


def read(path: Path, task: str = "ner", **settings: Any) -> list[Example]:
    return list(read_examples(path, task, **settings))


# (name of the file, its bytes, line that is named, what the message says); each has one good row or sentence before.
BAD = {
    "broken JSON": ("a.jsonl", lines(GOOD, b'{"id": "2", "text": '), 2, r"broken JSON: Expecting value at column 21"),
    "no object": ("a.jsonl", lines(GOOD, [1]), 2, r"found a JSON list: expected one object a line"),
    "half a pair": ("a.jsonl", lines(GOOD, b'{"id": "2", "text": "\\ud83d", "spans": []}'), 2, r"half of a surrogate"),
    "wrong encoding": (
        "a.jsonl",
        lines(GOOD) + '{"id": "2", "text": "Köln", "spans": []}\n'.encode("cp1252"),
        2,
        rf"byte 0xf6 at offset {len(lines(GOOD)) + 22} of the file is not utf-8.*try encoding: cp1252",
    ),
    "missing column": (
        "a.jsonl",
        lines(GOOD, {"id": "2", "txt": "a", "spans": []}),
        2,
        r"no column for text .*found id, txt",
    ),
    "span past the end": (
        "a.jsonl",
        lines(GOOD, {"id": "2", "text": "Zoë", "spans": [[0, 4, "PER"]]}),
        2,
        r"0:4 \(PER\), which ends past the text of 3 characters.*not bytes or UTF-16",
    ),
    "empty span": (
        "a.jsonl",
        lines(GOOD, {"id": "2", "text": "Zoë", "spans": [[2, 2, "PER"]]}),
        2,
        r"span 2:2 \(PER\) is empty",
    ),
    "duplicate id": ("a.jsonl", lines(GOOD, GOOD), 2, r"duplicate id '1': expected each id once.*id: null"),
    "label outside": (
        "a.jsonl",
        lines(GOOD, {"id": "2", "text": "Zoë", "spans": [[0, 3, "PRE"]]}),
        2,
        r"span 0:3 has label 'PRE', which the schema does not have: did you mean 'PER'",
    ),
    "I- without B-": (
        "a.conll",
        b"Zo\xc3\xab\tB-PER\nlacht\tO\n\nIn\tO\nK\xc3\xb6ln\tI-LOC\n\n",
        5,
        r"'I-LOC' of token 1 follows 'O': expected B-LOC.*IOB1.*repair",
    ),
    "wrong columns": ("a.conll", b"a\tO\nb\tO\n\nc\tO\nd\n\n", 5, r"found 1 columns in 'd': expected 2, as in"),
    "wrong encoding in columns": (
        "a.conll",
        b"a\tO\nb\tO\n\nc\tO\nK\xf6ln\tO\n\n",
        5,
        r"byte 0xf6 at offset 14 of the file is not utf-8",
    ),
    "text and tokens differ": (
        "a.conll",
        b"a\tO\n\n# text = c d\nc\tO\ne\tO\n\n",
        4,
        r"token 1 is 'e', but the text goes on with 'd'.*text: null",
    ),
    "broken JSON comment": ("a.conll", b"a\tO\n\n# spanferry = {\nc\tO\n\n", 3, r"broken JSON in the comment"),
    "cells": ("a.csv", b'id,text,spans\n1,a,[]\n2,b\n', 3, r"found 2 cells: expected 3, .*header \(id, text, spans\)"),
    "JSON cell": ("a.csv", b'id,text,spans\n1,"a\nb",[]\n2,b,PER\n', 4, r"column 'spans' is 'PER': expected JSON"),
    "wrong encoding in a table": (
        "a.tsv",
        b"id\ttext\tspans\n1\ta\t[]\n2\tK\xf6ln\t[]\n",
        3,
        r"byte 0xf6 at offset 24 of the file is not utf-8.*cp1252",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named(name: str, tmp_path: Path) -> None:
    file, content, line, message = BAD[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, schema=Schema(("PER", "LOC")))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert (caught.value.path, caught.value.line) == (str(path), line)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_set_aside_with_its_reason(name: str, tmp_path: Path) -> None:
    file, content, line, _ = BAD[name]
    path, rejects = tmp_path / file, tmp_path / "out" / "rejects.jsonl"
    # One more good row behind it, so that going on shows.
    more = {"a.jsonl": lines({**GOOD, "id": "9"}), "a.conll": b"z\tO\n\n", "a.csv": b"9,z,[]\n", "a.tsv": b"9\tz\t[]\n"}
    path.write_bytes(content + more[file])
    report = ReadReport()
    found = read(path, schema=Schema(("PER", "LOC")), on_error="skip", rejects=rejects, report=report)
    assert len(found) == 2
    assert (report.read, report.rejected, report.problems.total()) == (2, 1, 1)
    (entry,) = [json.loads(row) for row in rejects.read_text(encoding="utf-8").split("\n")[:-1]]
    assert (entry["source"], entry["line"], entry["row"]) == (str(path), line, None)
    with pytest.raises(DataError) as caught:
        read(path, schema=Schema(("PER", "LOC")))
    assert (entry["problem"], entry["hint"]) == (caught.value.problem, caught.value.hint)
    raw = entry["raw"] if isinstance(entry["raw"], str) else ",".join(entry["raw"])
    original = content.decode("utf-8", "surrogateescape")  # bytes that are no UTF-8 can be had back
    assert raw.split("\n")[0].replace(",", "\t") in original.replace(",", "\t")


def test_a_sentence_is_skipped_whole(tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.conll", tmp_path / "r.jsonl"
    path.write_text("# id = 1\na\tO\n\n# id = 2\nb\tB-X\nc\n d\tO\n\n# id = 3\ne\tO\n")
    assert [e.id for e in read(path, on_error="skip", rejects=rejects)] == ["1", "3"]
    assert json.loads(rejects.read_text())["raw"] == "# id = 2\nb\tB-X\nc\n d\tO"


def test_nothing_bad_leaves_no_file_of_rejects(tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    path.write_bytes(lines(GOOD))
    rejects.write_text("from an earlier run")
    assert len(read(path, on_error="skip", rejects=rejects)) == 1
    assert not rejects.exists()


def test_whoever_stops_early_leaves_no_empty_file_of_rejects(tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    path.write_bytes(lines(GOOD, {**GOOD, "id": "2"}))
    examples = read_examples(path, "ner", on_error="skip", rejects=rejects)
    next(examples)
    examples.close()  # type: ignore[attr-defined]  # it is a generator
    assert not rejects.exists()


def test_a_source_of_bad_rows_only_is_an_error_all_the_same(tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    path.write_bytes(lines({"sentense": "a"}, {"sentense": "b"}))
    with pytest.raises(DataError, match=r"all rows are bad; the first: .*a.jsonl:1: no column for text"):
        read(path, on_error="skip", rejects=rejects)
    assert len(rejects.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl", b"\n  \n"),
        ("a.conll", b"\n\n"),
        ("a.conll", b"# only a comment\n\n"),
        ("a.conll", b"-DOCSTART- O\n\n"),
        ("a.csv", b"id,text,spans\n"),
        ("a.csv", b""),
        ("a.parquet", b""),
    ],
)
def test_an_empty_file_is_named(file: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=rf"{file}: empty: found no rows, expected at least one"):
        read(tmp_path / file)


def test_an_empty_table_is_named(tmp_path: Path) -> None:
    write_examples([], tmp_path / "a.parquet", "ner")
    with pytest.raises(DataError, match="empty: found no rows"):
        read(tmp_path / "a.parquet")


def test_a_missing_file_is_named_at_once_with_what_is_like_it(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(DataError, match=r"trian.jsonl: no such file or folder. Hint: did you mean 'train.jsonl'\?$"):
        read_examples(tmp_path / "trian.jsonl", "ner")  # at the call, not at the first row
    with pytest.raises(DataError, match=r"no such file or folder: the folder .*nowhere does not exist"):
        read_examples(tmp_path / "nowhere" / "a.jsonl", "ner")
    with pytest.raises(DataError, match="no such file or folder"):
        read_examples(tmp_path / "nowhere", "ner")
    with pytest.raises(DataError, match="no such file or folder"):
        read_examples(tmp_path / "nowhere", "ner", format="datasets")


def test_a_folder_where_a_file_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder: expected a jsonl file.*name the file"):
        read_examples(tmp_path, "ner", format="jsonl")
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(DataError, match="is a file: expected a folder"):
        read_examples(tmp_path / "a.jsonl", "ner", format="datasets")


def test_a_table_of_columns_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,sentense,spans\n1,a,[]\n")
    with pytest.raises(DataError, match=r"a.csv:2: no column for text \(looked for text, sentence"):
        read(path)
    with pytest.raises(DataError, match=r"no column 'sentence' for text: did you mean 'sentense'"):
        read(path, columns={"text": "sentence"})
    path.write_text("id,text,text\n1,a,[]\n")
    with pytest.raises(DataError, match=r"a.csv:1: the first row has column 'text' twice"):
        read(path)
    path.write_text('id,text,spans\n1,"a"b,[]\n')
    with pytest.raises(DataError, match=r"a.csv:2: broken table: .*quotes: false"):
        read(path)
    path.write_text('id,text,spans\n1,a,[]\n2,"never closed,[]\n3,c,[]\n')
    with pytest.raises(DataError, match=r"a.csv:3: broken table"):
        read(path)


def test_a_json_list_says_how_to_make_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"id": "1"},\n {"id": "2"}]')
    with pytest.raises(DataError, match=r"broken JSON.*this file is one JSON list.*jq -c"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("content", [b"[]", b' [{"id": "1"}]', b'[{"id": "1"}]\n'])
def test_so_does_one_on_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jsonl:1: found a JSON list.*this file is one JSON list.*jq -c"):
        read(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(lines(GOOD), mtime=0), r"found a gzip file, expected text\. Hint: unpack it \(gunzip\)"),
        (lzma.compress(lines(GOOD)), r"found an xz file, expected text\. Hint: unpack it \(unxz\)"),
        # https://www.rfc-editor.org/rfc/rfc8878, 3.1.1: the magic number of a frame
        (b"\x28\xb5\x2f\xfd\x04\x00\x19", r"found a Zstandard file, expected text\. Hint: unpack it \(zstd -d\)"),
        (b"PK\x03\x04\x14\x00", r"found a zip file, expected text\. Hint: unpack it \(unzip\)"),
        (b"PAR1\x15\x04", r"found a Parquet file, expected text\. Hint: set format: parquet"),
    ],
)
@pytest.mark.parametrize("format", ["jsonl", "csv", "conll"])
def test_a_file_that_is_packed_says_so(format: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.packed").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.packed: {message}"):
        read(tmp_path / "a.packed", format=format)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_recognised_and_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD, ensure_ascii=False) + "\n", encoding=encoding)
    with pytest.raises(DataError, match=r"UTF-16: set encoding: utf-16|broken JSON"):
        read(path)
    assert [example.fields["text"] for example in read(path, encoding=encoding)] == ["Zoë lacht."]


def test_a_file_that_breaks_a_wide_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xff\xfe{\x00"\x00x')
    with pytest.raises(DataError, match=r"a.jsonl:1: not utf-16"):
        read(tmp_path / "a.jsonl", encoding="utf-16")


def test_other_encodings_are_read_where_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes("Köln\tB-LOC\n".encode("cp1252"))
    assert read(path, encoding="cp1252")[0].fields["text"] == "Köln"
    with pytest.raises(ConfigError, match="unknown encoding 'utf-9'"):
        read(path, encoding="utf-9")


@pytest.mark.parametrize("encoding", ["undefined", "utf\0008", "rot13", ""])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.conll", "a.json"])
def test_encodings_that_encode_no_text(encoding: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"data": []}')
    task = "question-answering" if name == "a.json" else "ner"
    with pytest.raises(ConfigError, match=r"unknown encoding .*: give a name that Python knows"):
        read_examples(tmp_path / name, task, encoding=encoding)


def test_a_byte_that_a_codec_says_nothing_about(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "K\xc3\xb6ln"}\n')
    with pytest.raises(DataError, match=r"a.jsonl:1: byte 0x.. at offset \d+ of the file is not idna"):
        read(tmp_path / "a.jsonl", encoding="idna")


@pytest.mark.parametrize(
    ("name", "separators"), [("a.csv", ["", ";;", "\n", '"']), ("a.tsv", ["", "\t\t"]), ("a.conll", ["", "\n", "\t\r"])]
)
def test_separators_that_separate_nothing(name: str, separators: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text("text\tspans\nB\tO\n")
    for separator in separators:
        with pytest.raises(ConfigError, match=r"^separator '.*': expected (one character|what stands) between"):
            read(tmp_path / name, separator=separator)
    (tmp_path / "b.csv").write_text('text"spans\na"[]\n')
    assert len(read(tmp_path / "b.csv", separator='"', quotes=False)) == 1


@pytest.mark.parametrize(
    ("kind", "value"), [(pa.time64("ns"), 1500), (pa.timestamp("s"), 10**12), (pa.duration("s"), 10**15)]
)
def test_a_time_in_parquet_that_python_has_no_value_for(tmp_path: Path, kind: pa.DataType, value: int) -> None:
    path = tmp_path / "a.parquet"
    times = pa.array([0, 1_000_000, value], pa.int64()).cast(kind)
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": ["x", "y", "z"], "at": times}), path)
    with pytest.raises(DataError, match=r"a.parquet, row 2: column 'at' has a value that Python cannot hold"):
        read(path, "text-classification")


def test_labels_that_the_source_does_not_declare(tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.jsonl", tmp_path / "r.jsonl"
    path.write_bytes(lines({"text": "a", "label": 1}, {"text": "b", "label": "x"}, {"text": "c", "label": None}))
    names = {"label": ["no", "yes"]}
    assert len(read(path, "text-classification", names=names)) == 3  # no list that a table would go by
    with pytest.raises(DataError, match=r"a.jsonl:2: .*label is 'x', which .* not have: known: no, yes. Hint: .*names"):
        read(path, "text-classification", names=names, table=True)
    found = read(path, "text-classification", names=names, table=True, on_error="skip", rejects=rejects)
    assert [example.labels["label"] for example in found] == ["yes", None]
    path.write_bytes(lines(GOOD, {"id": "2", "text": "Zoë", "spans": [[0, 3, "PRE"]]}))
    with pytest.raises(DataError, match=r"a.jsonl:2: .*label 'PRE', which the schema does not have"):
        read(path, names={"spans.label": ["PER"]}, table=True)
    assert len(read(path, names={"spans.label": []}, table=True)) == 2  # no names are no inventory


def test_values_that_are_no_column_of_a_table(tmp_path: Path) -> None:
    path, rejects, report = tmp_path / "a.jsonl", tmp_path / "r.jsonl", ReadReport()
    rows = [{**GOOD, "id": str(index), "n": value} for index, value in enumerate([1, "x", 2.5, 2**63, None])]
    path.write_bytes(lines(*rows))
    assert len(read(path)) == 5  # JSONL may hold anything
    with pytest.raises(DataError, match=r"a.jsonl:2: column 'n' is 'x' \(text\): expected a whole number"):
        read(path, table=True)
    found = read(path, table=True, on_error="skip", rejects=rejects, report=report)
    assert [example.meta["n"] for example in found] == [1, 2.5, None]
    assert [json.loads(row)["line"] for row in rejects.read_text().splitlines()] == [2, 4] and report.rejected == 2
    path.write_bytes(lines({"text": "a", "label": 1}, {"text": "b", "label": "x"}))
    with pytest.raises(DataError, match=r"a.jsonl:2: column 'label' is 'x' \(text\): expected a whole number"):
        read(path, "text-classification", table=True)
    assert len(read(path, "text-classification", table=True, labelled=False)) == 2


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"a.parquet: not a Parquet file, or cut off"):
        read(path)
    write_examples([Example("1", {"text": "a"}, (), {"label": "x"})], path, "text-classification")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a Parquet file, or cut off"):
        read(path, "text-classification")


@pytest.mark.parametrize("metadata", ["nope{", "[1]", '{"info": {"features": [1]}}', '{"info": 5}', '"text"'])
def test_parquet_whose_types_cannot_be_read(metadata: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: the metadata 'huggingface' is .*expected features .*Hint: write"):
        read(tmp_path / "a.parquet", "text-classification")


@pytest.mark.parametrize(
    "metadata",
    [
        "null",
        '{"info": null}',
        '{"info": {}}',
        '{"info": {"features": {"label": {"_type": "ClassLabel", "names": null}}}}',
    ],
)
def test_parquet_that_says_nothing_of_its_types(metadata: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "text-classification")[0].labels == {"label": 1}


def test_a_bad_row_of_a_table_has_a_number(tmp_path: Path) -> None:
    from datasets import Dataset

    path, rejects = tmp_path / "a.parquet", tmp_path / "r.jsonl"
    Dataset.from_dict({"id": ["1", "2", "1"], "text": ["a", None, "c"], "label": ["x"] * 3}).to_parquet(path)
    with pytest.raises(DataError, match=r"a.parquet, row 1: column 'text' is None: expected text"):
        read(path, "text-classification")
    assert len(read(path, "text-classification", on_error="skip", rejects=rejects)) == 1
    entries = [json.loads(row) for row in rejects.read_text().splitlines()]
    assert [(entry["row"], entry["raw"]["id"]) for entry in entries] == [(1, "2"), (2, "1")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_error": "ignore"}, "expected 'raise' or 'skip'"),
        ({"on_error": "skip"}, "needs rejects"),
        ({"format": "josnl"}, "did you mean 'jsonl'"),
        ({"scheme": "BOI"}, "unknown tag scheme"),
        ({"split": "train"}, "split belongs to datasets"),
        ({"columns": {"text": 1}}, "only CoNLL columns have numbers"),
        ({"columns": {"txt": "text"}}, "did you mean 'text'"),
    ],
)
def test_settings_that_cannot_be_met(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "a.jsonl", **settings)


def test_every_error_is_one_that_the_command_line_prints(tmp_path: Path) -> None:
    with pytest.raises(SpanferryError):
        read(tmp_path / "a.jsonl", "nre")
    with pytest.raises(SpanferryError, match="has no tags"):
        (tmp_path / "a.conll").write_text("a O\n")
        read(tmp_path / "a.conll", "text-classification")
