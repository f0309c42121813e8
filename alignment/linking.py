"""Vectors of subwords on both sides -> word links, for many pairs at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from spanferry.alignment import matching
from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.alignment.encoder import Packed, SubwordEncoder
from spanferry.data.errors import ConfigError, did_you_mean

METHODS = ("argmax", "itermax", "match", "softmax", "entmax", "mutual")
_THRESHOLDED = {"softmax": matching.softmax_probability, "entmax": matching.entmax_probability}
UNITS = ("bpe", "word")
# SimAlign's short names for its two models.
ALIASES = {"bert": "google-bert/bert-base-multilingual-cased", "xlmr": "FacebookAI/xlm-roberta-base"}
# Bounds on one batch of matrices: numbers in the gathered vectors, and cells. On a CPU a batch that its caches hold,
# in which matrices of like size meet, takes a quarter less time than one of 200,000 cells.
_MOST_NUMBERS, _MOST_CELLS, _MOST_CELLS_CPU = 8_000_000, 1_000_000, 20_000

Pair = tuple[TokenizedText, TokenizedText]
Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How similarities become links.

    Attributes:
        method: one of `METHODS`; see `spanferry.alignment.matching`.
        unit: ``"bpe"`` matches subwords, and links two words when any of their subwords are; ``"word"`` matches the
            words' mean vectors.
        distortion: how much a similarity is lowered by distance from the diagonal, 0..1.
        threshold: what the probability must exceed in both directions, with ``softmax`` and ``entmax``; what the
            geometric mean of the two must reach, with ``mutual``.
        temperature: what cosines are divided by before ``mutual`` takes the softmax, above 0.

    Raises:
        ConfigError: a setting is unknown or out of range.

    >>> LinkSettings(method="itremax")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: method 'itremax': did you mean 'itermax'? Known: argmax, ...
    """

    method: str
    unit: str = "bpe"
    distortion: float = 0.0
    threshold: float = 0.001
    temperature: float = 0.05

    def __post_init__(self) -> None:
        for setting, value, known in (("method", self.method, METHODS), ("unit", self.unit, UNITS)):
            if value not in known:
                raise ConfigError(f"{setting} {value!r}: {did_you_mean(value, known)}")
        if not 0.0 <= self.distortion <= 1.0:
            raise ConfigError(f"distortion {self.distortion}, expected 0..1")
        if not 0.0 <= self.threshold < 1.0:
            raise ConfigError(f"threshold {self.threshold}, expected 0 <= threshold < 1")
        if not self.temperature > 0.0:
            raise ConfigError(f"temperature {self.temperature}, expected a number above 0")

    @property
    def fingerprint(self) -> str:
        """What of the settings can change the links, in one word.

        >>> LinkSettings("mutual", unit="word").fingerprint, LinkSettings("argmax", distortion=0.5).fingerprint
        ('mutual,word,threshold=0.001,temperature=0.05', 'argmax,bpe,distortion=0.5')
        """
        parts = [self.method, self.unit]
        if self.distortion:
            parts.append(f"distortion={self.distortion}")
        if self.method in {*_THRESHOLDED, "mutual"}:
            parts.append(f"threshold={self.threshold}")
        if self.method == "mutual":
            parts.append(f"temperature={self.temperature}")
        return ",".join(parts)


def align_by_similarity(
    pairs: Sequence[Pair],
    encoder: SubwordEncoder,
    settings: LinkSettings,
    *,
    source: str,
    target: str,
    chunk: int = 1024,
) -> list[WordAlignment]:
    """Encode both sides of each pair and link their words.

    Args:
        pairs: tokenised texts; equal pairs (the context of many questions) are aligned once.
        encoder: gives the vectors.
        settings: the matching method.
        source, target: FLORES-200 codes, passed on to the encoder.
        chunk: pairs whose vectors are in memory together; the longest pairs meet each other.

    Returns:
        One alignment a pair, in order. A score is the similarity ``(1 + cos) / 2``, or with ``softmax`` and ``entmax``
        the harmonic mean of the two probabilities, with ``mutual`` the geometric mean; the highest of its subwords.
        With ``mutual`` on words, all these means are the alignment's witness.
    """
    order = sorted(dict.fromkeys(pairs), key=lambda pair: sum(len(text.text) for text in pair))
    alignments: dict[Pair, WordAlignment] = {}
    for begin in range(0, len(order), chunk):
        part = order[begin : begin + chunk]
        left, right = encoder.encode(([pair[0] for pair in part], source), ([pair[1] for pair in part], target))
        for number, alignment in _link(_prepare(left, settings), _prepare(right, settings), settings, part):
            alignments[part[number]] = alignment
    return [alignments.get(pair, WordAlignment(())) for pair in pairs]  # `_link` leaves out what has an empty side


def word_probabilities(
    pairs: Sequence[Pair],
    encoder: SubwordEncoder,
    temperature: float,
    *,
    source: str,
    target: str,
    chunk: int = 1024,
) -> list[Matrix]:
    """Return, a pair, the matrix that ``mutual`` links by: (source words, target words), 0..1.

    A cell is the geometric mean of P(target word | source word) and P(source word | target word), both softmaxes of the
    cosines of the words' mean vectors over ``temperature``. A word that the encoder has no subword for has zeros.

    Args:
        pairs: tokenised texts; equal pairs share one matrix.
        encoder, source, target, chunk: as in `align_by_similarity`.
        temperature: above 0.
    """
    settings = LinkSettings("mutual", unit="word", temperature=temperature)
    order = sorted(dict.fromkeys(pairs), key=lambda pair: sum(len(text.text) for text in pair))
    found = {pair: np.zeros((len(pair[0].tokens), len(pair[1].tokens)), dtype=np.float32) for pair in order}
    for begin in range(0, len(order), chunk):
        part = order[begin : begin + chunk]
        sides = encoder.encode(([pair[0] for pair in part], source), ([pair[1] for pair in part], target))
        left, right = (_prepare(side, settings) for side in sides)
        for group, dots, sizes in _products(left, right):
            forward, backward = matching.softmax_probability(dots / temperature, sizes)
            matrices = _by_words((forward * backward).sqrt(), group, left, right, part)
            found |= dict(zip([part[number] for number in group.tolist()], matrices, strict=True))
    return [found[pair] for pair in pairs]


def _prepare(side: Packed, settings: LinkSettings) -> Packed:
    if settings.unit == "word":
        side = _mean_by_word(side)
    if settings.method not in _THRESHOLDED:
        side = Packed(torch.nn.functional.normalize(side.vectors, dim=1), side.words, side.starts)
    return side


def _mean_by_word(side: Packed) -> Packed:
    """Replace the vectors of a word's subwords by their mean; a word without subwords has no row."""
    texts = np.repeat(np.arange(len(side.starts) - 1), np.diff(side.starts))
    most = int(side.words.max(initial=0)) + 1
    keys, rows = np.unique(texts * most + side.words, return_inverse=True)
    index = torch.from_numpy(rows).to(side.vectors.device)
    sums = side.vectors.new_zeros(len(keys), side.vectors.shape[1]).index_add_(0, index, side.vectors)
    means = sums / torch.bincount(index, minlength=len(keys))[:, None]
    starts = np.searchsorted(keys, np.arange(len(side.starts)) * most)
    return Packed(means, keys % most, starts)


def _by_words(
    cells: torch.Tensor, group: Any, source: Packed, target: Packed, pairs: Sequence[Pair]
) -> Iterator[Matrix]:
    """Yield, a pair of ``group``, its (rows, columns) of ``cells`` as a matrix of all its words, zeros between them."""
    values = cells.cpu().numpy()
    for row, number in enumerate(group.tolist()):
        rows, columns = (side.words[side.starts[number] : side.starts[number + 1]] for side in (source, target))
        matrix = np.zeros([len(text.tokens) for text in pairs[number]], dtype=np.float32)
        matrix[np.ix_(rows, columns)] = values[row, : len(rows), : len(columns)]
        yield matrix


def _link(
    source: Packed, target: Packed, settings: LinkSettings, pairs: Sequence[Pair]
) -> Iterator[tuple[int, WordAlignment]]:
    """Yield (number of the pair, its links); pairs with an empty side are left out."""
    heard = settings.method == "mutual" and settings.unit == "word"
    for group, dots, sizes in _products(source, target):
        links, scores = _match(dots, sizes, settings)
        found = links.nonzero(as_tuple=True)
        score = scores[found].clamp(0.0, 1.0).cpu().numpy()
        pair, row, column = (axis.cpu().numpy() for axis in found)
        left = source.words[source.starts[group[pair]] + row]
        right = target.words[target.starts[group[pair]] + column]
        alignments = _alignments(len(group), pair, left, right, score)
        if heard:
            matrices = _by_words(scores, group, source, target, pairs)
            alignments = (WordAlignment(each.links, (one,)) for each, one in zip(alignments, matrices, strict=True))
        yield from zip(group.tolist(), alignments, strict=True)


def _products(source: Packed, target: Packed) -> Iterator[tuple[Any, torch.Tensor, torch.Tensor]]:
    """Yield (numbers of pairs, dot products of their vectors, padded, and their true sizes); no empty sides."""
    sizes = np.stack([np.diff(source.starts), np.diff(target.starts)], axis=1)
    order = np.argsort(sizes.max(1), kind="stable")
    order = order[sizes[order].min(1) > 0]
    cells = _MOST_CELLS_CPU if source.vectors.device.type == "cpu" else _MOST_CELLS
    for group in _groups(order, sizes, source.vectors.shape[1], cells):
        rows, columns = sizes[group].max(0)
        vectors = [_padded(side, group, width) for side, width in ((source, rows), (target, columns))]
        dots = torch.bmm(vectors[0], vectors[1].transpose(1, 2))
        yield group, dots, torch.from_numpy(sizes[group]).to(dots.device)


def _groups(order: Any, sizes: Any, dimension: int, cells: int) -> Iterator[Any]:
    """Cut ``order`` (by size) so that the padded vectors and matrices of a group stay within bounds."""
    begin, rows, columns = 0, 0, 0
    for end, (height, width) in enumerate(sizes[order].tolist()):
        rows, columns, count = max(rows, height), max(columns, width), end - begin + 1
        if count > 1 and (count * (rows + columns) * dimension > _MOST_NUMBERS or count * rows * columns > cells):
            yield order[begin:end]
            begin, rows, columns = end, height, width
    if begin < len(order):
        yield order[begin:]


def _padded(side: Packed, group: Any, width: int) -> torch.Tensor:
    """Vectors of the texts of ``group``, (texts, width, dimension); what lies past a text's end is arbitrary."""
    rows = side.starts[group][:, None] + np.arange(width)
    rows = np.minimum(rows, len(side.vectors) - 1).ravel()
    gathered = side.vectors.index_select(0, torch.from_numpy(rows).to(side.vectors.device))
    return gathered.view(len(group), width, -1)


def _match(dots: torch.Tensor, sizes: torch.Tensor, settings: LinkSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the links of a batch of matrices and the score of every cell."""
    if settings.method in _THRESHOLDED:
        forward, backward = _THRESHOLDED[settings.method](dots, sizes)
        links = (forward > settings.threshold) & (backward > settings.threshold)
        return links, 2 * forward * backward / (forward + backward).clamp_min(torch.finfo(dots.dtype).tiny)
    if settings.method == "mutual":
        links, probability = matching.mutual(dots / settings.temperature, sizes)
        return links & (probability >= settings.threshold), probability
    similarity = (dots + 1.0) / 2.0
    if settings.distortion:
        similarity = similarity * _nearness(similarity, sizes, settings.distortion)
    methods = {"argmax": matching.argmax, "itermax": matching.itermax, "match": matching.match}
    return methods[settings.method](similarity, sizes), similarity


def _nearness(similarity: torch.Tensor, sizes: torch.Tensor, ratio: float) -> torch.Tensor:
    """1 on the diagonal, less by ``ratio`` times the squared distance of the relative positions (SimAlign, 2.3)."""
    positions = []
    for side in (0, 1):
        place = torch.arange(similarity.shape[1 + side], device=similarity.device)
        positions.append(place / (sizes[:, side : side + 1] - 1).clamp_min(1))
    distance = positions[0][:, :, None] - positions[1][:, None, :]
    # A single row or column has no relative position.
    ratios = torch.where(sizes.amin(1) < 2, 0.0, ratio)
    return 1.0 - distance.square() * ratios[:, None, None]


def _alignments(count: int, pair: Any, left: Any, right: Any, score: Any) -> Iterator[WordAlignment]:
    """Sort the links of ``count`` pairs, and keep the best of those that join the same two words."""
    order = np.lexsort((-score, right, left, pair))
    pair, left, right, score = pair[order], left[order], right[order], score[order]
    new = np.ones(len(pair), dtype=bool)
    new[1:] = (pair[1:] != pair[:-1]) | (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    pair = pair[new]
    links = list(map(Link, left[new].tolist(), right[new].tolist(), score[new].tolist()))
    ends = np.searchsorted(pair, np.arange(count + 1)).tolist()
    for begin, end in pairwise(ends):
        yield WordAlignment(tuple(links[begin:end]))
