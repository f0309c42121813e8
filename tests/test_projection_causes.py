"""Causes of missing spans add up, and each is what it says; lexical overlap and its table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import DataError
from spanferry.data.example import Example, Span
from spanferry.projection.base import TranslatedText
from spanferry.projection.causes import Causes, RoundTrip, gold_forth_and_back, split_causes
from spanferry.projection.metrics import span_scores
from spanferry.projection.overlap import Overlap, lexical_overlap, overlap_table, overlaps_of
from spanferry.projection.registry import load_projector
from spanferry.translation.base import Segment

HERE, THERE = Span(0, 4, "PER"), Span(10, 14, "PER")


def trip(**changes: object) -> RoundTrip:
    """One gold span that translation, predictor and projection all get right, but for ``changes``."""
    right = {"gold": [HERE], "forth": [THERE], "back": [HERE], "predicted": [THERE], "final": [HERE]}
    return RoundTrip(**{**right, **changes})  # type: ignore[arg-type]


class TestCauses:
    @pytest.mark.parametrize(
        ("changes", "cause", "error"),
        [
            ({"forth": [None], "back": [None]}, "translation", None),
            ({"back": [None]}, "translation", None),
            ({"back": [Span(0, 5, "PER")]}, "translation", None),
            ({}, "projection", None),
            ({"predicted": []}, "predictor", "unseen"),
            ({"predicted": [Span(10, 14, "LOC")]}, "predictor", "label"),
            ({"predicted": [Span(10, 15, "PER")]}, "predictor", "boundary"),
            ({"predicted": [Span(10, 15, "LOC")]}, "predictor", "unseen"),
            ({"predicted": [Span(14, 15, "PER")]}, "predictor", "unseen"),
        ],
    )
    def test_each(self, changes: dict[str, object], cause: str, error: str | None) -> None:
        causes = split_causes([trip(final=[Span(0, 4, "LOC")], **changes)])
        assert [name for name, count in causes.missed.items() if count] == [cause]
        assert [name for name, count in causes.predictor.items() if count] == ([error] if error else [])

    def test_what_was_found_has_no_cause_however_it_was_found(self) -> None:
        assert split_causes([trip(forth=[None], back=[None], predicted=[])]).found == 1

    def test_gold_twice_is_found_twice_or_once(self) -> None:
        causes = split_causes([trip(gold=[HERE, HERE], forth=[THERE, THERE], back=[HERE, HERE])])
        assert (causes.gold, causes.found, causes.missed["projection"]) == (2, 1, 1)

    def test_no_examples(self) -> None:
        assert split_causes([]) == Causes()
        assert Causes().ceiling == 0.0

    def test_lists_that_do_not_fit(self) -> None:
        with pytest.raises(DataError, match="1 gold spans have 0 places in the translation and 1 back"):
            trip(forth=[])


span = st.builds(lambda a, n, label: Span(a, a + n, label), st.integers(0, 6), st.integers(1, 3), st.sampled_from("AB"))
maybe = st.none() | span
trips = st.integers(0, 4).flatmap(
    lambda n: st.builds(
        RoundTrip,
        gold=st.lists(span, min_size=n, max_size=n),
        forth=st.lists(maybe, min_size=n, max_size=n),
        back=st.lists(maybe, min_size=n, max_size=n),
        predicted=st.lists(span, max_size=4),
        final=st.lists(span, max_size=4),
    )
)


@given(st.lists(trips, max_size=4))
def test_causes_add_up_to_the_missed(examples: list[RoundTrip]) -> None:
    causes = split_causes(examples)
    scores = span_scores(
        {str(i): each.gold for i, each in enumerate(examples)}, {str(i): each.final for i, each in enumerate(examples)}
    )
    assert causes.gold == scores.exact.tp + scores.exact.fn
    assert causes.found == scores.exact.tp
    assert sum(causes.missed.values()) == scores.exact.fn
    assert sum(causes.predictor.values()) == causes.missed["predictor"]
    for label, part in causes.per_label.items():
        assert sum(part.missed.values()) == scores.per_label[label].fn
    assert split_causes(examples[:1]) + split_causes(examples[1:]) == causes
    assert causes.to_json()["missed"] == causes.missed


class TestForthAndBack:
    def test_through_a_real_projector(self) -> None:
        text = TranslatedText(
            "Zoë wohnt. Köln schläft.",
            "Zoë lives. Köln sleeps.",
            (Span(0, 3, "PER"), Span(4, 9, "V"), Span(11, 15, "LOC")),
            (Segment(0, 10, 0, 10), Segment(11, 24, 11, 23)),
        )
        projector = load_projector("alignment", aligner="fake")
        [(forth, back)] = gold_forth_and_back([text], projector, source="deu_Latn", target="eng_Latn")
        assert forth == (Span(0, 3, "PER"), None, Span(11, 15, "LOC"))
        assert back == forth

    def test_nothing_to_carry(self) -> None:
        text = TranslatedText("a", "b", ())
        projector = load_projector("alignment", aligner="fake")
        assert gold_forth_and_back([text], projector, source="deu_Latn", target="eng_Latn") == [((), ())]
        assert gold_forth_and_back([], projector, source="deu_Latn", target="eng_Latn") == []


class TestOverlap:
    def test_bags(self) -> None:
        assert lexical_overlap(["a", "a", "b"], ["a", "a", "a", "c"]) == 0.5
        assert lexical_overlap([], ["a"]) == 0.0
        assert lexical_overlap(["a"], ["!", "…"]) is None
        assert lexical_overlap(["STRASSE"], ["Straße"]) == 1.0
        assert lexical_overlap(["50", "%"], ["50", "%"]) == 1.0

    @given(st.lists(st.sampled_from("abc.")), st.lists(st.sampled_from("abc.")))
    def test_laws(self, premise: list[str], hypothesis: list[str]) -> None:
        share = lexical_overlap(premise, hypothesis)
        assert (share is None) == (set(hypothesis) <= {"."})
        if share is not None:
            assert 0 <= share <= 1
            assert lexical_overlap(premise + hypothesis, hypothesis) == 1.0
            assert lexical_overlap(sorted(premise), sorted(hypothesis)) == share

    def test_of_examples_in_a_language_without_spaces(self) -> None:
        pairs = [
            Example("1", {"premise": "我住在科隆。", "hypothesis": "我住在科隆！"}),
            Example("2", {"premise": "", "hypothesis": ""}),
        ]
        assert overlaps_of(pairs, "zho_Hans") == [1.0, None]

    def test_table(self) -> None:
        table = overlap_table([Overlap("b", 0.5, 0.0), Overlap("a", 1.0, 0.5), Overlap("a", 0.5, 0.5)])
        assert table.to_json() == {
            "total": {"examples": 3, "before": 66.67, "after": 33.33, "change": -33.33},
            "per_label": {
                "a": {"examples": 2, "before": 75.0, "after": 50.0, "change": -25.0},
                "b": {"examples": 1, "before": 50.0, "after": 0.0, "change": -50.0},
            },
        }
        assert len({len(line) for line in table.lines()}) == 1

    def test_of_nothing(self) -> None:
        table = overlap_table([Overlap("a", None, 0.5)])
        assert (table.rows, table.total.examples, table.total.before) == ((), 0, 0.0)
