"""Symmetrisation: how the forms contain each other, and golden sets worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.symmetrize import (
    SYMMETRIZATIONS,
    get_symmetrization,
    grow_diag,
    grow_diag_final,
    grow_diag_final_and,
    intersection,
    union,
)
from spanferry.data.errors import ConfigError

Links = set[tuple[int, int]]
LINKS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)))


@given(LINKS, LINKS)
def test_each_form_contains_the_stricter_one(forward: Links, backward: Links) -> None:
    inside, grown, final_and, final, outside = (
        form(forward, backward) for form in (intersection, grow_diag, grow_diag_final_and, grow_diag_final, union)
    )
    assert inside <= grown <= final_and <= outside
    assert grown <= final <= outside


@given(LINKS)
def test_directions_that_agree_stay_as_they_are(links: Links) -> None:
    assert all(form(links, links) == links for form in SYMMETRIZATIONS.values())


@given(LINKS, LINKS)
def test_final_leaves_no_word_bare_that_a_direction_linked(forward: Links, backward: Links) -> None:
    final = grow_diag_final(forward, backward)
    for side in (0, 1):
        assert {link[side] for link in final} == {link[side] for link in forward | backward}


# Worked by hand on the definition. Intersection: (0,0), (3,3). Growing from (0,0): (1,0) has a new source; (1,1) then
# a new target. From (3,3): (2,3) has a new source, (3,4) a new target. (5,6) and (6,5) touch nothing that is in.
FORWARD = {(0, 0), (1, 0), (3, 3), (2, 3), (5, 6)}
BACKWARD = {(0, 0), (1, 1), (3, 3), (3, 4), (6, 5), (5, 0)}
GROWN = {(0, 0), (1, 0), (1, 1), (3, 3), (2, 3), (3, 4)}


def test_growing_by_hand() -> None:
    assert grow_diag(FORWARD, BACKWARD) == GROWN


def test_final_takes_links_with_one_new_word_and_final_and_with_two() -> None:
    # (5,6): both words are bare. (5,0): source 5 is linked by then, target 0 too. (6,5): both bare.
    assert grow_diag_final_and(FORWARD, BACKWARD) == GROWN | {(5, 6), (6, 5)}
    # With one bare word enough, a link of a bare source 7 to the linked target 0 comes in as well.
    assert grow_diag_final(FORWARD | {(7, 0)}, BACKWARD) == GROWN | {(5, 6), (6, 5), (7, 0)}
    assert (7, 0) not in grow_diag_final_and(FORWARD | {(7, 0)}, BACKWARD)


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'grow-diag-final-and'"):
        get_symmetrization("grow-diag-fnal-and")
