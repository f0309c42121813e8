"""Tags <-> token ranges <-> character spans, for every scheme."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Span
from spanferry.data.spans import (
    SCHEMES,
    Scheme,
    TagError,
    TokenRange,
    get_scheme,
    ranges_to_tags,
    spans_to_tags,
    tag_names,
    tags_to_ranges,
    tags_to_spans,
)

LABELS = ["PER", "LOC", "B-ORG", "weather/find", "", "日本"]
schemes = st.sampled_from(list(SCHEMES))


@st.composite
def flat_ranges(draw: st.DrawFn) -> tuple[list[TokenRange], int]:
    """Ranges without overlap, often touching, and the number of tokens."""
    pieces = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(LABELS)), max_size=6))
    ranges, end = [], 0
    for gap, length, label in pieces:
        ranges.append(TokenRange(end + gap, end + gap + length, label))
        end += gap + length
    return ranges, end + draw(st.integers(0, 2))


def touching_pairs(ranges: list[TokenRange]) -> bool:
    return any(before.end == after.start and before.label == after.label for before, after in pairwise(ranges))


@given(flat_ranges(), schemes)
def test_ranges_come_back_from_tags(drawn: tuple[list[TokenRange], int], scheme: Scheme) -> None:
    ranges, length = drawn
    if scheme == "IO" and touching_pairs(ranges):
        with pytest.raises(DataError, match="would merge"):
            ranges_to_tags(ranges, length, scheme)
        return
    tags = ranges_to_tags(ranges, length, scheme)
    assert len(tags) == length
    assert tags_to_ranges(tags, scheme) == ranges
    assert tags_to_ranges(tags, scheme, repair=True) == ranges or scheme == "IOB1"


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"]), max_size=7), schemes)
def test_tags_that_are_accepted_come_back_from_ranges(tags: list[str], scheme: Scheme) -> None:
    try:
        ranges = tags_to_ranges(tags, scheme)
    except TagError as error:
        assert tags[error.position] != "O"  # the fault is at a tag that says something
        return
    again = ranges_to_tags(ranges, len(tags), scheme)
    if scheme == "IOB1":  # B- where I- would do is read too
        assert [tag.replace("B-", "I-") for tag in again] == [tag.replace("B-", "I-") for tag in tags]
        assert tags_to_ranges(again, scheme) == ranges
    else:
        assert again == tags


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "E-A", "S-A", "L-B", "I-B", "U-B"]), max_size=8))
def test_repair_labels_exactly_the_tokens_that_have_a_tag(tags: list[str]) -> None:
    labels = {i: tag[2:] for i, tag in enumerate(tags) if tag != "O"}
    ranges = tags_to_ranges(tags, repair=True)
    assert {i: label for start, end, label in ranges for i in range(start, end)} == labels


# Worked by hand from the definitions in Tjong Kim Sang & Veenstra (1999), "Representing text chunks", section 2.
WORKED = [TokenRange(0, 2, "PER"), TokenRange(2, 3, "PER"), TokenRange(4, 5, "LOC"), TokenRange(5, 8, "ORG")]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB1", "I-PER I-PER B-PER O I-LOC I-ORG I-ORG I-ORG"),
        ("IOB2", "B-PER I-PER B-PER O B-LOC B-ORG I-ORG I-ORG"),
        ("BIOES", "B-PER E-PER S-PER O S-LOC B-ORG I-ORG E-ORG"),
        ("BILOU", "B-PER L-PER U-PER O U-LOC B-ORG I-ORG L-ORG"),
    ],
)
def test_worked_example(scheme: Scheme, tags: str) -> None:
    assert ranges_to_tags(WORKED, 8, scheme) == tags.split()
    assert tags_to_ranges(tags.split(), scheme) == WORKED


# What conlleval.pl (startOfChunk, endOfChunk) makes of tags that break their scheme.
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O I-A I-A O", [(1, 3, "A")]),
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("I-A B-A I-A", [(0, 1, "A"), (1, 3, "A")]),
        ("B-A E-A I-A", [(0, 2, "A"), (2, 3, "A")]),
        ("B-A S-A I-A", [(0, 1, "A"), (1, 2, "A"), (2, 3, "A")]),
        ("E-A E-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A", [(0, 1, "A")]),
    ],
)
def test_repair_reads_as_conlleval(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert tags_to_ranges(tags.split(), "BIOES", repair=True) == expected


@pytest.mark.parametrize(
    ("tags", "scheme", "position", "message"),
    [
        ("O I-PER", "IOB2", 1, r"'I-PER' of token 1 follows 'O': expected B-PER"),
        ("I-PER", "IOB2", 0, r"follows the start: expected B-PER"),
        ("B-PER I-LOC", "IOB2", 1, r"follows 'B-PER': expected B-LOC"),
        ("B-PER O", "BIOES", 0, r"'B-PER' of token 0 comes before 'O': expected E-PER"),
        ("B-PER I-PER", "BILOU", 1, r"comes before the end: expected L-PER"),
        ("B-PER S-PER", "BIOES", 0, r"expected E-PER"),
        ("E-PER", "BIOES", 0, r"follows the start: expected B-PER"),
        ("S-PER I-PER", "BIOES", 1, r"follows 'S-PER': expected B-PER"),
        ("O PER", "IOB2", 1, r"'PER' of token 1 is none of IOB2: expected O or B-LABEL, I-LABEL"),
        ("S-PER", "IOB2", 0, r"none of IOB2"),
        ("B-PER", "IO", 0, r"none of IO"),
    ],
)
def test_a_tag_without_a_place_is_named(tags: str, scheme: Scheme, position: int, message: str) -> None:
    with pytest.raises(TagError, match=message) as caught:
        tags_to_ranges(tags.split(), scheme)
    assert caught.value.position == position
    assert caught.value.hint


def test_overlapping_ranges_cannot_be_tags() -> None:
    with pytest.raises(DataError, match=r"0:2 \(A\) and 1:3 \(B\) overlap"):
        ranges_to_tags([TokenRange(1, 3, "B"), TokenRange(0, 2, "A")], 3)
    with pytest.raises(DataError, match="sentence of 2 tokens"):
        ranges_to_tags([TokenRange(1, 3, "B")], 2)


def test_scheme_names() -> None:
    assert [get_scheme(name) for name in ("bio", "IOB", "iobes", "bilou", "io")] == [
        "IOB2", "IOB1", "BIOES", "BILOU", "IO",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="did you mean 'BIOES'"):
        get_scheme("biose")


@given(st.lists(st.sampled_from(LABELS), unique=True, max_size=4), flat_ranges(), schemes)
def test_tag_names_cover_what_is_written(
    labels: list[str], drawn: tuple[list[TokenRange], int], scheme: Scheme
) -> None:
    ranges = [found for found in drawn[0] if found.label in labels]
    if scheme == "IO" and touching_pairs(ranges):
        return
    assert set(ranges_to_tags(ranges, drawn[1], scheme)) <= set(tag_names(labels, scheme))


@st.composite
def tokenised(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Token offsets with gaps of 0 to 2 characters."""
    offsets, end = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=8)):
        offsets.append((end + gap, end + gap + length))
        end += gap + length
    return offsets


@given(tokenised(), st.data(), st.sampled_from(["IOB1", "IOB2", "BIOES", "BILOU"]))
def test_spans_on_tokens_come_back_from_tags(
    tokens: list[tuple[int, int]], data: st.DataObject, scheme: Scheme
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(tokens)))))
    spans = tuple(
        Span(tokens[start][0], tokens[end - 1][1], data.draw(st.sampled_from(LABELS))) for start, end in pairwise(cuts)
    )
    tags, left_out = spans_to_tags(spans, tokens, scheme)
    assert left_out == ()
    assert tags_to_spans(tags, tokens, scheme) == spans


@given(tokenised(), st.data(), st.sampled_from(["strict", "contract", "expand"]))
def test_every_span_is_in_the_tags_or_left_out(tokens: list[tuple[int, int]], data: st.DataObject, policy: str) -> None:
    end = tokens[-1][1]
    ends = st.tuples(st.integers(0, end), st.integers(0, end)).filter(lambda pair: pair[0] < pair[1])
    spans = [Span(start, stop, "X") for start, stop in data.draw(st.lists(ends, max_size=5))]
    tags, left_out = spans_to_tags(spans, tokens, policy=policy)  # type: ignore[arg-type]
    assert len(tags_to_spans(tags, tokens)) + len(left_out) == len(spans)


def test_as_many_tags_as_tokens() -> None:
    with pytest.raises(DataError, match="found 2 tags for 1 tokens"):
        tags_to_spans(["O", "O"], [(0, 1)])
