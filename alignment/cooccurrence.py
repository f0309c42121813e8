"""The words of some sentence pairs, and every two of them that stand in one pair: each such cell of words once.

A corpus has far fewer cells of words than cells of its pairs; what depends on the words alone is worked out here, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from spanferry.alignment.priors import NULL, Priors
from spanferry.alignment.word_order import Array

Ints = np.ndarray[Any, np.dtype[np.int64]]
# Words that the priors know less often than this may be spelt alike by more than chance: names, above all.
_RARE = 8.0
_SHORTEST_ALIKE = 4
# A language has at least so many words, however few the priors know.
_FEWEST_WORDS = 5_000
_LEAST_ALIKE = 0.4


@dataclass(frozen=True)
class Cells:
    """Sentence pairs over the words of both sides.

    Attributes:
        source_words, target_words: the distinct words of each side, folded.
        sources, targets: (cells,), the two words of each cell, as indices into these.
        pairs: for each sentence pair, (source words, target words), the cell of each two words.
        sentences: for each sentence pair, the indices of its source words and of its target words.
        alike: (cells,), 0..1: how alike the two words are spelt, 1 for the same; 0 where one of them is well known.
    """

    source_words: list[str]
    target_words: list[str]
    sources: Ints
    targets: Ints
    pairs: list[Ints]
    sentences: list[tuple[Ints, Ints]]
    alike: Array


class Totals(NamedTuple):
    """What the words of one side add up to, in the priors and in what was read: links, links with nothing, words."""

    links: float
    nulls: float
    words: int

    def plus(self, links: float, nulls: float) -> Totals:
        """Add what was read."""
        return Totals(self.links + float(links), self.nulls + float(nulls), self.words)


@dataclass(frozen=True)
class Counts:
    """How often the words of `Cells` render each other.

    Attributes:
        cells: (cells,).
        sources, targets: (words of the side,), all links of each word, those with words that are not here included.
        source_nulls, target_nulls: (words of the side,), how often each was linked with nothing.
        source_totals, target_totals: over all words, not only those that are here: so that what a word is worth does
            not depend on the pairs beside its own.
    """

    cells: Array
    sources: Array
    targets: Array
    source_nulls: Array
    target_nulls: Array
    source_totals: Totals
    target_totals: Totals


class Lexicon:
    """Priors, made ready to be asked for the words of any text, in whatever spelling of case.

    Words are folded (Unicode's full case folding), so that what was counted of ``Ausschuss`` is known of the older
    ``Ausschuß``, too, and of ``AUSSCHUSS``.

    >>> from collections import Counter
    >>> lexicon = Lexicon(Priors(words=Counter({("committee", "ausschuss"): 3, ("committee", "ausschuß"): 1})))
    >>> lexicon.counts(lexicon.cells([(["committee"], ["ausschuss"])])).cells.tolist()
    [4.0]
    """

    def __init__(self, priors: Priors) -> None:
        self._counts: dict[tuple[str, str], float] = {}
        self._sources: dict[str, float] = {}
        self._targets: dict[str, float] = {}
        self._nulls: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for words, count in priors.words.items():
            source, target = (word if word == NULL else word.casefold() for word in words)
            if target == NULL:
                self._nulls[0][source] = self._nulls[0].get(source, 0.0) + count
            elif source == NULL:
                self._nulls[1][target] = self._nulls[1].get(target, 0.0) + count
            else:
                self._counts[source, target] = self._counts.get((source, target), 0.0) + count
                self._sources[source] = self._sources.get(source, 0.0) + count
                self._targets[target] = self._targets.get(target, 0.0) + count
        self._totals = [
            Totals(sum(linked.values()), sum(nulls.values()), max(len(linked.keys() | nulls.keys()), _FEWEST_WORDS))
            for linked, nulls in zip((self._sources, self._targets), self._nulls, strict=True)
        ]

    def cells(self, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Cells:
        """Return the cells of sentence pairs of folded words (`str.casefold`); no side is empty."""
        numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})
        sentences = [(_numbered(source, numbers[0]), _numbered(target, numbers[1])) for source, target in pairs]
        width = len(numbers[1])
        keys = [(source[:, None] * width + target[None, :]) for source, target in sentences]
        flat = np.concatenate([np.empty(0, np.int64), *(key.ravel() for key in keys)])
        found, places = np.unique(flat, return_inverse=True)
        ends = np.cumsum([0, *(key.size for key in keys)]).tolist()
        sources, targets = np.divmod(found, max(width, 1))
        words = list(numbers[0]), list(numbers[1])
        return Cells(
            source_words=words[0],
            target_words=words[1],
            sources=sources,
            targets=targets,
            pairs=[places[ends[i] : ends[i + 1]].reshape(key.shape) for i, key in enumerate(keys)],
            sentences=sentences,
            alike=self._alike(words, sources, targets),
        )

    def counts(self, cells: Cells) -> Counts:
        """Return what the priors counted for the words of ``cells``."""
        names = zip(
            map(cells.source_words.__getitem__, cells.sources.tolist()),
            map(cells.target_words.__getitem__, cells.targets.tolist()),
            strict=True,
        )
        return Counts(
            cells=np.array([self._counts.get(name, 0.0) for name in names]),
            sources=_looked_up(cells.source_words, self._sources),
            targets=_looked_up(cells.target_words, self._targets),
            source_nulls=_looked_up(cells.source_words, self._nulls[0]),
            target_nulls=_looked_up(cells.target_words, self._nulls[1]),
            source_totals=self._totals[0],
            target_totals=self._totals[1],
        )

    def _alike(self, words: tuple[list[str], list[str]], sources: Ints, targets: Ints) -> Array:
        rare = [
            np.array([known.get(word, 0.0) < _RARE for word in side], dtype=bool)
            for side, known in zip(words, (self._sources, self._targets), strict=True)
        ]
        same = {word: number for number, word in enumerate(words[1])}
        twin = np.array([same.get(word, -1) for word in words[0]], dtype=np.int64)
        alike = np.zeros(len(sources))
        if len(sources):
            for cell in (rare[0][sources] & rare[1][targets]).nonzero()[0].tolist():
                alike[cell] = likeness(words[0][sources[cell]], words[1][targets[cell]])
            alike[twin[sources] == targets] = 1.0
        return alike


@lru_cache(maxsize=200_000)
def likeness(left: str, right: str) -> float:
    """Say how alike two words are spelt: 1 if equal, else by shared beginning or shared pairs of letters (Dice).

    Words under four characters, and words less alike than 0.4, count as not alike: 0.

    >>> likeness("paris", "paris"), round(likeness("europe", "europa"), 2), likeness("house", "maison")
    (1.0, 0.83, 0.0)
    """
    if left == right:
        return 1.0
    if min(len(left), len(right)) < _SHORTEST_ALIKE:
        return 0.0
    shared = next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    pairs = [{word[place : place + 2] for place in range(len(word) - 1)} for word in (left, right)]
    dice = 2 * len(pairs[0] & pairs[1]) / (len(pairs[0]) + len(pairs[1]))
    best = max(dice, 2 * shared / (len(left) + len(right)))
    return best if best > _LEAST_ALIKE else 0.0


def _numbered(words: Sequence[str], numbers: dict[str, int]) -> Ints:
    return np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int64)


def _looked_up(words: Sequence[str], table: dict[str, float]) -> Array:
    return np.array([table.get(word, 0.0) for word in words], dtype=np.float64)
