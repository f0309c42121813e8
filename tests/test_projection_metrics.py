"""Span scores: by hand, against tags counted as seqeval counts them, and their laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import DataError
from spanferry.data.example import Span
from spanferry.projection.metrics import SpanCounts, SpanScores, span_scores


def test_worked_example() -> None:
    gold = {"1": [Span(0, 4, "PER"), Span(9, 14, "LOC")], "2": [Span(3, 5, "PER")]}
    found = {"1": [Span(0, 4, "PER"), Span(9, 12, "LOC"), Span(20, 22, "LOC")], "2": []}
    scores = span_scores(gold, found)
    assert scores.exact == SpanCounts(tp=1, fp=2, fn=2)
    assert scores.per_label == {"LOC": SpanCounts(0, 2, 1), "PER": SpanCounts(1, 0, 1)}
    assert scores.exact.precision == pytest.approx(100 / 3)
    assert scores.exact.recall == pytest.approx(100 / 3)
    assert scores.exact.f1 == pytest.approx(100 / 3)
    assert scores.overlapping == 1
    assert scores.partial_f1 == pytest.approx(100 * 2 * 1.5 / 6)


def test_a_wrong_label_or_field_is_wrong_and_earns_no_part() -> None:
    gold = {"1": [Span(0, 4, "PER", "title")]}
    for found in Span(0, 4, "LOC", "title"), Span(0, 4, "PER", "text"):
        scores = span_scores(gold, {"1": [found]})
        assert scores.exact == SpanCounts(0, 1, 1)
        assert scores.overlapping == 0


def test_one_span_earns_half_a_point_once() -> None:
    scores = span_scores({"1": [Span(0, 10, "A")]}, {"1": [Span(0, 3, "A"), Span(4, 9, "A")]})
    assert scores.overlapping == 1
    assert scores.partial_recall == 50.0


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert span_scores({"1": [Span(0, 3, "A")]}, {"1": [Span(3, 5, "A")]}).overlapping == 0


def test_nothing_found_and_nothing_to_find_is_zero() -> None:
    scores = span_scores({"1": []}, {"1": []})
    assert (scores.exact.precision, scores.exact.recall, scores.exact.f1, scores.partial_f1) == (0.0, 0.0, 0.0, 0.0)


def test_ids_must_agree() -> None:
    with pytest.raises(DataError, match="'2'"):
        span_scores({"1": []}, {"1": [], "2": []})


def test_json_has_percentages() -> None:
    scores = span_scores({"1": [Span(0, 1, "A"), Span(2, 3, "A")]}, {"1": [Span(0, 1, "A")]})
    assert scores.to_json() == {
        "exact": {"tp": 1, "fp": 0, "fn": 1, "precision": 100.0, "recall": 50.0, "f1": 66.67},
        "partial": {"overlapping": 0, "precision": 100.0, "recall": 50.0, "f1": 66.67},
        "per_label": {"A": {"tp": 1, "fp": 0, "fn": 1, "precision": 100.0, "recall": 50.0, "f1": 66.67}},
    }


tags = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=10)


def chunks(sequence: list[str]) -> set[tuple[str, int, int]]:
    """The chunks that seqeval's `get_entities` finds in IOB2 tags: an I- after another type opens a chunk."""
    found, start, label = set(), None, ""
    for position, tag in enumerate([*sequence, "O"]):
        prefix, _, kind = tag.partition("-")
        if start is not None and (prefix != "I" or kind != label):
            found.add((label, start, position))
            start = None
        if prefix != "O" and start is None:
            start, label = position, kind
    return found


@given(st.lists(st.tuples(tags, tags), min_size=1, max_size=4))
def test_counts_as_seqeval_does_for_tags(sentences: list[tuple[list[str], list[str]]]) -> None:
    # seqeval's f1_score: chunks of all sentences in two sets; nb_correct = |true & pred|, then micro P, R, F1.
    true = {(i, *chunk) for i, (gold, _) in enumerate(sentences) for chunk in chunks(gold)}
    predicted = {(i, *chunk) for i, (_, found) in enumerate(sentences) for chunk in chunks(found)}
    right = len(true & predicted)
    precision = right / len(predicted) if predicted else 0.0
    recall = right / len(true) if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    as_spans = [
        {str(i): [Span(a, b, label) for label, a, b in chunks(pair[side])] for i, pair in enumerate(sentences)}
        for side in (0, 1)
    ]
    scores = span_scores(*as_spans).exact
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((100 * precision, 100 * recall, 100 * f1))


@given(st.lists(st.tuples(tags, tags), min_size=2, max_size=4))
def test_parts_add_up(sentences: list[tuple[list[str], list[str]]]) -> None:
    def scores(rows: list[tuple[list[str], list[str]]]) -> SpanScores:
        gold = {str(i): [Span(a, b, label) for label, a, b in chunks(row[0])] for i, row in enumerate(rows)}
        found = {str(i): [Span(a, b, label) for label, a, b in chunks(row[1])] for i, row in enumerate(rows)}
        return span_scores(gold, found)

    assert scores(sentences[:1]) + scores(sentences[1:]) == scores(sentences)
    assert scores(sentences).partial_f1 >= scores(sentences).exact.f1
