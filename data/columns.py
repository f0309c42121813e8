"""What a cell may hold for the role its column plays: each function checks one value and gives it its one form.

Public datasets write the same thing in several ways (spans as dicts, as triples, as a dict of lists; labels as names
or as numbers with a list of names beside). Every message names the column, what was found and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeGuard

from spanferry.data.errors import DataError, shortened
from spanferry.data.example import Span

_START: Final = ("start", "begin", "start_offset")
_END: Final = ("end", "end_offset")
_LABEL: Final = ("label", "type", "entity", "entity_group")
_WHOLE: Final = re.compile(r"-?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

SCORE_COLUMNS: Final = ("similarity_score", "score")
"""Usual names of a label that is a number on a scale."""


def as_text(value: Any, column: str) -> str:
    """Return a text as it is.

    Raises:
        DataError: it is no text (null, a number, a list).
    """
    if not isinstance(value, str):
        raise DataError(f"column {column!r} is {shortened(value)}: expected text")
    return value


def as_id(value: Any, column: str) -> str:
    """Return an id as text.

    Raises:
        DataError: it is neither text nor a whole number, or empty.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(
            f"column {column!r} is {value!r}: expected an id (text or a whole number)",
            hint="columns: {id: null} makes ids from the content",
        )
    return str(value)


def as_label(value: Any, column: str, names: Sequence[str] | None, *, typed: bool = True) -> str | int | float | None:
    """Return an example-level label, a number as its name where the names are known.

    Null, an empty text and, among numbers with names, -1 say that there is no gold label: None. Text that is a whole
    number, and none of the names, is that number: cells of CSV are text.

    Args:
        value: what the cell holds.
        column: its name.
        names: what its numbers mean, in order.
        typed: False where every cell is text; in a column of `SCORE_COLUMNS` numbers are numbers all the same.

    >>> as_label(2, "label", ["entailment", "neutral", "contradiction"])
    'contradiction'
    >>> as_label("1", "label", ["neg", "pos"]), as_label("3.5", "score", None, typed=False)
    ('pos', 3.5)

    Raises:
        DataError: it is neither text nor a number, or no name has that number.
    """
    if isinstance(value, str):
        if names is not None and value not in names and _WHOLE.fullmatch(value):
            value = int(value)
        elif names is None and not typed and column in SCORE_COLUMNS and _NUMBER.fullmatch(value):
            return float(value)
    if names is not None and isinstance(value, int) and not isinstance(value, bool):
        return None if value == -1 else _name(value, f"column {column!r}", names, f"{column}: [...]")
    if value is not None and not isinstance(value, str | int | float):
        raise DataError(f"column {column!r} is {shortened(value)}: expected one label (text or a number)")
    return None if value == "" else value


def as_strings(value: Any, column: str) -> list[str]:
    """Return a list of texts.

    Raises:
        DataError: it is something else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(
            f"column {column!r} is {shortened(value)}: expected a list of tokens",
            hint="columns: {tokens: null} if it is something else",
        )
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise DataError(f"column {column!r}, token {index} is {shortened(item)}: expected text")
    return list(value)


def as_tags(value: Any, column: str, names: Sequence[str] | None) -> list[str]:
    """Return a list of tags, numbers as their names.

    >>> as_tags([0, 1], "ner_tags", ["O", "B-PER"])
    ['O', 'B-PER']

    Raises:
        DataError: it is something else, or numbers without names.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"column {column!r} is {shortened(value)}: expected a list of tags")
    where, to_name = f"column {column!r}", f"{column}: [O, B-PER, ...]"
    return [tag if isinstance(tag, str) else _name(tag, where, names, to_name) for tag in value]


def as_offsets(value: Any, column: str, words: Sequence[str], text: str) -> tuple[tuple[int, int], ...]:
    """Return the (start, end) of each word that starts at ``value`` in ``text``.

    Raises:
        DataError: the text has another word there, or the words overlap.
    """
    if not isinstance(value, Sequence) or len(value) != len(words):
        raise DataError(f"column {column!r} is {shortened(value)}: expected one whole number a token ({len(words)})")
    offsets = []
    for index, (start, word) in enumerate(zip(value, words, strict=True)):
        if not isinstance(start, int) or start < 0 or not word or not text.startswith(word, start):
            raise DataError(f"column {column!r}, token {index}: {word!r} does not stand at {start!r} of the text")
        offsets.append((start, start + len(word)))
    for index, (before, after) in enumerate(pairwise(offsets)):
        if after[0] < before[1]:
            raise DataError(f"column {column!r}: tokens {index} and {index + 1} overlap or are out of order")
    return tuple(offsets)


def as_spans(value: Any, column: str, text: str, field: str, names: Sequence[str] | None) -> tuple[Span, ...]:
    """Return spans into ``text``, from any of the forms in use:

    - ``[{"start": 0, "end": 3, "label": "PER"}]`` (also ``begin``, ``start_offset``, ``end_offset``, ``type``,
      ``entity``, ``entity_group``);
    - ``[[0, 3, "PER"]]`` (doccano, spaCy);
    - ``{"start": [0], "end": [3], "label": ["PER"]}`` (``datasets`` before 4).

    A ``text`` that a span brings is compared with what it labels, which finds offsets in bytes or UTF-16 units.

    >>> as_spans([[0, 3, "PER"]], "spans", "Zoë lacht.", "text", None)
    (Span(start=0, end=3, label='PER', field='text'),)

    Raises:
        DataError: a span has another form, is empty, ends past the text, or labels something else than its ``text``.
    """
    if isinstance(value, Mapping):
        value = _transposed(value, column)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"column {column!r} is {shortened(value)}: expected a list of spans")
    return tuple(
        _span(item, f"column {column!r}, span {index}", text, field, names, column=column)
        for index, item in enumerate(value)
    )


def _span(item: Any, where: str, text: str, field: str, names: Sequence[str] | None, *, column: str) -> Span:
    start: Any
    end: Any
    label: Any
    start = end = label = surface = None
    if isinstance(item, Mapping):
        start, end, label = item.get("start"), item.get("end"), item.get("label")
        if start is None or end is None or label is None:  # not the usual names
            start, end, label = (_first(item, keys) for keys in (_START, _END, _LABEL))
        surface = item.get("text")
    elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 3:
        start, end, label = item
    if isinstance(label, int) and not isinstance(label, bool):
        label = _name(label, where, names, f"{column}.label: [PER, LOC, ...]")
    if not (_is_whole(start) and _is_whole(end) and isinstance(label, str)):
        raise DataError(f'{where} is {shortened(item)}: expected {{"start": number, "end": number, "label": text}}')
    if end > len(text):
        raise DataError(
            f"{where} is {start}:{end} ({label}), which ends past the text of {len(text)} characters",
            hint="offsets count characters (code points), not bytes or UTF-16 units, and the end is exclusive",
        )
    span = Span(start, end, label, field)
    if isinstance(surface, str) and surface != text[start:end]:
        raise DataError(
            f"{where} is {start}:{end}, which labels {text[start:end]!r}, but its own text is {surface!r}",
            hint="offsets count characters (code points), not bytes or UTF-16 units, and the end is exclusive",
        )
    return span


def as_answers(value: Any, column: str, text: str) -> list[tuple[int, int]]:
    """Return the (start, end) of answers that stand in ``text``, in either form of SQuAD.

    - ``{"text": ["Köln"], "answer_start": [13]}`` (rows on the hub; empty lists where there is no answer);
    - ``[{"text": "Köln", "answer_start": 13}]`` (documents).

    >>> as_answers([{"text": "Köln", "answer_start": 13}], "answers", "Zoë lives in Köln.")
    [(13, 17)]

    Raises:
        DataError: it has another form, or the text has something else where an answer is said to start.
    """
    if isinstance(value, Mapping):
        value = _transposed({key: value.get(key) for key in ("text", "answer_start")}, column, "answers")
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"column {column!r} is {shortened(value)}: expected answers, each with text and answer_start")
    return [_answer(item, f"column {column!r}, answer {index}", text) for index, item in enumerate(value)]


def as_choices(value: Any, column: str) -> list[str]:
    """Return the choices of a question, two or more.

    >>> as_choices(["Köln", "Bonn"], "choices")
    ['Köln', 'Bonn']

    Raises:
        DataError: it is no list of texts, or has fewer than two.
    """
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or len(value) < 2:
        raise DataError(
            f"column {column!r} is {shortened(value)}: expected a list of two or more choices",
            hint="choices that stand in columns of their own: columns: {choices: option_*}",
        )
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise DataError(f"column {column!r}, choice {index} is {shortened(item)}: expected text")
    return list(value)


def _answer(item: Any, where: str, text: str) -> tuple[int, int]:
    words, start = (item.get("text"), item.get("answer_start")) if isinstance(item, Mapping) else (None, None)
    if not (isinstance(words, str) and words and _is_whole(start)):
        raise DataError(f'{where} is {shortened(item)}: expected {{"text": text, "answer_start": number}}')
    end = start + len(words)
    if start < 0 or text[start:end] != words:
        found = shortened(text[start:end]) if 0 <= start < len(text) else "nothing"
        at = text.find(words)
        hint = "offsets count characters (code points), not bytes or UTF-16 units"
        raise DataError(
            f"{where} is {shortened(words)} at {start}, where the text has {found}",
            hint=f"{hint}; its first occurrence starts at {at}" if at >= 0 else f"{hint}; the text does not hold it",
        )
    return start, end


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def _transposed(value: Mapping[str, Any], column: str, what: str = "spans") -> list[dict[str, Any]]:
    lists = {key: items for key, items in value.items() if isinstance(items, Sequence) and not isinstance(items, str)}
    if len(lists) != len(value) or len({len(items) for items in lists.values()}) > 1:
        raise DataError(f"column {column!r} is {shortened(dict(value))}: expected a list of {what}")
    return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]


def _name(number: Any, where: str, names: Sequence[str] | None, to_name: str) -> str:
    """Return the name of a number; ``to_name`` is the setting that gives the names, for who has not set it."""
    if not _is_whole(number):
        raise DataError(f"{where} holds {shortened(number)}: expected a label")
    if names is None:
        raise DataError(
            f"{where} holds the number {number}, and the source does not say which label that is",
            hint=f"give the names in order: names: {{{to_name}}}",
        )
    if not 0 <= number < len(names):
        raise DataError(f"{where} holds the number {number}: expected 0 to {len(names) - 1}")
    return names[number]


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
