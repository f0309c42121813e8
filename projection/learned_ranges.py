"""Target ranges that a span could have, judged by `spanferry.projection.range_model` (token positions throughout)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spanferry.alignment.base import Link, Matrix
from spanferry.projection.range_features import Views, span_ranges, views
from spanferry.projection.range_model import RangeModel
from spanferry.projection.selection import Candidate

# Ranges less probable than this are not worth trying, whatever becomes of the others.
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Stretch:
    """Words that were aligned by themselves: where they begin in the two texts, how many they are, who was heard.

    Attributes:
        source, target: half-open ranges of words.
        witnesses: see `spanferry.alignment.base.WordAlignment`; of these words alone.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    witnesses: tuple[Matrix, ...] = ()


def learned_candidates(
    spans: Sequence[tuple[int, int]],
    links: Sequence[Link],
    source_words: Sequence[str],
    target_words: Sequence[str],
    stretches: Sequence[Stretch],
    *,
    model: RangeModel,
    identical: bool = True,
) -> list[list[Candidate]]:
    """Return, a span, its ranges with their probabilities, the most probable first; none where no link leaves the span.

    A span sees no more of a long text than the stretches that it has words in.

    >>> words = ["big", "red", "house"], ["casa", "roja", "grande"]
    >>> links = [Link(0, 2), Link(1, 1), Link(2, 0)]
    >>> from spanferry.projection.range_model import load_range_model
    >>> whole = Stretch((0, 3), (0, 3))
    >>> [options] = learned_candidates([(1, 3)], links, *words, [whole], model=load_range_model())
    >>> options[0].start, options[0].end, options[0].score > 0.9
    (0, 2, True)
    """
    seen: dict[tuple[int, int], _Window] = {}
    candidates: list[list[Candidate]] = []
    for span in spans:
        own = [n for n, each in enumerate(stretches) if each.source[0] < span[1] and span[0] < each.source[1]]
        if not own:
            candidates.append([])
            continue
        key = own[0], own[-1] + 1
        if key not in seen:
            seen[key] = _window(stretches[slice(*key)], links, source_words, target_words, identical)
        middle = (span[0] + span[1]) / (2 * max(len(source_words), 1))
        candidates.append(_judged(span, seen[key], model, middle, len(target_words)))
    return candidates


@dataclass(frozen=True, slots=True)
class _Window:
    """What is seen of some stretches together, and their first source and target word."""

    top: int
    left: int
    pair: Views


def _window(
    stretches: Sequence[Stretch],
    links: Sequence[Link],
    source_words: Sequence[str],
    target_words: Sequence[str],
    identical: bool,
) -> _Window:
    (top, bottom), (left, right) = (
        (min(first for first, _ in sides), max(last for _, last in sides))
        for sides in ([each.source for each in stretches], [each.target for each in stretches])
    )
    heard = [np.zeros((bottom - top, right - left)) for _ in range(max(len(each.witnesses) for each in stretches))]
    for each in stretches:
        rows, columns = (
            slice(side[0] - first, side[1] - first) for side, first in ((each.source, top), (each.target, left))
        )
        # A stretch with nothing on one side has no witness: there is nothing to say of it.
        for whole, part in zip(heard, each.witnesses, strict=False):
            whole[rows, columns] = part
    inside = [Link(i - top, j - left, s) for i, j, s in links if top <= i < bottom and left <= j < right]
    pair = views(source_words[top:bottom], target_words[left:right], inside, heard, identical=identical)
    return _Window(top, left, pair)


def _judged(
    span: tuple[int, int], window: _Window, model: RangeModel, middle: float, target_length: int
) -> list[Candidate]:
    """Return the candidates of a span whose middle lies at so much of its text, 0..1."""
    begin, end = max(span[0] - window.top, 0), min(span[1] - window.top, len(window.pair.source_lengths))
    ranges = span_ranges((begin, end), window.pair) if begin < end else None
    if ranges is None:
        return []
    probabilities = model.probabilities(ranges.features)
    places = zip((ranges.starts + window.left).tolist(), (ranges.ends + window.left).tolist(), strict=True)
    found = [
        Candidate(start, end, score, abs((start + end) / (2 * target_length) - middle))
        for (start, end), score in zip(places, probabilities.tolist(), strict=True)
        if score > _LEAST
    ]
    return sorted(found, key=lambda option: (-option.worth, option.end - option.start, option.start))
