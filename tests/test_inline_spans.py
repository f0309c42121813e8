"""Spans written into their text: exact both ways, and clear about what cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import DataError
from spanferry.data.example import Span
from spanferry.data.inline import from_inline, to_inline

_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("[]()\\^=+-@{}u1f\n\r\t_xé🙂"), min_size=1)
_LABEL = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("[]()\\^1u{}"), min_size=1, max_size=6)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text with any spans in it: nested, crossing, repeated."""
    text = draw(_TEXT)
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).filter(lambda pair: pair[0] < pair[1])
    return text, [Span(*place, draw(_LABEL)) for place in draw(st.lists(places, max_size=5))]


@given(labelled())
def test_what_is_written_is_read_back(example: tuple[str, list[Span]]) -> None:
    text, spans = example
    inline = to_inline(text, spans)
    assert from_inline(inline) == (text, tuple(sorted(spans)))
    assert not inline.startswith(("=", "+", "-", "@"))


@given(st.text(st.sampled_from("[]()\\^ab2u{}")))
def test_whatever_is_typed_is_read_or_refused_in_words(typed: str) -> None:
    try:
        text, spans = from_inline(typed)
    except DataError as error:
        assert "Hint: a span is [text](LABEL)" in str(error)
    else:
        assert from_inline(to_inline(text, spans)) == (text, spans)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("in [Warschau geboren", "'[' before 'Warschau geboren' is not closed"),
        ("in Warschau](LOC)", "'](LOC)' at character 12 closes a bracket that is not open"),
        ("in [Warschau] geboren", "expected a label behind ']'"),
        ("in [](LOC)", "'[](LOC)' at character 4 labels nothing"),
        ("in [W](LOC^2)", "closes a bracket that is not open"),
        ("in \\", "the text ends in a backslash"),
        ("\\u{ffffff}", "is no character"),
        ("\\u{d800} x", "\\u{d800} is no character: expected a code point up to \\u{10ffff}, without d800 to dfff"),
        ("[x](A\\u{dfff})", "is no character"),
    ],
)
def test_what_cannot_be_read_is_said(typed: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        from_inline(typed)
    assert message in str(caught.value)
