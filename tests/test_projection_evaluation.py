"""Evaluation: equal to seqeval and scikit-learn on any tags and labels, SQuAD's answers, intervals that reproduce."""

from __future__ import annotations

import random

import numpy as np
import pytest
import seqeval.metrics as seqeval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.signature import parse_signature
from spanferry.data.spans import tags_to_ranges
from spanferry.data.tasks import get_task
from spanferry.projection.answers import answer_scores, exact_match, normalized_answer, token_f1
from spanferry.projection.bootstrap import Resampling, bootstrap, paired_bootstrap
from spanferry.projection.evaluation import (
    ACCURACY,
    ANSWER_F1,
    CORRELATION,
    SPAN_F1,
    compare,
    evaluate,
    label_scores,
    number_scores,
)
from spanferry.projection.metrics import span_scores
from spanferry.projection.quality import evaluate_examples

tag = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "I-C"])  # valid sequences and others
sentence = st.integers(1, 8).flatmap(
    lambda n: st.tuples(st.lists(tag, min_size=n, max_size=n), st.lists(tag, min_size=n, max_size=n))
)


def spans_of(tags: list[str]) -> list[Span]:
    return [Span(*each) for each in tags_to_ranges(tags, repair=True)]


@given(st.lists(sentence, min_size=1, max_size=5))
def test_span_scores_are_those_of_seqeval(sentences: list[tuple[list[str], list[str]]]) -> None:
    gold, found = [pair[0] for pair in sentences], [pair[1] for pair in sentences]
    scores = span_scores(
        {str(i): spans_of(tags) for i, tags in enumerate(gold)},
        {str(i): spans_of(tags) for i, tags in enumerate(found)},
    )
    if not scores.per_label:  # seqeval takes a mean of nothing; ours is 0.0, as with one label and nothing right
        assert (scores.exact.f1, scores.macro_f1) == (0.0, 0.0)
        return
    ours = {
        "micro": (scores.exact.precision, scores.exact.recall, scores.exact.f1),
        "macro": (scores.macro_precision, scores.macro_recall, scores.macro_f1),
    }
    for average, expected in ours.items():
        theirs = [
            100 * getattr(seqeval, f"{figure}_score")(gold, found, average=average, zero_division=0)
            for figure in ("precision", "recall", "f1")
        ]
        assert list(expected) == pytest.approx(theirs)
    report = seqeval.classification_report(gold, found, output_dict=True, zero_division=0)
    for label, counts in scores.per_label.items():
        assert counts.f1 == pytest.approx(100 * report[label]["f1-score"])
        assert counts.tp + counts.fn == report[label]["support"]


labels = st.sampled_from(["x", "y", "z"])


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=12))
def test_label_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, found = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = label_scores(dict(enumerate_ids(gold)), dict(enumerate_ids(found)))
    assert scores.accuracy == pytest.approx(100 * sklearn.accuracy_score(gold, found))
    macro = sklearn.f1_score(gold, found, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(100 * macro)


def enumerate_ids(values: list[str]) -> list[tuple[str, str]]:
    return [(str(index), value) for index, value in enumerate(values)]


class TestLabels:
    def test_no_gold_is_left_out_and_no_prediction_is_wrong(self) -> None:
        scores = label_scores({"1": "x", "2": None, "3": 0}, {"1": None, "2": "x", "3": 0})
        assert (scores.right, scores.total) == (1, 2)
        assert scores.to_json()["accuracy"] == 50.0
        assert list(scores.per_label) == ["0", "x"]

    def test_nothing(self) -> None:
        assert label_scores({}, {}).accuracy == label_scores({}, {}).macro_f1 == 0.0


class TestAnswers:
    # Golden values by hand from the definitions: lower case, no punctuation, no a/an/the, single blanks; F1 of bags.
    @pytest.mark.parametrize(
        ("predicted", "golds", "exact", "f1"),
        [
            ("The Denver Broncos!", ["denver broncos"], True, 1.0),
            ("Denver", ["Denver Broncos", "Carolina Panthers"], False, 2 / 3),  # 1 common, of 1 and of 2
            ("to to be", ["to be or not to be"], False, 6 / 9),  # 3 common, of 3 and of 6
            ("24–10", ["24-10"], False, 0.0),  # a dash of Unicode is no ASCII punctuation: "24–10" and "2410"
            ("U.S.", ["us"], True, 1.0),
            ("theatre", ["atre"], False, 0.0),  # an article is a whole word
            ("ein Haus", ["Haus"], False, 2 / 3),  # and an English one
            ("", [], True, 1.0),
            ("a", [], True, 1.0),
            ("Denver", [], False, 0.0),
            ("", ["Denver"], False, 0.0),
        ],
    )
    def test_golden(self, predicted: str, golds: list[str], exact: bool, f1: float) -> None:
        assert exact_match(predicted, golds) is exact
        assert token_f1(predicted, golds) == pytest.approx(f1)

    @given(st.text(), st.text())
    def test_laws(self, one: str, other: str) -> None:
        assert normalized_answer(normalized_answer(one)) == normalized_answer(one) or "İ" in one
        assert token_f1(one, [other]) == pytest.approx(token_f1(other, [one]))
        assert 0 <= token_f1(one, [other]) <= 1
        assert token_f1(one, [one]) == 1.0
        assert exact_match(one, [other, one])

    def test_no_prediction_is_the_empty_answer(self) -> None:
        scores = answer_scores({"1": [], "2": ["Köln"]}, {"1": None, "2": None})
        assert (scores.exact_match, scores.f1) == (50.0, 50.0)


class TestBootstrap:
    def test_is_the_same_every_time_and_another_by_another_seed(self) -> None:
        draw = np.random.default_rng(0)
        counts = np.stack([draw.integers(0, 2, 50), np.ones(50)], axis=1).astype(float)

        def accuracy(sums: np.ndarray) -> np.ndarray:
            return 100 * sums[..., 0] / sums[..., 1]

        first = bootstrap(counts, accuracy)
        assert first == bootstrap(counts, accuracy)
        assert bootstrap(counts, accuracy, Resampling(20)) != bootstrap(counts, accuracy, Resampling(20, seed=1))
        assert first.low < first.value < first.high

    def test_interval_is_that_of_the_binomial(self) -> None:
        # Resampled accuracy is binomial(n, p)/n: 95 per cent lie within 1.96 standard errors, here 1.96 * 100 * 0.02.
        counts = np.stack([np.arange(500) < 360, np.ones(500)], axis=1).astype(float)
        found = bootstrap(counts, lambda sums: 100 * sums[..., 0] / sums[..., 1], Resampling(samples=4000))
        assert found.low == pytest.approx(72 - 3.936, abs=0.5)
        assert found.high == pytest.approx(72 + 3.936, abs=0.5)

    def test_equal_systems_do_not_differ(self) -> None:
        counts = np.array([[1.0], [0.0], [1.0]])
        same = paired_bootstrap(counts, counts, lambda sums: sums[..., 0])
        assert (same.difference.value, same.difference.low, same.difference.high) == (0, 0, 0)
        # As in sacreBLEU, a difference of zero is not put down to chance: none of the draws differs by more.
        assert same.p_value == pytest.approx(1 / 1001)

    def test_a_difference_of_noise_is_not_significant(self) -> None:
        draw = np.random.default_rng(3)
        first, second = (draw.integers(0, 2, (200, 1)).astype(float) for _ in range(2))
        assert paired_bootstrap(first, second, lambda sums: sums[..., 0]).p_value > 0.05

    def test_mistakes(self) -> None:
        with pytest.raises(DataError, match="2 and 1 examples"):
            paired_bootstrap(np.zeros((2, 1)), np.zeros((1, 1)), lambda sums: sums[..., 0])
        for wrong in {"samples": 0}, {"seed": -1}, {"confidence": 100}:
            with pytest.raises(ConfigError, match="expected samples of 1 or more"):
                Resampling(**wrong)  # type: ignore[arg-type]


PER, LOC = Span(0, 4, "PER"), Span(6, 9, "LOC")


class TestEvaluate:
    def test_by_language_with_a_signature_that_reads_back(self) -> None:
        gold = {"1": [PER, LOC], "2": [PER], "3": []}
        found = {"1": [PER], "2": [PER, LOC], "3": []}
        languages = {"1": "de", "2": "es", "3": "es"}
        result = evaluate(SPAN_F1, gold, found, languages=languages, settings={"task": "ner", "tgt": ["de", "es"]})
        assert result.main.value == pytest.approx(100 * 4 / 6)
        assert {name: each.examples for name, each in result.languages.items()} == {"de": 1, "es": 2}
        assert result.languages["de"].scores.exact.recall == 50.0
        read = parse_signature(result.signature)
        assert read["task"] == "ner"
        assert read["metric"] == "span_f1"
        assert read["bootstrap"] == {"samples": 1000, "seed": 12345, "confidence": 95.0}
        assert parse_signature(result.languages["de"].signature)["language"] == "de"
        written = result.to_json()
        assert written["scores"]["macro"]["f1"] == pytest.approx(50.0)
        assert written["languages"]["de"]["examples"] == 1

    @settings(max_examples=20)
    @given(st.randoms(use_true_random=False))
    def test_the_order_of_examples_does_not_matter(self, shuffle: random.Random) -> None:
        gold = {str(number): "xy"[number % 2] for number in range(9)}
        found = {str(number): "xyz"[number % 3] for number in range(9)}
        keys = list(gold)
        shuffle.shuffle(keys)
        same = evaluate(ACCURACY, {key: gold[key] for key in keys}, found, resampling=Resampling(samples=20))
        assert same == evaluate(ACCURACY, gold, found, resampling=Resampling(samples=20))

    def test_answers(self) -> None:
        result = evaluate(ANSWER_F1, {"1": ["Köln"], "2": []}, {"1": "in Köln", "2": ""})
        assert result.main.value == pytest.approx(100 * (2 / 3 + 1) / 2)
        assert result.scores.exact_match == 50.0

    def test_main_figure_is_that_of_the_scores(self) -> None:
        gold = {"1": [PER], "2": [LOC, PER], "3": []}
        found = {"1": [LOC], "2": [LOC], "3": [PER]}
        result = evaluate(SPAN_F1, gold, found)
        assert result.main.value == pytest.approx(result.scores.exact.f1)

    def test_nothing_to_evaluate(self) -> None:
        result = evaluate(SPAN_F1, {}, {})
        assert (result.main.value, result.main.low, result.main.high, result.examples) == (0.0, 0.0, 0.0, 0)

    def test_other_examples(self) -> None:
        with pytest.raises(DataError, match="differ in 1 example ids: '2'"):
            evaluate(ACCURACY, {"1": "x"}, {"1": "x", "2": "y"})
        with pytest.raises(DataError, match="differ in 1 example ids: '1'"):
            evaluate(ACCURACY, {"1": "x"}, {"1": "x"}, languages={})

    def test_compare(self) -> None:
        gold = {str(number): [PER] for number in range(40)}
        first = {str(number): [PER] if number % 2 else [] for number in range(40)}
        comparison = compare(SPAN_F1, gold, first, gold)
        assert comparison.first.value == pytest.approx(200 * 20 / 60)
        assert comparison.difference.value == pytest.approx(100 - 200 * 20 / 60)
        assert comparison.p_value < 0.01
        assert set(comparison.to_json()) == {"first", "second", "difference", "p_value"}


class TestNumbers:
    @given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=20))
    def test_correlation_is_that_of_numpy(self, pairs: list[tuple[int, int]]) -> None:
        one, other = [float(pair[0]) for pair in pairs], [float(pair[1]) for pair in pairs]
        scores = number_scores({str(i): x for i, x in enumerate(one)}, {str(i): x for i, x in enumerate(other)})
        if len(set(one)) == 1 or len(set(other)) == 1:
            assert scores.pearson == 0.0
        else:
            assert scores.pearson == pytest.approx(100 * np.corrcoef(one, other)[0, 1], abs=1e-6)

    def test_interval(self) -> None:
        gold = {str(number): float(number) for number in range(30)}
        result = evaluate(CORRELATION, gold, gold)
        assert result.main.value == result.main.low == pytest.approx(100.0)
        assert evaluate(CORRELATION, {}, {}).main.value == 0.0


class TestEvaluateExamples:
    def test_same_ids_in_two_languages(self) -> None:
        task = get_task("ner")
        gold = [
            Example("1", {"text": "Köln"}, (Span(0, 4, "LOC"),)),
            Example("1", {"text": "Roma"}, (Span(0, 4, "LOC"),)),
        ]
        found = [gold[0], Example("1", {"text": "Roma"})]
        [(name, result)] = evaluate_examples(task, gold, found, languages=["de", "es"]).items()
        assert (name, result.examples) == ("spans", 2)
        assert {language: each.main.value for language, each in result.languages.items()} == {"de": 100.0, "es": 0.0}
        assert parse_signature(result.signature)["task"] == "ner"

    def test_answers(self) -> None:
        fields = {"context": "Zoë lebt in Köln.", "question": "Wo?"}
        gold = Example("1", fields, (Span(12, 16, "ANSWER", "context"), Span(9, 16, "ANSWER", "context")))
        found = Example("1", fields, (Span(9, 16, "ANSWER", "context"),))
        results = evaluate_examples(get_task("question-answering"), [gold], [found])
        assert results["answers"].main.value == 100.0
        assert results["spans"].main.value == pytest.approx(100 * 2 / 3)

    def test_labels_by_what_they_are(self) -> None:
        task = get_task("pair-classification")

        def pair(number: int, label: str | int | float | None) -> Example:
            return Example(str(number), {"premise": "a", "hypothesis": "b"}, labels={"label": label})

        classes = evaluate_examples(task, [pair(1, 0), pair(2, 1)], [pair(1, "0"), pair(2, None)])
        assert (classes["label"].metric, classes["label"].main.value) == ("accuracy", 50.0)
        numbers = evaluate_examples(task, [pair(1, 0.5), pair(2, 1.0)], [pair(1, "2"), pair(2, 3)])
        assert (numbers["label"].metric, numbers["label"].main.value) == ("pearson", 100.0)
        assert evaluate_examples(task, [pair(1, None)], [pair(1, "x")]) == {}
        with pytest.raises(DataError, match="example '2' has the label 'x', where others are numbers"):
            evaluate_examples(task, [pair(1, 0.5), pair(2, 1.0)], [pair(1, 0.1), pair(2, "x")])

    def test_other_examples(self) -> None:
        one, other = Example("1", {"text": "Köln"}), Example("1", {"text": "Cologne"})
        with pytest.raises(DataError, match="not on a translation"):
            evaluate_examples(get_task("ner"), [one], [other])
        with pytest.raises(DataError, match="found 0 predicted examples for 1 of gold"):
            evaluate_examples(get_task("ner"), [one], [])
