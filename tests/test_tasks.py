"""One contract for every task, and what each makes of the rows of usual datasets."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.data.column_names import set_aside
from spanferry.data.correction_columns import correction_row
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.multiple_choice import MultipleChoice
from spanferry.data.prediction_columns import prediction_columns, prediction_features, prediction_row
from spanferry.data.question_answering import ANSWER, QuestionAnswering
from spanferry.data.schema import Schema
from spanferry.data.tasks import TASKS, Reading, Task, content_id, declared_schema, get_task

ALL = TASKS.names()
LABELS = ("PER", "weather/find", "X-1")


def span_labels(task: Task) -> tuple[str, ...]:
    """The labels that spans of the task may have."""
    return (ANSWER,) if isinstance(task, QuestionAnswering) else LABELS


def fields_of(task: Task) -> list[tuple[str, ...]]:
    """The text fields that examples of the task may have: what any may, first."""
    if not isinstance(task, MultipleChoice):
        return [task.fields]
    choices = [tuple(f"choice{number}" for number in range(1, count + 1)) for count in (2, 3, 11)]
    return [("question", *each) for each in choices] + [("context", "question", *each) for each in choices]


@st.composite
def examples(draw: st.DrawFn, task: Task) -> Example:
    """Any example that the task can hold."""
    text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    fields = {name: draw(text) for name in draw(st.sampled_from(fields_of(task)))}
    labels = {name: draw(st.sampled_from(LABELS)) for name in task.labels}
    spans: list[Span] = []
    tokens: dict[str, tuple[tuple[int, int], ...]] = {}
    if task.spans_in:
        length = len(fields[task.spans_in])
        for start, end in draw(st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, length)), max_size=4)):
            if start < end:
                spans.append(Span(start, end, draw(st.sampled_from(span_labels(task))), task.spans_in))
        if task.tagged and draw(st.booleans()):
            cuts = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
            tokens = {task.spans_in: tuple(zip(cuts[::2], cuts[1::2], strict=False))}
    meta = draw(st.dictionaries(st.sampled_from(["source", "page", "column_3"]), st.integers() | st.text(max_size=3)))
    return Example(draw(text), fields, tuple(spans), labels, tokens, meta)


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_row_and_example_are_two_forms_of_one_thing(name: str, data: st.DataObject) -> None:
    task = get_task(name)
    example = data.draw(examples(task))
    row = task.to_row(example)
    assert task.to_example(row) == example
    assert task.to_row(task.to_example(row)) == row


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25)  # each builds a dataset
@given(data=st.data())
def test_rows_fit_the_features_that_the_task_promises(name: str, data: st.DataObject) -> None:
    task = get_task(name)
    example = data.draw(examples(task))
    row = {key: value for key, value in task.to_row(example).items() if key not in example.meta}
    schema = Schema(span_labels(task), dict.fromkeys(task.labels, LABELS))
    features = task.features(schema, tokens=bool(example.tokens))
    assert list(features) == list(row)
    dataset = Dataset.from_list([row], features=features)
    classes = [] if isinstance(task, MultipleChoice) else task.labels
    assert all(features[label] == ClassLabel(names=list(LABELS)) for label in classes)
    names = {column: dataset.features[column].names for column in classes}
    if task.tagged:
        names["spans.label"] = dataset.features["spans"].feature["label"].names
        if example.tokens:
            names["tags"] = dataset.features["tags"].feature.names
    stored = dataset[0]
    assert task.to_example(stored, Reading(names=names)) == Example(
        example.id, example.fields, example.spans, example.labels, example.tokens
    )


@pytest.mark.parametrize("name", ALL)
def test_features_without_an_inventory_are_text(name: str) -> None:
    task = get_task(name)
    features = task.features()
    assert all(features[label] == Value("string") for label in task.labels)
    if task.tagged:
        assert features["spans"] == List({"start": Value("int32"), "end": Value("int32"), "label": Value("string")})


@pytest.mark.parametrize("name", ALL)
def test_a_missing_column_names_what_was_looked_for_and_what_is_there(name: str) -> None:
    task = get_task(name)
    with pytest.raises(DataError, match=r"no column for \w+ \(looked for .*found id, txet"):
        task.to_example({"id": "1", "txet": "a"})
    with pytest.raises(DataError, match=r"no column 'texts' for \w+: did you mean 'text'"):
        task.to_example({"id": "1", "text": "a"}, Reading(columns={task.fields[0]: "texts"}))
    with pytest.raises(ConfigError, match="did you mean"):
        task.to_example({"id": "1", "text": "a"}, Reading(columns={task.fields[0] + "x": "text"}))


@pytest.mark.parametrize("name", ALL)
def test_labels_may_be_absent_only_where_that_is_said(name: str) -> None:
    task = get_task(name)
    fields = dict.fromkeys(fields_of(task)[0], "a")
    example = task.to_example({"id": "1", **fields}, Reading(labelled=False))
    assert (example.spans, dict(example.labels), dict(example.fields)) == ((), {}, fields)


@pytest.mark.parametrize("name", ALL)
def test_what_a_shape_cannot_hold_is_refused(name: str) -> None:
    task = get_task(name)
    fields = dict.fromkeys(fields_of(task)[0], "abc")
    labels = dict.fromkeys(task.labels, "x")
    beyond: list[Example] = [
        Example("1", {**fields, "summary": "abc"}, (), labels),
        Example("1", fields, (), {**labels, "score": 1}),
        Example("1", {**fields, "summary": "abc"}, (Span(0, 1, "A", "summary"),), labels),
        Example("1", fields, (), labels, {"summary": ((0, 1),)}),
    ]
    for example in beyond:
        with pytest.raises(DataError, match=r"'1'.*(summary|score).*has no column"):
            task.to_row(example)
    with pytest.raises(DataError, match="has no text field"):
        task.to_row(Example("1", {}, (), labels))
    with pytest.raises(DataError, match=r"meta has a column 'id'.*source_id"):
        task.to_row(Example("1", fields, (), labels, meta={"id": 3}))


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'slots'"):
        get_task("slot")


# Rows as these datasets have them on the hub (names of their columns from their dataset cards).
@pytest.mark.parametrize(
    ("task", "row", "names", "expected"),
    [
        pytest.param(
            "ner",
            {"id": "7", "tokens": ["EU", "rejects"], "pos_tags": [22, 42], "ner_tags": [3, 0]},
            {"ner_tags": ("O", "B-PER", "I-PER", "B-ORG", "I-ORG")},
            Example("7", {"text": "EU rejects"}, (Span(0, 2, "ORG"),), {}, {"text": ((0, 2), (3, 10))},
                    {"pos_tags": [22, 42]}),
            id="conll2003",
        ),
        pytest.param(
            "slots",
            {"id": "1", "utt": "wake me", "intent": 1, "spans": [{"start": 5, "end": 7, "label": "who"}]},
            {"intent": ("alarm_query", "alarm_set")},
            Example("1", {"text": "wake me"}, (Span(5, 7, "who"),), {"intent": "alarm_set"}),
            id="massive-like",
        ),
        pytest.param(
            "text-classification",
            {"idx": 5, "sentence": "a joy", "label": 1},
            {"label": ("negative", "positive")},
            Example("5", {"text": "a joy"}, (), {"label": "positive"}),
            id="glue/sst2",
        ),
        pytest.param(
            "pair-classification",
            {"premise": "A.", "hypothesis": "B.", "label": 2, "idx": 0},
            {"label": ("entailment", "neutral", "contradiction")},
            Example("0", {"premise": "A.", "hypothesis": "B."}, (), {"label": "contradiction"}),
            id="glue/mnli",
        ),
        pytest.param(
            "pair-classification",
            {"sentence1": "A.", "sentence2": "B.", "label": 3.8, "id": "x"},
            {},
            Example("x", {"premise": "A.", "hypothesis": "B."}, (), {"label": 3.8}),
            id="stsb",
        ),
        pytest.param(
            "pair-classification",
            {"question": "A?", "sentence": "B.", "label": -1, "idx": 3},
            {"label": ("entailment", "not_entailment")},
            Example("3", {"premise": "A?", "hypothesis": "B."}, (), {"label": None}),
            id="glue/qnli test split, no gold",
        ),
    ],
)  # fmt: skip
def test_usual_columns_are_found(task: str, row: dict[str, Any], names: dict[str, Any], expected: Example) -> None:
    assert get_task(task).to_example(row, Reading(names=names)) == expected


@pytest.mark.parametrize(
    "spans",
    [
        [{"start": 0, "end": 3, "label": "PER"}],
        [{"start_offset": 0, "end_offset": 3, "type": "PER", "id": 4}],
        [{"begin": 0, "end": 3, "entity_group": "PER", "text": "Zoë"}],
        [[0, 3, "PER"]],
        [(0, 3, "PER")],
        {"start": [0], "end": [3], "label": ["PER"]},
    ],
)
def test_forms_of_spans(spans: Any) -> None:
    row = {"id": "1", "text": "Zoë lacht.", "entities": spans}
    assert get_task("ner").to_example(row).spans == (Span(0, 3, "PER"),)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([{"start": 0, "end": 11, "label": "PER"}], r"0:11 \(PER\), which ends past the text of 10 characters"),
        ([[0, 2, "A"], [3, 3, "PER"]], r"span 3:3 \(PER\) is empty"),
        ([{"start": 4, "end": 9, "label": "V", "text": "Zoë"}], r"labels 'lacht', but its own text is 'Zoë'.*bytes"),
        ([{"start": "0", "end": 3, "label": "PER"}], r"span 0 is .*expected .\"start\": number"),
        ([{"start": 0, "end": 3}], "expected"),
        ([[0, 3]], "expected"),
        ("PER", "expected a list of spans"),
        (None, "expected a list of spans"),
        ({"start": [0], "end": [], "label": ["PER"]}, "expected a list of spans"),
        ([[0, 3, 1]], "holds the number 1.*names"),
        ([[True, 3, "A"]], "expected"),
    ],
)  # fmt: skip
def test_bad_spans_say_what_was_found_and_expected(spans: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        get_task("ner").to_example({"id": "1", "text": "Zoë lacht.", "spans": spans})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "1", "text": None, "spans": []}, "'text' is None: expected text"),
        ({"id": "1", "text": 3, "spans": []}, "'text' is 3: expected text"),
        ({"id": None, "text": "a", "spans": []}, "'id' is None: expected an id.*id: null"),
        ({"id": "", "text": "a", "spans": []}, "'id' is '': expected an id"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "'tokens' is 'a b': expected a list of tokens"),
        ({"tokens": None, "tags": []}, "'tokens' is None: expected a list of tokens"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "token 1 is None"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "token 1 is empty"),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "found 2 tags for 1 tokens"),
        ({"tokens": ["a"], "tags": [3]}, r"holds the number 3.*names: \{tags: "),
        ({"tokens": ["a"], "tags": [None]}, "holds None: expected a label"),
        ({"text": "a c", "tokens": ["a", "b"], "tags": ["O", "O"]}, "token 1 is 'b', but the text goes on with 'c'"),
        ({"text": "a b", "tokens": ["a"], "token_starts": [2], "spans": []}, "'a' does not stand at 2"),
        ({"text": "aa", "tokens": ["aa", "a"], "token_starts": [0, 1], "spans": []}, "tokens 0 and 1 overlap"),
        ({"text": "a", "tokens": ["a"], "token_starts": [], "spans": []}, "expected one whole number a token"),
    ],
)
def test_bad_cells_say_what_was_found_and_expected(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        get_task("ner").to_example(row)


def test_numbers_without_names_say_under_which_key_to_give_them() -> None:
    with pytest.raises(
        DataError, match=r"^column 'entities', span 0 holds the number 2.*names: \{entities.label: \[PER"
    ):
        get_task("ner").to_example({"text": "Zoë", "entities": [[0, 3, 2]]})
    named = Reading(names={"entities.label": ("PER", "LOC", "ORG")})
    assert get_task("ner").to_example({"text": "Zoë", "entities": [[0, 3, 2]]}, named).spans == (Span(0, 3, "ORG"),)


def test_numbers_that_are_text_have_names_and_those_of_a_scale_are_numbers() -> None:
    task = get_task("text-classification")
    named = Reading(names={"label": ("neg", "pos", "7")})
    for value, label in {"1": "pos", "7": "7", "-1": None, "neg": "neg", "1.0": "1.0"}.items():
        assert task.to_example({"text": "a", "label": value}, named).labels == {"label": label}
    with pytest.raises(DataError, match="column 'label' holds the number 3: expected 0 to 2"):
        task.to_example({"text": "a", "label": "3"}, named)
    pair = {"sentence1": "a", "sentence2": "b"}
    for value, number in {
        "3.5": 3.5,
        "2": 2.0,
        "-1e-3": -0.001,
        ".5": 0.5,
        "": None,
        "high": "high",
        "nan": "nan",
    }.items():
        found = get_task("pair-classification").to_example({**pair, "score": value}, Reading(typed=False))
        assert found.labels == {"label": number} and type(found.labels["label"]) is type(number)
    typed = get_task("pair-classification").to_example({**pair, "score": "2"})
    assert typed.labels == {"label": "2"}
    assert (
        get_task("pair-classification").to_example({**pair, "label": "2"}, Reading(typed=False)).labels["label"] == "2"
    )


def test_label_numbers_out_of_range_are_refused() -> None:
    row = {"text": "a", "label": 2}
    with pytest.raises(DataError, match="holds the number 2: expected 0 to 1"):
        get_task("text-classification").to_example(row, Reading(names={"label": ("no", "yes")}))
    with pytest.raises(DataError, match=r"'label' is \[1\]: expected one label"):
        get_task("text-classification").to_example({"text": "a", "label": [1]})


def test_no_gold_label_is_none_and_an_empty_cell_says_so() -> None:
    task = get_task("text-classification")
    for value in (None, ""):
        assert task.to_example({"text": "a", "label": value}).labels == {"label": None}
    assert task.to_example({"text": "a", "label": -1}).labels == {"label": -1}  # a score, for all we know


def test_columns_can_be_named_and_put_aside() -> None:
    row = {"id": 9, "body": "Zoë", "text": "not this", "ents": [[0, 3, "PER"]]}
    reading = Reading(columns={"text": "body", "spans": "ents", "id": None})
    example = get_task("ner").to_example(row, reading)
    assert example.fields == {"text": "Zoë"}
    assert example.spans == (Span(0, 3, "PER"),)
    # What would take the name of a column that the task writes keeps its content under another.
    assert example.meta == {"source_id": 9, "source_text": "not this"}
    assert get_task("ner").to_example(get_task("ner").to_row(example)) == example


@given(st.data())
def test_columns_that_are_put_aside_do_not_meet(data: st.DataObject) -> None:
    parts = st.lists(st.sampled_from(["x_", "text", "flags", "_"]), max_size=4).map("".join)
    ours, names = data.draw(st.sets(parts)), data.draw(st.sets(parts))
    found = [set_aside(name, ours, "x_") for name in names]
    assert len(set(found)) == len(names)
    assert not ours & set(found)
    assert all(new.endswith(name) for new, name in zip(found, names, strict=True))


def test_a_column_that_is_put_aside_never_takes_the_place_of_another() -> None:
    row = {"id": "7", "source_id": "wiki-12", "source_source_id": 3, "text": "Zoë", "label": "a"}
    task, reading = get_task("text-classification"), Reading(columns={"id": None})
    assert task.to_example(row, reading).meta == {
        "source_id": "7", "source_source_id": "wiki-12", "source_source_source_id": 3,
    }  # fmt: skip
    # A column has one name in all rows, whatever else they have; and where nothing can be put aside, its own.
    assert task.to_example({"text": "a", "label": "b", "source_id": 1}, reading).meta == {"source_source_id": 1}
    assert task.to_example({"text": "a", "label": "b", "source_id": 1}).meta == {"source_id": 1}
    tags = {"text": "a", "spans": [], "tags": ["news"], "source_tags": ["old"]}
    assert get_task("ner").to_example(tags).meta == {"source_tags": ["news"], "source_source_tags": ["old"]}


def test_corrections_leave_every_column_of_the_source() -> None:
    row = {"text": "Gut.", "machine_text": "mine", "original_machine_text": "older"}
    found = correction_row(get_task("text-classification"), row, None)
    assert (found["original_machine_text"], found["original_original_machine_text"]) == ("mine", "older")


@pytest.mark.parametrize("name", ALL)
def test_predictions_leave_every_column_of_the_source(name: str) -> None:
    task = get_task(name)
    ours = sorted(prediction_columns(task))
    declared = prediction_features(task, Schema(), tokens=task.tagged, labelled=False)
    assert set(ours) == set(declared) - set(task.features(tokens=task.tagged))
    fields = dict.fromkeys(fields_of(task)[-1], "a")
    # Without tokens there are no `predicted_tags` of ours; a column of that name has the same new one all the same.
    example = Example("1", fields, labels={}, meta={each: ["mine"] for each in ours} | {f"original_{ours[0]}": 3})
    scores = dict.fromkeys(fields)
    row = prediction_row(
        task, example, Example("1", fields), labelled=False, label_scores={}, pivot=fields, translation_scores=scores,
        flags=[], projections=[],
    )  # fmt: skip
    assert all(row[f"original_{each}"] == ["mine"] for each in ours)
    assert row[f"original_original_{ours[0]}"] == 3


def test_spans_count_where_a_row_has_tags_too() -> None:
    row = {
        "id": "1", "text": "a b", "tokens": ["a", "b"], "tags": ["B-X", "I-X"],
        "spans": [{"start": 0, "end": 3, "label": "X"}, {"start": 2, "end": 3, "label": "Y"}],
    }  # fmt: skip
    example = get_task("ner").to_example(row)
    assert example.spans == (Span(0, 3, "X"), Span(2, 3, "Y"))
    assert get_task("ner").to_row(example)["tags"] == ["B-X", "I-X"]


def test_schema_is_declared_by_names() -> None:
    names = {"ner_tags": ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), "intent": ("find", "set")}
    reading = Reading(names=names)
    assert declared_schema(get_task("slots"), reading, ("tokens", "ner_tags", "intent")) == Schema(
        ("LOC", "PER"), {"intent": ("find", "set")}
    )
    assert declared_schema(get_task("slots"), Reading(), ("tokens", "tags", "intent")) == Schema()


def test_ids_from_content_know_texts_and_labels_only() -> None:
    fields, labels = {"text": "Zoë"}, {"intent": "find"}
    assert content_id(fields, labels) == content_id(dict(fields), dict(labels))
    assert len({content_id(fields, labels), content_id(fields, {}), content_id({"text": "Zoe"}, labels)}) == 3
    assert content_id({"premise": "a", "hypothesis": "b"}, {}) != content_id({"premise": "b", "hypothesis": "a"}, {})
