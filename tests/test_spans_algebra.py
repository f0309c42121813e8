"""Snapping, overlap, nesting, and choosing spans that do not overlap."""

from __future__ import annotations

from itertools import combinations

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.example import Span
from spanferry.data.spans import (
    Keep,
    Snap,
    contains,
    crosses,
    flatten,
    nesting_depths,
    overlaps,
    snap,
    snap_span,
)

POLICIES: list[Snap] = ["strict", "contract", "expand"]
ENGLISH = spacy.blank("en")
KEEPS: list[Keep] = ["longest", "shortest", "first"]

spans = st.builds(
    lambda start, length, label, field: Span(start, start + length, label, field),
    st.integers(0, 12),
    st.integers(1, 6),
    st.sampled_from("AB"),
    st.sampled_from(["text", "text", "text", "title"]),
)


@given(st.text(alphabet="ab, .", max_size=14), st.data())
def test_snap_agrees_with_spacy(text: str, data: st.DataObject) -> None:
    # The reference is spaCy's own Doc.char_span, on the tokens of its blank English pipeline.
    doc = ENGLISH(text)
    tokens = [(token.idx, token.idx + len(token)) for token in doc if not token.is_space]
    if len(tokens) != len(doc):  # spaCy makes tokens of runs of spaces, which our tokens never are
        return
    for start in range(len(text)):
        end = data.draw(st.integers(start + 1, len(text)))
        for policy in POLICIES:
            expected = doc.char_span(start, end, alignment_mode=policy)
            found = snap(start, end, tokens, policy)
            inside = any(first < end and start < last for first, last in tokens)
            if policy == "expand" and not inside:
                assert found is None  # a span of white space only: spaCy takes a token beside it
            else:
                assert found == (None if expected is None else (expected.start, expected.end))


@given(st.integers(0, 20), st.integers(1, 8), st.sampled_from(POLICIES))
def test_snap_keeps_what_it_promises(start: int, length: int, policy: Snap) -> None:
    tokens = [(1, 4), (4, 5), (7, 10), (12, 13)]
    end = start + length
    found = snap(start, end, tokens, policy)
    whole = [i for i, (first, last) in enumerate(tokens) if start <= first and last <= end]
    touched = [i for i, (first, last) in enumerate(tokens) if first < end and start < last]
    if policy == "contract":
        assert found == ((whole[0], whole[-1] + 1) if whole else None)
    elif policy == "expand":
        assert found == ((touched[0], touched[-1] + 1) if touched else None)
    else:
        exact = bool(touched) and tokens[touched[0]][0] == start and tokens[touched[-1]][1] == end
        assert found == ((touched[0], touched[-1] + 1) if exact else None)


def test_snap_span_keeps_label_and_field() -> None:
    assert snap_span(Span(1, 2, "A", "title"), [(0, 3)], "expand") == Span(0, 3, "A", "title")
    assert snap_span(Span(1, 2, "A"), [(0, 3)]) is None


@given(spans, spans)
def test_predicates_mean_sets_of_characters(one: Span, two: Span) -> None:
    first = {(one.field, i) for i in range(one.start, one.end)}
    second = {(two.field, i) for i in range(two.start, two.end)}
    assert overlaps(one, two) == bool(first & second)
    assert contains(one, two) == (second <= first)
    assert crosses(one, two) == (bool(first & second) and not first <= second and not second <= first)


@given(st.lists(spans, max_size=8), st.sampled_from(KEEPS))
def test_flatten_splits_without_loss_and_without_overlap(given_spans: list[Span], keep: Keep) -> None:
    kept, left_out = flatten(given_spans, keep)
    assert sorted([*kept, *left_out]) == sorted(given_spans)
    assert not any(overlaps(one, two) for one, two in combinations(kept, 2))
    # Each that was left out would overlap one that is at least as good by the rule.
    size = {
        "longest": lambda span: (span.start - span.end, span.start),
        "shortest": lambda span: (span.end - span.start, span.start),
        "first": lambda span: (span.start, -span.end),
    }[keep]
    for lost in left_out:
        assert any(overlaps(lost, better) and size(better) <= size(lost) for better in kept)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("longest", [Span(0, 9, "ORG"), Span(11, 14, "B")]),
        ("shortest", [Span(0, 3, "LOC"), Span(4, 6, "PER"), Span(10, 12, "A")]),
        ("first", [Span(0, 9, "ORG"), Span(10, 12, "A")]),
    ],
)
def test_flatten_rules_on_a_nest(keep: Keep, kept: list[Span]) -> None:
    nest = [Span(0, 9, "ORG"), Span(0, 3, "LOC"), Span(4, 6, "PER"), Span(10, 12, "A"), Span(11, 14, "B")]
    assert list(flatten(nest, keep)[0]) == kept


def test_flatten_keeps_the_first_of_equals_and_each_field_apart() -> None:
    assert flatten([Span(0, 2, "A"), Span(0, 2, "B")]) == ((Span(0, 2, "A"),), (Span(0, 2, "B"),))
    two_fields = [Span(0, 2, "A", "premise"), Span(0, 2, "A", "hypothesis")]
    assert flatten(two_fields) == (tuple(two_fields), ())


@given(st.lists(spans, max_size=6))
def test_nesting_depth_counts_what_is_around(given_spans: list[Span]) -> None:
    depths = nesting_depths(given_spans)
    for depth, inner in zip(depths, given_spans, strict=True):
        strictly = sum(contains(outer, inner) and not contains(inner, outer) for outer in given_spans)
        equal = sum(contains(outer, inner) and contains(inner, outer) for outer in given_spans)
        assert strictly <= depth < strictly + equal
