"""Sentences over a model's limit: cut where it hurts least, never cut off."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.translation.segments import cut_long


def count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def cut(sentence: str, limit: int) -> list[str]:
    return [sentence[start:end] for start, end in cut_long([sentence], limit, count_characters)[0]]


@pytest.mark.parametrize(
    ("sentence", "limit", "expected"),
    [
        ("short enough", 12, ["short enough"]),
        ("we came, we saw; then we left, all of us", 32, ["we came, we saw;", "then we left, all of us"]),
        ("he said so. then he went, and so on", 26, ["he said so.", "then he went, and so on"]),
        ("about 1,000,000.5 things in it", 22, ["about 1,000,000.5", "things in it"]),
        ("one two three four five six", 16, ["one two three", "four five six"]),
        ("我们今天去了北京，然后我们又去了上海", 12, ["我们今天去了北京，", "然后我们又去了上海"]),
        ("วันนี้อากาศดี ฉันไปตลาดกับแม่", 20, ["วันนี้อากาศดี", "ฉันไปตลาดกับแม่"]),
        ("abcdefghijkl", 6, ["abcd", "efgh", "ijkl"]),
    ],
)
def test_the_best_boundary_near_the_middle(sentence: str, limit: int, expected: list[str]) -> None:
    assert cut(sentence, limit) == expected


@pytest.mark.parametrize("grapheme", ["e\u0301", "👩‍👩‍👧", "🇩🇪", "한", "กำ", "क्षि", "❤️"])
def test_no_grapheme_is_cut(grapheme: str) -> None:
    parts = cut(grapheme * 20, 7)
    assert "".join(parts) == grapheme * 20
    for part in parts:
        assert len(part) <= 7 or len(regex.findall(r"\X", part)) == 1
        assert all(each in regex.findall(r"\X", grapheme) for each in regex.findall(r"\X", part))


def test_a_grapheme_over_the_limit_stays_whole() -> None:
    letter = "a" + "\u0301" * 10
    assert cut(f"{letter}b", 5) == [letter, "b"]


def test_texts_are_counted_together_in_few_rounds() -> None:
    rounds: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        rounds.append(len(texts))
        return count_words(texts)

    sentences = [("word " * length).strip() for length in range(1, 400)]
    ranges = cut_long(sentences, 50, count)
    assert len(rounds) <= 4
    assert max(count_words([s[a:b] for s, each in zip(sentences, ranges, strict=True) for a, b in each])) <= 50
    # As few pieces as the limit asks for, with a quarter to spare.
    assert sum(map(len, ranges)) <= 1.25 * sum(-(-length // 50) for length in range(1, 400))


@settings(deadline=None)
@given(
    st.lists(st.text("ab ,.;\u3000，。1é中กำ👩\u200d🇩🇪\u0301", min_size=1).map(str.strip).filter(bool), max_size=5),
    st.integers(1, 30),
)
def test_nothing_is_lost_and_nothing_is_over_the_limit(sentences: list[str], limit: int) -> None:
    for sentence, ranges in zip(sentences, cut_long(sentences, limit, count_characters), strict=True):
        position = 0
        for start, end in ranges:
            assert position <= start < end
            assert not sentence[position:start].strip()
            assert end - start <= limit or len(regex.findall(r"\X", sentence[start:end])) == 1
            position = end
        assert not sentence[position:].strip()


def test_a_megabyte_without_a_boundary_is_cut_in_no_time() -> None:
    (ranges,) = cut_long(["A" * 1_000_000], 500, count_characters)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1_000_000
    assert all(end - start <= 500 for start, end in ranges)
