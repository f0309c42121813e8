"""Several predictions for the same text, made one: votes over spans and labels, with the voters on record.

The members may be anything that labels the original text: a model trained on translated data (translate-train),
predictions carried back from a translation (translate-test), the same through several translators, or through several
pivot languages: a majority vote across languages, which Yu, Li, Wang et al. take over reasoning paths ("Cross-Lingual
Consistency: A Novel Inference Framework for Advancing Reasoning in Large Language Models", arXiv 2504.01857, 2025).
Where members bring distributions, `spanferry.projection.distributions` averages those; here each has one voice, times
its weight.

The rules, the same for spans and labels:

- A member that is None is missing: it neither votes nor counts in the total. A member with no spans is there, and votes
  that there are none.
- More than half of the weight that is there wins.
- At exactly half, ``ties`` decides. By default the first member, in the order given, that is there has the casting
  vote: list the most trusted first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar, get_args

from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Span
from spanferry.data.spans import overlaps
from spanferry.projection.base import Vote
from spanferry.projection.distributions import (
    TagDistribution,
    check_weights,
    decode_spans,
    mean_distribution,
)

Ties = Literal["first", "keep", "drop"]
Agree = Literal["exact", "overlap"]
Label: TypeAlias = str | int | float
Choice = TypeVar("Choice", str, str | int | float)
ScoredSpan: TypeAlias = tuple[Span, float | None]


@dataclass(frozen=True, slots=True)
class SpanDecision:
    """A span that an ensemble decided for.

    Attributes:
        span: where it lies in the original text.
        score: share of the weight that voted for it, or the mean probability of its tags, 0..1.
        votes: one a member, in order: its own span there with its own score; ``target`` is None for a member that has
            none there, or is missing.
    """

    span: Span
    score: float
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class LabelVote:
    """What one member said: a label, or None when it is missing, with its score by its own scale."""

    method: str
    label: Label | None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class LabelDecision:
    """A label that an ensemble decided for; None when every member is missing.

    Attributes:
        label: see above.
        score: share of the weight that voted for it, or its mean probability, 0..1; None without a label.
        votes: one a member, in order.
    """

    label: Label | None
    score: float | None
    votes: tuple[LabelVote, ...]


def vote_spans(
    members: Mapping[str, Sequence[ScoredSpan] | None],
    *,
    weights: Sequence[float] | None = None,
    ties: Ties = "first",
    agree: Agree = "exact",
) -> list[SpanDecision]:
    """Return the spans that most of the members predict for one text, left to right.

    Args:
        members: name -> its spans with their scores (None where it has none), or None for a missing member.
        weights: of the votes, one a member; by default each has one.
        ties: a span with exactly half of the weight is kept if the first member that is there has it (``"first"``),
            always (``"keep"``; with two members the union of their spans), or never (``"drop"``; their intersection).
        agree: what two members must share to vote for the same span: label, field and both ends (``"exact"``), or
            label, field and at least one character (``"overlap"``). By overlap, the ends are those with the most
            weight; of equals, those that the earlier member proposed.

    Spans that overlap and that no single member proposed together exclude each other: the one with the larger share is
    kept, of equals the one from the earlier member, then the leftmost and longest. What nests in one member's
    predictions may nest in the result.

    Raises:
        ConfigError: a setting is unknown, or the weights are not one a member.

    >>> cologne, rhine = Span(13, 17, "LOC"), Span(22, 27, "LOC")
    >>> members = {"test": [(cologne, 0.9)], "train": [(cologne, 0.8), (rhine, 0.4)], "de": None, "es": [(rhine, None)]}
    >>> [(decision.span.start, round(decision.score, 2)) for decision in vote_spans(members)]
    [(13, 0.67), (22, 0.67)]
    >>> [vote.target is not None for vote in vote_spans(members)[0].votes]
    [True, True, False, False]
    """
    _check_choice("ties", ties, get_args(Ties))
    _check_choice("agree", agree, get_args(Agree))
    names = list(members)
    shares = dict(zip(names, check_weights(weights, len(members)), strict=True))
    present = {name: list(spans) for name, spans in members.items() if spans is not None and shares[name] > 0}
    total = sum(shares[name] for name in present)
    decisions: list[tuple[tuple[float, int, tuple[int, int, str, str]], SpanDecision]] = []
    for span, backers in _groups(present, shares, agree):
        share = sum(shares[name] for name in backers) / total
        if not _wins(share, ties, next(iter(present)) in backers):
            continue
        votes = tuple(Vote(name, *backers.get(name, (None, None))) for name in names)
        first = min(names.index(name) for name in backers)
        decisions.append(((-round(share, 9), first, _reading_order(span)), SpanDecision(span, share, votes)))
    chosen: list[SpanDecision] = []
    together = _proposed_together(present)
    for _, decision in sorted(decisions, key=lambda each: each[0]):
        rivals = [other for other in chosen if overlaps(other.span, decision.span)]
        if all(frozenset((other.span, decision.span)) in together for other in rivals):
            chosen.append(decision)
    return sorted(chosen, key=lambda decision: decision.span)


def mean_spans(
    members: Mapping[str, TagDistribution | None], *, weights: Sequence[float] | None = None, field: str = "text"
) -> list[SpanDecision]:
    """Return the spans of the members' mean distribution, left to right; see `mean_distribution` and `decode`.

    A member's vote is its own span there, the one that shares most characters with the decision's (of any label), with
    its own mean probability; None where it has no span, no distribution, or is missing.

    Raises:
        ConfigError: every member is missing, or the weights are not one a member.
        DataError: the members are over different tokens.

    >>> tags, tokens = ("O", "B-PER", "I-PER"), ((0, 3), (4, 9))
    >>> test = TagDistribution(tokens, tags, [[0.2, 0.8, 0.0], [0.1, 0.0, 0.9]])
    >>> train = TagDistribution(tokens, tags, [[0.4, 0.6, 0.0], [0.7, 0.0, 0.3]])
    >>> [decision] = mean_spans({"test": test, "train": train})
    >>> decision.span, round(decision.score, 2), [vote.target.end for vote in decision.votes]
    (Span(start=0, end=9, label='PER', field='text'), 0.65, [9, 3])
    """
    own = {name: [] if member is None else decode_spans(member, field=field) for name, member in members.items()}
    mean = mean_distribution(list(members.values()), weights)
    decisions = []
    for span, score in decode_spans(mean, field=field):
        votes = tuple(Vote(name, *_nearest(span, spans)) for name, spans in own.items())
        decisions.append(SpanDecision(span, score, votes))
    return decisions


def vote_labels(members: Mapping[str, Label | None], *, weights: Sequence[float] | None = None) -> LabelDecision:
    """Return the label with the most weight; of equals, the one whose first voter stands first.

    Args:
        members: name -> its label, or None for a missing member.
        weights: one a member.

    >>> decision = vote_labels({"en": "entailment", "de": None, "es": "neutral", "fr": "neutral"})
    >>> decision.label, round(decision.score, 2)
    ('neutral', 0.67)
    >>> vote_labels({"en": "entailment", "es": "neutral"}).label
    'entailment'
    """
    shares = check_weights(weights, len(members))
    totals: dict[Label, float] = {}
    for label, share in zip(members.values(), shares, strict=True):
        if label is not None and share > 0:
            totals[label] = totals.get(label, 0.0) + share
    votes = tuple(LabelVote(name, label) for name, label in members.items())
    return _decide(totals, sum(totals.values()), votes)


def mean_labels(
    members: Mapping[str, Mapping[str, float] | None], *, weights: Sequence[float] | None = None
) -> LabelDecision:
    """Return the label with the highest mean probability; of equals, the one that the earlier member ranks higher.

    A member that is None is left out of the mean; a label that a member does not name has probability 0 in it.

    Raises:
        DataError: a member's probabilities are negative, or do not add up to 1.

    >>> test = {"entailment": 0.2, "neutral": 0.8}
    >>> decision = mean_labels({"test": test, "train": {"entailment": 0.6, "neutral": 0.4}})
    >>> decision.label, round(decision.score, 2), [vote.label for vote in decision.votes]
    ('neutral', 0.6, ['neutral', 'entailment'])
    """
    shares = check_weights(weights, len(members))
    totals: dict[str, float] = {}
    votes, total = [], 0.0
    for (name, chances), share in zip(members.items(), shares, strict=True):
        if chances is None:
            votes.append(LabelVote(name, None))
            continue
        if not chances or min(chances.values()) < 0 or not math.isclose(sum(chances.values()), 1, abs_tol=0.01):
            raise DataError(
                f"member {name!r}: the probabilities {dict(chances)} are no distribution: expected numbers in 0..1 "
                "with the sum 1"
            )
        ranked = sorted(chances, key=lambda label: -chances[label])  # stable: the member's own order between equals
        votes.append(LabelVote(name, ranked[0], chances[ranked[0]]))
        if share > 0:
            total += share
            for label in ranked:
                totals[label] = totals.get(label, 0.0) + share * chances[label] / sum(chances.values())
    return _decide(totals, total, tuple(votes))


def mean_numbers(members: Mapping[str, float | None], *, weights: Sequence[float] | None = None) -> LabelDecision:
    """Return the weighted mean of the members that are there, for labels that are numbers (similarity); no score.

    >>> mean_numbers({"test": 4.0, "train": 3.0, "de": None}).label
    3.5
    """
    shares = check_weights(weights, len(members))
    votes = tuple(LabelVote(name, number) for name, number in members.items())
    present = [(number, share) for number, share in zip(members.values(), shares, strict=True) if number is not None]
    total = sum(share for _, share in present)
    mean = sum(number * share for number, share in present) / total if total else None
    return LabelDecision(mean, None, votes)


def _decide(totals: Mapping[Choice, float], total: float, votes: tuple[LabelVote, ...]) -> LabelDecision:
    """Decide for the largest total; of equals the first in ``totals``, which the earliest member put there."""
    if not totals:
        return LabelDecision(None, None, votes)
    label = max(totals, key=lambda each: round(totals[each] / total, 9))
    return LabelDecision(label, totals[label] / total, votes)


def _wins(share: float, ties: Ties, first_voted: bool) -> bool:
    if math.isclose(share, 0.5, abs_tol=1e-9):
        return ties == "keep" or (ties == "first" and first_voted)
    return share > 0.5


def _groups(
    members: Mapping[str, Sequence[ScoredSpan]], shares: Mapping[str, float], agree: Agree
) -> list[tuple[Span, dict[str, ScoredSpan]]]:
    """Put together the votes for one span: its ends, and who voted for it with which span of its own."""
    places: dict[Span, dict[str, ScoredSpan]] = {}
    for name, spans in members.items():
        for span, score in spans:
            places.setdefault(span, {}).setdefault(name, (span, score))
    if agree == "exact":
        return list(places.items())
    # The place with the most weight draws to it what overlaps it, one span a member, the one that overlaps most.
    order = sorted(places, key=lambda span: -round(sum(shares[name] for name in places[span]), 9))
    free = {(name, span): voted for span, backers in places.items() for name, voted in backers.items()}
    groups = []
    for span in order:
        backers = {name: free.pop((name, span)) for name in places[span] if (name, span) in free}
        if not backers:
            continue
        for name in members:
            near = [other for owner, other in free if owner == name and _same_kind(other, span)]
            if name not in backers and near:
                backers[name] = free.pop((name, max(near, key=lambda other: _common(other, span))))
        groups.append((span, backers))
    return groups


def _proposed_together(members: Mapping[str, Sequence[ScoredSpan]]) -> set[frozenset[Span]]:
    """Return the pairs of overlapping spans that one member has both of."""
    return {
        frozenset((one, other))
        for spans in members.values()
        for at, (one, _) in enumerate(spans)
        for other, _ in spans[:at]
        if overlaps(one, other)
    }


def _nearest(span: Span, spans: Iterable[tuple[Span, float]]) -> tuple[Span | None, float | None]:
    near = [each for each in spans if overlaps(each[0], span)]
    return max(near, key=lambda each: _common(each[0], span)) if near else (None, None)


def _same_kind(one: Span, other: Span) -> bool:
    return one.label == other.label and overlaps(one, other)


def _common(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _reading_order(span: Span) -> tuple[int, int, str, str]:
    """Order spans leftmost and longest first."""
    return span.start, -span.end, span.label, span.field


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}: {did_you_mean(str(value), known)}")
