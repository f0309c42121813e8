"""Align by counted words, spelling and word order: numpy alone, the same links every time.

The emissions of a hidden Markov model of alignment (`spanferry.alignment.word_order`) come from `priors`, counts over
much parallel text, from how alike rare words are spelt, and from the texts themselves: after a first reading, what
was linked is counted, added to the priors, and the texts are read again (expectation maximisation, Brown et al. 1993,
started from priors). Both directions are multiplied, so that each has to explain what the other says (after Liang,
Taskar and Klein, "Alignment by Agreement", NAACL 2006), and symmetrised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spanferry.alignment.base import CORPUS_WISE, Link, Matrix, TokenizedText, WordAlignment
from spanferry.alignment.cooccurrence import Cells, Counts, Lexicon
from spanferry.alignment.priors import Priors, PriorsByLanguage
from spanferry.alignment.symmetrize import Links, get_symmetrization
from spanferry.alignment.word_order import Array, posterior
from spanferry.data.errors import ConfigError

Pair = tuple[TokenizedText, TokenizedText]

# Weights beside the counts: of a word spelt the same, and of how frequent the word is anyhow.
_LIKENESS, _LIKENESS_POWER, _BACKGROUND = 0.5, 3, 0.05
_NULL = 0.1
# A posterior below this is not counted for the next reading.
_LEAST_COUNTED = 0.05
# So many pairs are read together, and so many cells of a batch go through the word-order model at once.
_MOST_PAIRS, _MOST_CELLS = 10_000, 400_000
# The words of a longer text past this have no links; the model's memory grows with the square.
_MOST_WORDS = 400


@dataclass(frozen=True)
class Posteriors:
    """(source words, target words) of a pair: each word's source by the one direction and by the other."""

    forward: Array
    backward: Array

    @property
    def both(self) -> Array:
        """Geometric mean of the two."""
        return np.sqrt(self.forward * self.backward)


class LexicalAligner:
    """Links words that render each other by count, by spelling and by place.

    Args:
        priors: ``"bundled"``: those that are shipped (English with German, Spanish, French and Italian), and none for
            other languages; or a file of `spanferry models priors` (or of eflomal's own), or a list of them, one a
            pair of languages. Either direction serves. None starts from spelling and word order alone, which wants
            thousands of pairs.
        readings: how often the texts are read. With 1 a pair's links depend on nothing but the pair; from 2 on, what
            the pairs of one call say together counts too, which is better by far where they speak of what the priors
            do not know: the names and terms of a domain.
        threshold: least geometric mean of both posteriors for a link, 0..1.
        symmetrization: see `spanferry.alignment.symmetrize`.

    The score of a link is that geometric mean. Words past the 400th of a text have no links. The same pairs in one call
    give the same links, on every machine; more than 10,000 pairs are read in parts of equal size.

    Raises:
        ConfigError: a setting is out of range.
        DataError: a file of priors cannot be read.

    >>> from spanferry.alignment.tokens import from_words
    >>> pair = from_words(["Zoë", "visits", "Ljubljana"]), from_words(["Ljubljano", "obišče", "Zoë"])
    >>> [link[:2] for link in LexicalAligner().align([pair], source="eng_Latn", target="slv_Latn")[0].links]
    [(0, 2), (1, 1), (2, 0)]
    """

    def __init__(
        self,
        *,
        priors: str | Path | list[str | Path] | None = "bundled",
        readings: int = 3,
        threshold: float = 0.01,
        symmetrization: str = "grow-diag-final-and",
    ) -> None:
        if readings < 1:
            raise ConfigError(f"readings {readings}, expected a whole number from 1 on")
        if not 0.0 <= threshold < 1.0:
            raise ConfigError(f"threshold {threshold}, expected 0 <= threshold < 1")
        self._symmetrize = get_symmetrization(symmetrization)
        self._readings, self._threshold = readings, threshold
        self._priors = PriorsByLanguage(priors)
        self._lexicons: dict[tuple[str, str], tuple[Priors, Lexicon]] = {}
        self._fingerprint = f"lexical:folded:{self._priors.fingerprint}:{readings}:{threshold}:{symmetrization}"
        if readings > 1:
            self._fingerprint += f":{CORPUS_WISE}"

    @property
    def fingerprint(self) -> str:
        """Identity of priors and settings; with several readings, links depend on the pairs of a call too."""
        return self._fingerprint

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair.

        Raises:
            ConfigError: files of priors were given, but none for these languages.
        """
        matrices = self.probabilities(pairs, source=source, target=target)
        return [best_links(each, self._symmetrize, self._threshold, witnesses=(each,)) for each in matrices]

    def knows(self, source: str, target: str) -> bool:
        """Say whether there are priors for these languages, in either direction.

        Raises:
            ConfigError: see `align`.
        """
        return bool(self._lexicon(source, target)[0].words)

    def probabilities(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[Matrix]:
        """Return, a pair, (source words, target words): the geometric mean of both directions' posteriors, 0..1.

        Raises:
            ConfigError: see `align`.
        """
        priors, lexicon = self._lexicon(source, target)
        matrices = [np.zeros((len(left.tokens), len(right.tokens)), dtype=np.float32) for left, right in pairs]
        words = [tuple([word.casefold() for word in text.words[:_MOST_WORDS]] for text in pair) for pair in pairs]
        speaking = [number for number, pair in enumerate(words) if all(pair)]
        parts = -(-len(speaking) // _MOST_PAIRS)
        for part in range(parts):
            numbers = speaking[part * len(speaking) // parts : (part + 1) * len(speaking) // parts]
            read = self._read([(words[number][0], words[number][1]) for number in numbers], priors, lexicon)
            for number, found in zip(numbers, read, strict=True):
                rows, columns = found.forward.shape
                matrices[number][:rows, :columns] = found.both
        return matrices

    def _lexicon(self, source: str, target: str) -> tuple[Priors, Lexicon]:
        if (source, target) not in self._lexicons:
            priors = self._priors.between(source, target) or Priors()
            self._lexicons[source, target] = priors, Lexicon(priors)
        return self._lexicons[source, target]

    def _read(self, pairs: Sequence[tuple[list[str], list[str]]], priors: Priors, lexicon: Lexicon) -> list[Posteriors]:
        cells = lexicon.cells(pairs)
        known = counts = lexicon.counts(cells)
        for _ in range(self._readings - 1):
            counts = _added(known, cells, _posteriors(cells, counts, priors))
        return list(_posteriors(cells, counts, priors))


def best_links(
    matrix: Matrix,
    symmetrize: Callable[[Links, Links], set[tuple[int, int]]],
    threshold: float,
    *,
    tolerance: float = 1e-6,
    witnesses: tuple[Matrix, ...] = (),
) -> WordAlignment:
    """Link each row's best column and each column's best row, symmetrised.

    Args:
        matrix: (source words, target words), 0..1: the score of each link.
        symmetrize: a function of `spanferry.alignment.symmetrize`.
        threshold: only links above it.
        tolerance: cells this close to the best, relative to it, are as good, and the first of them wins.
        witnesses: what ``matrix`` was made of, passed on.

    >>> from spanferry.alignment.symmetrize import intersection
    >>> best_links(np.array([[0.9, 0.2], [0.1, 0.8]]), intersection, 0.1).links
    (Link(source=0, target=0, score=0.9), Link(source=1, target=1, score=0.8))
    """
    if not matrix.size:
        return WordAlignment(())
    rows, columns = (_first_best(matrix, axis, tolerance).tolist() for axis in (1, 0))
    forward = {(i, j) for i, j in enumerate(rows) if matrix[i, j] > threshold}
    backward = {(i, j) for j, i in enumerate(columns) if matrix[i, j] > threshold}
    chosen = sorted(symmetrize(forward, backward))
    return WordAlignment(tuple(Link(i, j, min(float(matrix[i, j]), 1.0)) for i, j in chosen), witnesses)


def _first_best(matrix: Matrix, axis: int, tolerance: float) -> Any:
    """Index along ``axis`` of the first cell that is the best up to rounding, which differs from batch to batch."""
    return (matrix >= matrix.max(axis, keepdims=True) * (1 - tolerance)).argmax(axis)


def _posteriors(cells: Cells, counts: Counts, priors: Priors) -> list[Posteriors]:
    """Read every pair in both directions."""
    alike = _LIKENESS * cells.alike**_LIKENESS_POWER
    backgrounds = [
        (links + nulls + 0.5) / (linked + silent + 0.5 * size)
        for links, nulls, (linked, silent, size) in (
            (counts.sources, counts.source_nulls, counts.source_totals),
            (counts.targets, counts.target_nulls, counts.target_totals),
        )
    ]
    nulls = [
        (side + 0.1) / (silent + 0.1 * size)
        for side, (_, silent, size) in (
            (counts.source_nulls, counts.source_totals),
            (counts.target_nulls, counts.target_totals),
        )
    ]
    weight = _LIKENESS + _BACKGROUND
    forward = counts.cells + alike + _BACKGROUND * backgrounds[1][cells.targets]
    forward /= counts.sources[cells.sources] + weight
    backward = counts.cells + alike + _BACKGROUND * backgrounds[0][cells.sources]
    backward /= counts.targets[cells.targets] + weight
    there: list[Array] = [np.empty(0)] * len(cells.pairs)
    back = list(there)
    for group, found in _by_length(cells, forward, nulls[1], _jumps(priors.jumps_forward), turned=False):
        for row, number in enumerate(group):
            there[number] = found[row][:, : cells.pairs[number].shape[1]]
    for group, found in _by_length(cells, backward, nulls[0], _jumps(priors.jumps_backward), turned=True):
        for row, number in enumerate(group):
            back[number] = found[row][:, : cells.pairs[number].shape[0]].T
    return [Posteriors(*both) for both in zip(there, back, strict=True)]


def _by_length(
    cells: Cells, emission: Array, null_emission: Array, jumps: Array, *, turned: bool
) -> Iterator[tuple[list[int], Array]]:
    """Yield (numbers of pairs, their posteriors); the emitting sides of a group are equally long."""
    emitting, observed = (1, 0) if turned else (0, 1)
    sizes = [(pair.shape[emitting], pair.shape[observed]) for pair in cells.pairs]
    order = sorted(range(len(sizes)), key=lambda number: (*sizes[number], number))
    begin = 0
    for end in range(1, len(order) + 1):
        size, length = sizes[order[begin]][0], sizes[order[end - 1]][1]
        following = sizes[order[end]] if end < len(order) else (0, 0)
        if following[0] == size and (end + 1 - begin) * size * max(length, following[1]) <= _MOST_CELLS:
            continue
        group = order[begin:end]
        table = np.ones((len(group), size, length))
        nulls = np.ones((len(group), length))
        for row, number in enumerate(group):
            indices = cells.pairs[number].T if turned else cells.pairs[number]
            table[row, :, : indices.shape[1]] = emission[indices]
            nulls[row, : indices.shape[1]] = null_emission[cells.sentences[number][observed]]
        middle = len(jumps) // 2
        yield group, posterior(table, nulls, jumps[middle - size : middle + size + 1], null=_NULL)
        begin = end


def _jumps(counted: Any) -> Array:
    """(2 x 400 + 1,) weights of jumps: as counted, and a little for every jump, less the farther it is."""
    distances = np.arange(-_MOST_WORDS, _MOST_WORDS + 1)
    total = sum(counted.values())
    weights: Array = 1e-3 * np.exp(-np.abs(distances - 1) / 10) + 1e-5
    if total:
        weights += np.array([counted.get(distance, 0) / total for distance in distances.tolist()])
    else:
        weights += np.exp(-np.abs(distances - 1) / 3)
    return weights


def _added(known: Counts, cells: Cells, read: Sequence[Posteriors]) -> Counts:
    """Add to the priors' counts what the texts themselves say."""
    links = np.zeros(len(cells.sources))
    nulls = np.zeros(len(cells.source_words)), np.zeros(len(cells.target_words))
    for pair, sentence, found in zip(cells.pairs, cells.sentences, read, strict=True):
        both = found.both
        np.add.at(links, pair, np.where(both > _LEAST_COUNTED, both, 0.0))
        np.add.at(nulls[0], sentence[0], np.maximum(1.0 - found.backward.sum(1), 0.0))
        np.add.at(nulls[1], sentence[1], np.maximum(1.0 - found.forward.sum(0), 0.0))
    return Counts(
        cells=known.cells + links,
        sources=known.sources + np.bincount(cells.sources, links, len(known.sources)),
        targets=known.targets + np.bincount(cells.targets, links, len(known.targets)),
        source_nulls=known.source_nulls + nulls[0],
        target_nulls=known.target_nulls + nulls[1],
        source_totals=known.source_totals.plus(links.sum(), nulls[0].sum()),
        target_totals=known.target_totals.plus(links.sum(), nulls[1].sum()),
    )
