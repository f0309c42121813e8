"""What a labelled example is: named text fields, and spans that point into them by character.

Offsets are half-open and count Unicode code points, as Python's own slicing does: ``text[span.start:span.end]`` is
the labelled text, whatever the script. Tokens are a view with offsets back into the text, never the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from spanferry.data.errors import DataError

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled range of characters, ``start <= i < end``, in one field of an example.

    Spans order by start, then end, so that ``sorted`` reads left to right.

    Raises:
        DataError: the range is empty, reversed or negative.

    >>> text = "Zoë lives in Köln."
    >>> span = Span(13, 17, "LOC")
    >>> text[span.start:span.end]
    'Köln'
    """

    start: int
    end: int
    label: str
    field: str = "text"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(
                f"span {self.start}:{self.end} ({self.label}) is empty, reversed or negative",
                hint="offsets are half-open and count characters from 0: 0 <= start < end",
            )


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example.

    Attributes:
        id: stable identity; it travels with the example through every step and file.
        fields: name -> text, in reading order (``{"text": ...}``, ``{"premise": ..., "hypothesis": ...}``).
        spans: labelled ranges; they may overlap, nest and repeat.
        labels: example-level labels, carried over unchanged (``{"intent": "set_alarm"}``).
        tokens: field -> (start, end) of each token, for data that brings its own tokens.
        meta: every other column of the source row, carried over unchanged.

    Raises:
        DataError: a span names a field that is not there, or ends past its text.

    >>> example = Example("1", {"text": "Zoë lives in Köln."}, (Span(13, 17, "LOC"),))
    >>> example.text_of(example.spans[0])
    'Köln'
    """

    id: str
    fields: Mapping[str, str]
    spans: tuple[Span, ...] = ()
    labels: Mapping[str, str | int | float | None] = field(default_factory=lambda: _EMPTY)
    tokens: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=lambda: _EMPTY)
    meta: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    def __post_init__(self) -> None:
        for span in self.spans:
            text = self.fields.get(span.field)
            if text is None:
                raise DataError(
                    f"example {self.id!r}: span {span.start}:{span.end} ({span.label}) is in field {span.field!r}, "
                    f"but the example has the fields {', '.join(self.fields)}"
                )
            if span.end > len(text):
                raise DataError(
                    f"example {self.id!r}: span {span.start}:{span.end} ({span.label}) ends past the text of field "
                    f"{span.field!r}, which has {len(text)} characters",
                    hint="offsets count characters (code points), not bytes or UTF-16 units",
                )

    def __reduce__(self) -> tuple[type[Example], tuple[Any, ...]]:
        """Let it pass between processes; what stands for no labels at all cannot."""
        return Example, (self.id, dict(self.fields), self.spans, dict(self.labels), dict(self.tokens), dict(self.meta))

    def text_of(self, span: Span) -> str:
        """Return the characters that ``span`` labels."""
        return self.fields[span.field][span.start : span.end]
