"""Ensembles: means of distributions, valid tags whatever the numbers, votes with stated rules."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.base import Link
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Span
from spanferry.data.spans import tags_to_ranges
from spanferry.projection.base import Projection, Reason
from spanferry.projection.combine import Combined, combine
from spanferry.projection.distributions import (
    TagDistribution,
    decode,
    decode_spans,
    mean_distribution,
    project_by_links,
    project_by_spans,
    softmax,
)
from spanferry.projection.ensemble import (
    SpanDecision,
    mean_labels,
    mean_numbers,
    mean_spans,
    vote_labels,
    vote_spans,
)
from spanferry.projection.prediction import Prediction

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
NONE = [math.nan] * len(TAGS)


def tokens(count: int) -> tuple[tuple[int, int], ...]:
    """Tokens of two characters with a space between."""
    return tuple((3 * index, 3 * index + 2) for index in range(count))


def certain(*tags: str) -> TagDistribution:
    rows = [[float(tag == column) for column in TAGS] for tag in tags]
    return TagDistribution(tokens(len(tags)), TAGS, np.array(rows))


rows = st.one_of(
    st.just(NONE),
    st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any).map(lambda w: [x / sum(w) for x in w]),
)
distributions = st.lists(rows, max_size=6).map(lambda r: TagDistribution(tokens(len(r)), TAGS, np.array(r)))
same_length = st.integers(0, 5).flatmap(
    lambda n: st.lists(
        st.lists(rows, min_size=n, max_size=n).map(lambda r: TagDistribution(tokens(n), TAGS, np.array(r))),
        min_size=1,
        max_size=4,
    )
)


class TestDecode:
    @given(distributions)
    def test_tags_are_valid_and_the_most_probable(self, distribution: TagDistribution) -> None:
        tags = decode(distribution)
        tags_to_ranges(tags)  # raises where a sequence is invalid

        def probability(sequence: tuple[str, ...] | list[str]) -> float:
            columns = [TAGS.index(tag) for tag in sequence]
            chosen = [
                row[column] if known else float(column == 0)
                for row, column, known in zip(distribution.probabilities, columns, distribution.known, strict=True)
            ]
            return math.prod(chosen)

        best = 0.0
        for sequence in itertools.product(TAGS, repeat=min(len(tags), 4)):
            if len(tags) <= 4 and _valid(sequence):
                best = max(best, probability(sequence))
        if len(tags) <= 4:
            assert probability(tags) == pytest.approx(best)

    def test_doubt_is_no_span(self) -> None:
        assert decode(TagDistribution(tokens(1), TAGS, np.array([[0.5, 0.5, 0, 0, 0]]))) == ["O"]

    def test_a_missing_token_ends_a_span(self) -> None:
        distribution = TagDistribution(tokens(3), TAGS, np.array([[0, 1, 0, 0, 0], NONE, [0, 0, 1, 0, 0]]))
        assert decode(distribution)[:2] == ["B-PER", "O"]

    def test_no_tokens(self) -> None:
        empty = TagDistribution((), TAGS, np.empty((0, 5)))
        assert decode(empty) == []
        assert decode_spans(empty) == []

    def test_labels_may_hold_hyphens_or_be_empty(self) -> None:
        distribution = TagDistribution(tokens(2), ("O", "B", "I"), np.array([[0.1, 0.9, 0], [0.2, 0, 0.8]]))
        assert decode_spans(distribution)[0][0] == Span(0, 5, "")
        distribution = TagDistribution(tokens(2), ("O", "B-a-b", "I-a-b"), np.array([[0.1, 0.9, 0], [0.2, 0, 0.8]]))
        assert decode_spans(distribution)[0][0] == Span(0, 5, "a-b")


def _valid(sequence: tuple[str, ...]) -> bool:
    return all(
        not tag.startswith("I-") or (before != "O" and before[2:] == tag[2:])
        for before, tag in itertools.pairwise(("O", *sequence))
    )


class TestMean:
    @given(same_length)
    def test_is_a_mean_of_those_that_know(self, members: list[TagDistribution]) -> None:
        mean = mean_distribution(members)
        for token in range(len(mean.tokens)):
            known = [member.probabilities[token] for member in members if member.known[token]]
            if known:
                assert mean.probabilities[token] == pytest.approx(np.mean(known, axis=0))
            else:
                assert not mean.known[token]

    @given(distributions)
    def test_of_one_member_is_itself(self, member: TagDistribution) -> None:
        np.testing.assert_allclose(mean_distribution([member, None, member]).probabilities, member.probabilities)

    def test_weights_are_shared_out_among_those_that_know(self) -> None:
        first = TagDistribution(tokens(2), ("O", "B-PER"), np.array([[1, 0], [math.nan, math.nan]]))
        second = TagDistribution(tokens(2), ("O", "B-PER"), np.array([[0, 1], [0, 1]]))
        mean = mean_distribution([first, second], [3, 1])
        assert mean.probabilities.tolist() == [[0.75, 0.25], [0.0, 1.0]]

    def test_a_member_without_a_tag_holds_it_impossible(self) -> None:
        first = TagDistribution(tokens(1), ("O", "B-PER"), np.array([[0.5, 0.5]]))
        second = TagDistribution(tokens(1), ("B-LOC", "O"), np.array([[0.5, 0.5]]))
        mean = mean_distribution([first, second])
        assert mean.tags == ("O", "B-PER", "B-LOC")
        assert mean.probabilities.tolist() == [[0.5, 0.25, 0.25]]

    def test_mistakes(self) -> None:
        with pytest.raises(ConfigError, match="every member is missing"):
            mean_distribution([None, None])
        with pytest.raises(DataError, match=r"members 0 and 1 .* different tokens"):
            mean_distribution([certain("O"), certain("O", "O")])
        with pytest.raises(ConfigError, match="3 weights for 1 members"):
            mean_distribution([certain("O")], [1, 1, 1])
        for weights in [-1.0], [0.0], [math.nan]:
            with pytest.raises(ConfigError, match="expected numbers from 0 up"):
                mean_distribution([certain("O")], weights)

    def test_filled_keeps_its_own_rows(self) -> None:
        ours = TagDistribution(tokens(2), TAGS, np.array([[0, 1, 0, 0, 0], NONE]))
        assert decode(ours.filled(certain("B-LOC", "B-LOC"))) == ["B-PER", "B-LOC"]


class TestProjectedDistributions:
    def test_along_links_as_a_weighted_mean(self) -> None:
        words = certain("B-PER", "O")
        carried = project_by_links(words, [Link(0, 1, 0.6), Link(1, 1, 0.2), Link(1, 0, 0.0)], tokens(3))
        assert carried.known.tolist() == [False, True, False]
        assert carried.probabilities[1].tolist() == pytest.approx([0.25, 0.75, 0, 0, 0])

    def test_one_word_for_two_tokens_is_one_span(self) -> None:
        carried = project_by_links(certain("B-PER", "B-PER"), [Link(0, 0), Link(0, 1), Link(1, 2)], tokens(3))
        assert decode(carried) == ["B-PER", "I-PER", "B-PER"]

    def test_a_link_that_leads_nowhere(self) -> None:
        with pytest.raises(DataError, match="link 0-3 leads out of a translation of 1 words or an original of 3"):
            project_by_links(certain("O"), [Link(0, 3)], tokens(3))

    def test_order_changes_and_lengths_differ(self) -> None:
        words = certain("B-PER", "I-PER", "O", "B-LOC")
        projections = [
            Projection(Span(0, 5, "PER"), Span(6, 8, "PER"), "x", 0.9),
            Projection(Span(9, 11, "LOC"), Span(0, 5, "LOC"), "x", 0.8),
        ]
        carried = project_by_spans(words, projections, tokens(4))
        assert decode(carried) == ["B-LOC", "I-LOC", "B-PER", "O"]
        assert carried.known.tolist() == [True, True, True, False]

    def test_the_better_of_two_that_meet_and_nothing_of_the_lost(self) -> None:
        words = certain("B-PER", "B-LOC", "B-PER")
        projections = [
            Projection(Span(0, 2, "PER"), Span(0, 5, "PER"), "x", 0.3),
            Projection(Span(3, 5, "LOC"), Span(3, 8, "LOC"), "x", 0.4),
            Projection(Span(6, 8, "PER"), None, "x", reason=Reason.UNALIGNED),
        ]
        assert decode(project_by_spans(words, projections, tokens(3))) == ["O", "B-LOC", "I-LOC"]

    @given(st.lists(st.sampled_from(["O", "B-PER", "B-LOC"]), max_size=5))
    def test_identity(self, tags: list[str]) -> None:
        words = certain(*tags)
        spans = [span for span, _ in decode_spans(words)]
        carried = project_by_spans(words, [Projection(span, span, "x", 1.0) for span in spans], words.tokens)
        assert decode(carried) == tags
        assert decode(project_by_links(words, [Link(i, i) for i in range(len(tags))], words.tokens)) == tags


class TestMistakesInDistributions:
    @pytest.mark.parametrize(
        ("tags", "problem"),
        [
            (("B-PER",), "O is not among them"),
            (("O", "I-PER"), "'I-PER' could never be opened"),
            (("O", "S-PER"), "'S-PER' is no tag of IOB2"),
            (("O", "O"), "a tag stands there twice"),
        ],
    )
    def test_tags(self, tags: tuple[str, ...], problem: str) -> None:
        with pytest.raises(DataError, match=problem):
            TagDistribution((), tags, np.empty((0, len(tags))))

    @pytest.mark.parametrize("row", [[2.0, -1.0], [0.5, 0.6], [math.nan, 1.0], [math.inf, 0.0], [-3.0, 2.0]])
    def test_rows(self, row: list[float]) -> None:
        with pytest.raises(DataError, match=r"token 1: .* softmax"):
            TagDistribution(tokens(2), ("O", "B-PER"), np.array([[1.0, 0.0], row]))

    def test_columns(self) -> None:
        with pytest.raises(DataError, match=r"shape \[1, 3\], expected \[1, 2\]"):
            TagDistribution(tokens(1), ("O", "B-PER"), np.array([[1.0, 0.0, 0.0]]))

    def test_softmax_makes_one_of_logits(self) -> None:
        TagDistribution(tokens(2), ("O", "B-PER"), softmax([[1e4, -1e4], [0.1, 3.0]]))


PER, LOC, ORG = Span(0, 5, "PER"), Span(10, 14, "LOC"), Span(10, 18, "ORG")


def kept(decisions: list[SpanDecision]) -> list[Span]:
    return [decision.span for decision in decisions]


class TestVoteSpans:
    def test_majority_and_votes(self) -> None:
        members = {"a": [(PER, 0.9), (LOC, 0.2)], "b": [(PER, 0.5)], "c": [], "d": None}
        [decision] = vote_spans(members)
        assert decision.span == PER
        assert decision.score == pytest.approx(2 / 3)
        votes = [(vote.method, vote.target, vote.score) for vote in decision.votes]
        assert votes == [("a", PER, 0.9), ("b", PER, 0.5), ("c", None, None), ("d", None, None)]

    def test_ties(self) -> None:
        members = {"a": [(PER, None)], "b": [(LOC, None)]}
        assert kept(vote_spans(members)) == [PER]
        assert kept(vote_spans(members, ties="keep")) == [PER, LOC]
        assert kept(vote_spans(members, ties="drop")) == []
        assert kept(vote_spans({"x": None, **members})) == [PER]  # the first that is there

    def test_weights(self) -> None:
        members = {"a": [(PER, None)], "b": [(LOC, None)], "c": []}
        assert kept(vote_spans(members, weights=[1, 3, 1])) == [LOC]
        assert kept(vote_spans(members, weights=[0, 3, 0])) == [LOC]
        # Thirds that do not add up exactly are still half.
        assert kept(vote_spans(members, weights=[0.1, 0.2, 0.3], ties="keep")) == []
        assert kept(vote_spans({"a": [], "b": [], "c": [(PER, None)]}, weights=[0.1, 0.2, 0.3], ties="keep")) == [PER]

    def test_what_overlaps_excludes_each_other_unless_one_member_has_both(self) -> None:
        apart = {"a": [(LOC, None)], "b": [(ORG, None)]}
        assert kept(vote_spans(apart, ties="keep")) == [LOC]
        nested = {"a": [(LOC, None), (ORG, None)], "b": [(ORG, None), (LOC, None)]}
        assert kept(vote_spans(nested)) == [LOC, ORG]

    def test_agreement_by_overlap(self) -> None:
        short, long = Span(3, 5, "PER"), Span(0, 5, "PER")
        members = {"a": [(short, 0.4)], "b": [(long, 0.3)], "c": [(long, 0.2)], "d": []}
        [decision] = vote_spans(members, agree="overlap")
        assert decision.span == long
        assert decision.score == 0.75
        assert [vote.target for vote in decision.votes] == [short, long, long, None]
        assert kept(vote_spans({"a": [(short, None)], "b": [(long, None)]}, agree="overlap")) == [short]
        assert vote_spans({"a": [(PER, None)], "b": [(Span(0, 5, "LOC"), None)]}, agree="overlap", ties="drop") == []

    def test_nobody(self) -> None:
        assert vote_spans({"a": None, "b": None}) == []
        assert vote_spans({"a": [], "b": None}) == []

    def test_mistakes(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'keep'"):
            vote_spans({"a": []}, ties="kep")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="agree is 'fuzzy'"):
            vote_spans({"a": []}, agree="fuzzy")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="2 weights for 1 members"):
            vote_spans({"a": []}, weights=[1, 2])


spans = st.lists(
    st.builds(
        lambda a, n, label: (Span(a, a + n, label), None), st.integers(0, 9), st.integers(1, 4), st.sampled_from("AB")
    ),
    max_size=4,
    unique=True,
)
voters = st.dictionaries(st.sampled_from("abcde"), st.none() | spans, min_size=1)


@given(voters, st.sampled_from(["exact", "overlap"]), st.sampled_from(["first", "keep", "drop"]))
def test_votes_hold_their_laws(members: dict[str, list[tuple[Span, None]] | None], agree: str, ties: str) -> None:
    decisions = vote_spans(members, agree=agree, ties=ties)  # type: ignore[arg-type]
    present = {name: found for name, found in members.items() if found is not None}
    assert kept(decisions) == sorted(set(kept(decisions)))
    for decision in decisions:
        assert [vote.method for vote in decision.votes] == list(members)
        backers = [vote for vote in decision.votes if vote.target is not None]
        assert decision.score == pytest.approx(len(backers) / len(present))
        assert decision.score >= 0.5 - 1e-9
        for vote in backers:
            assert (vote.target, None) in (members[vote.method] or [])
    alone = {name: found for name, found in present.items() if not found}
    if len(alone) * 2 > len(present):
        assert decisions == []


@given(voters.filter(lambda members: sum(found is not None for found in members.values()) == 1))
def test_one_voter_is_believed(members: dict[str, list[tuple[Span, None]] | None]) -> None:
    [found] = [each for each in members.values() if each is not None]
    assert kept(vote_spans(members)) == sorted(span for span, _ in found)


class TestMeanSpans:
    def test_votes_show_who_said_what(self) -> None:
        test, train = certain("B-PER", "I-PER", "O"), certain("B-LOC", "O", "O")
        decisions = mean_spans({"test": test, "train": train, "de": None}, weights=[2, 1, 1])
        [decision] = decisions
        assert decision.span == Span(0, 5, "PER")
        assert decision.score == pytest.approx(2 / 3)
        found = [(vote.method, vote.target, vote.score) for vote in decision.votes]
        assert found == [("test", Span(0, 5, "PER"), 1.0), ("train", Span(0, 2, "LOC"), 1.0), ("de", None, None)]


class TestLabels:
    def test_ties_go_to_the_first(self) -> None:
        assert vote_labels({"a": "x", "b": "y"}).label == "x"
        assert vote_labels({"a": None, "b": "y", "c": "x"}).label == "y"
        assert vote_labels({"a": "x", "b": "y", "c": "z"}, weights=[1, 1, 2]).label == "z"
        assert vote_labels({"a": 0, "b": 1, "c": 1}).label == 1

    def test_all_missing(self) -> None:
        decision = vote_labels({"a": None, "b": None})
        assert (decision.label, decision.score, len(decision.votes)) == (None, None, 2)
        assert mean_labels({"a": None}).label is None
        assert mean_numbers({"a": None}).label is None

    def test_mean_of_probabilities(self) -> None:
        decision = mean_labels({"a": {"x": 0.6, "y": 0.4}, "b": None, "c": {"y": 1.0}}, weights=[3, 9, 1])
        assert decision.label == "y"
        assert decision.score == pytest.approx(0.55)
        assert mean_labels({"a": {"x": 0.3, "y": 0.7}, "c": {"x": 0.7, "y": 0.3}}).label == "y"
        with pytest.raises(DataError, match=r"member 'a': .* are no distribution"):
            mean_labels({"a": {"x": 0.6}})

    def test_mean_of_numbers(self) -> None:
        assert mean_numbers({"a": 1.0, "b": 4.0, "c": None}, weights=[1, 2, 5]).label == pytest.approx(3.0)


class TestCombine:
    def test_distributions_are_averaged_where_all_have_them(self) -> None:
        test = Prediction((Span(0, 5, "PER"),), (0.9,), distribution=certain("B-PER", "I-PER", "O"))
        train = Prediction((), (), distribution=certain("B-PER", "O", "O"))
        [decision] = combine({"test": test, "train": train, "de": None}, weights=[2, 1, 1]).spans
        assert decision.span == Span(0, 5, "PER")
        assert decision.score == pytest.approx(5 / 6)

    def test_votes_where_one_has_only_spans_or_other_tokens(self) -> None:
        test = Prediction((Span(0, 5, "PER"),), (0.9,), distribution=certain("B-PER", "I-PER", "O"))
        for other in Prediction((), ()), Prediction((), (), distribution=certain("O")):
            [decision] = combine({"test": test, "other": other}).spans
            assert (decision.span, decision.score) == (Span(0, 5, "PER"), 0.5)

    def test_labels_by_what_is_there(self) -> None:
        sure = Prediction(labels={"label": "x", "n": 1.0}, label_distributions={"label": {"x": 0.9, "y": 0.1}})
        doubtful = Prediction(labels={"label": "y", "n": 4.0}, label_distributions={"label": {"x": 0.4, "y": 0.6}})
        bare = Prediction(labels={"label": "y"})
        both = combine({"a": doubtful, "b": sure}).labels
        assert (both["label"].label, both["n"].label) == ("x", 2.5)
        assert combine({"a": sure, "b": bare, "c": doubtful}).labels["label"].label == "y"

    def test_nobody(self) -> None:
        assert combine({"a": None}) == Combined((), {})
