"""A build's output: it loads, it balances, and it is made again only where something changed."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spanferry.data.errors import BuildError, DataError, LanguageError
from spanferry.flows import work
from spanferry.flows.build import build
from spanferry.flows.card_sections import license_lines, model_line
from spanferry.flows.config import BuildConfig, parse_config
from spanferry.flows.report import BuildResult
from spanferry.translation.fake import FakeTranslator

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def translated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the sentences that the model is asked for, by target language."""
    asked: Counter[str] = Counter()
    real = FakeTranslator.translate

    def translate(self: FakeTranslator, texts: Any, *, source: str, target: str) -> Any:
        asked[target] += len(texts)
        return real(self, texts, source=source, target=target)

    monkeypatch.setattr(FakeTranslator, "translate", translate)
    return asked


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the shards that are written."""
    paths: list[str] = []
    real = work.finish

    def finish(path: Path, key: str, counts: Any) -> Any:
        paths.append("/".join(path.parts[-3:]))
        return real(path, key, counts)

    monkeypatch.setattr(work, "finish", finish)
    return paths


def run(settings: Settings, **changes: Any) -> BuildResult:
    only = changes.pop("only", None)
    return build(parse_config({**settings, **changes}), only=only)


def rows_of(folder: Path, language: str, cache: Path, split: str = "train") -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), language, split=split, cache_dir=str(cache))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_is_lost_silently(build_settings: Settings, tmp_path: Path) -> None:
    result = run(build_settings)
    source = lines(Path(build_settings["source"]["path"]))[: build_settings["limit"]]
    spans = {row["id"]: [(span["start"], span["end"], span["label"]) for span in row["spans"]] for row in source}
    for language in ("de", "es"):
        rows = rows_of(result.folder, language, tmp_path / "cache")
        dropped = lines(result.folder / "dropped" / language / "train.jsonl")
        gone = [line for line in dropped if line["lost"] == "example"]
        total = result.report["languages"][language]["total"]
        assert sorted([*rows["id"], *(line["id"] for line in gone)]) == sorted(spans)
        assert (total["rows"], total["kept"], total["dropped"]) == (len(source), len(rows), len(gone))
        assert gone and len(rows) > len(gone)
        names = rows.features["projections"].feature["label"]
        assert names.dtype == "string"
        for row in rows:
            places = [(each["source_start"], each["source_end"], each["label"]) for each in row["projections"]]
            assert places == spans[row["id"]]
        for line in gone:
            places = [(each["source_start"], each["source_end"], each["label"]) for each in line["spans"]]
            assert places == spans[line["id"]]
            assert all(each["reason"] for each in line["spans"])
            assert line["reasons"] == ["unaligned"]
        carried = sum(len(row["spans"]) for row in rows)
        assert (total["spans"], total["carried"]) == (sum(map(len, spans.values())), carried)
        assert total["lost"] == sum(total["lost_by_reason"].values()) == sum(len(line["spans"]) for line in gone)


def test_spans_that_are_lost_from_kept_examples_are_in_dropped(build_settings: Settings, tmp_path: Path) -> None:
    build_settings["projection"]["on_lost"] = "keep"
    result = run(build_settings)
    rows = {row["id"]: row for row in rows_of(result.folder, "de", tmp_path / "cache")}
    lost = lines(result.folder / "dropped" / "de" / "train.jsonl")
    total = result.report["languages"]["de"]["total"]
    assert total["dropped"] == 0 and total["lost"] == len(lost) > 0
    for line in lost:
        [span] = line["spans"]
        row = rows[line["id"]]
        assert span["text"] == row["source_text"][span["source_start"] : span["source_end"]]
        kept = [each for each in row["projections"] if each["reason"] is None]
        assert (
            len(kept) == len(row["spans"]) == len(row["projections"]) - sum(each["id"] == line["id"] for each in lost)
        )


def test_the_dataset_loads_with_its_features(build_settings: Settings, tmp_path: Path) -> None:
    result = run(build_settings)
    rows = rows_of(result.folder, "es", tmp_path / "cache")
    label = rows.features["spans"].feature["label"]
    assert "PER" in label.names and type(rows.features["spans"]).__name__ == "List"
    for row in rows:
        kept = [each for each in row["projections"] if each["reason"] is None]
        found = sorted((span["start"], span["end"], label.int2str(span["label"])) for span in row["spans"])
        assert found == sorted((each["start"], each["end"], each["label"]) for each in kept)
        assert all(row["text"][start:end].strip() for start, end, _ in found)
        assert row["translation_score"] == -0.1 and row["domain"]
        assert all(each["method"] == "alignment" and 0 <= each["score"] <= 1 for each in row["projections"])


def test_the_card_says_what_the_hub_reads(build_settings: Settings, hub_server: ModuleType) -> None:
    build_settings["source"] |= {"license": "cc-by-4.0", "name": "Sample entities"}
    result = run(build_settings)
    _, head, body = (result.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["language"] == ["de", "es"] and metadata["license"] == "cc-by-4.0"
    assert metadata["annotations_creators"] == metadata["language_creators"] == ["machine-generated"]
    assert [config["config_name"] for config in metadata["configs"]] == ["de", "es"]
    assert metadata["multilinguality"] == ["translation"] and metadata["source_datasets"] == ["original"]
    assert metadata["task_categories"] == ["token-classification"] and metadata["size_categories"] == ["n<1K"]
    assert hub_server.card_errors(f"---\n{head}---\n") == []
    assert body.index("Machine-translated") < body.index("```")
    assert result.report["signature"] in body
    total = result.report["languages"]["de"]["total"]
    assert f"- de: {total['carried']:,} of {total['spans']:,} source spans are in it" in body
    titles = [line[3:] for line in body.splitlines() if line.startswith("## ")]
    assert titles[1:] == [
        "Columns beside the task's own", "How good it is", "Known limits", "How it was made", "License", "Citation"
    ]  # fmt: skip
    assert "- labels carried by: `alignment`, aligner `fake`" in body and "@software{spanferry," in body


def test_the_card_says_that_nllb_is_not_for_commerce(build_settings: Settings) -> None:
    """Its card on the hub says cc-by-nc-4.0 (facebook/nllb-200-distilled-600M)."""
    build_settings["translation"] |= {"license": "cc-by-nc-4.0", "revision": "f8d333a"}
    config = parse_config(build_settings)
    assert "**That license does not allow commercial use" in license_lines(config)
    assert model_line(config) == "`fake`, revision `f8d333a`, license `cc-by-nc-4.0`"


def test_a_dataset_that_was_built_again_is_loaded_anew(build_settings: Settings, tmp_path: Path) -> None:
    """``datasets`` would else give back what it once loaded under the folder's name."""
    for limit in (20, 40):
        done = run({**build_settings, "limit": limit})
        rows = rows_of(done.folder, "de", tmp_path / "cache")
        assert rows.num_rows == done.report["languages"]["de"]["total"]["kept"] > limit / 2


def test_a_split_without_a_row_keeps_no_other_from_being_loaded(build_settings: Settings, tmp_path: Path) -> None:
    from datasets import load_dataset

    (tmp_path / "lost.jsonl").write_text(
        '{"text": "the end", "spans": [{"start": 4, "end": 7, "label": "X"}]}\n', encoding="utf-8"
    )
    build_settings["source"]["path"] = {"train": build_settings["source"]["path"], "test": str(tmp_path / "lost.jsonl")}
    build_settings["translation"]["settings"]["dictionary"]["end"] = "fin"
    done = run(build_settings)
    assert done.report["languages"]["de"]["splits"]["test"]["kept"] == 0
    assert list(load_dataset(str(done.folder), "de", cache_dir=str(tmp_path / "cache"))) == ["train"]


def test_a_rebuild_does_no_work(
    build_settings: Settings, translated: Counter[str], computed: list[str], published: Published
) -> None:
    first = run(build_settings)
    before, stamps = published(first.folder), {p: p.stat().st_mtime_ns for p in first.folder.rglob("*.parquet")}
    assert translated["deu_Latn"] > 0 and len(computed) == 6
    translated.clear()
    computed.clear()
    again = run(build_settings)
    assert not translated and not computed
    assert published(again.folder) == before
    assert {p: p.stat().st_mtime_ns for p in again.folder.rglob("*.parquet")} == stamps
    assert all(timing.rows == 0 and timing.reused == 120 for timing in again.timings.values())


def test_transient_settings_change_nothing(build_settings: Settings, computed: list[str], published: Published) -> None:
    before = published(run(build_settings).folder)
    computed.clear()
    build_settings["run"] |= {"threads": 2, "batch_tokens": 512, "memory": False}
    assert published(run(build_settings).folder) == before and not computed


def test_the_size_of_shards_changes_no_byte(build_settings: Settings, published: Published) -> None:
    before = published(run(build_settings).folder)
    build_settings["run"]["shard_rows"] = 7
    after = published(run(build_settings).folder)
    differing = {name for name in before | after if before.get(name) != after.get(name)}
    # The signature names the data by its shards.
    assert differing <= {"README.md", "report.json"}


def test_a_changed_setting_is_computed_again_from_the_memory(
    build_settings: Settings, translated: Counter[str], computed: list[str]
) -> None:
    run(build_settings)
    translated.clear()
    computed.clear()
    run(build_settings, filters={"length_ratio": {"on_fail": "flag"}})
    assert len(computed) == 6 and not translated


def test_an_added_row_costs_its_shard(
    build_settings: Settings, translated: Counter[str], computed: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    original = Path(build_settings["source"]["path"]).read_text(encoding="utf-8").splitlines()[:120]
    path.write_text("\n".join(original) + "\n", encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    build_settings["limit"] = None
    run(build_settings)
    translated.clear()
    computed.clear()
    new = {"id": "new", "text": "Ada stays.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    path.write_text("\n".join([*original, json.dumps(new)]) + "\n", encoding="utf-8")
    result = run(build_settings)
    assert computed == ["de/train/00002.jsonl", "es/train/00002.jsonl"]
    assert translated == {"deu_Latn": 1, "spa_Latn": 1}
    assert result.report["languages"]["de"]["total"]["rows"] == 121


@pytest.mark.parametrize("damage", ["shard", "sidecar", "dataset", "dropped", "source"])
def test_what_is_damaged_is_made_again(build_settings: Settings, damage: str, published: Published) -> None:
    folder = run(build_settings).folder
    before = published(folder)
    path = {
        "shard": folder / ".spanferry/shards/de/train/00001.jsonl",
        "sidecar": folder / ".spanferry/shards/de/train/00001.json",
        "dataset": folder / "data/de/train-00000-of-00001.parquet",
        "dropped": folder / "dropped/de/train.jsonl",
        "source": folder / ".spanferry/source/train/00000.jsonl",
    }[damage]
    path.write_bytes(path.read_bytes()[:-10])
    run(build_settings)
    assert published(folder) == before


def test_a_changed_build_leaves_no_file_of_the_old_one(build_settings: Settings) -> None:
    folder = run(build_settings).folder
    build_settings["targets"] = ["es"]
    build_settings["translation"]["settings"] = {"dictionary": {"the": "el"}}
    result = run(build_settings)
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["es"]
    assert list(result.report["languages"]) == ["es"]
    assert not (folder / "dropped" / "de").exists()


def test_languages_may_be_built_one_after_the_other(build_settings: Settings, published: Published) -> None:
    first = run(build_settings, only=["German"])
    assert list(first.report["languages"]) == ["de"] and first.report["missing"] == ["es"]
    assert "config_name: es" not in (first.folder / "README.md").read_text(encoding="utf-8")
    second = run(build_settings, only=["es"])
    assert list(second.report["languages"]) == ["de", "es"] and second.report["missing"] == []
    apart = published(second.folder)
    together = run({**build_settings, "output": build_settings["output"] + "2"})
    assert {k: v for k, v in published(together.folder).items() if k != "config.yaml"} == {
        k: v for k, v in apart.items() if k != "config.yaml"
    }


def test_splits_have_the_same_features(build_settings: Settings, tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text('{"text": "Ada stays.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}\n', encoding="utf-8")
    test.write_text('{"text": "Rome stays.", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}\n', encoding="utf-8")
    build_settings["source"]["path"] = {"train": str(train), "test": str(test)}
    result = run(build_settings)
    for split in ("train", "test"):
        rows = rows_of(result.folder, "de", tmp_path / "cache", split)
        assert rows.features["spans"].feature["label"].names == ["PER", "LOC"] and len(rows) == 1


def test_slots_keep_their_intent(build_settings: Settings, root: Path, tmp_path: Path) -> None:
    build_settings |= {"task": "slots", "limit": 40}
    build_settings["source"]["path"] = str(root / "data" / "samples" / "slots.en.jsonl")
    result = run(build_settings)
    source = {row["id"]: row for row in lines(Path(build_settings["source"]["path"]))}
    rows = rows_of(result.folder, "de", tmp_path / "cache")
    assert len(rows) > 30
    for row in rows:
        assert rows.features["intent"].int2str(row["intent"]) == source[row["id"]]["intent"]


def test_pairs_are_translated_field_by_field_and_repeated_texts_once(
    build_settings: Settings, tmp_path: Path, translated: Counter[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    labels = ["entailment", "neutral", "contradiction"]
    pairs = [{"premise": "the cat sleeps", "hypothesis": f"the cat {n}", "label": labels[n % 3]} for n in range(6)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    build_settings |= {"task": "pair-classification", "targets": ["fr"]}
    build_settings["source"]["path"] = str(path)
    result = run(build_settings)
    rows = rows_of(result.folder, "fr", tmp_path / "cache")
    assert translated["fra_Latn"] == 7
    assert rows["premise"][:] == ["le cat sleeps"] * 6 and rows["source_premise"][:] == ["the cat sleeps"] * 6
    assert rows["translation_score_hypothesis"][0] == -0.1
    assert [rows.features["label"].int2str(number) for number in rows["label"]] == [pair["label"] for pair in pairs]
    assert "projections" not in rows.features


def test_token_data_brings_tokens_in_the_target_language(build_settings: Settings, root: Path, tmp_path: Path) -> None:
    build_settings["source"]["path"] = str(root / "data" / "samples" / "entities.en.conll")
    build_settings["limit"] = 10
    result = run(build_settings)
    rows = rows_of(result.folder, "de", tmp_path / "cache")
    for row in rows:
        places = zip(row["tokens"], row["token_starts"], strict=True)
        assert all(row["text"].startswith(token, start) for token, start in places)
        assert len(row["tags"]) == len(row["tokens"])


def test_bad_rows_go_to_rejects(build_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        '{"id": "1", "text": "Ada stays.", "spans": [{"start": 0, "end": 3, "label": "PER"}]}\n'
        '{"id": "2", "text": "Ada", "spans": [{"start": 0, "end": 9, "label": "PER"}]}\n',
        encoding="utf-8",
    )
    build_settings["source"]["path"] = str(path)
    with pytest.raises(DataError, match=r"train\.jsonl:2: .*ends past the text"):
        run(build_settings)
    result = run(build_settings, on_error="skip")
    [reject] = lines(result.folder / "rejects" / "train.jsonl")
    assert reject["line"] == 2 and "ends past the text" in reject["problem"]
    assert result.report["source"]["splits"]["train"] == {"rows": 1, "rejected": 1}
    assert run(build_settings, on_error="skip").report == result.report


def test_a_language_that_the_model_does_not_speak_is_refused_before_any_work(
    build_settings: Settings, translated: Counter[str]
) -> None:
    build_settings["translation"]["settings"] = {"languages": ["eng_Latn", "deu_Latn"]}
    with pytest.raises(LanguageError, match="Spanish"):
        run(build_settings)
    assert not translated


def test_a_source_that_changes_while_it_is_read_is_refused(
    build_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "Ada stays.", "spans": []}\n', encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    from spanferry.flows import source

    real = source.pack

    def pack_and_change(example: Any) -> Any:
        path.write_text('{"text": "Bob stays.", "spans": []}\n', encoding="utf-8")
        return real(example)

    monkeypatch.setattr(source, "pack", pack_and_change)
    with pytest.raises(BuildError, match="changed while it was read"):
        run(build_settings)


def test_columns_of_the_source_come_along(build_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        '{"text": "Ada stays.", "spans": [], "year": 1843, "flags": ["odd"], "note": null}\n'
        '{"text": "Bob stays.", "spans": [], "year": 1.5, "flags": [], "note": "late"}\n',
        encoding="utf-8",
    )
    build_settings["source"]["path"] = str(path)
    rows = rows_of(run(build_settings).folder, "de", tmp_path / "cache")
    assert rows["year"][:] == [1843.0, 1.5] and rows["note"][:] == [None, "late"]
    assert rows["original_flags"][:] == [["odd"], []] and rows["flags"][:] == [[], []]


def test_a_build_can_be_the_source_of_another(build_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [
        {"id": str(index), "text": "Ada met Bob.", "spans": [[0, 3, "PER"], [8, 11, "PER"]], "m": {}, "notes": notes}
        for index, notes in enumerate([[{"a": 1, "b": None}, {"a": 2, "b": None}], [], None])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    steps = [("en", "de", {"path": str(path)})]
    steps += [("de", "es", {"path": str(tmp_path / "de"), "config": "de"})]
    steps += [("es", "fr", {"path": str(tmp_path / "es"), "config": "es"})]
    for source, target, place in steps:
        run(build_settings, source={**place, "language": source}, targets=[target], output=str(tmp_path / target))
        found = rows_of(tmp_path / target, target, tmp_path / "cache")
        assert found["id"][:] == ["0", "1", "2"] and found["notes"][:] == [row["notes"] for row in rows]
        for row in found:
            assert [row["text"][each["start"] : each["end"]] for each in row["spans"]] == ["Ada", "Bob"]
    assert [each["confidence"] for each in found["original_original_projections"][0]] == [None, None]


def test_times_of_a_parquet_file_come_through(build_settings: Settings, tmp_path: Path) -> None:
    moments = ["2023-01-01T10:00:00.000001+01:00", "2023-10-29T02:30:00+02:00", "2023-10-29T02:30:00+01:00", None]
    aware = [each and dt.datetime.fromisoformat(each) for each in moments]
    naive = [each and each.replace(tzinfo=None) for each in aware]
    spans = [dt.timedelta(days=-1, microseconds=3), dt.timedelta(0), None, dt.timedelta(days=99)]
    columns = {
        "at": pa.array(naive, pa.timestamp("ns")),
        "there": pa.array(aware, pa.timestamp("ns", "Europe/Berlin")),
        "utc": pa.array(aware, pa.timestamp("ns", "UTC")),
        "took": pa.array(spans, pa.duration("ns")),
        "all": pa.array([[each] for each in naive], pa.list_(pa.timestamp("ns"))),
    }
    source, empty = tmp_path / "train.parquet", pa.array([[]] * 4, pa.list_(pa.struct([("start", pa.int32())])))
    pq.write_table(pa.table({"id": list("abcd"), "text": ["Ada stays."] * 4, "spans": empty, **columns}), source)
    build_settings["source"] = {"path": str(source), "language": "en"}
    [written] = (run(build_settings).folder / "data" / "de").glob("*.parquet")
    found = pq.read_table(written)
    for name, column in columns.items():
        assert found[name].cast(column.type).to_pylist() == column.to_pylist()
    assert found["there"].type == pa.timestamp("us", "Europe/Berlin")


def test_rows_that_fit_no_column_are_found_while_they_are_read(
    build_settings: Settings, tmp_path: Path, translated: Counter[str]
) -> None:
    path = tmp_path / "train.jsonl"
    rows = [{"id": str(index), "text": "Ada stays.", "spans": [], "n": n} for index, n in enumerate([1, 2, "x", 3.5])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    build_settings["run"]["shard_rows"] = 1
    with pytest.raises(DataError, match=r"train.jsonl:3: column 'n' is 'x' \(text\): expected a whole number"):
        run(build_settings)
    assert not translated
    result = run(build_settings, on_error="skip")
    assert rows_of(result.folder, "de", tmp_path / "cache")["n"][:] == [1.0, 2.0, 3.5]
    assert [line["line"] for line in lines(next((result.folder / "rejects").glob("*.jsonl")))] == [3]


@pytest.mark.parametrize(("column", "kind"), [("at", pa.timestamp("ns")), ("took", pa.duration("ns"))])
def test_times_finer_than_microseconds_are_refused(
    build_settings: Settings, tmp_path: Path, column: str, kind: pa.DataType
) -> None:
    table = {"id": ["7"], "text": ["Ada stays."], "spans": pa.array([[]], pa.list_(pa.struct([("start", pa.int32())])))}
    pq.write_table(pa.table({**table, column: pa.array([1_000_001], kind)}), tmp_path / "train.parquet")
    build_settings["source"]["path"] = str(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=rf"'7', column '{column}': found .*000001.*, expected whole microseconds"):
        run(build_settings)


@pytest.mark.parametrize("order", [1, -1])
def test_no_column_of_the_source_takes_the_place_of_another(
    build_settings: Settings, tmp_path: Path, order: int
) -> None:
    path = tmp_path / "train.jsonl"
    rows = [
        {"id": "1", "text": "Ada stays.", "spans": [], "flags": "mine"},
        {"id": "2", "text": "Bob stays.", "spans": [], "flags": "mine", "original_flags": 2},
        {"id": "3", "text": "Eve stays.", "spans": [], "original_flags": 3},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[::order]), encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    found = {row["id"]: row for row in rows_of(run(build_settings).folder, "de", tmp_path / "cache")}
    names = ("flags", "original_flags", "original_original_flags")
    assert [[found[row["id"]][name] for name in names] for row in rows] == [
        [[], "mine", None], [[], "mine", 2], [[], None, 3],
    ]  # fmt: skip


def test_the_settings_in_the_folder_build_it_again(build_settings: Settings, published: Published) -> None:
    result = run(build_settings)
    before = published(result.folder)
    values = yaml.safe_load((result.folder / "config.yaml").read_text(encoding="utf-8"))
    values["output"] = str(result.folder.with_name("again"))
    after = published(build(BuildConfig.model_validate(values)).folder)
    assert {k for k in before if before[k] != after[k]} <= {"config.yaml", "README.md", "report.json"}


@pytest.mark.slow
def test_the_bundled_model_builds_a_dataset(
    build_settings: Settings, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanferry.translation.ct2 import CTranslate2Translator

    monkeypatch.setenv("SPANFERRY_CACHE", str(tmp_path / "models"))
    del build_settings["translation"]
    build_settings |= {"task": "slots", "limit": 24, "projection": {"on_lost": "keep"}}
    build_settings["source"]["path"] = str(root / "data" / "samples" / "slots.en.jsonl")
    result = run(build_settings)
    for language in ("de", "es"):
        total = result.report["languages"][language]["total"]
        rows = rows_of(result.folder, language, tmp_path / "cache")
        assert total["rows"] == len(rows) + total["dropped"] == 24
        assert total["carried"] == sum(len(row["spans"]) for row in rows) > 0
        assert any(row["text"] != row["source_text"] for row in rows)
        assert all(row["translation_score"] < 0 for row in rows)

    def refuse(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("a rebuild asked the model")

    monkeypatch.setattr(CTranslate2Translator, "translate", refuse)
    assert run(build_settings).report == result.report


def test_a_context_of_many_questions_is_translated_once(
    build_settings: Settings, tmp_path: Path, translated: Counter[str]
) -> None:
    context = "the cat sleeps in Porto. Clara stays."
    answers = [("Porto", 18), ("Porto. Clara", 18), ("the cat", 0), ("", 0)]
    questions = [
        {
            "id": str(number),
            "question": f"who {number}?",
            "answers": [{"text": text, "answer_start": at}] if text else [],
        }
        for number, (text, at) in enumerate(answers)
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": context, "qas": questions}]}]}))
    build_settings |= {"task": "question-answering", "targets": ["fr"]}
    words = {"the": "le", "porto": "oporto", "clara": "klara"}
    build_settings["projection"]["aligner_settings"]["dictionary"] = words
    build_settings["source"]["path"] = str(path)
    result = run(build_settings)
    rows = list(rows_of(result.folder, "fr", tmp_path / "cache"))
    # The second answer reaches over the end of a sentence, so that the context stays whole for this question.
    assert translated["fra_Latn"] == len(questions) + 2 + 1
    assert {row["context"] for row in rows} == {"le cat sleeps in Oporto. Klara stays."}
    assert [row["answers"]["text"] for row in rows] == [["Oporto"], ["Oporto. Klara"], ["le cat"], []]
    for row in rows:
        places = zip(row["answers"]["answer_start"], row["answers"]["text"], strict=True)
        assert all(row["context"].startswith(text, start) for start, text in places)
    assert [row["id"] for row in rows] == ["0", "1", "2", "3"] and rows[0]["title"] == "T"
    assert rows[0]["source_context"] == context and rows[0]["source_question"] == "who 0?"


def test_what_a_row_becomes_does_not_depend_on_the_rows_beside_it(
    build_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Clara sees the cat. The old man sees Porto."
    rows = [{"id": str(number), "text": text, "spans": spans} for number, spans in enumerate([[[10, 27, "X"]], []])]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    real = FakeTranslator.translate

    def translate(self: FakeTranslator, texts: Any, *, source: str, target: str) -> Any:
        found = real(self, texts, source=source, target=target)
        return [replace(each, text=f"<{each.text}>") for each in found]

    monkeypatch.setattr(FakeTranslator, "translate", translate)
    build_settings["projection"]["on_lost"] = "keep"
    for shard_rows in (2, 1):
        name = f"in {shard_rows}"
        changed = {"run": {"memory": False, "shard_rows": shard_rows}, "output": str(tmp_path / name)}
        folder = run(build_settings, targets=["de"], **changed).folder
        joined, apart = rows_of(folder, "de", tmp_path / f"cache {name}")["text"]
        assert (joined.count("<"), apart.count("<")) == (1, 2)


def test_other_names_beside_the_data_are_other_data(build_settings: Settings, tmp_path: Path) -> None:
    path, names = tmp_path / "train.jsonl", tmp_path / ".train.jsonl.features"
    path.write_text('{"text": "the cat", "label": 0}\n{"text": "a dog", "label": 1}\n', encoding="utf-8")
    build_settings |= {"task": "text-classification", "targets": ["de"]}
    build_settings["source"]["path"] = str(path)
    for labels in (["no", "yes"], ["yes", "no"]):
        names.write_text(json.dumps({"label": {"names": labels, "_type": "ClassLabel"}}), encoding="utf-8")
        rows = rows_of(run(build_settings).folder, "de", tmp_path / f"cache {labels[0]}")
        assert [rows.features["label"].int2str(number) for number in rows["label"]] == labels


def test_other_words_are_another_shard(
    build_settings: Settings, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanferry.flows import jobs

    run(build_settings, targets=["de"])
    first = list(computed)
    assert first
    run(build_settings, targets=["de"])
    assert computed == first
    monkeypatch.setattr(jobs, "tokenizer_name", lambda language: f"another:{language}")
    run(build_settings, targets=["de"])
    assert computed == first * 2
