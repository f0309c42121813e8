"""Questions with choices, one of them right: Belebele, SWAG, HellaSwag, COPA, RACE, ARC and their translations.

    {"id": "7", "context": "Zoë lives in Köln.", "question": "Where does Zoë live?",
     "choices": ["In Bonn.", "In Köln.", "In Paris."], "label": 1}

A question may have any number of choices from two on, and a context or none. Each choice is a text field of its own
(``choice1``, ``choice2`` ...), so that it is translated by itself, and their order stays. The label says which is right
in the way of the data (a number from 0 or 1, a letter), and is kept exactly.

Choices are found as a list (``choices``, ``endings``, ``options``), as columns of their own that are numbered or
lettered (``choice1``, ``ending0``, ``mc_answer1``, ``answerA``; others by ``columns: {choices: option_*}``), or with
names (``{"text": [...], "label": ["A", "B"]}``), which travel in the column ``choice_labels``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from spanferry.data.columns import as_choices, as_text
from spanferry.data.errors import DataError
from spanferry.data.example import Example
from spanferry.data.schema import Schema
from spanferry.data.spans import Scheme
from spanferry.data.tasks import ID_NAMES, READING, MakeId, Reading, Row, Task

CHOICES: Final = "choices"
CHOICE_LABELS: Final = "choice_labels"
_PATTERNS: Final = ("choice*", "ending*", "mc_answer*", "option*", "answer*", "sol*", "sentence_quiz*")
_LISTS: Final = (CHOICES, "endings", "options")
_WHOLE: Final = re.compile(r"-?[0-9]+")
_CHOICE: Final = re.compile(r"choice[1-9][0-9]*")


@dataclass(frozen=True, eq=False)
class MultipleChoice(Task):
    """The shape: a field for each choice, and one column that lists them.

    >>> row = {"id": "7", "question": "Where does Zoë live?", "choice1": "In Bonn.", "choice2": "In Köln.", "label": 1}
    >>> example = MULTIPLE_CHOICE.to_example(row)
    >>> dict(example.fields)
    {'question': 'Where does Zoë live?', 'choice1': 'In Bonn.', 'choice2': 'In Köln.'}
    >>> MULTIPLE_CHOICE.to_row(example)["choices"], MULTIPLE_CHOICE.to_row(example)["label"]
    (['In Bonn.', 'In Köln.'], 1)
    """

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The question and two choices."""
        return ("question", "choice1", "choice2")

    def available(self, columns: tuple[str, ...], reading: Reading) -> tuple[str, ...]:
        """Return the columns with one in place of all that hold a choice each."""
        given = reading.columns.get(CHOICES)
        single = _single_choices(columns, given)
        return (*(name for name in columns if name not in single), given or CHOICES) if single else columns

    def to_example(self, row: Row, reading: Reading = READING, *, make_id: MakeId | None = None) -> Example:
        """Return the example that ``row`` describes; see `Task.to_example`.

        Raises:
            DataError: as `Task.to_example`; or the label is none of the choices.
        """
        given = reading.columns.get(CHOICES)
        if single := _single_choices(tuple(row), given):
            cells = [row[name] for name in single]
            while cells and cells[-1] in (None, ""):  # a table of questions with four choices, and this one has three
                cells.pop()
            row = {**{name: value for name, value in row.items() if name not in single}, given or CHOICES: cells}
        else:
            row = _without_names(row, given)
        example = super().to_example(row, reading, make_id=make_id)
        _check_label(example)
        return example

    def read_texts(self, row: Row, roles: Mapping[str, str]) -> dict[str, str]:
        """Return the context if there is one, the question, and every choice.

        Raises:
            DataError: one of them is no text, or there are fewer than two choices.
        """
        fields = {}
        if "context" in roles and row[roles["context"]] not in (None, ""):
            fields["context"] = as_text(row[roles["context"]], roles["context"])
        fields["question"] = as_text(row[roles["question"]], roles["question"])
        return fields | name_choices(as_choices(row[roles[CHOICES]], roles[CHOICES]))

    def text_columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``values`` by column, those of the choices as a list; null for a context that is not there."""
        chosen = [values[name] for name in choice_fields(values)]
        return {"context": values.get("context"), "question": values["question"], CHOICES: chosen}

    def text_features(self, feature: Any) -> dict[str, Any]:
        """Return the features of `text_columns`."""
        from datasets import List

        return {"context": feature, "question": feature, CHOICES: List(feature)}

    def features(self, schema: Schema | None = None, *, tokens: bool = False, scheme: Scheme = "IOB2") -> Any:
        """Return the features of a row; the label is text, never a ``ClassLabel``.

        A label is the place of a choice: numbered anew in the order in which labels are seen, it would be another one.
        """
        return super().features(None, tokens=tokens, scheme=scheme)

    def has_field(self, name: str) -> bool:
        """Tell whether ``name`` is the context, the question or a choice."""
        return name in ("context", "question") or _CHOICE.fullmatch(name) is not None


def name_choices(choices: Sequence[str]) -> dict[str, str]:
    """Return choices by the names of their fields.

    >>> name_choices(["Bonn", "Köln"])
    {'choice1': 'Bonn', 'choice2': 'Köln'}
    """
    return {f"choice{number}": text for number, text in enumerate(choices, start=1)}


def choice_fields(fields: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that are choices, in the order of the choices.

    Raises:
        DataError: one is left out: there is a third, but no second.

    >>> choice_fields({"question": "Where?", "choice2": "Köln", "choice1": "Bonn"})
    ['choice1', 'choice2']
    """
    found = sorted((name for name in fields if _CHOICE.fullmatch(name)), key=lambda name: int(name[6:]))
    for number, name in enumerate(found, start=1):
        if name != f"choice{number}":
            raise DataError(f"found the text field {name!r} and no 'choice{number}': expected choices without gaps")
    return found


@lru_cache(maxsize=1024)  # rows of one file share their columns
def _single_choices(columns: tuple[str, ...], given: str | None) -> tuple[str, ...]:
    """Return the columns that hold a choice each, in order; none where one column holds them all.

    Args:
        columns: those of a row.
        given: the column that the user names, or a pattern for several, with a ``*``.
    """
    if "*" not in given if given is not None else any(name in columns for name in _LISTS):
        return ()
    letters = "A-Z" if given is None else "A-Za-z"
    for pattern in _PATTERNS if given is None else (given,):
        numbered = re.compile(re.escape(pattern).replace(r"\*", f"_?([0-9]+|[{letters}])"))
        matches = [match for name in columns if (match := numbered.fullmatch(name))]
        if len(matches) > 1:
            return tuple(match[0] for match in sorted(matches, key=lambda match: (len(match[1]), match[1])))
    return ()


def _without_names(row: Row, given: str | None) -> Row:
    """Return the row with its choices as a list of texts, what they are called in a column of its own."""
    column = next((name for name in ((given,) if given else _LISTS) if name in row), CHOICES)
    value = row.get(column)
    if isinstance(value, Sequence) and value and all(isinstance(each, Mapping) for each in value):
        value = {key: [each.get(key) for each in value] for key in value[0]}
    if not isinstance(value, Mapping):
        return row
    texts, names = value.get("text"), value.get("label")
    if isinstance(texts, Sequence) and isinstance(names, Sequence) and len(texts) != len(names):
        raise DataError(f"column {column!r} has {len(texts)} texts and {len(names)} labels, expected a label each")
    return {**row, column: texts, **({} if names is None else {CHOICE_LABELS: names})}


def _check_label(example: Example) -> None:
    """Refuse a label that says which choice is right, and says one that is not there; -1 says that nobody knows."""
    label, count = example.labels.get("label"), len(choice_fields(example.fields))
    names = example.meta.get(CHOICE_LABELS)
    if label is None or (isinstance(names, Sequence) and label in names) or label in example.fields.values():
        return
    if isinstance(label, str) and len(label) == 1 and "A" <= label.upper() <= "Z":
        good, expected = ord(label.upper()) - ord("A") < count, f"a letter from A to {chr(ord('A') + count - 1)}"
    elif isinstance(label, int) or _WHOLE.fullmatch(str(label)):
        good, expected = -1 <= int(label) <= count, f"a number from 0 to {count - 1}, or from 1 to {count}"
    else:
        return
    if not good:
        raise DataError(f"the label is {label!r} of {count} choices: expected {expected}")


MULTIPLE_CHOICE = MultipleChoice(
    "multiple-choice",
    ("context", "question", CHOICES),
    ("label",),
    aliases={
        "id": ID_NAMES,
        "context": ("passage", "article", "paragraph", "flores_passage", "premise", "sent1"),
        "question": ("premise", "query", "question_stem", "ctx", "sent2", "goal", "sentence"),
        CHOICES: _LISTS[1:],
        "label": ("answer", "answerKey", "correct_answer_num", "answer_right_ending", "gold_label", "labels"),
    },
    optional=("context",),
)
