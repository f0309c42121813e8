"""Predictions that are remembered: what comes back is what was said, and no model reads a text twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from spanferry.alignment.base import CORPUS_WISE
from spanferry.data.errors import ModelError
from spanferry.data.example import Example, Span
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.plan import print_rehearsal, rehearse
from spanferry.projection.distributions import TagDistribution
from spanferry.projection.predict_remembered import PredictionMemory, PredictionStats, RememberingPredictor
from spanferry.projection.prediction import Prediction

ENGLISH = {"language": "eng_Latn"}


@dataclass
class Tagger:
    """Calls every capital A a letter, and notes what it is asked to read."""

    fingerprint: str = "tagger/1"
    read: list[str] = field(default_factory=list)

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        self.read += [example.fields["text"] for example in examples]
        places = [
            [Span(at, at + 1, "LETTER") for at, each in enumerate(example.fields["text"]) if each == "A"]
            for example in examples
        ]
        return [Prediction(tuple(spans), (0.5,) * len(spans)) for spans in places]


def said(*texts: str) -> list[Example]:
    return [Example(str(number), {"text": text}) for number, text in enumerate(texts)]


@pytest.fixture
def memory(tmp_path: Path) -> PredictionMemory:
    return PredictionMemory(tmp_path / "memory.predictions.sqlite")


unit = st.floats(0, 1)
words = st.text(st.characters(exclude_categories=()), max_size=8)


@st.composite
def distributions(draw: st.DrawFn) -> TagDistribution:
    tokens = tuple((2 * at, 2 * at + 1) for at in range(draw(st.integers(0, 4))))
    weights = np.array(draw(st.lists(st.tuples(unit, unit, unit), min_size=len(tokens), max_size=len(tokens))))
    rows = (weights.reshape(len(tokens), 3) + 1e-3) / (weights.reshape(len(tokens), 3) + 1e-3).sum(axis=1)[:, None]
    rows[[bool(draw(st.booleans())) for _ in tokens]] = np.nan
    return TagDistribution(tokens, ("O", "B-X", "I-X"), rows)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    spans = draw(st.lists(st.builds(lambda at, label: Span(at, at + 2, label, "context"), st.integers(0, 9), words)))
    return Prediction(
        tuple(spans),
        tuple(draw(st.none() | unit) for _ in spans),
        labels=draw(st.dictionaries(words, st.none() | words | st.integers() | st.floats(allow_nan=False), max_size=2)),
        label_scores=draw(st.dictionaries(words, unit, max_size=2)),
        label_distributions=draw(st.dictionaries(words, st.dictionaries(words, unit, max_size=3), max_size=2)),
        distribution=draw(st.none() | distributions()),
    )


@settings(max_examples=60, deadline=None)
@given(prediction=predictions())
def test_a_prediction_comes_back_as_it_was(prediction: Prediction, tmp_path_factory: pytest.TempPathFactory) -> None:
    class Fixed(Tagger):
        def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
            return [prediction for _ in super().predict(examples, language=language)]

    model = Fixed()
    with PredictionMemory(tmp_path_factory.mktemp("memory") / "predictions.sqlite") as memory:
        RememberingPredictor(model, "ner", memory).predict(said("A"), **ENGLISH)
        [again] = RememberingPredictor(model, "ner", memory).predict(said("A"), **ENGLISH)
    assert model.read == ["A"]
    for name in ("spans", "scores", "labels", "label_scores", "label_distributions"):
        assert getattr(again, name) == getattr(prediction, name), name
    before, after = prediction.distribution, again.distribution
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert (after.tokens, after.tags) == (before.tokens, before.tags)
        assert after.probabilities.tobytes() == before.probabilities.tobytes()


def test_what_a_prediction_depends_on_is_asked_anew(memory: PredictionMemory) -> None:
    model = Tagger()
    RememberingPredictor(model, "ner", memory).predict(said("A"), **ENGLISH)
    RememberingPredictor(model, "slots", memory).predict(said("A"), **ENGLISH)
    RememberingPredictor(model, "ner", memory).predict(said("A"), language="deu_Latn")
    RememberingPredictor(replace(model, fingerprint="tagger/2"), "ner", memory).predict(said("A"), **ENGLISH)
    RememberingPredictor(model, "ner", memory).predict(said("A "), **ENGLISH)
    RememberingPredictor(model, "ner", memory).predict([Example("0", {"text": "A", "more": ""})], **ENGLISH)
    assert model.read == ["A", "A", "A", "A", "A ", "A"]


def test_twins_are_read_once_and_ids_do_not_matter(memory: PredictionMemory) -> None:
    predictor = RememberingPredictor(Tagger(), "ner", memory)
    first, second, third = predictor.predict(said("A", "b", "A"), **ENGLISH)
    assert (first.spans, second.spans, third.spans) == ((Span(0, 1, "LETTER"),), (), (Span(0, 1, "LETTER"),))
    assert list(predictor.known(said("b", "c", "c"), **ENGLISH).values()) == [True, False]
    predictor.predict([Example("other", {"text": "b"})], **ENGLISH)
    assert predictor.stats == PredictionStats(predicted=2, remembered=1)


def test_a_predictor_that_reads_the_whole_corpus_is_asked_every_time(memory: PredictionMemory) -> None:
    model = Tagger(f"tagger({CORPUS_WISE})")
    predictor = RememberingPredictor(model, "ner", memory)
    for _ in range(2):
        predictor.predict(said("A", "A"), **ENGLISH)
    assert model.read == ["A"] * 4 and len(memory) == 0
    assert list(predictor.known(said("A"), **ENGLISH).values()) == [False]


def test_a_prediction_too_few_is_an_error(memory: PredictionMemory) -> None:
    class Lazy(Tagger):
        def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
            return []

    with pytest.raises(ModelError, match="tagger/1 made 0 predictions of 1 texts"):
        RememberingPredictor(Lazy(), "ner", memory).predict(said("A"), **ENGLISH)
    assert len(memory) == 0


# ---------------------------------------------------------------------------------------------------------------------
# In a build


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Tagger:
    """The predictor of every build."""
    model = Tagger()
    monkeypatch.setattr(parts, "load_predictor", lambda name, **settings: model)
    monkeypatch.setattr(parts, "_loaded", None)
    return model


@pytest.fixture
def test_build(tmp_path: Path) -> dict[str, Any]:
    """Seven short texts, two a shard, one of them twice."""
    write(tmp_path, ["A one", "Two", "A one", "A four", "Five", "Six A", "Seven"])
    return {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": str(tmp_path / "de.jsonl"), "languages": ["de"], "labelled": False},
        "pivot": "en",
        "predictor": {"name": "spacy", "model": "none"},
        "translation": {"model": "fake", "settings": {"dictionary": {}}},
        "projection": {"aligner": "fake"},
        "run": {"memory": str(tmp_path / "memory.sqlite"), "shard_rows": 2},
        "output": str(tmp_path / "out"),
    }


def write(folder: Path, texts: Sequence[str]) -> None:
    rows = [json.dumps({"id": f"{text}/{texts[:at].count(text)}", "text": text}) for at, text in enumerate(texts)]
    (folder / "de.jsonl").write_text("\n".join(rows), encoding="utf-8")


def shards(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / ".spanferry" / "shards" / "de").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_row_put_in_front_costs_one_prediction(
    model: Tagger, test_build: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = build(parse_config(test_build))
    assert sorted(model.read) == ["A four", "A one", "Five", "Seven", "Six A", "Two"], "each text once"
    timing = result.timings["de"]
    assert (timing.predicted, timing.predictions_remembered) == (6, 1)

    write(tmp_path, ["A zero", "A one", "Two", "A one", "A four", "Five", "Six A", "Seven"])
    rehearsal = rehearse(parse_config(test_build))
    [line] = rehearsal.languages
    assert (line.rows, line.reused, line.texts, line.predictions_remembered) == (8, 0, 7, 6)
    print_rehearsal(rehearsal)
    assert "texts: different ones to predict on; recall: predictions that are remembered" in capsys.readouterr().out
    model.read.clear()
    again = build(parse_config(test_build))
    assert model.read == ["A zero"]
    assert (again.timings["de"].predicted, again.timings["de"].predictions_remembered) == (1, 7)

    # The same build that remembers nothing comes out the same.
    forgetful = {**test_build, "run": {"memory": False, "shard_rows": 2}, "output": str(tmp_path / "other")}
    fresh = build(parse_config(forgetful))
    assert fresh.timings["de"].predictions_remembered == 0
    assert shards(fresh.folder) == shards(again.folder)


def test_names_of_labels_are_applied_anew(model: Tagger, test_build: dict[str, Any]) -> None:
    build(parse_config(test_build))
    model.read.clear()
    test_build["predictor"]["labels"] = {"LETTER": "char"}
    folder = build(parse_config(test_build)).folder
    assert model.read == []
    assert {span[2] for outcome in shards(folder) for span in outcome["target"]["spans"]} == {"char"}


def test_the_memory_is_inspected_and_pruned(model: Tagger, test_build: dict[str, Any], tmp_path: Path) -> None:
    def memory(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["memory", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    build(parse_config(test_build))
    file = str(tmp_path / "memory.sqlite")
    shown = memory("info", file)
    assert "memory.predictions.sqlite: predictions on 6 texts" in shown
    assert "6  eng_Latn" in shown and "tagger/1" in shown
    [scope] = json.loads(memory("info", file, "--json"))["predictions"]["scopes"]
    assert (scope["predictor"], scope["language"], scope["entries"]) == ("tagger/1", "eng_Latn", 6)
    assert "would remove 6 of 6 predictions" in memory("prune", file, "--model", "tagger", "--dry-run")
    assert "removed 0 predictions" in memory("prune", file, "--older-than", "1d")
    assert "removed" not in memory("prune", file, "--source", "es").partition("predictions")[1]
    assert "removed 6 predictions" in memory("prune", file, "--model", "tagger")
    assert json.loads(memory("info", file, "--json"))["predictions"]["scopes"] == []
    model.read.clear()
    write(tmp_path, ["A one"])
    build(parse_config(test_build))
    assert model.read == ["A one"]


def test_predictions_from_a_file_are_not_remembered(test_build: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, ["A one"])
    row = {"id": "1", "text": "A one", "spans": [{"start": 0, "end": 1, "label": "X"}]}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    test_build["predictor"] = {"name": "file", "path": str(tmp_path / "predictions.jsonl")}
    timing = build(parse_config(test_build)).timings["de"]
    assert (timing.predicted, timing.predictions_remembered) == (1, 0), "somebody paid for it"
    assert not (tmp_path / "memory.predictions.sqlite").exists()
