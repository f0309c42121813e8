"""Which choice answers a question, by a transformers model for multiple choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from spanferry.data.errors import ConfigError
from spanferry.data.example import Example
from spanferry.data.multiple_choice import choice_fields
from spanferry.projection.distributions import softmax
from spanferry.projection.prediction import Label, Prediction
from spanferry.projection.transformers_model import LoadedModel, Logits

_LETTERS: Final = 26


class ChoiceNames:
    """What the data calls its choices, known from the first.

    Raises:
        ConfigError: the first is no whole number and no letter.

    >>> ChoiceNames("A").of(2), ChoiceNames("1").of(2), ChoiceNames(0).of(2)
    ('C', '3', 2)
    """

    def __init__(self, first: int | str) -> None:
        if isinstance(first, bool) or not re.fullmatch(r"[0-9]+|[A-Za-z]", str(first)):
            raise ConfigError(f'first_choice is {first!r}: expected a number (0, 1, "1") or a letter (A)')
        self.first = first

    def of(self, place: int) -> Label:
        """Return the name of a choice, by its place from 0.

        Raises:
            ConfigError: there is no such letter.
        """
        if isinstance(self.first, int):
            return self.first + place
        if self.first.isdigit():
            return str(int(self.first) + place)
        last = "Z" if self.first.isupper() else "z"
        letter = ord(self.first) + place
        if letter > ord(last):
            raise ConfigError(
                f"first_choice: found {self.first!r} for a question with {place + 1} choices, more than there are "
                "letters; expected a number"
            )
        return chr(letter)


def choose(model: LoadedModel, examples: Sequence[Example], names: ChoiceNames, column: str) -> list[Prediction]:
    """Return the most probable choice of each question, the first of equals, with the probabilities of all.

    Args:
        model: one of the kind `spanferry.projection.transformers_model.CHOICES`.
        examples: of the task ``multiple-choice``.
        names: what the choices are called.
        column: the label.

    Raises:
        ModelError: a question and a choice are together longer than the model reads.
    """
    pairs: list[tuple[str, str]] = []
    owners: list[int] = []
    for index, example in enumerate(examples):
        context, question = example.fields.get("context"), example.fields["question"]
        for name in choice_fields(example.fields):
            choice = example.fields[name]
            pairs.append((question, choice) if not context else (context, f"{question} {choice}"))
            owners.append(index)
    rows, of_pair = model.encode_all(pairs)
    windows: list[list[float]] = [[] for _ in pairs]
    for number, [logits] in model.run(rows):
        windows[of_pair[number]].append(float(logits[0]))
    scores: list[list[float]] = [[] for _ in examples]
    for owner, each in zip(owners, windows, strict=True):
        scores[owner].append(float(np.mean(each)))
    return [_prediction(np.array(each), names, column) for each in scores]


def _prediction(scores: Logits, names: ChoiceNames, column: str) -> Prediction:
    chances = softmax(scores)
    best = int(chances.argmax())
    return Prediction(
        labels={column: names.of(best)},
        label_scores={column: float(chances[best])},
        label_distributions={column: {str(names.of(place)): float(chance) for place, chance in enumerate(chances)}},
    )
