"""Predictions of several models, or of one model by several ways, for the same example, made one prediction.

What the members bring decides how: where all that are there have distributions over the same tokens, these are
averaged; where one has only spans, each has its vote (`spanferry.projection.ensemble` has the rules). So for every
label column: means of probabilities or of numbers, else votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from spanferry.projection.ensemble import (
    Agree,
    LabelDecision,
    SpanDecision,
    Ties,
    mean_labels,
    mean_numbers,
    mean_spans,
    vote_labels,
    vote_spans,
)
from spanferry.projection.prediction import Label, Prediction


@dataclass(frozen=True, slots=True)
class Combined:
    """What an ensemble decided for one example.

    Attributes:
        spans: left to right, each with the members' votes.
        labels: label column -> decision, with the members' votes; columns in the order in which members name them.
    """

    spans: tuple[SpanDecision, ...]
    labels: Mapping[str, LabelDecision]

    @property
    def prediction(self) -> Prediction:
        """The decisions as a prediction: scores are shares of the vote, or mean probabilities."""
        return Prediction(
            tuple(decision.span for decision in self.spans),
            tuple(decision.score for decision in self.spans),
            labels={column: decision.label for column, decision in self.labels.items()},
            label_scores={
                column: decision.score for column, decision in self.labels.items() if decision.score is not None
            },
        )


def combine(
    members: Mapping[str, Prediction | None],
    *,
    weights: Sequence[float] | None = None,
    ties: Ties = "first",
    agree: Agree = "exact",
    field: str = "text",
) -> Combined:
    """Return what the members say together of one example.

    Args:
        members: name -> its prediction on the original text, or None for a missing member.
        weights: one a member; by default all weigh the same.
        ties, agree: for votes over spans, see `vote_spans`.
        field: of the spans that distributions are decoded into.

    Raises:
        ConfigError: a setting is unknown, or the weights are not one a member.
        DataError: a member's probabilities are none.

    >>> from spanferry.data.example import Span
    >>> test = Prediction((Span(0, 3, "PER"),), (0.9,), labels={"intent": "greet"})
    >>> train = Prediction((Span(0, 3, "PER"), Span(9, 12, "LOC")), (0.8, 0.3), labels={"intent": "leave"})
    >>> both = combine({"test": test, "train": train, "es": None})
    >>> [decision.span.label for decision in both.spans], both.labels["intent"].label
    (['PER'], 'greet')
    """
    present = [member for member in members.values() if member is not None]
    distributions = {name: None if each is None else each.distribution for name, each in members.items()}
    known = [each.distribution for each in present if each.distribution is not None]
    same = bool(known) and len(known) == len(present) and len({each.tokens for each in known}) == 1
    if same:
        spans = mean_spans(distributions, weights=weights, field=field)
    else:
        votes = {
            name: None if each is None else list(zip(each.spans, each.scores, strict=True))
            for name, each in members.items()
        }
        spans = vote_spans(votes, weights=weights, ties=ties, agree=agree)
    columns = dict.fromkeys(column for each in present for column in each.labels)
    return Combined(tuple(spans), {column: _combine_labels(column, members, weights) for column in columns})


def _combine_labels(
    column: str, members: Mapping[str, Prediction | None], weights: Sequence[float] | None
) -> LabelDecision:
    labels: dict[str, Label] = {
        name: None if each is None else each.labels.get(column) for name, each in members.items()
    }
    given = [label for label in labels.values() if label is not None]
    if given and all(isinstance(label, float) for label in given):
        return mean_numbers(cast("Mapping[str, float | None]", labels), weights=weights)
    chances = {
        name: None if each is None or labels[name] is None else each.label_distributions.get(column, {})
        for name, each in members.items()
    }
    if given and all(each is None or each for each in chances.values()):
        return mean_labels(chances, weights=weights)
    return vote_labels(labels, weights=weights)
