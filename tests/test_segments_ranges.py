"""Texts to ranges and back: nothing is lost, and every offset leads home."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.data.errors import DataError
from spanferry.translation.base import Segment, Translation
from spanferry.translation.segments import sentence_ranges, to_source, to_target

TEXTS = st.text(" \t\n\r\x0b\x85\u2028\u3000.!?。！-*#>aA1é中한😀\u0301\"'()", max_size=80)
LANGUAGES = st.sampled_from(["eng_Latn", "deu_Latn", "zho_Hans", "tha_Thai", "hin_Deva", "arb_Arab"])


def pieces(text: str, language: str = "eng_Latn") -> list[str]:
    return [text[start:end] for start, end in sentence_ranges(text, language)]


@settings(deadline=None)
@given(TEXTS, LANGUAGES)
def test_ranges_are_sorted_and_leave_no_word_out(text: str, language: str) -> None:
    ranges = sentence_ranges(text, language)
    position = 0
    for start, end in ranges:
        assert position <= start < end
        assert not any(map(str.isalnum, text[position:start]))
        assert text[start:end] == text[start:end].strip()
        assert len(text[start:end].splitlines()) == 1
        position = end
    assert not any(map(str.isalnum, text[position:]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \r\n\t", []),
        ("One line", ["One line"]),
        ("A first line\r\nand a second\r\n\r\n\r\nThird.\n", ["A first line", "and a second", "Third."]),
        ("To buy:\n  - milk\n  * eggs. Brown ones.\n\t• tea", ["To buy:", "milk", "eggs.", "Brown ones.", "tea"]),
        ("## Title\n> quoted text", ["Title", "quoted text"]),
        ("— Who is it?\n— Me.", ["Who is it?", "Me."]),
        ("1. FC Union won.", ["1. FC Union won."]),
        ("-5 degrees", ["-5 degrees"]),
        ("a\u2028b\x85c\x0bd", ["a", "b", "c", "d"]),
        ("\u3000你好。\u3000再见。", ["你好。", "再见。"]),
        ("Yes.\u00a0No.", ["Yes.", "No."]),
    ],
)
def test_lines_bullets_and_white_space_stay_between_the_ranges(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_ranges_kept_apart_are_not_looked_into() -> None:
    text = "Run this. Now.\n```\nx = 1. Y = 2\n```\nDone."
    block = (text.index("```"), text.rindex("```") + 3)
    found = sentence_ranges(text, "eng_Latn", apart=[block])
    assert [text[start:end] for start, end in found] == ["Run this.", "Now.", "Done."]


def test_lines_only() -> None:
    assert sentence_ranges("One. Two.\n Three.", "eng_Latn", sentences=False) == [(0, 9), (11, 17)]


@st.composite
def translations(draw: st.DrawFn) -> Translation:
    """A text of gaps and segments whose targets are of any length, empty and unchanged ones included."""
    parts = draw(st.lists(st.tuples(st.text(" \n", max_size=2), st.text("abc", min_size=1, max_size=4)), max_size=5))
    source = target = ""
    segments = []
    for gap, text in parts:
        translated = draw(st.one_of(st.just(text), st.text("xyz", max_size=4)))
        source, target = source + gap, target + gap
        segments.append(Segment(len(source), len(source) + len(text), len(target), len(target) + len(translated)))
        source, target = source + text, target + translated
    tail = draw(st.text(" \n", max_size=2))
    return Translation(source + tail, target + tail, tuple(segments))


@settings(deadline=None)
@given(translations(), st.data())
def test_there_and_back_covers_where_one_started(translation: Translation, data: st.DataObject) -> None:
    if not translation.source:
        return
    start = data.draw(st.integers(0, len(translation.source) - 1))
    end = data.draw(st.integers(start + 1, len(translation.source)))
    target_start, target_end = to_target(translation, start, end)
    assert 0 <= target_start <= target_end <= len(translation.text)
    if target_start < target_end:
        back = to_source(translation, target_start, target_end)
        assert back[0] <= start or not translation.source[start : back[0]].strip() or _is_dropped(translation, start)
        assert back[1] >= end or _is_dropped(translation, end - 1)


def _is_dropped(translation: Translation, position: int) -> bool:
    """Whether the segment at ``position`` became nothing."""
    return any(
        segment.source_start <= position < segment.source_end and segment.target_start == segment.target_end
        for segment in translation.segments
    )


@settings(deadline=None)
@given(translations(), st.data())
def test_gaps_map_character_by_character(translation: Translation, data: st.DataObject) -> None:
    inside = {i for segment in translation.segments for i in range(segment.source_start, segment.source_end)}
    for position in set(range(len(translation.source))) - inside:
        start, end = to_target(translation, position, position + 1)
        assert translation.text[start:end] == translation.source[position]
        assert end - start == 1
        assert to_source(translation, start, end) == (position, position + 1)


def test_an_unchanged_segment_maps_character_by_character() -> None:
    translation = Translation("See a.org now", "Siehe a.org jetzt", (Segment(0, 3, 0, 5), Segment(4, 9, 6, 11)))
    assert to_target(translation, 6, 9) == (8, 11)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (2, 1), (-1, 1), (0, 4)])
def test_a_range_outside_the_text_is_refused(start: int, end: int) -> None:
    with pytest.raises(DataError, match=rf"range {start}:{end} is not in the text, which has 3 characters"):
        to_target(Translation("abc", "abc"), start, end)
