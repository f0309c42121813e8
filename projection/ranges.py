"""Target ranges that a span could have, scored by the links that lead into them (token positions throughout)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from spanferry.alignment.base import Link
from spanferry.projection.selection import Candidate


def link_candidates(
    spans: Sequence[tuple[int, int]],
    links: Sequence[Link],
    source_length: int,
    target_length: int,
    gap_cost: float,
) -> list[list[Candidate]]:
    """Score every range between linked words by the F1 of its links, ``2 * inside / (from span + from range)``.

    A word of the range counts as `gap_cost` links that lead elsewhere as far as it is not linked: without a link in
    full, with a link of score 0.3 for 0.7 of it. So a chance link does not stretch a range. Of ranges with equal
    scores, the one nearest to the span's relative place in the text is listed first, then the shorter one.

    Source "big red house", target "casa muy roja grande"; nothing is linked to "muy", the span is "red house":

    >>> links = [Link(0, 3), Link(1, 2), Link(2, 0)]
    >>> [[(c.start, c.end, round(c.score, 2)) for c in link_candidates([(1, 3)], links, 3, 4, 0.1)[0]]]
    [[(0, 3, 0.98), (2, 3, 0.67), (0, 1, 0.67)]]

    The last word of "los Estados miembros aplican" hangs on a weak link:

    >>> links = [Link(0, 1, 0.9), Link(1, 2, 0.9), Link(1, 3, 0.05)]
    >>> [[(c.start, c.end) for c in link_candidates([(0, 2)], links, 2, 4, 0.1)[0]][0]]
    [(1, 3)]
    """
    weight = [0.0] * target_length
    for _, word, score in links:
        weight[word] += score
    # leaving[j]: what the target words before j weigh, so that a range weighs leaving[end] - leaving[start].
    leaving = list(accumulate((own + gap_cost * max(0.0, 1.0 - own) for own in weight), initial=0.0))
    return [_scored_ranges(span, links, leaving, source_length) for span in spans]


def _scored_ranges(
    span: tuple[int, int], links: Sequence[Link], leaving: Sequence[float], source_length: int
) -> list[Candidate]:
    linked, inside = _linked(span, links)
    from_span = inside[-1]
    middle = (span[0] + span[1]) / (2 * max(source_length, 1))
    twice = 2 * (len(leaving) - 1)
    found = [
        Candidate(
            start,
            end + 1,
            2 * (inside[b + 1] - inside[a]) / (from_span + leaving[end + 1] - leaving[start]),
            abs((start + end + 1) / twice - middle),
        )
        for a, start in enumerate(linked)
        for b, end in enumerate(linked[a:], a)
    ]
    found.sort(key=_best_first)
    return found


def run_candidates(
    spans: Sequence[tuple[int, int]],
    links: Sequence[Link],
    source_length: int,
    target_length: int,
    max_gap: int,
) -> list[list[Candidate]]:
    """Join a span's linked words over gaps of at most `max_gap` words; a run's score is its share of the span's links.

    >>> links = [Link(0, 0), Link(1, 2), Link(1, 7)]
    >>> [[(c.start, c.end, round(c.score, 2)) for c in run_candidates([(0, 2)], links, 2, 9, 2)[0]]]
    [[(0, 3, 0.67), (7, 8, 0.33)]]
    """
    candidates = []
    for span in spans:
        middle = (span[0] + span[1]) / (2 * max(source_length, 1))
        linked, inside = _linked(span, links)
        runs: list[tuple[int, int]] = []  # first and last position in `linked`
        for position, word in enumerate(linked):
            if runs and word - linked[runs[-1][1]] - 1 <= max_gap:
                runs[-1] = (runs[-1][0], position)
            else:
                runs.append((position, position))
        found = [
            Candidate(
                linked[first],
                linked[last] + 1,
                (inside[last + 1] - inside[first]) / inside[-1],
                abs((linked[first] + linked[last] + 1) / (2 * target_length) - middle),
            )
            for first, last in runs
        ]
        candidates.append(sorted(found, key=_best_first))
    return candidates


def _linked(span: tuple[int, int], links: Sequence[Link]) -> tuple[list[int], list[float]]:
    """Return the target words that are linked to the span, and the running sum of their links into it."""
    first, last = span
    weight: dict[int, float] = {}
    for i, word, score in links:
        if first <= i < last:
            weight[word] = weight.get(word, 0.0) + score
    linked = sorted(weight)
    return linked, list(accumulate((weight[word] for word in linked), initial=0.0))


def _best_first(option: Candidate) -> tuple[float, int, int]:
    return -option.worth, option.end - option.start, option.start
