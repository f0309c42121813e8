"""From many possible places a span to one place each: the set that is best as a whole.

Each source span brings its candidates, scored on their own. Taking the best of each may put two spans on the same
words, although they stood apart in the source. `select` finds the choice with the highest total score in which spans
overlap in the target only if they overlap in the source (nested, crossing or equal spans).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# A difference in place only decides between scores that are equal otherwise: scores differ by far more than this.
_TIE = 1e-6

# Sums of floats that are equal on paper differ by less than this.
_EQUAL = 1e-12

_MOST_STEPS = 100_000
_MOST_SPANS = 300  # in one group: the search goes one call deeper for each


class Candidate(NamedTuple):
    """A target range ``start <= i < end`` (characters or tokens, as the method counts) for one span.

    ``score`` is above 0, more is better. ``distance`` in 0..1 breaks ties: less is better.
    """

    start: int
    end: int
    score: float
    distance: float = 0.0

    @property
    def worth(self) -> float:
        """What `select` adds up."""
        return self.score - _TIE * self.distance


class Selection(NamedTuple):
    """One candidate a span, or None where every good choice leaves the span without a place.

    ``exact`` is False when the search stopped at its limit, and something better may exist.
    """

    chosen: list[Candidate | None]
    exact: bool


def select(
    spans: Sequence[tuple[int, int]], candidates: Sequence[Sequence[Candidate]], *, most_steps: int = _MOST_STEPS
) -> Selection:
    """Choose at most one candidate a span so that the sum of scores is highest.

    It is at once done when the best candidates of all spans go together, which is the common case. Otherwise it splits
    the spans into groups that can come into each other's way, and searches each by branch and bound. The same
    input always has the same result.

    Args:
        spans: source range of each span, half-open.
        candidates: a span's candidates, best first.
        most_steps: candidates to look at in one group before its search is cut off; 100,000 take about 0.1 s.

    Neighbours in the source may not share a word in the target, so the weaker one moves:

    >>> rome, paris = [Candidate(0, 1, 0.9)], [Candidate(0, 1, 0.8), Candidate(2, 3, 0.5)]
    >>> [(place.start, place.end) for place in select([(0, 4), (9, 14)], [rome, paris]).chosen]
    [(0, 1), (2, 3)]

    Nested spans may:

    >>> [(place.start, place.end) for place in select([(0, 14), (9, 14)], [rome, paris]).chosen]
    [(0, 1), (0, 1)]
    """
    chosen: list[Candidate | None] = [options[0] if options else None for options in candidates]
    if not _any_conflict(spans, chosen):
        return Selection(chosen, True)
    exact = True
    undominated = [_undominated(options) for options in candidates]
    for group in _groups(spans, undominated):
        best, complete = _search([spans[i] for i in group], [undominated[i] for i in group], most_steps)
        exact = exact and complete
        for i, place in zip(group, best, strict=True):
            chosen[i] = place
    return Selection(chosen, exact)


def _any_conflict(spans: Sequence[tuple[int, int]], places: Sequence[Candidate | None]) -> bool:
    # In order of their start, a range can only overlap the running farthest end or later ranges; but whether an
    # overlap is allowed depends on the pair, so every overlapping pair is looked at.
    taken = sorted((place.start, place.end, i) for i, place in enumerate(places) if place is not None)
    for n, (_, end, i) in enumerate(taken):
        for start, _, k in taken[n + 1 :]:
            if start >= end:
                break
            if not _overlap(spans[i], spans[k]):
                return True
    return False


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _undominated(options: Sequence[Candidate]) -> list[Candidate]:
    """Leave out a candidate that contains another one worth as much: whatever fits around it fits around that one."""
    starts = sorted({option.start for option in options}, reverse=True)
    ends = sorted({option.end for option in options})
    best = {(option.start, option.end): option for option in reversed(options)}
    kept = set()
    # Over growing ranges; most[k]: the highest worth of a candidate from the current start on that ends by ends[k].
    most = [-math.inf] * len(ends)
    for start in starts:
        inside = -math.inf
        for k, end in enumerate(ends):
            inside = max(inside, most[k])
            option = best.get((start, end))
            if option is not None and option.worth > inside:
                kept.add(option)
                inside = option.worth
            most[k] = inside
    return [option for option in options if option in kept]


def _groups(spans: Sequence[tuple[int, int]], candidates: Sequence[Sequence[Candidate]]) -> list[list[int]]:
    """Split the spans so that no candidate of one group can exclude a candidate of another."""
    parent = list(range(len(spans)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    # Sweep over all candidates from left to right; those still open overlap the one that starts.
    events = sorted((option.start, option.end, i) for i, options in enumerate(candidates) for option in options)
    still_open: dict[int, int] = {}  # span -> farthest end of its candidates so far
    for start, end, i in events:
        for k in [k for k, farthest in still_open.items() if farthest <= start]:
            del still_open[k]
        for k in still_open:
            if root(k) != root(i) and not _overlap(spans[i], spans[k]):
                parent[root(k)] = root(i)
        still_open[i] = max(end, still_open.get(i, end))
    groups: dict[int, list[int]] = {}
    for i in range(len(spans)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def _search(
    spans: list[tuple[int, int]], candidates: list[list[Candidate]], most_steps: int
) -> tuple[list[Candidate | None], bool]:
    """Try the spans in turn, best candidate first, and give up a branch whose bound cannot beat the best so far."""
    best = _greedy(spans, candidates)
    best_worth = sum(place.worth for place in best if place is not None)
    if len(spans) > _MOST_SPANS:
        return best, False
    steps = 0
    chosen: list[Candidate | None] = []

    def fits(option: Candidate, i: int) -> bool:
        nonlocal steps
        steps += 1
        return _fits(option, i, spans, chosen)

    def visit(worth: float) -> None:
        nonlocal best, best_worth
        i = len(chosen)
        if i == len(spans):
            if worth > best_worth + _EQUAL:
                best, best_worth = chosen.copy(), worth
            return
        # What the spans after this one can add at most: the best of each that goes with the choices so far.
        rest = sum(
            next((option.worth for option in candidates[k] if fits(option, k)), 0.0) for k in range(i + 1, len(spans))
        )
        for option in (*candidates[i], None):
            bound = worth + rest + (0.0 if option is None else option.worth)
            if bound <= best_worth + _EQUAL or steps > most_steps:
                return
            if option is None or fits(option, i):
                chosen.append(option)
                visit(worth + (0.0 if option is None else option.worth))
                chosen.pop()

    visit(0.0)
    return best, steps <= most_steps


def _greedy(spans: list[tuple[int, int]], candidates: list[list[Candidate]]) -> list[Candidate | None]:
    """Give out places by worth, the best first: where the search begins."""
    chosen: list[Candidate | None] = [None] * len(spans)
    offers = [(option, i) for i, options in enumerate(candidates) for option in options]
    for option, i in sorted(offers, key=lambda offer: -offer[0].worth):
        if chosen[i] is None and _fits(option, i, spans, chosen):
            chosen[i] = option
    return chosen


def _fits(option: Candidate, i: int, spans: Sequence[tuple[int, int]], chosen: Sequence[Candidate | None]) -> bool:
    """Tell whether span ``i`` may have this place beside those chosen for the first spans."""
    return all(
        place is None or option.end <= place.start or place.end <= option.start or _overlap(spans[i], spans[k])
        for k, place in enumerate(chosen)
    )
