"""Label inventories: which labels the spans and the label columns of a dataset may have, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from spanferry.data.errors import DataError, did_you_mean
from spanferry.data.example import Example

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Schema:
    """The labels that a dataset may have; the order is the order of their numbers in a ``ClassLabel``.

    Attributes:
        spans: labels of spans; None allows any.
        labels: label column -> its labels; a column that is not there may hold anything.

    >>> from spanferry.data.example import Span
    >>> schema = Schema(spans=("PER", "LOC"))
    >>> schema.check(Example("1", {"text": "Köln"}, (Span(0, 4, "LCO"),)))
    Traceback (most recent call last):
        ...
    spanferry.data.errors.DataError: example '1': span 0:4 has label 'LCO', which the schema does not have: ...
    """

    spans: tuple[str, ...] | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)

    def check(self, example: Example) -> None:
        """Refuse an example with a label that is not in the schema; a label of None (no gold) passes.

        Raises:
            DataError: it names the label and the nearest one that the schema has.
        """
        if self.spans is not None:
            for span in example.spans:
                if span.label not in self.spans:
                    what = f"example {example.id!r}: span {span.start}:{span.end} has label"
                    raise _outside(what, span.label, self.spans)
        for name, known in self.labels.items():
            value = example.labels.get(name)
            if value is not None and value not in known:
                raise _outside(f"example {example.id!r}: {name} is", value, known)


def _outside(what: str, found: Any, known: Sequence[str]) -> DataError:
    return DataError(f"{what} {found!r}, which the schema does not have: {did_you_mean(str(found), known)}")


class SchemaCollector:
    """Collects the labels that examples have, in order of first appearance.

    A label column with a value that is not text, or with more than ``limit`` different ones, is no inventory and is
    left open (scores, free text), so that memory stays bounded.

    >>> from spanferry.data.example import Span
    >>> collector = SchemaCollector()
    >>> collector.add(Example("1", {"text": "Köln"}, (Span(0, 4, "LOC"),), {"intent": "find"}))
    >>> collector.schema
    Schema(spans=('LOC',), labels={'intent': ('find',)})
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._spans: dict[str, None] = {}
        self._labels: dict[str, dict[str, None]] = {}
        self._open: set[str] = set()

    def add(self, example: Example) -> None:
        """Take note of the labels of one example."""
        for span in example.spans:
            self._spans[span.label] = None
        for name, value in example.labels.items():
            if name in self._open or value is None:
                continue
            seen = self._labels.setdefault(name, {})
            if isinstance(value, str) and (value in seen or len(seen) < self._limit):
                seen[value] = None
            else:
                self._open.add(name)

    @property
    def schema(self) -> Schema:
        """What was seen so far."""
        closed = {name: tuple(seen) for name, seen in self._labels.items() if name not in self._open}
        return Schema(tuple(self._spans) or None, closed)
