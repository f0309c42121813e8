"""Folders and names of the Hugging Face library, and that it opens what is written here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.formats import ReadReport, read_examples, source_format, write_examples
from spanferry.data.schema import Schema

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
FEATURES = Features({"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
ROWS: dict[str, list[Any]] = {
    "id": ["0", "1"],
    "tokens": [["Zoë", "lacht", "."], ["Köln"]],
    "ner_tags": [[1, 0, 0], [3]],
}
EXPECTED = [
    Example("0", {"text": "Zoë lacht."}, (Span(0, 3, "PER"),), {}, {"text": ((0, 3), (4, 9), (9, 10))}),
    Example("1", {"text": "Köln"}, (Span(0, 4, "LOC"),), {}, {"text": ((0, 4),)}),
]
SCHEMA = Schema(("PER", "LOC"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_a_saved_dataset(tmp_path: Path) -> None:
    Dataset.from_dict(ROWS, features=FEATURES).save_to_disk(tmp_path / "saved")
    report = ReadReport()
    assert list(read_examples(tmp_path / "saved", "ner", report=report)) == EXPECTED
    assert report.schema == SCHEMA
    with pytest.raises(ConfigError, match="holds one dataset without splits: leave split 'train' out"):
        read_examples(tmp_path / "saved", "ner", split="train")
    with pytest.raises(ConfigError, match="knows no config"):
        read_examples(tmp_path / "saved", "ner", config="de")


def test_saved_splits(tmp_path: Path) -> None:
    train = Dataset.from_dict(ROWS, features=FEATURES)
    DatasetDict({"train": train, "test": train.select([1])}).save_to_disk(tmp_path / "saved")
    assert list(read_examples(tmp_path / "saved", "ner", split="test")) == EXPECTED[1:]
    with pytest.raises(ConfigError, match="has the splits train, test: set split to one of them"):
        read_examples(tmp_path / "saved", "ner")
    with pytest.raises(ConfigError, match="has no split 'tran': did you mean 'train'"):
        read_examples(tmp_path / "saved", "ner", split="tran")


def test_a_folder_with_configs_in_its_readme(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    for language in ("de", "es"):
        for split in ("train", "test"):
            write_examples(EXPECTED, folder / language / f"{split}.parquet", "ner", schema=SCHEMA)
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {language}\n  data_files:\n"
            f"  - {{split: train, path: {language}/train.parquet}}\n"
            f"  - {{split: test, path: {language}/test.parquet}}\n"
            for language in ("de", "es")
        )
        + "---\n"
    )
    report = ReadReport()
    found = list(read_examples(folder, "ner", config="de", split="test", report=report))
    assert found == EXPECTED
    assert (report.format, report.schema) == ("datasets", SCHEMA)
    with pytest.raises(ConfigError, match=r"Config name is missing.*'de', 'es'.*Set config"):
        read_examples(folder, "ner")
    with pytest.raises(ConfigError, match="'fr' not found"):
        read_examples(folder, "ner", config="fr")


def test_a_folder_of_jsonl(tmp_path: Path) -> None:
    # The file of types that stands beside must not be taken for data.
    write_examples(EXPECTED, tmp_path / "data" / "train.jsonl", "ner", schema=SCHEMA)
    assert list(read_examples(tmp_path / "data", "ner")) == EXPECTED


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be loaded as a dataset"):
        read_examples(tmp_path / "empty", "ner")


def test_a_name_on_the_hub_is_told_from_a_path(tmp_path: Path) -> None:
    assert source_format("eriktks/conll2003") == "hub"
    assert source_format("glue") == "hub"
    with pytest.raises(DataError, match="no such file"):
        source_format(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"eriktks/conll2003: cannot be loaded as a dataset: "):
        read_examples("eriktks/conll2003", "ner")


def test_load_dataset_opens_what_is_written(tmp_path: Path) -> None:
    meta = [Example(e.id, e.fields, e.spans, {}, e.tokens, {"page": n}) for n, e in enumerate(EXPECTED)]
    path = tmp_path / "train.parquet"
    write_examples(meta, path, "ner", schema=SCHEMA)
    dataset = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset.features == Features(
        {
            "id": Value("string"),
            "text": Value("string"),
            "spans": List({"start": Value("int32"), "end": Value("int32"), "label": ClassLabel(names=["PER", "LOC"])}),
            "tokens": List(Value("string")),
            "token_starts": List(Value("int32")),
            "tags": List(ClassLabel(names=TAGS)),
            "page": Value("int64"),
        }
    )
    assert dataset[0] == {
        "id": "0",
        "text": "Zoë lacht.",
        "spans": [{"start": 0, "end": 3, "label": 0}],
        "tokens": ["Zoë", "lacht", "."],
        "token_starts": [0, 4, 9],
        "tags": [1, 0, 0],
        "page": 0,
    }


def test_load_dataset_gives_jsonl_its_types_back(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_examples(EXPECTED, path, "ner", schema=SCHEMA)
    features = Features.from_dict(json.loads((tmp_path / ".train.jsonl.features").read_text()))
    dataset = load_dataset(
        "json", data_files=str(path), features=features, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert dataset.features["tags"] == List(ClassLabel(names=TAGS))
    assert dataset[1]["tags"] == [3]
    assert dataset[1]["spans"] == [{"start": 0, "end": 4, "label": 1}]


def test_a_folder_can_be_written_as_a_saved_dataset(tmp_path: Path) -> None:
    for _ in range(2):  # the second takes the place of the first
        assert write_examples(EXPECTED, tmp_path / "out", "ner", format="datasets", schema=SCHEMA) == 2
    assert list(read_examples(tmp_path / "out", "ner")) == EXPECTED
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "cache"] == ["out"]
