"""Configurations: what is read is what was written, and every mistake is named with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import ConfigError
from spanferry.flows.config import BuildConfig, load_config, parse_config
from spanferry.flows.config_file import RawConfig, override, read_config
from spanferry.flows.template import template

GOOD = """\
task: ner
source:
  path: train.jsonl
  language: en
targets: [de, es]
translation:
  model: bundled
  beam_size: 2
projection:
  aligner: fake
output: out/demo
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "demo.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_file_is_read(write: Any) -> None:
    config = load_config(write(GOOD))
    assert (config.task, config.source.path, config.targets) == ("ner", "train.jsonl", ["de", "es"])
    assert config.translation.beam_size == 2
    assert config.run.shard_rows == BuildConfig.model_fields["run"].get_default(call_default_factory=True).shard_rows


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        (
            "  beam_size: 2",
            "  beem_size: 2",
            r"demo\.yaml:8: translation\.beem_size: unknown key; did you mean 'beam_size'",
        ),
        (
            "  beam_size: 2",
            "  beam_size: two",
            r"demo\.yaml:8: translation\.beam_size: found 'two', expected a valid int",
        ),
        (
            "  beam_size: 2",
            "  beam_size: 0",
            r"demo\.yaml:8: translation\.beam_size: found 0, .*greater than or equal to 1",
        ),
        ("task: ner", "task: nre", r"demo\.yaml:1: task: unknown task 'nre'; did you mean 'ner'"),
        ("task: ner", "tsak: ner", r"demo\.yaml:1: tsak: unknown key; did you mean 'task'"),
        ("task: ner", "", r"demo\.yaml: task: missing \(shape of the data"),
        ("  language: en", "  language: Klingn", r"demo\.yaml:4: source\.language: unknown language 'Klingn'"),
        ("  language: en", "  encoding: utf-8", r"demo\.yaml:2: source\.language: missing \(language of the data"),
        ("targets: [de, es]", "targets: [de, xx]", r"demo\.yaml:5: targets: unknown language 'xx'"),
        ("targets: [de, es]", "targets: []", r"demo\.yaml:5: targets: found a list, .*at least 1 item"),
        ("targets: [de, es]", "targets: [de, German]", r"target 'German' \(German\) is already a target \('de'\)"),
        ("targets: [de, es]", "targets: [de, en]", r"target 'en' \(English\) is already the source language"),
        ("targets: [de, es]", "targets: de", r"demo\.yaml:5: targets: found 'de', expected a valid list"),
        ("targets: [de, es]", "targets:\n- de\n- 3", r"demo\.yaml:7: targets\.1: found 3, expected a valid string"),
        (
            "  aligner: fake",
            "  aligner: fuke",
            r"demo\.yaml:10: projection\.aligner: unknown aligner 'fuke'; did you mean",
        ),
        (
            "output: out/demo",
            "filters: {length_rato: {}}\noutput: o",
            r"demo\.yaml:11: filters: unknown filter 'length_rato'",
        ),
        (
            "output: out/demo",
            "filters: {protected: {kinds: [nubmer]}}\noutput: o",
            r"demo\.yaml:11: filters: filter 'protected': kinds has 'nubmer': did you mean 'number'",
        ),
        (
            "output: out/demo",
            "filters: {script: {lowest: null}}\noutput: o",
            r"demo\.yaml:11: filters: filter 'script': lowest is None, expected a number",
        ),
        (
            "output: out/demo",
            "direction: test\noutput: o",
            r"demo\.yaml:11: direction: unknown direction 'test'; known: back-translate, translate",
        ),
        ("output: out/demo", "task: slots\noutput: o", r"demo\.yaml:11: key 'task' stands twice, first in line 1"),
        ("  beam_size: 2", "  beam_size: [", r"demo\.yaml:\d+: not valid YAML"),
        ("  path: train.jsonl", "  path: {my train: a}", r"demo\.yaml:3: source\.path: split 'my train'"),
        ("source:", "source: x\nrun:", r"demo\.yaml:2: source: found 'x', expected a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_place(write: Any, line: str, replacement: str, message: str) -> None:
    assert line in GOOD
    with pytest.raises(ConfigError, match=message):
        load_config(write(GOOD.replace(line, replacement)))


def test_all_mistakes_are_named_at_once(write: Any) -> None:
    text = GOOD.replace("task: ner", "task: nre").replace("beam_size", "beem_size")
    with pytest.raises(ConfigError) as caught:
        load_config(write(text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and "demo.yaml:1" in lines[0] and "demo.yaml:8" in lines[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("just text", "expected a mapping"),
        ("", "task: missing"),
        ("task: n\0er", r"demo\.yaml: not valid YAML: the character 0x0 at position 7"),
        ("task: &a [*a]", r"demo\.yaml: a value stands within itself"),
        ("task: " + "[" * 5000, r"demo\.yaml: a value stands within itself .*or a thousand deep"),
    ],
)
def test_a_file_of_another_kind_is_refused(write: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(text))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: no such file; `spanferry init ner`"):
        load_config(tmp_path / "nope.yaml")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"nope\.yaml: no such file"):
        load_config(tmp_path / "file" / "nope.yaml")
    with pytest.raises(ConfigError, match="found a folder"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"task: n\xe9r")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 7"):
        load_config(tmp_path / "latin.yaml")


def test_norwegian_is_a_language_and_not_a_boolean(write: Any) -> None:
    assert load_config(write(GOOD.replace("[de, es]", "[no, de]"))).targets == ["no", "de"]


def test_scalars_are_those_of_yaml_1_2(write: Any) -> None:
    path = write("a: yes\nb: 1e-3\nc: 0o17\nd: 2024-05-01\ne: true\nf: ~\ng: 1:30\nh: 12\n")
    values = read_config(path).values
    assert values == {"a": "yes", "b": 1e-3, "c": "0o17", "d": "2024-05-01", "e": True, "f": None, "g": "1:30", "h": 12}


def test_overrides_stand_over_the_file(write: Any) -> None:
    config = load_config(write(GOOD), ["translation.beam_size=5", "limit=3", "run.memory=false", "targets=[fr]"])
    assert (config.translation.beam_size, config.limit, config.run.memory, config.targets) == (5, 3, False, ["fr"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("beam_size", "--set beam_size: expected a key path and a value"),
        (".x=1", "expected a key path and a value"),
        ("task.name=1", "--set task.name=1: task is 'ner', which has no keys below it"),
        ("translation.beem_size=1", "--set translation.beem_size: unknown key; did you mean 'beam_size'"),
        ("filters.length_ratio.hihgest=2", "--set filters: filter 'length_ratio' has no setting 'hihgest'"),
        ("limit=[", "--set limit=.: not a YAML value"),
        ("limit=\0", "--set limit=.: not a YAML value: the character 0x0"),
        ("projection.settings=&a {k: *a}", "a value stands within itself"),
    ],
)
def test_a_wrong_override_is_named_as_such(write: Any, item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(GOOD), [item])


def test_an_override_leaves_the_original_alone() -> None:
    raw = RawConfig({"run": {"threads": 1}})
    override(raw, ["run.threads=2"])
    assert raw.values == {"run": {"threads": 1}}


@pytest.mark.parametrize(
    "task", ["ner", "slots", "text-classification", "pair-classification", "multiple-choice", "question-answering"]
)
def test_the_template_is_a_valid_configuration_that_names_every_setting(write: Any, task: str) -> None:
    text = template(task)
    config = load_config(write(text))
    assert config.task == task
    for name in [*BuildConfig.model_fields, *type(config.translation).model_fields, *type(config.run).model_fields]:
        assert f"{name}:" in text


@pytest.mark.parametrize("direction", ["translate-train", "back-translate"])
def test_commented_settings_of_the_template_are_the_defaults(write: Any, direction: str) -> None:
    text = template("ner", direction)
    opened, number = re.subn(r"^(\s*)# (\s*\w+:( |$))", r"\1\2", text, flags=re.MULTILINE)
    assert number > 20
    assert load_config(write(opened)) == load_config(write(text))


def test_the_schema_knows_every_key() -> None:
    schema = json.loads(json.dumps(BuildConfig.model_json_schema()))
    assert set(schema["properties"]) == set(BuildConfig.model_fields)
    assert schema["additionalProperties"] is False


def test_plain_values_serve_as_well() -> None:
    values = {"task": "ner", "source": {"path": "a", "language": "en"}, "targets": ["de"], "output": "o"}
    assert parse_config(values).task == "ner"
    with pytest.raises(ConfigError, match=r"^source\.pth: unknown key; did you mean 'path'"):
        parse_config({**values, "source": {"path": "a", "pth": "b", "language": "en"}})


def test_an_output_that_nobody_could_load_is_refused(write: Any) -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml:11: output: '/.*/out \[x\]' has brackets in it.*; name another"):
        load_config(write(GOOD.replace("out/demo", "out [x]")))
    with pytest.raises(ConfigError, match="has brackets in it"):
        load_config(write(GOOD), ["output=s3://bucket/[x]/demo"])
    assert load_config(write(GOOD), ["output=out[1"]).output == "out[1"


@pytest.mark.parametrize(
    ("items", "where"),
    [
        (["output=data/out"], "--set output: data/out lies in data"),
        (["output=data"], "--set output: data lies in data"),
        (["output=file://data/out"], "--set output: data/out lies in data"),
        (["run.memory=data/../data/m.sqlite"], "--set run.memory: data/../data/m.sqlite lies in data"),
        (["output=s3://bucket/x", "run.work_folder=data/w"], "--set run.work_folder: data/w lies in data"),
        (["source.path={train: other, test: data}", "output=data/out"], "--set output: data/out lies in data"),
    ],
)
def test_nothing_is_written_into_a_folder_that_is_read(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: list[str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match=rf"{re.escape(where)}, which the build reads.*name a place outside"):
        load_config(write(GOOD), ["source.path=data", *items])
    load_config(write(GOOD), ["source.path=data", "output=data-out", "run.memory=memory.sqlite"])


def test_nor_into_that_of_one_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests-es").mkdir()
    values = {
        "task": "ner", "direction": "translate-test", "pivot": "en", "output": "tests-es/out",
        "source": {"path": "tests-{language}", "languages": ["de", "es"]},
        "predictor": {"name": "file", "path": "p.jsonl"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="output: tests-es/out lies in tests-es"):
        parse_config(values)
    assert parse_config(values | {"output": "out"}).output == "out"


@pytest.mark.parametrize("languages", [["de", "de"], ["de", "German"]])
def test_a_language_of_test_data_that_stands_twice(languages: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"'{languages[1]}' is 'de' again; remove it"):
        parse_config({
            "task": "ner", "direction": "translate-test", "pivot": "en", "output": "out",
            "source": {"path": "tests-{language}", "languages": languages},
            "predictor": {"name": "file", "path": "p.jsonl"},
        })  # fmt: skip
