"""A build that was built before costs only what changed: models are asked about new rows, wherever they stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spanferry.alignment.base import TokenizedText, WordAlignment
from spanferry.alignment.fake import FakeAligner
from spanferry.data.errors import DataError
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.plan import rehearse
from spanferry.translation.base import Hypothesis
from spanferry.translation.fake import FakeTranslator

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]


@dataclass
class Asked:
    """How many sentences the translator was asked for, and pairs the aligner."""

    translator: int = 0
    aligner: int = 0

    def since(self) -> tuple[int, int]:
        """Return what was asked since this was asked last."""
        found = self.translator, self.aligner
        self.translator = self.aligner = 0
        return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Count what the models of this test's builds are asked."""
    counts, translate, align = Asked(), FakeTranslator.translate, FakeAligner.align

    def counted(self: FakeTranslator, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        counts.translator += len(texts)
        return translate(self, texts, source=source, target=target)

    def aligned(
        self: FakeAligner, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        counts.aligner += len(pairs)
        return align(self, pairs, source=source, target=target)

    monkeypatch.setattr(FakeTranslator, "translate", counted)
    monkeypatch.setattr(FakeAligner, "align", aligned)
    monkeypatch.setattr(parts, "_loaded", None)
    yield counts


@pytest.fixture
def rows(build_settings: Settings) -> list[dict[str, Any]]:
    lines = Path(build_settings["source"]["path"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:120]]


@pytest.fixture
def source(build_settings: Settings, tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], None]:
    """Give the build other rows."""
    path = tmp_path / "train.jsonl"
    build_settings["source"]["path"] = str(path)

    def write(rows: Sequence[dict[str, Any]]) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return write


NEW = {"id": "new", "text": "Nobody but Zoe saw Porto.", "spans": [
    {"start": 11, "end": 14, "label": "PER"}, {"start": 19, "end": 24, "label": "LOC"},
]}  # fmt: skip

CHANGES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "a row before all others": lambda rows: [NEW, *rows],
    "a row between others": lambda rows: [*rows[:60], NEW, *rows[60:]],
    "a row after all others": lambda rows: [*rows, NEW],
    "a row in place of another": lambda rows: [*rows[:3], NEW, *rows[4:]],
    "a row less": lambda rows: rows[1:],
    "another order": lambda rows: rows[::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_change_cost_only_those_rows(
    *,
    change: str,
    build_settings: Settings,
    rows: list[Any],
    source: Callable[[Any], None],
    asked: Asked,
    tmp_path: Path,
    published: Published,
) -> None:
    build_settings.pop("limit")
    source(rows)
    build(parse_config(build_settings))
    assert min(asked.since()) > 100
    after = CHANGES[change](rows)
    source(after)
    forecast = rehearse(parse_config(build_settings))
    asked.since()  # what a forecast measures is done for real
    result = build(parse_config(build_settings))
    new = 2 * (NEW in after)  # the row has one sentence, in two languages
    assert asked.since() == (new, new)
    assert [(each.translate, each.spans_texts - each.projections_remembered) for each in forecast.languages] == [
        (new // 2, new // 2)
    ] * 2
    assert sum(timing.projected for timing in result.timings.values()) == new

    fresh = build_settings | {"output": str(tmp_path / "fresh")}
    fresh["run"] = build_settings["run"] | {"memory": str(tmp_path / "empty.sqlite")}
    build(parse_config(fresh))
    assert published(tmp_path / "fresh").keys() == published(tmp_path / "out").keys()
    for name, content in published(tmp_path / "fresh").items():
        ours = published(tmp_path / "out")[name]
        assert ours.replace(b"/out", b"/fresh") == content, name


def test_another_method_does_not_translate_again(build_settings: Settings, asked: Asked) -> None:
    build(parse_config(build_settings))
    asked.since()
    build_settings["projection"]["settings"] = {"gap_cost": 0.3}
    build(parse_config(build_settings))
    translator, aligner = asked.since()
    assert translator == 0 and aligner > 100


def test_another_filter_asks_no_model(build_settings: Settings, asked: Asked) -> None:
    whole = build(parse_config(build_settings)).report
    asked.since()
    build_settings["filters"] = {"length_ratio": {"lowest": 1.0, "shortest": 1, "on_fail": "drop_example"}}
    strict = build(parse_config(build_settings)).report
    assert asked.since() == (0, 0)
    assert strict["languages"]["de"]["total"]["kept"] < whole["languages"]["de"]["total"]["kept"]


def test_a_lost_shard_asks_no_model(build_settings: Settings, asked: Asked, published: Published) -> None:
    folder = build(parse_config(build_settings)).folder
    before = published(folder)
    asked.since()
    (folder / ".spanferry" / "shards" / "de" / "train" / "00001.json").unlink()
    build(parse_config(build_settings))
    assert asked.since() == (0, 0) and published(folder) == before


def test_without_a_memory_everything_is_asked_again(build_settings: Settings, asked: Asked, tmp_path: Path) -> None:
    build_settings["run"]["memory"] = False
    folder = build(parse_config(build_settings)).folder
    first = asked.since()
    (folder / ".spanferry" / "shards" / "de" / "train" / "00001.json").unlink()
    build(parse_config(build_settings))
    again = asked.since()
    assert 0 < again[0] < first[0] / 2 and 0 < again[1] < first[1] / 2
    assert not list(tmp_path.glob("*.sqlite"))


def test_rejects_go_when_the_source_is_mended(build_settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    good = '{"id": "1", "text": "Anna ran.", "spans": []}\n'
    settings = build_settings | {"source": {"path": str(source), "language": "en"}}
    rejects = Path(settings["output"]) / "rejects" / "train.jsonl"

    def read(text: str, on_error: str) -> bool:
        source.write_text(text, encoding="utf-8")
        build(parse_config(settings | {"on_error": on_error}))
        return rejects.exists()

    assert read(good + "{}\n", "skip")
    assert not read(good, "raise")
    assert read(good + "{}\n", "skip")
    before = rejects.read_bytes()
    with pytest.raises(DataError):
        read(good + "{}\n", "raise")
    assert rejects.read_bytes() == before  # it belongs to the dataset, which is as it was
    assert not read(good, "skip")
    rejects.write_bytes(before)  # of a version that left it
    assert not read(good, "skip")
