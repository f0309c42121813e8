"""What is seen of a target range that a span could have, in numbers: what `spanferry.projection.range_model` judges by.

Everything comes from the words' links and from how sure the aligner was of those that it did not draw, none of it from
the words themselves: so nothing is tied to a language or a script.

Four views of a sentence pair are told apart, each a matrix of (source words, target words) with values of 0..1: the
links that were drawn, the mean of the aligner's witnesses, and its first and its second witness (the same one twice
where there is one, the links where there is none). In each, a target word gets so much weight from the span and so much
from the rest of the sentence, and of a range this is looked at as a whole, at its first and last word, and at the two
words beside it: whether a border is right shows on both sides of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from spanferry.alignment.base import Link, Matrix
from spanferry.projection.links import is_mark, trusted_links, trusted_matrix

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]

VIEWS: Final = ("links", "mean", "first", "second")
_OF_VIEW: Final = (
    *("f1", "precision", "recall"),
    *(f"{place}-{side}" for place in ("first", "last", "before", "behind") for side in ("span", "rest")),
)
_OF_MEAN: Final = (
    *("unexplained", "strangers", "strangers-share", "inside-per-word"),
    *("covered", "least-covered", "first-covered", "last-covered"),
    *("known", "first-known", "last-known", "from-left", "from-right"),
)
_OF_SHAPE: Final = ("length-ratio", "character-ratio", "length", "span-length", "equal", "one", "span-one", "marks")
NAMES: Final = (*(f"{view}:{name}" for view in VIEWS for name in _OF_VIEW), *_OF_MEAN, *_OF_SHAPE)
"""Names of the features, in order."""

# A word with so much weight from the span is a place to begin or end, and so are the words beside it.
_LEAST_WEIGHT: Final = 0.05
# So many of the ranges that look best at a glance are looked at closely.
_MOST_RANGES: Final = 48
_GAP_COSTS: Final = (0.1, 0.5)
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Views:
    """What is known of the words of two texts, or of two stretches of them.

    Attributes:
        links, mean, first, second: the four views, (source words, target words), 0..1.
        source_lengths, target_lengths: characters of each word.
        marks: 1 where a target word is bare punctuation, else 0.
    """

    links: Array
    mean: Array
    first: Array
    second: Array
    source_lengths: Array
    target_lengths: Array
    marks: Array


@dataclass(frozen=True, slots=True)
class Ranges:
    """Target ranges that a span could have, half-open, in words, and what is seen of them, (ranges, `NAMES`)."""

    starts: np.ndarray[Any, np.dtype[np.int64]]
    ends: np.ndarray[Any, np.dtype[np.int64]]
    features: Array


def views(
    source_words: Sequence[str],
    target_words: Sequence[str],
    links: Iterable[Link],
    witnesses: Sequence[Matrix] = (),
    *,
    identical: bool = True,
) -> Views:
    """Put together what an aligner found for two texts, mended as `spanferry.projection.links` says.

    Args:
        source_words, target_words: their tokens.
        links: those that were drawn.
        witnesses: see `spanferry.alignment.base.WordAlignment`; without any, the links stand for them.
        identical: see `spanferry.projection.links.trusted_links`.
    """
    drawn = np.zeros((len(source_words), len(target_words)))
    for i, j, score in trusted_links(source_words, target_words, links, identical=identical):
        drawn[i, j] = score
    if witnesses:
        heard = [trusted_matrix(source_words, target_words, each, identical=identical) for each in witnesses]
    else:
        heard = [drawn]
    return Views(
        links=drawn,
        mean=np.mean(heard, axis=0, dtype=float),
        first=heard[0],
        second=heard[-1],
        source_lengths=np.array(list(map(len, source_words)), dtype=float),
        target_lengths=np.array(list(map(len, target_words)), dtype=float),
        marks=np.array([all(map(is_mark, word)) for word in target_words], dtype=float),
    )


class _View:
    """One view of a span: what each target word weighs, from the span and from the rest, and running sums of both."""

    def __init__(self, matrix: Array, span: tuple[int, int]) -> None:
        self.span = matrix[span[0] : span[1]].sum(0)
        every = matrix.sum(0)
        self.rest = every - self.span
        self.unexplained = np.maximum(0.0, 1.0 - every)
        self.to_span, self.to_all, self.to_none = map(_running, (self.span, every, self.unexplained))

    def f1(self, starts: Any, ends: Any, gap_cost: float) -> Array:
        """The score of `spanferry.projection.ranges.link_candidates`."""
        inside = self.to_span[ends] - self.to_span[starts]
        weight = self.to_all[ends] - self.to_all[starts] + gap_cost * (self.to_none[ends] - self.to_none[starts])
        score: Array = 2 * inside / (self.to_span[-1] + weight + _TINY)
        return score

    def features(self, starts: Any, ends: Any) -> list[Array]:
        """`_OF_VIEW`, each (ranges,)."""
        inside = self.to_span[ends] - self.to_span[starts]
        found = [
            self.f1(starts, ends, _GAP_COSTS[0]),
            inside / (self.to_all[ends] - self.to_all[starts] + _TINY),
            inside / (self.to_span[-1] + _TINY),
        ]
        # Past either end of the text there is a word without weight.
        span, rest = np.append(self.span, 0.0), np.append(self.rest, 0.0)
        for place in (starts, ends - 1, starts - 1, ends):
            found += [span[place], rest[place]]
        return found


def span_ranges(span: tuple[int, int], pair: Views) -> Ranges | None:
    """Return the ranges that the span could have, the most likely of them at a glance, and what is seen of each.

    Args:
        span: source words, half-open, not empty.
        pair: of the two texts.

    Returns:
        At most 48 ranges; None where no link leads out of the span.

    >>> one = np.eye(3)
    >>> lengths = np.full(3, 4.0)
    >>> ranges = span_ranges((0, 1), Views(one, one, one, one, lengths, lengths, np.zeros(3)))
    >>> list(zip(ranges.starts.tolist(), ranges.ends.tolist())), ranges.features.shape == (3, len(NAMES))
    ([(0, 1), (0, 2), (1, 2)], True)
    """
    views = [_View(matrix, span) for matrix in (pair.links, pair.mean, pair.first, pair.second)]
    drawn, mean = views[0], views[1]
    if not drawn.span.any():
        return None
    edges = _edges((mean.span > _LEAST_WEIGHT) | (drawn.span > 0))
    first, last = np.triu_indices(len(edges))
    starts, ends = edges[first], edges[last] + 1
    glance = drawn.f1(starts, ends, _GAP_COSTS[0]) + sum(mean.f1(starts, ends, cost) for cost in _GAP_COSTS)
    best = np.argsort(-glance, kind="stable")[:_MOST_RANGES]
    starts, ends = starts[best], ends[best]
    columns = [
        *(column for view in views for column in view.features(starts, ends)),
        *_of_mean(span, pair, mean, starts, ends),
        *_of_shape(span, pair, starts, ends),
    ]
    return Ranges(starts, ends, np.stack(np.broadcast_arrays(*columns), axis=1))


def _edges(linked: Any) -> Any:
    """The linked words and those beside them."""
    near = linked.copy()
    near[1:] |= linked[:-1]
    near[:-1] |= linked[1:]
    return near.nonzero()[0]


def _of_mean(span: tuple[int, int], pair: Views, mean: _View, starts: Any, ends: Any) -> Sequence[Any]:
    begin, end = span
    words = ends - starts
    strangers = _running(mean.span < _LEAST_WEIGHT)
    strange = strangers[ends] - strangers[starts]
    rows = pair.mean[begin:end]
    running = np.concatenate([np.zeros((len(rows), 1)), rows.cumsum(1)], axis=1)
    covered = np.minimum(1.0, running[:, ends] - running[:, starts])
    known = rows.sum(1)
    beside = [
        _running(pair.mean[word]) if 0 <= word < len(pair.mean) else np.zeros(len(running[0]))
        for word in (begin - 1, end)
    ]
    return (
        (mean.to_none[ends] - mean.to_none[starts]) / words,
        strange,
        strange / words,
        (mean.to_span[ends] - mean.to_span[starts]) / len(rows),
        covered.mean(0),
        covered.min(0),
        covered[0],
        covered[-1],
        known.mean(),
        known[0],
        known[-1],
        *(weight[ends] - weight[starts] for weight in beside),
    )


def _of_shape(span: tuple[int, int], pair: Views, starts: Any, ends: Any) -> Sequence[Any]:
    length, words = span[1] - span[0], ends - starts
    characters, marks = _running(pair.target_lengths), _running(pair.marks)
    here = pair.source_lengths[span[0] : span[1]].sum()
    return (
        np.log(words / length),
        np.log((characters[ends] - characters[starts] + 1) / (here + 1)),
        np.log(words),
        np.log(length),
        words == length,
        words == 1,
        length == 1,
        marks[ends] - marks[starts],
    )


def _running(values: Any) -> Array:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
