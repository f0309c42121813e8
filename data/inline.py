r"""Spans written into their text, for people to read and edit, and read back exactly.

    [Marie Curie](PER) wurde in [Warschau](LOC) geboren

A span may hold others: ``[Universität [Köln](LOC)](ORG)``. A ``](`` closes the bracket that was opened last; where
spans cross, a number says which one it closes, counted from the last: in ``[ab[cd](A^2)ef](B)`` A is ``abcd`` and B
is ``cdef``. A backslash makes the next character mean itself: ``\[``, ``\]``, ``\\``. Control characters, which
spreadsheets lose or refuse, stand as ``\u{1f}``. A text that begins like a formula begins with a backslash, so that no
spreadsheet computes it, and so does one that a program would take for a number or a date and write in its own way
(``\007``, ``\3-4``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from spanferry.data.errors import DataError
from spanferry.data.example import Span

_SPECIAL: Final = re.compile(r"[\\\[\]]")
_IN_LABEL: Final = re.compile(r"[\\()^]")
# What XML 1.0 cannot hold, and carriage returns, which it turns into line feeds.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))", re.DOTALL)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "'")
# Digits and what stands between them in numbers, times and dates; a plain integer comes back as it is.
_NUMBER: Final = re.compile(
    r"(?!(?:0|[1-9]\d{0,14})\Z)[\d\s.,:/()%eE+-]*\d[\d\s.,:/()%eE+-]*|true|false", re.IGNORECASE
)
_LABEL: Final = re.compile(r"\(((?:\\.|[^\\()^])+)(?:\^([1-9][0-9]*))?\)", re.DOTALL)


def to_inline(text: str, spans: Iterable[Span]) -> str:
    r"""Return a text with its spans written into it.

    >>> to_inline("Marie Curie [1867]", [Span(0, 11, "PER"), Span(6, 11, "NAME")])
    '[Marie [Curie](NAME)](PER) \\[1867\\]'
    >>> to_inline("abcdef", [Span(0, 4, "A"), Span(2, 6, "B")])
    '[ab[cd](A^2)ef](B)'
    >>> print(to_inline("1867", ()), to_inline("007", ()), to_inline("=1+1", ()))
    1867 \007 \=1+1
    """
    opening = sorted(spans, key=lambda span: (span.start, -span.end, span.label))
    places = sorted({0, *(place for span in opening for place in (span.start, span.end))})
    open_: list[Span] = []
    parts = []
    for start, end in zip(places, [*places[1:], len(text)], strict=True):
        # Whatever ends here, the innermost first, so that most closings need no number.
        staying = 0
        for span in reversed(open_):
            if span.end == start:
                parts.append(f"]({_escape(_IN_LABEL, span.label)}{f'^{staying + 1}' if staying else ''})")
            else:
                staying += 1
        open_ = [span for span in open_ if span.end != start]
        begin = [span for span in opening if span.start == start]
        open_ += begin
        parts.append("[" * len(begin) + _escape(_SPECIAL, text[start:end]))
    inline = "".join(parts)
    return "\\" + inline if inline.startswith(_FORMULA) or _NUMBER.fullmatch(inline) else inline


def from_inline(inline: str, *, field: str = "text") -> tuple[str, tuple[Span, ...]]:
    r"""Return the text and the spans, sorted, that `to_inline` wrote; they are equal to what it was given.

    Raises:
        DataError: a bracket is not closed or not open, has no label or nothing in it, or a backslash ends the text.

    >>> from_inline("[Marie Curie](PER) wurde in [Warschau](LOC) geboren")[1]
    (Span(start=0, end=11, label='PER', field='text'), Span(start=21, end=29, label='LOC', field='text'))
    >>> from_inline("wurde in [Warschau geboren")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.DataError: '[' before 'Warschau geboren' is not closed: expected ](LABEL) behind it...
    """
    parts: list[str] = []
    open_: list[tuple[int, int]] = []
    spans = []
    length = at = 0
    while at < len(inline):
        character = inline[at]
        if character == "[":
            open_.append((length, at))
            at += 1
            continue
        if character == "]":
            label, depth, end = _closing(inline, at)
            if depth > len(open_):
                raise DataError(
                    f"{inline[at:end]!r} at character {at + 1} closes a bracket that is not open", hint=_HINT
                )
            start, where = open_.pop(-depth)
            if start == length:
                raise DataError(
                    f"{inline[where:end]!r} at character {where + 1} labels nothing: expected text in it", hint=_HINT
                )
            spans.append(Span(start, length, label, field))
            at = end
            continue
        if character == "\\":
            character, at = _escaped(inline, at)
        else:
            at += 1
        parts.append(character)
        length += len(character)
    if open_:
        after = inline[open_[-1][1] + 1 :][:30]
        raise DataError(f"'[' before {after!r} is not closed: expected ](LABEL) behind it", hint=_HINT)
    return "".join(parts), tuple(sorted(spans))


_HINT: Final = r"a span is [text](LABEL); a bracket that is only text is \[ or \]"


def _closing(inline: str, at: int) -> tuple[str, int, int]:
    """Return the label after a ``]``, which bracket it closes (1 is the last opened), and where the text goes on."""
    match = _LABEL.match(inline, at + 1)
    if match is None:
        found = inline[at : at + 20]
        raise DataError(f"{found!r} at character {at + 1}: expected a label behind ']', as in ](PER)", hint=_HINT)
    label = re.sub(r"\\(?:u\{[0-9a-f]{1,6}\}|.)", lambda escape: _escaped(escape[0], 0)[0], match[1], flags=re.DOTALL)
    return label, int(match[2] or 1), match.end()


def _escaped(inline: str, at: int) -> tuple[str, int]:
    """Return what a backslash and what follows it stand for, and where the text goes on."""
    match = _ESCAPE.match(inline, at)
    if match is None:
        raise DataError(r"the text ends in a backslash: expected \\ for a backslash itself", hint=_HINT)
    if match[1] is None:
        return match[2], match.end()
    code = int(match[1], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:  # halves of a UTF-16 pair, which no file can hold
        raise DataError(
            rf"{match[0]} is no character: expected a code point up to \u{{10ffff}}, without d800 to dfff", hint=_HINT
        )
    return chr(code), match.end()


def _escape(special: re.Pattern[str], text: str) -> str:
    text = special.sub(lambda match: "\\" + match[0], text)
    return _CONTROL.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", text)


def inline_fields(fields: Sequence[tuple[str, str]], spans: Iterable[Span]) -> dict[str, str]:
    """Return field -> its text with the spans of that field written into it.

    >>> inline_fields([("premise", "Ana ran."), ("hypothesis", "Ana sat.")], [Span(0, 3, "PER", "premise")])
    {'premise': '[Ana](PER) ran.', 'hypothesis': 'Ana sat.'}
    """
    spans = list(spans)
    return {name: to_inline(text, [span for span in spans if span.field == name]) for name, text in fields}
