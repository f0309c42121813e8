"""Builds of the direction translate-test: the user's rows stay as they are, predictions come home or say why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import BuildError, ConfigError, DataError, ModelError
from spanferry.data.example import Example, Span
from spanferry.data.formats import read_examples
from spanferry.data.tasks import get_task
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import load_config, parse_config
from spanferry.flows.plan import print_rehearsal, rehearse
from spanferry.flows.predict_report import worth_lines
from spanferry.flows.report import BuildResult
from spanferry.flows.template import template
from spanferry.projection.prediction import PREDICTORS, Prediction, load_predictor
from spanferry.projection.quality import evaluate_examples
from spanferry.projection.registry import PROJECTORS
from spanferry.translation.fake import FakeTranslator

Settings = dict[str, Any]

# German and Spanish to a made-up pivot, word for word; "Brücke" and "puente" become a word that no model knows.
DICTIONARY = {"Anna": "Anne", "Köln": "Cologne", "Colonia": "Cologne", "wohnt": "lives", "vive": "lives", "en": "in"}
ROWS = {
    "de": [
        {"id": "1", "text": "Anna wohnt in Köln.", "spans": [(0, 4, "PER"), (14, 18, "LOC")], "source": "a"},
        {"id": "2", "text": "In Köln wohnt niemand 🙂.", "spans": [(3, 7, "LOC")], "source": "b"},
        {"id": "3", "text": "", "spans": [], "source": "c"},
    ],
    "es": [
        {"id": "1", "text": "Anna vive en Colonia.", "spans": [(0, 4, "PER"), (13, 20, "LOC")], "source": "a"},
        {"id": "2", "text": "El puente.", "spans": [(3, 9, "LOC")], "source": "b"},
    ],
}


class Gazetteer:
    """Labels the words that it knows, in the pivot language alone."""

    fingerprint = "gazetteer"
    known = {"Anne": "PER", "Cologne": "LOC"}  # noqa: RUF012  (a table)

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        assert language == "eng_Latn"
        assert not any(example.spans or example.labels for example in examples), "gold has leaked to the predictor"
        return [self._predict(example) for example in examples]

    def _predict(self, example: Example) -> Prediction:
        found = []
        for field, text in example.fields.items():
            for word, label in self.known.items():
                at = text.find(word)
                while at >= 0:
                    found.append(Span(at, at + len(word), label, field))
                    at = text.find(word, at + 1)
        return Prediction(tuple(sorted(found)), (0.5,) * len(found))


@pytest.fixture
def gazetteer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every build predict by the gazetteer."""
    monkeypatch.setattr(parts, "load_predictor", lambda name, **settings: Gazetteer())
    monkeypatch.setattr(parts, "_loaded", None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for language, rows in ROWS.items():
        lines = [
            {**row, "spans": [dict(zip(("start", "end", "label"), span, strict=True)) for span in row["spans"]]}
            for row in rows
        ]
        write(tmp_path / f"{language}.jsonl", lines)
    backwards = {"Anne": "Anna", "Cologne": "Köln"}
    return {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": str(tmp_path / "{language}.jsonl"), "languages": ["de", "es"]},
        "pivot": "en",
        "predictor": {"name": "file", "path": str(tmp_path / "predictions.jsonl")},
        "translation": {"model": "fake", "settings": {"dictionary": DICTIONARY}},
        "projection": {
            "aligner": "fake",
            "aligner_settings": {"dictionary": {**backwards, "Anna": "Anne", "Köln": "Cologne"}},
        },
        "run": {"memory": False, "shard_rows": 2},
        "output": str(tmp_path / "out"),
    }


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(settings: Settings, **changes: Any) -> BuildResult:
    return build(parse_config({**settings, **changes}))


def rows_of(folder: Path, language: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    [file] = sorted((folder / "data" / language).glob("*.parquet"))
    return pq.read_table(file).to_pylist()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def places(spans: Sequence[dict[str, Any]]) -> list[tuple[int, int, str]]:
    return [(each["start"], each["end"], each["label"]) for each in spans]


@pytest.mark.usefixtures("gazetteer")
def test_rows_stay_as_they_were_and_predictions_stand_on_them(settings: Settings) -> None:
    result = run(settings)
    rows = rows_of(result.folder, "de")
    assert [(row["id"], row["text"]) for row in rows] == [(row["id"], row["text"]) for row in ROWS["de"]]
    assert [row["original_source"] if "original_source" in row else row["source"] for row in rows] == ["a", "b", "c"]
    assert [row["pivot_text"] for row in rows] == ["Anne lives in Cologne.", "In Cologne lives niemand 🙂.", ""]
    predicted = [places(row["predicted_spans"]) for row in rows]
    assert predicted == [[(0, 4, "PER"), (14, 18, "LOC")], [(3, 7, "LOC")], []]
    [first, second] = rows[0]["projections"]
    assert (first["pivot_start"], first["pivot_end"], first["start"], first["end"]) == (0, 4, 0, 4)
    assert (second["prediction_score"], second["method"], second["reason"]) == (0.5, "alignment", None)


@pytest.mark.usefixtures("gazetteer")
def test_what_is_lost_is_on_record(settings: Settings) -> None:
    settings["projection"]["aligner_settings"] = {"dictionary": {"Anne": "Anna"}}
    result = run(settings)
    total = result.report["languages"]["es"]["total"]
    assert (total["rows"], total["kept"], total["spans"], total["carried"], total["lost"]) == (2, 2, 2, 1, 1)
    [lost] = lines(result.folder / "dropped" / "es" / "test.jsonl")
    assert (lost["id"], lost["reasons"], lost["spans"][0]["text"]) == ("1", ["unaligned"], "Cologne")
    [row, _] = rows_of(result.folder, "es")
    assert places(row["predicted_spans"]) == [(0, 4, "PER")]
    assert [each["reason"] for each in row["projections"]] == [None, "unaligned"]


@pytest.mark.usefixtures("gazetteer")
def test_predictions_are_compared_with_gold_and_misses_have_causes(settings: Settings) -> None:
    report = run(settings).report
    assert report["evaluation"]["spans"]["languages"]["de"]["value"] == 100
    assert report["causes"]["de"]["missed"] == {"translation": 0, "predictor": 0, "projection": 0}
    # "Colonia" is not in the aligner's dictionary on the way home; "puente" no predictor knows.
    causes = report["causes"]["es"]
    assert (causes["gold"], causes["found"]) == (3, 1)
    assert causes["missed"] == {"translation": 1, "predictor": 1, "projection": 0}
    shown = "\n".join(worth_lines(report))
    assert "es: 1 of 3 gold spans found; missed by translation 1, predictor 1, projection 0" in shown


@pytest.mark.usefixtures("gazetteer")
def test_scores_are_those_of_the_dataset(settings: Settings) -> None:
    result = run(settings)
    task = get_task("ner")
    gold, predicted = [], []
    for language in ("de", "es"):
        file = next((result.folder / "data" / language).glob("*.parquet"))
        gold += read_examples(file, task)
        predicted += read_examples(file, task, columns={"spans": "predicted_spans"})
    scores = evaluate_examples(task, gold, predicted)
    assert scores["spans"].to_json()["scores"] == result.report["evaluation"]["spans"]["scores"]


@pytest.mark.usefixtures("gazetteer")
def test_gold_takes_no_part(settings: Settings, tmp_path: Path) -> None:
    labelled = run(settings)
    for language, rows in ROWS.items():
        write(tmp_path / f"{language}.jsonl", [{"id": row["id"], "text": row["text"]} for row in rows])
    with pytest.raises(DataError, match="no column for spans"):
        run(settings, output=str(tmp_path / "other"))
    settings["source"] |= {"labelled": False}
    bare = run(settings, output=str(tmp_path / "bare"))
    assert "evaluation" not in bare.report and "causes" not in bare.report
    for language in ("de", "es"):
        with_gold, without = rows_of(labelled.folder, language), rows_of(bare.folder, language)
        assert "spans" not in without[0]
        for name in ("text", "pivot_text", "predicted_spans", "projections"):
            assert [row[name] for row in without] == [row[name] for row in with_gold]


@pytest.mark.usefixtures("gazetteer")
def test_a_lost_shard_is_done_again_and_nothing_else(settings: Settings, published: Callable[..., Any]) -> None:
    folder = run(settings).folder
    before = published(folder)
    again = run(settings)
    assert all(timing.rows == 0 for timing in again.timings.values())
    (folder / ".spanferry" / "shards" / "de" / "test" / "00001.jsonl").unlink()
    mended = run(settings)
    assert {name: timing.rows for name, timing in mended.timings.items()} == {"de": 1, "es": 0}
    assert published(folder) == before


def test_predictions_made_elsewhere(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings["run"]["memory"] = str(tmp_path / "memory.sqlite")
    with pytest.raises(BuildError, match=r"3 texts wait for predictions: they are in .*to-predict\.jsonl\. Add spans"):
        run(settings)
    asked = lines(tmp_path / "out" / "to-predict.jsonl")
    # Two of the five have the same translation, and nobody is asked about an empty text.
    texts = ["Anne lives in Cologne.", "In Cologne lives niemand 🙂.", "El puente."]
    assert [row["text"] for row in asked] == texts
    gazetteer = Gazetteer()
    predictions = [
        {
            **row,
            "spans": [
                {"start": span.start, "end": span.end, "label": span.label}
                for span in gazetteer.predict([Example("", {"text": row["text"]})], language="eng_Latn")[0].spans
            ],
        }
        for row in asked
    ]
    write(tmp_path / "predictions.jsonl", predictions)
    translated: list[str] = []
    real = FakeTranslator.translate

    def translate(self: FakeTranslator, texts: Any, **languages: Any) -> Any:
        translated.extend(texts)
        return real(self, texts, **languages)

    monkeypatch.setattr(FakeTranslator, "translate", translate)
    result = run(settings)
    assert not translated, "the memory has the translations of the run that stopped"
    assert not (tmp_path / "out" / "to-predict.jsonl").exists()
    assert places(rows_of(result.folder, "de")[0]["predicted_spans"]) == [(0, 4, "PER"), (14, 18, "LOC")]
    write(tmp_path / "predictions.jsonl", [{**row, "spans": []} for row in predictions])
    assert not any(row["predicted_spans"] for row in rows_of(run(settings).folder, "de"))


@pytest.mark.usefixtures("gazetteer")
def test_tokens_of_the_data_are_the_users_own(settings: Settings, tmp_path: Path) -> None:
    text = "Anna\tB-PER\nwohnt\tO\nin\tO\nKöln\tB-LOC\n.\tO\n\n"
    (tmp_path / "de.conll").write_text(text, encoding="utf-8")
    settings["source"] = {"path": {"de": str(tmp_path / "de.conll")}}
    [row] = rows_of(run(settings).folder, "de")
    assert row["tokens"] == ["Anna", "wohnt", "in", "Köln", "."]
    assert row["predicted_tags"] == ["B-PER", "O", "O", "B-LOC", "O"]


def test_labels_of_pairs_go_by_id(settings: Settings, tmp_path: Path) -> None:
    pairs = [
        {"id": "x", "premise": "Anna wohnt in Köln.", "hypothesis": "Anna wohnt.", "label": "yes"},
        {"id": "y", "premise": "Köln/Bonn", "hypothesis": "# — | Köln", "label": "no"},
    ]
    path = write(tmp_path / "pairs.de.jsonl", pairs)
    settings |= {"task": "pair-classification", "projection": {}}
    settings["source"] = {"path": str(path), "languages": ["de"]}
    settings["translation"]["fields"] = "jointly"
    with pytest.raises(BuildError, match="Add label to each row"):
        run(settings)
    asked = lines(tmp_path / "out" / "to-predict.jsonl")
    assert (asked[0]["premise"], asked[0]["hypothesis"]) == ("Anne lives in Cologne.", "Anne lives.")
    write(tmp_path / "predictions.jsonl", [{**row, "label": "yes", "label_score": 0.75} for row in asked])
    result = run(settings)
    rows = rows_of(result.folder, "de")
    assert [(row["id"], row["label"], row["predicted_label"]) for row in rows] == [("x", 0, "yes"), ("y", 1, "yes")]
    assert rows[0]["predicted_label_score"] == 0.75
    # The second pair holds every separator.
    assert [row["flags"] for row in rows] == [[], ["fields_apart"]]
    assert result.report["evaluation"]["label"]["value"] == 50
    assert result.report["overlap"]["de"]["total"]["examples"] == 2


@pytest.mark.parametrize("written", [float, int, str])
def test_scores_of_pairs_are_predicted_by_a_regression(
    settings: Settings, tmp_path: Path, classifier: Callable[..., Path], written: Callable[[float], Any]
) -> None:
    pairs = [
        {"id": str(number), "premise": "Anna wohnt", "hypothesis": hypothesis, "label": written(score)}
        for number, (hypothesis, score) in enumerate([("Anna wohnt", 5.0), ("not Anna wohnt not", 0.0), ("Anna", 4.0)])
    ]
    settings |= {"task": "pair-classification", "projection": {}}
    settings["source"] = {"path": str(write(tmp_path / "pairs.jsonl", pairs)), "languages": ["de"]}
    settings["translation"]["settings"]["dictionary"] = {"Anna": "Anna", "wohnt": "likes"}
    settings["predictor"] = {"name": "transformers", "model": str(classifier("numbers"))}
    result = run(settings)
    rows = rows_of(result.folder, "de")
    same, opposite, _ = (float(row["predicted_label"]) for row in rows)
    assert same - opposite > 3
    if written is not str:  # what is written as text is classes
        assert [row["label"] for row in rows] == [pair["label"] for pair in pairs]
    scores = result.report["evaluation"]["label"]
    assert scores["metric"] == "pearson" and scores["value"] > 60
    again = read_examples(next((result.folder / "data" / "de").glob("*.parquet")), "pair-classification")
    assert [example.labels["label"] for example in again] == [pair["label"] for pair in pairs]


def test_answers_come_home(settings: Settings, tmp_path: Path) -> None:
    row = {
        "id": "q",
        "context": "Anna wohnt in Köln.",
        "question": "Wo?",
        "answers": {"text": ["Köln"], "answer_start": [14]},
    }
    settings |= {"task": "question-answering"}
    settings["source"] = {"path": str(write(tmp_path / "qa.jsonl", [row])), "languages": ["de"]}
    with pytest.raises(BuildError, match=r"wait for predictions.* Add answers to each row"):
        run(settings)
    [asked] = lines(tmp_path / "out" / "to-predict.jsonl")
    answer = {"text": ["Cologne"], "answer_start": [asked["context"].index("Cologne")]}
    write(tmp_path / "predictions.jsonl", [{**asked, "answers": answer}])
    result = run(settings)
    [found] = rows_of(result.folder, "de")
    assert found["predicted_answers"] == {"text": ["Köln"], "answer_start": [14]}
    assert result.report["evaluation"]["answers"]["value"] == 100


def test_a_predictor_of_ones_own_is_an_entry_point(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed, as Python sees it: a module, and the metadata beside it."""
    place = tmp_path / "installed"
    (place / "mine-1.0.dist-info").mkdir(parents=True)
    (place / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    points = "[spanferry.predictors]\ncapitals = mine_capitals:Capitals\n"
    (place / "mine-1.0.dist-info" / "entry_points.txt").write_text(points)
    (place / "mine_capitals.py").write_text(
        "from spanferry.data.example import Span\n"
        "from spanferry.projection.prediction import Prediction\n"
        "class Capitals:\n"
        "    def __init__(self, *, task, label='PER'):\n"
        "        self.fingerprint, self.label = f'capitals/1({label})', label\n"
        "    def predict(self, examples, *, language):\n"
        "        return [Prediction((Span(0, 4, self.label),), (0.75,)) if e.fields['text'][:1].isupper()\n"
        "                else Prediction() for e in examples]\n"
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(parts, "_loaded", None)
    monkeypatch.delitem(PREDICTORS.__dict__, "_plugins", raising=False)
    try:
        settings["predictor"] = {"name": "capitals", "label": "NAME"}
        settings["source"]["languages"] = ["de"]
        [first, *_] = rows_of(run(settings).folder, "de")
        assert places(first["predicted_spans"]) == [(0, 4, "NAME")]
        assert first["projections"][0]["prediction_score"] == 0.75
        with pytest.raises(ConfigError, match="no setting 'lable'; did you mean 'label'"):
            parse_config({**settings, "predictor": {"name": "capitals", "lable": "NAME"}})
    finally:
        PREDICTORS.__dict__.pop("_plugins", None)


@pytest.mark.usefixtures("gazetteer")
def test_labels_of_the_model_get_the_names_of_the_data(settings: Settings) -> None:
    settings["predictor"]["labels"] = {"PER": "person", "LOC": None}
    [first, *_] = rows_of(run(settings).folder, "de")
    assert places(first["predicted_spans"]) == [(0, 4, "person")]


@pytest.mark.usefixtures("gazetteer")
def test_a_plan_counts_what_a_build_does(settings: Settings) -> None:
    rehearsal = rehearse(parse_config(settings))
    assert rehearsal.splits == {"de/test": 3, "es/test": 2}
    assert [(each.language, each.rows, each.translate) for each in rehearsal.languages] == [("de", 3, 2), ("es", 2, 2)]


def test_a_plan_goes_as_far_as_predictions_made_elsewhere(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsal = rehearse(parse_config(settings))
    assert [each.seconds for each in rehearsal.languages] == [None, None]
    print_rehearsal(rehearsal)
    assert "expected time: not known where it is ?" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_the_predictors(settings: Settings) -> None:
    settings["predictor"] = {"name": "transformers", "model": "path/of/a/model"}
    with pytest.raises(ModelError, match="predictor: path/of/a/model: no such folder"):
        run(settings)


# What a method needs besides its defaults; those that combine others do it with these.
STEPS = {"steps": [{"method": "match"}, {"method": "alignment"}]}


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(PROJECTORS.builtin))
@pytest.mark.usefixtures("gazetteer")
def test_the_bundled_model_brings_predictions_home_by_every_method(
    settings: Settings, method: str, tmp_path: Path
) -> None:
    rows = [{"id": "1", "text": "Anna wohnt in Köln.", "spans": []}]
    settings["source"] = {"path": str(write(tmp_path / "one.jsonl", rows)), "languages": ["de"]}
    own = {"settings": STEPS} if method in ("cascade", "ensemble") else {}
    settings |= {"translation": {"model": "bundled"}, "projection": {"method": method, **own}}
    Gazetteer.known["Anna"] = "PER"
    try:
        [row] = rows_of(run(settings).folder, "de")
    finally:
        del Gazetteer.known["Anna"]
    assert "Anna" in row["pivot_text"]
    assert (0, 4, "PER") in places(row["predicted_spans"])
    assert row["text"] == "Anna wohnt in Köln."
    assert all((each["reason"] is None) == (each["start"] is not None) for each in row["projections"])


@pytest.mark.parametrize(
    "task", ["ner", "slots", "text-classification", "pair-classification", "multiple-choice", "question-answering"]
)
def test_the_template_is_a_valid_configuration(task: str, tmp_path: Path) -> None:
    path = tmp_path / "test.yaml"
    path.write_text(template(task, "translate-test"), encoding="utf-8")
    config = load_config(path)
    assert (config.task, config.direction, config.datasets) == (task, "translate-test", ["de", "es"])
    for name in type(config).model_fields:
        assert f"{name}:" in template(task, "translate-test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pivto": "en"}, "pivto: unknown key; did you mean 'pivot'"),
        ({"pivot": None}, "pivot: found nothing, expected a valid string"),
        ({"direction": "translate-tset"}, "unknown direction 'translate-tset'; did you mean 'translate-test'"),
        ({"pivot": "es"}, "'es' is the pivot, whose text needs no translation"),
        ({"predictor": {"name": "transfomers"}}, "unknown predictor 'transfomers'; did you mean 'transformers'"),
        ({"predictor": {"name": "file"}}, r"predictor: path: missing \(predictor 'file' needs it\)"),
        ({"predictor": {"name": "file", "pth": "x"}}, "no setting 'pth'; did you mean 'path'"),
        ({"source": {"path": "x.jsonl", "languages": ["de", "es"]}}, r"expected \{language\} in it"),
        ({"source": {"path": "x.jsonl"}}, "languages: missing"),
        ({"source": {"path": {"de": "x", "German": "y"}}}, "'German' is 'de' again"),
        ({"source": {"path": {"de": "x"}, "languages": ["es"]}}, "unknown language 'es'"),
        ({"projection": {"on_lost": "drop_example"}}, "on_lost: found 'drop_example', expected 'keep'"),
        ({"projection": {"method": "markers", "settings": {"text": "marked"}}}, "predictions come after"),
        ({"filters": {"copied": {"on_fail": "drop_example"}}}, "expected flag .* or drop_span"),
        ({"translation": {"fields": "jointly"}}, "expected a task of several texts without spans"),
    ],
)
def test_a_mistake_is_named(settings: Settings, changes: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({**settings, **changes})


def test_a_prediction_for_another_text_is_not_taken(tmp_path: Path) -> None:
    row = {"id": "1", "text": "Anna", "spans": []}
    predictor = load_predictor("file", task=get_task("ner"), path=write(tmp_path / "p.jsonl", [row]))
    with pytest.raises(Exception, match="1 texts have no prediction yet"):
        predictor.predict([Example("1", {"text": "Anne"})], language="eng_Latn")


def test_training_data_goes_there_and_back(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4, "label": "PER"}, {"start": 14, "end": 21, "label": "LOC"}]
    path = write(tmp_path / "train.jsonl", [{"id": "1", "text": "Anne lives in Cologne.", "spans": spans}])
    # Word for word there and back: "Cologne" returns as another word than it left.
    there_and_back = {"Anne": "Anna", "Cologne": "Köln", "Köln": "Cöln"}
    result = run(
        {
            "task": "ner",
            "direction": "back-translate",
            "source": {"path": str(path), "language": "en"},
            "targets": ["de"],
            "translation": {"model": "fake", "settings": {"dictionary": there_and_back}},
            "projection": {"aligner": "fake", "aligner_settings": {"dictionary": {"Anne": "Anna", "Cologne": "Cöln"}}},
            "run": {"memory": False},
            "output": str(tmp_path / "out"),
        }
    )
    [row] = rows_of(result.folder, "de")
    assert (row["source_text"], row["text"]) == ("Anne lives in Cologne.", "Anna lives in Cöln.")
    assert [row["text"][each["start"] : each["end"]] for each in row["spans"]] == ["Anna", "Cöln"]
    assert "into German and back into English" in (result.folder / "README.md").read_text(encoding="utf-8")
    assert result.report["direction"] == "back-translate"
