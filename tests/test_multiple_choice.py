"""Questions with choices: the rows of usual datasets, builds in both directions, a model's choice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import BuildError, ConfigError, DataError
from spanferry.data.example import Example
from spanferry.data.formats import read_examples, write_examples
from spanferry.data.multiple_choice import MULTIPLE_CHOICE, choice_fields, name_choices
from spanferry.data.tasks import Reading
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.edition import make_edition
from spanferry.projection.predict_choices import ChoiceNames
from spanferry.projection.prediction import load_predictor

Settings = dict[str, Any]


# Rows as these datasets have them on the hub (names of their columns from their dataset cards).
@pytest.mark.parametrize(
    ("row", "fields", "label", "meta"),
    [
        pytest.param(
            {"flores_passage": "P", "question": "Q", "mc_answer1": "a", "mc_answer2": "b", "correct_answer_num": "2"},
            {"context": "P", "question": "Q", "choice1": "a", "choice2": "b"}, "2", {},
            id="belebele",
        ),
        pytest.param(
            {"sent1": "S", "sent2": "T", "ending0": "a", "ending1": "b", "ending2": "c", "label": 2, "gold": "g"},
            {"context": "S", "question": "T", "choice1": "a", "choice2": "b", "choice3": "c"}, 2, {"gold": "g"},
            id="swag",
        ),
        pytest.param(
            {"ctx": "Q", "endings": ["a", "b"], "label": "1"},
            {"question": "Q", "choice1": "a", "choice2": "b"}, "1", {},
            id="hellaswag",
        ),
        pytest.param(
            {"premise": "P", "choice1": "a", "choice2": "b", "question": "cause", "label": 0},
            {"context": "P", "question": "cause", "choice1": "a", "choice2": "b"}, 0, {},
            id="xcopa",
        ),
        pytest.param(
            {"question": "Q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"},
            {"question": "Q", "choice1": "a", "choice2": "b"}, "B", {"choice_labels": ["A", "B"]},
            id="arc",
        ),
        pytest.param(
            {"question": "Q", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}], "label": "A"},
            {"question": "Q", "choice1": "a", "choice2": "b"}, "A", {"choice_labels": ["A", "B"]},
            id="arc, as a list",
        ),
        pytest.param(
            {"context": "C", "question": "Q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
            {"context": "C", "question": "Q", "choice1": "a", "choice2": "b", "choice3": "c"}, "3", {},
            id="social_i_qa",
        ),
        pytest.param(
            {"article": "C", "question": "Q", "options": ["a", "b"], "answer": "A"},
            {"context": "C", "question": "Q", "choice1": "a", "choice2": "b"}, "A", {},
            id="race",
        ),
    ],
)  # fmt: skip
def test_usual_columns_are_found(row: dict[str, Any], fields: dict[str, str], label: Any, meta: dict[str, Any]) -> None:
    example = MULTIPLE_CHOICE.to_example({"id": "1", **row})
    assert example == Example("1", fields, labels={"label": label}, meta=meta)
    assert list(example.fields) == list(fields), "reading order"
    assert type(example.labels["label"]) is type(label)
    assert MULTIPLE_CHOICE.to_example(MULTIPLE_CHOICE.to_row(example)) == example


@given(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=30))
def test_choices_keep_their_order_however_many(choices: list[str]) -> None:
    fields = {"question": "Q", **name_choices(choices)}
    assert MULTIPLE_CHOICE.text_columns(dict(sorted(fields.items())))["choices"] == choices  # 1, 10, 11 ... 2
    columns = {f"option_{number}": text for number, text in enumerate(choices)}
    row = {"id": "1", "question": "Q", **dict(sorted(columns.items())), "label": 0}
    assert MULTIPLE_CHOICE.to_example(row, Reading(columns={"choices": "option_*"})).fields == fields


def test_a_table_may_have_questions_with_fewer_choices(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,question,choice1,choice2,choice3,answer\n1,Q,a,b,c,C\n2,R,a,b,,B\n", encoding="utf-8")
    first, second = read_examples(path, "multiple-choice")
    assert (choice_fields(first.fields), first.labels["label"]) == (["choice1", "choice2", "choice3"], "C")
    assert (choice_fields(second.fields), second.labels["label"]) == (["choice1", "choice2"], "B")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "datasets"])
def test_questions_of_every_kind_in_one_file(kind: str, tmp_path: Path) -> None:
    examples = [
        Example("1", {"question": "Q", **name_choices(["a", "b"])}, labels={"label": "A"}),
        Example("2", {"context": "C", "question": "Q", **name_choices(["[1]", "", "c"])}, labels={"label": None}),
    ]
    path = tmp_path / f"a.{kind}"
    write_examples(examples, path, "multiple-choice", format=kind)
    assert list(read_examples(path, "multiple-choice", format=kind)) == examples


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q", "choices": ["a"], "label": 0}, "expected a list of two or more choices"),
        ({"question": "Q", "choices": "a", "label": 0}, "expected a list of two or more choices"),
        ({"question": "Q", "choices": ["a", None], "label": 0}, "choice 1 is None: expected text"),
        ({"question": "Q", "choice1": "a", "choice2": None, "choice3": "c", "label": 0}, "choice 1 is None"),
        ({"question": "Q", "choice1": "a", "label": 0}, "no column for choices"),
        ({"question": "Q", "choices": ["a", "b"]}, "no column for label"),
        ({"question": None, "choices": ["a", "b"], "label": 0}, "'question' is None: expected text"),
    ],
)
def test_a_bad_row_says_what_was_found_and_expected(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MULTIPLE_CHOICE.to_example(row)


def test_choices_have_no_gaps() -> None:
    with pytest.raises(DataError, match="'choice4' and no 'choice3'"):
        MULTIPLE_CHOICE.to_row(Example("1", {"question": "Q", **name_choices("ab"), "choice4": "d"}))


# Builds. German words to English ones and back, word for word.

DICTIONARY = {"Wo": "Where", "wohnt": "lives", "In": "In", "Köln": "Oslo", "Bonn": "Anna", "Garten": "garden"}
ROWS = [
    {"id": "1", "context": "Zoë wohnt in Köln.", "question": "Wo", "choices": ["Bonn", "Köln", "Garten"], "label": 1},
    {"id": "2", "context": None, "question": "Wo", "choices": ["Köln", "Bonn"], "label": 1},
]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(folder: Path, language: str) -> list[dict[str, Any]]:
    [file] = sorted((folder / "data" / language).glob("*.parquet"))
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return {
        "task": "multiple-choice",
        "source": {"path": str(write(tmp_path / "de.jsonl", ROWS)), "language": "de"},
        "targets": ["en"],
        "translation": {"model": "fake", "settings": {"dictionary": DICTIONARY}},
        "run": {"memory": False},
        "output": str(tmp_path / "out"),
    }


@pytest.fixture
def test_settings(settings: Settings, classifier: Callable[..., Path]) -> Settings:
    source = {"path": settings["source"]["path"], "languages": ["de"]}
    predictor = {"name": "transformers", "model": str(classifier("choices"))}
    sides = {"direction": "translate-test", "source": source, "pivot": "en", "predictor": predictor}
    return {**{name: value for name, value in settings.items() if name != "targets"}, **sides}


def test_every_choice_is_translated_and_the_label_is_carried(settings: Settings) -> None:
    result = build(parse_config(settings))
    first, second = rows_of(result.folder, "en")
    assert (first["choices"], first["source_choices"]) == (["Anna", "Oslo", "garden"], ["Bonn", "Köln", "Garten"])
    assert (first["context"], first["question"], first["label"]) == ("Zoë lives in Oslo.", "Where", 1)
    assert (second["context"], second["source_context"], second["choices"]) == (None, None, ["Oslo", "Anna"])
    assert len(first["translation_score_choices"]) == 3
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "multiple-choice" in card
    loaded = load_dataset(str(result.folder), "en", split="train")
    assert loaded[0]["choices"] == first["choices"] and loaded[0]["label"] == 1
    again = list(read_examples(next((result.folder / "data" / "en").glob("*.parquet")), "multiple-choice"))
    assert dict(again[1].fields) == {"question": "Where", "choice1": "Oslo", "choice2": "Anna"}


def test_letters_stay_letters(settings: Settings, tmp_path: Path) -> None:
    rows = [{**row, "label": letter} for row, letter in zip(ROWS, "CB", strict=True)]
    write(tmp_path / "de.jsonl", rows)
    result = build(parse_config(settings))
    # Were they numbered as they are met, C would be 0.
    assert [row["label"] for row in rows_of(result.folder, "en")] == ["C", "B"]


def test_a_publication_has_pairs_of_every_text(settings: Settings) -> None:
    settings["source"]["license"] = "cc0-1.0"
    edition = make_edition(build(parse_config(settings)).folder, pairs=True, source=True)
    pairs = rows_of(edition.root, "de-en")
    assert edition.configs["de-en"] == {"train": len(pairs)} == {"train": 8}
    assert {"id": "1", "field": "choices/1", "translation": {"de": "Köln", "en": "Oslo"}} in pairs
    assert [row["label"] for row in rows_of(edition.root, "de")] == [1, 1]


def test_a_model_chooses_on_the_translation(test_settings: Settings) -> None:
    result = build(parse_config(test_settings))
    first, second = rows_of(result.folder, "de")
    assert (first["choices"], first["pivot_choices"]) == (ROWS[0]["choices"], ["Anna", "Oslo", "garden"])
    assert [row["predicted_label"] for row in (first, second)] == ["1", "0"]
    assert 1 / 3 < first["predicted_label_score"] <= 1
    assert result.report["evaluation"]["label"]["value"] == 50


def test_the_data_says_what_its_first_choice_is_called(test_settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "de.jsonl", [{**row, "label": letter} for row, letter in zip(ROWS, "BA", strict=True)])
    test_settings["predictor"]["first_choice"] = "A"
    result = build(parse_config(test_settings))
    assert [row["predicted_label"] for row in rows_of(result.folder, "de")] == ["B", "A"]
    assert result.report["evaluation"]["label"]["value"] == 100


def test_choices_made_elsewhere(test_settings: Settings, tmp_path: Path) -> None:
    test_settings["predictor"] = {"name": "file", "path": str(tmp_path / "predictions.jsonl")}
    with pytest.raises(BuildError, match="Add label to each row"):
        build(parse_config(test_settings))
    asked = [json.loads(line) for line in (tmp_path / "out" / "to-predict.jsonl").read_text("utf-8").splitlines()]
    assert [row["choices"] for row in asked] == [["Anna", "Oslo", "garden"], ["Oslo", "Anna"]]
    write(tmp_path / "predictions.jsonl", [{**row, "label": 1} for row in asked])
    assert build(parse_config(test_settings)).report["evaluation"]["label"]["value"] == 100


# The model: in the toy language of `tests/classifiers.py`, a place is right.


def questions(*choices: Sequence[str], context: str | None = None) -> list[Example]:
    about = {} if context is None else {"context": context}
    return [
        Example(str(number), {**about, "question": "visits", **name_choices(each)})
        for number, each in enumerate(choices)
    ]


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("context", [None, "the old red house", "the old house and " * 40])
def test_any_number_of_choices_is_chosen_from(
    classifier: Callable[..., Path], classifiers: ModuleType, family: str, context: str | None
) -> None:
    model = load_predictor("transformers", task=MULTIPLE_CHOICE, model=classifier("choices", family), device="cpu")
    asked = questions(
        ["Anna", "Oslo"], ["Paris", "garden", "Anna", "house"], ["garden"] * 9 + ["Oslo"], context=context
    )
    predictions = model.predict(asked, language="eng_Latn")
    assert [each.labels["label"] for each in predictions] == [1, 0, 9]
    for example, each in zip(asked, predictions, strict=True):
        chances = each.label_distributions["label"]
        assert list(chances) == [str(place) for place in range(len(choice_fields(example.fields)))]
        assert sum(chances.values()) == pytest.approx(1)
    alone = [model.predict([each], language="eng_Latn")[0] for each in asked]
    assert [each.labels for each in alone] == [each.labels for each in predictions]


def test_the_names_of_choices_are_part_of_the_fingerprint(classifier: Callable[..., Path]) -> None:
    settings = {"task": MULTIPLE_CHOICE, "model": classifier("choices"), "device": "cpu"}
    found = {load_predictor("transformers", first_choice=first, **settings).fingerprint for first in (0, "0", 1, "A")}
    assert len(found) == 4


@pytest.mark.parametrize("first", ["", "AA", "-1", -1, True, "é", 0.5])
def test_a_first_choice_is_a_number_or_a_letter(first: Any) -> None:
    with pytest.raises(ConfigError, match="expected a number"):
        ChoiceNames(first)


def test_letters_end() -> None:
    assert ChoiceNames("z").of(0) == "z"
    with pytest.raises(ConfigError, match="more than there are letters"):
        ChoiceNames("A").of(26)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": 5}, "the label is 5 of 2 choices: expected a number from 0 to 1, or from 1 to 2"),
        ({"label": "3"}, "the label is '3' of 2 choices: expected a number"),
        ({"label": -2}, "the label is -2 of 2 choices"),
        ({"label": "C"}, "the label is 'C' of 2 choices: expected a letter from A to B"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}, "label": "A"}, "'choices' has 2 texts and 1 labels"),
        ({"choices": {"text": ["a"], "label": ["A", "B"]}, "label": "A"}, "'choices' has 1 texts and 2 labels"),
    ],
)
def test_a_label_that_is_none_of_the_choices_is_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = [{"id": "1", "question": "Q", "choices": ["a", "b"], "label": 0}]
    rows.append({"id": "2", "question": "Q", "choices": ["a", "b"], **row})
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{re.escape(message)}"):
        list(read_examples(file, "multiple-choice"))


@pytest.mark.parametrize("label", [0, 1, 2, "0", "2", "A", "b", "Köln", -1, "-1", None, "", 7, "none of these"])
def test_a_label_of_any_usual_form_is_kept(label: Any) -> None:
    names = {"text": ["Bonn", "Köln"], "label": ["6", "7"]} if label == 7 else ["Bonn", "Köln"]
    given = "7" if label == 7 else label
    example = MULTIPLE_CHOICE.to_example({"id": "1", "question": "Q", "choices": names, "label": given})
    assert example.labels["label"] == (None if given == "" else given)
