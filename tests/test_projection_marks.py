"""Marks written into a sentence and read back, as they were and as models bring them back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.projection.marker_choice import DEFAULT_MARKERS, Markers
from spanferry.projection.marks import Stripped, read_marks, tag_markers, write_marks

BRACKETS = Markers("[ ", " ]")
ALPHABET = st.sampled_from("ab 1.,<>/&[](){}«»【］〈\t\u0301\u200d😀👩🇮ß東京กุ")
TEXTS = st.one_of(
    st.text(ALPHABET, max_size=30),
    st.text(max_size=20),
    st.lists(st.sampled_from(["<a>", "</a>", "<b>", "[ ", " ]", "Rome", " ", "&lt;a&gt;", "< a >", "I"])).map("".join),
)


@st.composite
def marked_texts(draw: st.DrawFn, *, crossing: bool) -> tuple[str, list[tuple[int, int]]]:
    """A text and different ranges of it, without white space at their ends."""
    text = draw(TEXTS)
    solid = [index for index, character in enumerate(text) if not character.isspace()]
    if not solid:
        return text, []
    ends = st.tuples(st.sampled_from(solid), st.sampled_from(solid))
    ranges = list(dict.fromkeys((min(pair), max(pair) + 1) for pair in draw(st.lists(ends, max_size=5))))
    if crossing:
        return text, ranges
    kept: list[tuple[int, int]] = []
    for start, end in ranges:
        if not any(a < start < b < end or start < a < end < b for a, b in kept):
            kept.append((start, end))
    return text, kept


@given(marked_texts(crossing=True))
def test_tags_come_back_to_the_character(case: tuple[str, list[tuple[int, int]]]) -> None:
    text, ranges = case
    pairs = tag_markers(len(ranges), text)
    written = write_marks(text, ranges, pairs)
    read = read_marks(written.text, ranges, pairs)
    assert (read.text, list(read.places), read.whole) == (text, ranges, True)
    assert Stripped.of(written.text, written.removed).text == text


@given(marked_texts(crossing=False), st.sampled_from([pair for pair in DEFAULT_MARKERS if pair.opening[0] in "[({«"]))
def test_brackets_come_back_to_the_character(case: tuple[str, list[tuple[int, int]]], pair: Markers) -> None:
    text, ranges = case
    for sign in pair.opening.strip(), pair.closing.strip():
        text = text.replace(sign, "x")
    for fitted in (pair, pair.fitted("Jpan")):
        written = write_marks(text, ranges, [fitted] * len(ranges))
        read = read_marks(written.text, ranges, [fitted] * len(ranges))
        assert (read.text, list(read.places), read.whole) == (text, ranges, True)


@given(st.text(ALPHABET), marked_texts(crossing=False), st.sampled_from(["brackets", "tags"]))
def test_whatever_comes_back_is_read_without_error(
    marked: str, case: tuple[str, list[tuple[int, int]]], style: str
) -> None:
    text, ranges = case
    pairs = [BRACKETS] * len(ranges) if style == "brackets" else tag_markers(len(ranges), text)
    read = read_marks(marked, ranges, pairs)
    assert len(read.places) == len(ranges)
    assert Stripped.of(marked, read.removed).text == read.text
    for place in read.places:
        assert place is None or read.text[slice(*place)].strip() == read.text[slice(*place)] != ""
    assert not read.whole or None not in read.places


TWO = [(0, 3), (8, 10)]  # of "Ana met Bo."


def read_two(marked: str, style: str = "brackets") -> tuple[list[str | None], bool]:
    pairs = [BRACKETS] * 2 if style == "brackets" else tag_markers(2, "")
    read = read_marks(marked, TWO, pairs)
    return [None if place is None else read.text[slice(*place)] for place in read.places], read.whole


@pytest.mark.parametrize(
    "marked",
    [
        "[ Ana ] traf [ Bo ].",
        "[Ana] traf [Bo].",
        "[  Ana ] traf [Bo ].",
        "[[ Ana ]] traf [[ Bo ]].",
        "[ [ Ana ] traf [ Bo ].",
        "［Ana］traf［Bo］.",
        "【 Ana 】 traf 《Bo》.",
    ],
)
def test_what_models_make_of_brackets(marked: str) -> None:
    assert read_two(marked) == (["Ana", "Bo"], True)


@pytest.mark.parametrize(
    "marked",
    [
        "<a>Ana</a> traf <b>Bo</b>.",
        "<b> Bo </b> traf <a> Ana </a>.",
        "< a >Ana< / a > traf <B>Bo</B>.",
        "＜a＞Ana＜/a＞ traf ＜b＞Bo＜／b＞.",
        "&lt;a&gt;Ana&lt;/a&gt; traf &lt;b&gt;Bo&lt;/b&gt;.",
        "<a>Ana<a> traf <b>Bo</b>.",
    ],
)
def test_what_models_make_of_tags(marked: str) -> None:
    assert read_two(marked, "tags") == (["Ana", "Bo"], True)


@pytest.mark.parametrize(
    "marked",
    ["Ana traf [ Bo ].", "[ Ana traf [ Bo ].", "] Ana [ traf [ Bo ].", "[ Ana ] [ traf ] [ Bo ].", ""],
)
def test_broken_brackets_have_no_places(marked: str) -> None:
    assert read_two(marked) == ([None, None], False)


@pytest.mark.parametrize(
    ("marked", "found"),
    [
        ("<a>Ana traf <b>Bo</b>.", [None, "Bo"]),
        ("<a>Ana</a> traf <b></b>Bo.", ["Ana", None]),
        ("</a>Ana<a> traf <b>Bo</b>.", [None, "Bo"]),
        ("<a>Ana</a> <a>traf</a> <b>Bo</b>.", [None, "Bo"]),
        # They stood apart in the source.
        ("<a>Ana <b>traf</a> Bo</b>.", [None, None]),
    ],
)
def test_tags_that_came_back_are_kept_and_the_sentence_is_not_whole(marked: str, found: list[str | None]) -> None:
    assert read_two(marked, "tags") == (found, False)


def test_brackets_around_nothing_have_no_place() -> None:
    assert read_two("[ ] traf [ Bo ].") == ([None, "Bo"], False)


def test_nesting_tells_brackets_apart() -> None:
    ranges = [(17, 22), (0, 15), (8, 15)]  # of "Bank of England, Paris"
    read = read_marks("[ Paris ], [ Bank von [ England ] ]", ranges, [BRACKETS] * 3)
    assert [read.text[slice(*place)] for place in read.places if place] == ["Paris", "Bank von England", "England"]


def test_content_tells_brackets_apart_and_order_decides_where_it_does_not() -> None:
    marked = "[ Bo ] wurde von [ Ana ] gesehen."
    names = ["Ana", "Bo"]
    by_content = read_marks(marked, TWO, [BRACKETS] * 2, alike=lambda i, piece: float(piece == names[i]))
    assert [by_content.text[slice(*place)] for place in by_content.places if place] == names
    by_order = read_marks(marked, TWO, [BRACKETS] * 2, alike=lambda i, piece: 0.1 * (piece == names[i]))
    assert [by_order.text[slice(*place)] for place in by_order.places if place] == names[::-1]


def test_a_lone_sign_is_text() -> None:
    read = read_marks("<a>Ana</a> < 3 & <b>Bo</b> <i>x</i>", TWO, tag_markers(2, ""))
    assert read.text == "Ana < 3 & Bo <i>x</i>" and read.whole


def test_names_of_tags_go_on_after_z() -> None:
    assert [pair.opening for pair in tag_markers(28, "")][25:] == ["<z>", "<1>", "<2>"]
