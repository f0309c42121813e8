"""The choice of places is the best as a whole: checked against trying everything."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.projection.selection import Candidate, select

Range = tuple[int, int]


def overlap(one: Range, other: Range) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def allowed(spans: list[Range], places: tuple[Candidate | None, ...]) -> bool:
    return all(
        here is None or there is None or overlap(spans[i], spans[k]) or not overlap(here[:2], there[:2])
        for (i, here), (k, there) in combinations(enumerate(places), 2)
    )


def brute_force(spans: list[Range], candidates: list[list[Candidate]]) -> float:
    """The highest total worth over every allowed choice."""
    choices = product(*([None, *options] for options in candidates))
    return max(sum(place.worth for place in places if place) for places in choices if allowed(spans, places))


ranges = st.tuples(st.integers(0, 7), st.integers(1, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
options = st.lists(
    st.builds(
        lambda place, score, distance: Candidate(*place, score / 8, distance / 8),
        ranges,
        st.integers(1, 8),
        st.integers(0, 8),
    ),
    max_size=5,
).map(lambda found: sorted(found, key=lambda candidate: -candidate.worth))
cases = st.lists(st.tuples(ranges, options), max_size=5)


@given(cases)
def test_the_choice_is_as_good_as_trying_everything(case: list[tuple[Range, list[Candidate]]]) -> None:
    spans, candidates = [span for span, _ in case], [found for _, found in case]
    selection = select(spans, candidates)
    assert selection.exact
    assert allowed(spans, tuple(selection.chosen))
    assert all(place is None or place in found for place, found in zip(selection.chosen, candidates, strict=True))
    total = sum(place.worth for place in selection.chosen if place)
    assert total == pytest.approx(brute_force(spans, candidates), abs=1e-9)


def test_two_fair_places_beat_one_good_and_one_lost() -> None:
    best_of_first, other_of_first = Candidate(0, 1, 1.0), Candidate(2, 3, 0.7)
    only_of_second = Candidate(0, 1, 0.6)
    chosen = select([(0, 1), (1, 2)], [[best_of_first, other_of_first], [only_of_second]]).chosen
    assert chosen == [other_of_first, only_of_second]


def test_of_equal_scores_the_smaller_distance_wins() -> None:
    near, far = Candidate(4, 5, 0.5, 0.0), Candidate(0, 1, 0.5, 0.4)
    other_near, other_far = Candidate(0, 1, 0.5, 0.0), Candidate(4, 5, 0.5, 0.4)
    assert select([(5, 6), (0, 1)], [[near, far], [other_near, other_far]]).chosen == [near, other_near]
    assert select([(5, 6), (0, 1)], [[far], [other_near]]).chosen.count(None) == 1


def test_a_longer_place_that_is_worth_no_more_gives_way() -> None:
    longer, shorter = Candidate(0, 3, 0.5), Candidate(0, 1, 0.5)
    others = [[Candidate(2, 3, 0.5)], [Candidate(2, 3, 0.4), Candidate(4, 5, 0.1)]]
    chosen = select([(0, 1), (1, 2), (2, 3)], [[longer, shorter], *others]).chosen
    assert chosen == [shorter, Candidate(2, 3, 0.5), Candidate(4, 5, 0.1)]


def test_spans_far_apart_are_searched_apart() -> None:
    # 40 spans in 20 groups of two: together they would be 3^40 choices, group by group a few hundred.
    spans = [(i, i + 1) for i in range(40)]
    candidates = [
        [Candidate(i // 2 * 2, i // 2 * 2 + 1, 0.9), Candidate(i // 2 * 2 + 1, i // 2 * 2 + 2, 0.4)] for i in range(40)
    ]
    selection = select(spans, candidates)
    assert selection.exact
    assert sum(place.score for place in selection.chosen if place) == pytest.approx(20 * 1.3)


def test_a_search_that_stops_early_says_so_and_is_allowed() -> None:
    spans = [(i, i + 1) for i in range(12)]
    candidates = [[Candidate(j, j + 1, 0.9 - 0.01 * ((i * 7 + j) % 5)) for j in range(10)] for i in range(12)]
    selection = select(spans, candidates, most_steps=50)
    assert not selection.exact
    assert allowed(spans, tuple(selection.chosen))
    assert sum(place is not None for place in selection.chosen) == 10


def test_hundreds_of_spans_that_want_the_same_words_end_in_good_time() -> None:
    spans = [(i, i + 1) for i in range(1000)]
    candidates = [[Candidate(j, j + 1, 0.5) for j in range(i % 7, i % 7 + 3)] for i in range(1000)]
    selection = select(spans, candidates)
    assert not selection.exact
    assert sum(place is not None for place in selection.chosen) == 9


def test_long_spans_with_thousands_of_candidates_are_exact() -> None:
    # Two neighbours of 60 words, every word linked to its own place and to one of the neighbour's.
    spans = [(0, 60), (60, 120)]
    candidates = [
        [
            Candidate(start, end, 1 - (abs(start - first) + abs(end - last)) / 240)
            for start in range(first - 10, last)
            for end in range(start + 1, last + 11)
        ]
        for first, last in ((10, 75), (65, 130))
    ]
    candidates = [sorted(options, key=lambda option: -option.worth) for options in candidates]
    selection = select(spans, candidates)
    assert selection.exact
    assert sum(place.score for place in selection.chosen if place) == pytest.approx(2 - 10 / 240)
