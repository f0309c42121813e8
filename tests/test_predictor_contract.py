"""What every predictor must do, run over every built-in one; and what each does besides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spanferry.data.errors import ConfigError, DataError, ModelError
from spanferry.data.example import Example, Span
from spanferry.data.tasks import get_task
from spanferry.projection.model_tags import ModelTags
from spanferry.projection.predict_file import FilePredictor, prediction_row
from spanferry.projection.prediction import (
    PREDICTORS,
    Prediction,
    PredictionsMissing,
    Predictor,
    load_predictor,
    renamed,
)
from spanferry.projection.tagger_training import train_tagger

NER = get_task("ner")
TEXTS = (
    "Anna visits Paris today.",
    "",
    "never the old garden",
    "Clara Sommer likes New York, and Benedikt likes Oslo.",
    "Anna 在 Paris 🙂 e\u0301",
    "   ",
    "Paris",
)


def examples(texts: Sequence[str]) -> list[Example]:
    return [Example(str(number), {"text": text}) for number, text in enumerate(texts)]


def found(example: Example, prediction: Prediction) -> list[tuple[str, str]]:
    return [(example.text_of(span), span.label) for span in prediction.spans]


@pytest.fixture(scope="session")
def tagger(classifiers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline that knows the names of the toy language."""
    import random

    chance = random.Random(4)
    data = []
    for number in range(60):
        text, spans = "", []
        for word, tag in classifiers.sentence(chance):
            start = len(text) + bool(text)
            text = f"{text} {word}" if text else word
            if tag.startswith("B-"):
                spans.append(Span(start, start + len(word), tag[2:]))
            elif tag.startswith("I-"):
                last = spans.pop()
                spans.append(Span(last.start, start + len(word), last.label))
        data.append(Example(str(number), {"text": text}, tuple(spans)))
    return train_tagger(data, tmp_path_factory.mktemp("tagger") / "en", language="en", epochs=6)


@pytest.fixture
def predictions_file(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.jsonl"
    rows = []
    for example in examples(TEXTS):
        at = example.fields["text"].find("Paris")
        spans = (Span(at, at + 5, "LOC"),) if at >= 0 else ()
        rows.append(prediction_row(NER, example, Prediction(spans, (0.75,) * len(spans))))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(params=[*sorted(PREDICTORS.builtin), "transformers/roberta"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    """The predictor under test."""
    name, _, family = request.param.partition("/")
    if name == "file":
        settings: dict[str, Any] = {"path": request.getfixturevalue("predictions_file")}
    elif name == "spacy":
        settings = {"model": request.getfixturevalue("tagger")}
    else:
        settings = {"model": request.getfixturevalue("classifier")("tokens", family or "bert"), "device": "cpu"}
    return load_predictor(name, task=NER, **settings)


def test_there_is_one_prediction_an_example_in_order(predictor: Predictor) -> None:
    assert isinstance(predictor, Predictor)
    rows = examples(TEXTS)
    predictions = predictor.predict(rows, language="eng_Latn")
    assert len(predictions) == len(rows)
    for row, prediction in zip(rows, predictions, strict=True):
        assert list(prediction.spans) == sorted(prediction.spans)
        assert len(prediction.scores) == len(prediction.spans)
        for span, score in zip(prediction.spans, prediction.scores, strict=True):
            words = row.text_of(span)
            assert words.strip() == words != ""
            assert score is None or 0 <= score <= 1
    assert ("Paris", "LOC") in found(rows[0], predictions[0])
    assert not predictions[1].spans and not predictions[5].spans


def test_a_prediction_does_not_depend_on_its_company_or_on_labels(predictor: Predictor) -> None:
    rows = examples(TEXTS)
    together = predictor.predict(rows, language="eng_Latn")
    for row, expected in zip(rows, together, strict=True):
        spans = (Span(0, len(row.fields["text"]), "X"),) if row.fields["text"].strip() else ()
        [alone] = predictor.predict([Example("other", row.fields, spans)], language="eng_Latn")
        assert alone.spans == expected.spans
    assert predictor.predict([], language="eng_Latn") == []


def test_a_distribution_is_over_the_words_of_the_text(predictor: Predictor) -> None:
    rows = examples(TEXTS)
    for row, prediction in zip(rows, predictor.predict(rows, language="eng_Latn"), strict=True):
        distribution = prediction.distribution
        if distribution is not None:
            assert "".join(row.fields["text"][a:b] for a, b in distribution.tokens) == "".join(
                row.fields["text"].split()
            )
            assert np.allclose(distribution.probabilities[distribution.known].sum(axis=1), 1)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_transformers_finds_whole_names(classifier: Callable[..., Path], family: str) -> None:
    model = load_predictor("transformers", task=NER, model=classifier("tokens", family), device="cpu")
    [example] = examples([TEXTS[3]])
    [prediction] = model.predict([example], language="eng_Latn")
    assert found(example, prediction) == [
        ("Clara Sommer", "PER"),
        ("New York", "LOC"),
        ("Benedikt", "PER"),
        ("Oslo", "LOC"),
    ]
    assert all(score is not None and score > 0.5 for score in prediction.scores)


def test_a_long_text_is_read_in_windows(classifier: Callable[..., Path], classifiers: ModuleType) -> None:
    model = load_predictor("transformers", task=NER, model=classifier("tokens"), device="cpu")
    text = "the old house and a garden " * 20 + "Clara Sommer visits New York " + "the red house " * 30 + "in Oslo"
    assert len(text.split()) > 2 * classifiers.POSITIONS
    [example] = examples([text])
    [prediction] = model.predict([example], language="eng_Latn")
    assert [words for words, _ in found(example, prediction)] == ["Clara Sommer", "New York", "Oslo"]
    assert prediction.distribution is not None and prediction.distribution.known.all()


def test_batches_and_devices_do_not_change_the_fingerprint(classifier: Callable[..., Path]) -> None:
    settings = {"task": NER, "model": classifier("tokens"), "device": "cpu"}
    wide, narrow = (load_predictor("transformers", batch_tokens=size, **settings) for size in (4096, 16))
    assert wide.fingerprint == narrow.fingerprint
    assert wide.fingerprint != load_predictor("transformers", scheme="IOB1", **settings).fingerprint
    rows = examples(TEXTS)
    both = [[each.spans for each in model.predict(rows, language="eng_Latn")] for model in (wide, narrow)]
    assert both[0] == both[1]


def test_texts_are_classified_whatever_their_length(classifier: Callable[..., Path]) -> None:
    task = get_task("text-classification")
    model = load_predictor("transformers", task=task, model=classifier("texts"), device="cpu")
    texts = ["Anna visits Oslo", "Anna visits the garden", "New York " * 60]
    predictions = model.predict(examples(texts), language="eng_Latn")
    assert [each.labels["label"] for each in predictions] == ["place", "other", "place"]
    for each in predictions:
        chances = each.label_distributions["label"]
        assert sum(chances.values()) == pytest.approx(1)
        assert each.label_scores["label"] == max(chances.values())


def test_pairs_are_read_together(classifier: Callable[..., Path]) -> None:
    task = get_task("pair-classification")
    model = load_predictor("transformers", task=task, model=classifier("pairs"), device="cpu")
    pairs = [("Anna likes a garden", "Anna likes a garden"), ("Anna likes a garden", "not Anna likes a garden not")]
    rows = [Example(str(n), {"premise": one, "hypothesis": two}) for n, (one, two) in enumerate(pairs)]
    labels = [each.labels["label"] for each in model.predict(rows, language="eng_Latn")]
    assert labels == ["entailment", "contradiction"]


def test_questions_are_answered_in_the_context_alone(classifier: Callable[..., Path]) -> None:
    task = get_task("question-answering")
    model = load_predictor("transformers", task=task, model=classifier("answers"), device="cpu")
    contexts = ["the old house in New York today", "a garden and " * 40 + "Oslo today and a house"]
    rows = [Example(str(n), {"context": text, "question": "visits"}) for n, text in enumerate(contexts)]
    predictions = model.predict(rows, language="eng_Latn")
    assert [found(row, each)[0][0] for row, each in zip(rows, predictions, strict=True)] == ["New York", "Oslo"]
    assert all(each.spans[0].field == "context" and 0 < (each.scores[0] or 0) <= 1 for each in predictions)


def test_a_slot_model_and_an_intent_model_go_together(classifier: Callable[..., Path]) -> None:
    settings = {"model": classifier("tokens"), "label_model": classifier("texts"), "device": "cpu"}
    model = load_predictor("transformers", task=get_task("slots"), **settings)
    [prediction] = model.predict(examples(["Anna visits Oslo"]), language="eng_Latn")
    assert prediction.labels == {"intent": "place"} and len(prediction.spans) == 2
    alone = load_predictor("transformers", task=get_task("slots"), model=classifier("tokens"), device="cpu")
    assert alone.predict(examples(["Anna"]), language="eng_Latn")[0].labels == {}
    assert alone.fingerprint != model.fingerprint


def test_a_model_of_another_kind_is_refused(classifier: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"BertForSequenceClassification, expected .*ForTokenClassification"):
        load_predictor("transformers", task=NER, model=classifier("texts"))


def test_a_pickle_is_refused(classifier: Callable[..., Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classifier("tokens"), tmp_path / "pickled"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        load_predictor("transformers", task=NER, model=folder)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("transfomers", {}, "did you mean 'transformers'"),
        ("spacy", {}, "needs the setting 'model'"),
        ("transformers", {"model": "x", "labl_model": "y"}, "did you mean 'label_model'"),
        ("transformers", {"model": "x", "label_model": "y"}, "has not both spans and labels"),
    ],
)
def test_a_mistake_in_the_settings_is_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_predictor(name, task=NER, **settings)


def test_spacy_must_be_able_to_predict_what_is_asked(tagger: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no text categoriser"):
        load_predictor("spacy", task=get_task("slots"), model=tagger)
    with pytest.raises(ConfigError, match="premise, hypothesis"):
        load_predictor("spacy", task=get_task("pair-classification"), model=tagger)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_predictor("spacy", task=NER, model=tmp_path / "nowhere")


def test_spacy_pipelines_are_told_apart_by_their_weights(tagger: Path, tmp_path: Path) -> None:
    again = [load_predictor("spacy", task=NER, model=tagger).fingerprint for _ in range(2)]
    assert again[0] == again[1]
    data = [Example("1", {"text": "Anna lives"}, (Span(0, 4, "PER"),))]
    other = train_tagger(data, tmp_path / "other", language="en", epochs=1)
    assert load_predictor("spacy", task=NER, model=other).fingerprint != again[0]


def test_a_tagger_needs_something_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 1 examples has a span"):
        train_tagger([Example("1", {"text": "Anna"})], tmp_path, language="en")


def test_predictions_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "later.jsonl"
    predictor = FilePredictor(task=NER, path=path)
    before = predictor.fingerprint
    with pytest.raises(
        PredictionsMissing, match=r"2 texts have no prediction yet: put them into .*later\.jsonl"
    ) as error:
        predictor.predict(examples(["one", "two"]), language="eng_Latn")
    assert [example.fields["text"] for example in error.value.examples] == ["one", "two"]
    path.write_text('{"id": "x", "text": "one", "spans": []}\n', encoding="utf-8")
    assert predictor.fingerprint != before
    [prediction] = predictor.predict(examples(["one"]), language="eng_Latn")
    assert not prediction.spans


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [
                '{"id": "1", "text": "a", "spans": []}',
                '{"id": "1", "text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}]}',
            ],
            "two different predictions for the text 'a'",
        ),
        (['{"id": "1", "text": "a", "spans": [], "scores": [0.5]}'], "expected 0 numbers"),
        (
            ['{"id": "1", "text": "a", "spans": [{"start": 0, "end": 1, "label": "X"}], "scores": [1.5]}'],
            r"scores are \[1\.5\], expected 1 numbers in 0\.\.1",
        ),
    ],
)
def test_a_mistake_in_a_file_of_predictions_is_named(tmp_path: Path, rows: list[str], message: str) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        FilePredictor(task=NER, path=path)


# The probabilities of one word, in different schemes: the same meaning.
@pytest.mark.parametrize(
    ("names", "probabilities"),
    [
        (["O", "B-X", "I-X"], [0.2, 0.5, 0.3]),
        (["I-X", "O", "B-X"], [0.3, 0.2, 0.5]),
        (["O", "B-X", "I-X", "E-X", "S-X"], [0.2, 0.1, 0.2, 0.1, 0.4]),
        (["O", "B-X", "I-X", "L-X", "U-X"], [0.2, 0.1, 0.2, 0.1, 0.4]),
    ],
)
def test_tags_of_every_scheme_mean_the_same(names: list[str], probabilities: list[float]) -> None:
    found = ModelTags(names).distribution([(0, 3)], np.array([probabilities]))
    assert found.tags == ("O", "B-X", "I-X")
    assert found.probabilities[0] == pytest.approx([0.2, 0.5, 0.3])


@pytest.mark.parametrize("names", [["O", "I-PER", "I-LOC"], ["O", "PER", "LOC"]])
def test_labels_without_prefixes_open_a_span_where_the_label_changes(names: list[str]) -> None:
    tags = ModelTags(names)
    rows = np.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [np.nan] * 3, [0.1, 0.1, 0.8]])
    found = tags.distribution([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], rows)
    best = [None if np.isnan(row).any() else found.tags[int(row.argmax())] for row in found.probabilities]
    assert best == ["B-PER", "I-PER", "B-LOC", None, "B-LOC"]


def test_a_model_without_names_for_its_tags_is_refused() -> None:
    with pytest.raises(ModelError, match="LABEL_0, LABEL_1: expected O"):
        ModelTags(["LABEL_0", "LABEL_1"])


def test_labels_get_the_names_of_the_data(classifier: Callable[..., Path]) -> None:
    model = load_predictor("transformers", task=NER, model=classifier("tokens"), device="cpu")
    [prediction] = model.predict(examples(["Anna visits Oslo"]), language="eng_Latn")
    changed = renamed(prediction, {"PER": "person", "LOC": None})
    assert [span.label for span in changed.spans] == ["person"]
    assert changed.distribution is not None and changed.distribution.tags == ("O", "B-person", "I-person")
    assert np.allclose(changed.distribution.probabilities.sum(axis=1), 1)
    assert renamed(prediction, {}) is prediction
