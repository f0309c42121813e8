"""Texts of one example translated as one, and texts that go there and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.translation.base import Hypothesis, Segment, Translation
from spanferry.translation.fake import FakeTranslator
from spanferry.translation.jointly import APART, SEPARATORS, translate_jointly
from spanferry.translation.round_trip import compose


class Forgetful(FakeTranslator):
    """Loses every separator, and notes what it was given."""

    def __init__(self, max_tokens: int = 512) -> None:
        super().__init__(max_tokens=max_tokens)
        self.given: list[str] = []

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        self.given += texts
        return [Hypothesis(text.replace(SEPARATORS[0], ""), -0.5) for text in texts]


def test_what_belongs_together_is_translated_in_one_sentence() -> None:
    fake = FakeTranslator({"cat": "Katze"})
    [[first, second]] = translate_jointly([["  A cat. It sleeps.\n", "No cat"]], fake, source="en", target="de")
    assert (first.text, second.text) == ("  A Katze. It sleeps.\n", "No Katze")
    assert first.segments == (Segment(2, 19, 2, 21),)
    assert (first.flags, first.score) == ((), -0.1)


def test_a_separator_that_does_not_come_back_is_noticed() -> None:
    fake = Forgetful()
    [[first, second]] = translate_jointly([["A cat.", "No cat."]], fake, source="en", target="de")
    assert (first.text, second.text, first.flags, second.flags) == ("A cat.", "No cat.", (APART,), (APART,))
    assert fake.given == ["A cat. / No cat.", "A cat.", "No cat."]


@pytest.mark.parametrize("texts", [["A cat.", ""], ["A cat."], ["A cat.", "!?"]])
def test_a_text_alone_is_translated_as_ever(texts: list[str]) -> None:
    fake = Forgetful()
    [found] = translate_jointly([texts], fake, source="en", target="de")
    assert [each.text for each in found] == texts and not any(each.flags for each in found)
    assert fake.given == ["A cat."]


def test_what_is_too_long_together_goes_apart() -> None:
    fake = Forgetful(max_tokens=6)
    [found] = translate_jointly([["one two three four", "five six seven"]], fake, source="en", target="de")
    assert [(each.text, each.flags) for each in found] == [
        ("one two three four", (APART,)),
        ("five six seven", (APART,)),
    ]


def test_texts_that_hold_a_separator_get_another() -> None:
    fake = FakeTranslator()
    [[first, second]] = translate_jointly([["this/that", "here"]], fake, source="en", target="de")
    assert (first.text, second.text, first.flags) == ("this/that", "here", ())
    [[first, _]] = translate_jointly([["".join(SEPARATORS) + " one", "two"]], fake, source="en", target="de")
    assert first.flags == (APART,)


cuts = st.lists(st.integers(1, 19), unique=True, max_size=5).map(lambda inner: [0, *sorted(inner), 20])


@given(cuts, cuts)
def test_two_hops_agree_on_stretches_in_order(first: list[int], second: list[int]) -> None:
    text = "x" * 20
    there = Translation(text, text, tuple(Segment(a, b, a, b) for a, b in pairwise(first)))
    back = Translation(text, text, tuple(Segment(a, b, a, b) for a, b in pairwise(second)))
    segments = compose(there, back).segments
    # Both hops copy, so a stretch is the same on both sides; together they are the whole, cut where both hops cut.
    assert all((each.source_start, each.source_end) == (each.target_start, each.target_end) for each in segments)
    assert [each.source_start for each in segments] == sorted(set(first[:-1]) & set(second[:-1]))
    assert [each.source_end for each in segments] == sorted(set(first[1:]) & set(second[1:]))


def test_a_second_hop_of_another_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the second translation is of 'b'"):
        compose(Translation("x", "a"), Translation("b", "y"))
