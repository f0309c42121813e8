"""Texts -> one vector a subword, with the word that each subword belongs to: batched, and no further than needed.

Texts of both sides are sorted by length and run in batches of a bounded number of tokens; the layers above the one
that is wanted are dropped; a text over the encoder's limit is read in overlapping windows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from spanferry.alignment.base import TokenizedText
from spanferry.data.errors import ConfigError
from spanferry.translation.device_memory import TokenBudget


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text as the encoder reads it.

    Attributes:
        ids: its subwords, special tokens not among them.
        subwords: positions in ``ids``, ascending, and
        words: the token of the text each belongs to; a subword that spans two words stands twice.
    """

    ids: list[int]
    subwords: list[int]
    words: list[int]


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """Texts of one language, and the special tokens that go before and after each."""

    before: list[int]
    after: list[int]
    texts: list[SplitText]


class Splitter(Protocol):
    """Cuts texts into an encoder's subwords."""

    def __call__(self, texts: Sequence[TokenizedText], language: str) -> SplitBatch:
        """Return the subwords of each text; ``language`` is a FLORES-200 code."""
        ...


Integers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Packed:
    """Vectors of many texts, one after the other: text i has the rows ``starts[i] : starts[i + 1]``.

    Attributes:
        vectors: (rows, dimension), one row a (subword, word).
        words: (rows,), the word of each.
        starts: (texts + 1,).
    """

    vectors: torch.Tensor
    words: Integers
    starts: Integers

    def part(self, begin: int, end: int) -> Packed:
        """Return the texts ``begin:end`` alone; the vectors are not copied.

        >>> packed = Packed(torch.zeros(3, 2), words=np.array([0, 1, 0]), starts=np.array([0, 2, 3]))
        >>> packed.part(1, 2).words.tolist(), packed.part(1, 2).starts.tolist()
        ([0], [0, 1])
        """
        rows = slice(self.starts[begin], self.starts[end])
        return Packed(self.vectors[rows], self.words[rows], self.starts[begin : end + 1] - self.starts[begin])


class HiddenState:
    """One hidden state of an encoder, computed no further than needed.

    Args:
        model: an encoder of transformers; its layers above ``layer`` are removed.
        layer: 0 is the embeddings, k the output of the k-th layer.

    Raises:
        ConfigError: the model has fewer layers.
    """

    def __init__(self, model: Any, layer: int) -> None:
        self._model, self._layer = model, layer
        self._kept: Any = None
        count = model.config.num_hidden_layers
        if not 0 <= layer <= count:
            raise ConfigError(f"layer {layer} of a model with {count} layers, expected 0..{count}")
        # The last layer's output is what the model itself says it is: some put a normalisation behind it.
        layers = _layers(model, count) if 0 < layer < count else None
        self._cut = layers is not None
        if layers is not None:
            layers[layer - 1].register_forward_hook(self._keep)
            del layers[layer:]

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self._kept = output[0] if isinstance(output, tuple) else output

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """Return the state, (rows, length, dimension), of token ids and their mask, (rows, length) both."""
        output = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=not self._cut)
        kept, self._kept = self._kept, None
        return output.hidden_states[self._layer] if kept is None else kept


class SubwordEncoder:
    """A transformer encoder up to one layer.

    Args:
        model: an encoder of transformers (BERT, XLM-R, the encoder of an M2M100, ...), in evaluation mode. Its
            layers above ``layer`` are removed.
        layer: which hidden state: 0 is the embeddings, k the output of the k-th layer.
        splitter: cuts texts into its subwords.
        max_length: longest sequence that it takes, special tokens included.
        pad: id of the padding token.
        batch_tokens: at most so many subwords, padding included, in one forward pass. Absent, 512 on a CPU (whose
            caches hold the states of no more: the bundled model's encoder takes 4 % longer with 1,024), and 8,192
            elsewhere.

    Raises:
        ConfigError: the model has fewer layers.
    """

    def __init__(
        self, model: Any, *, layer: int, splitter: Splitter, max_length: int, pad: int, batch_tokens: int | None = None
    ) -> None:
        self.dimension: int = model.config.hidden_size
        self._model, self._splitter, self._pad = model, splitter, pad
        if batch_tokens is None:
            batch_tokens = 512 if model.device.type == "cpu" else 8192
        self._max_length = max_length
        self._budget = TokenBudget(
            batch_tokens, name="the aligner's encoder", advice="Let the aligner have device: cpu"
        )
        self._state = HiddenState(model, layer)

    def encode(self, *sides: tuple[Sequence[TokenizedText], str]) -> list[Packed]:
        """Return the vectors of every subword, one `Packed` a side: texts, and their FLORES-200 code.

        The sides are read together, so that texts of like length meet, whichever side they stand on: less padding, and
        fewer passes.
        """
        batches = [self._splitter(texts, language) for texts, language in sides]
        texts = [text for batch in batches for text in batch.texts]
        ends = [0, *accumulate(len(batch.texts) for batch in batches)]
        words, subwords = _integers(text.words for text in texts), _integers(text.subwords for text in texts)
        starts = np.array([0, *accumulate(len(text.words) for text in texts)])
        parts = (_pieces(batch, starts[end:], self._max_length) for batch, end in zip(batches, ends, strict=False))
        pieces = sorted(chain.from_iterable(parts), key=_length)
        vectors = torch.empty((len(words), self.dimension), device=self._model.device)
        for group, hidden in self._budget.run(pieces, _length, self._read):
            places = _places(group, subwords, hidden.shape[1])
            rows, cells = (torch.from_numpy(numbers).to(vectors.device) for numbers in places)
            vectors.index_copy_(0, rows, hidden.flatten(0, 1).index_select(0, cells))
        packed = Packed(vectors, words, starts)
        return [packed.part(begin, end) for begin, end in pairwise(ends)]

    def _read(self, group: Sequence[_Piece]) -> Any:
        return self._run([piece.ids for piece in group])

    def _run(self, rows: list[list[int]]) -> Any:
        lengths = np.array([len(row) for row in rows])
        inside = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(inside.shape, self._pad)
        ids[inside] = _integers(rows)
        with torch.inference_mode():
            return self._state(*(torch.from_numpy(part).to(self._model.device) for part in (ids, inside.astype(int))))


class _Piece(NamedTuple):
    """A text, or a window of a long one, as the encoder reads it.

    Attributes:
        ids: with the special tokens.
        first, last: the rows of the result that it fills, half-open.
        shift: what a subword's position in ``ids`` is ahead of its position in the text.
    """

    ids: list[int]
    first: int
    last: int
    shift: int


def _length(piece: _Piece) -> int:
    return len(piece.ids)


def _pieces(batch: SplitBatch, starts: Integers, longest: int) -> Iterator[_Piece]:
    """Cut a batch's texts into what the encoder takes; text i has the rows ``starts[i] : starts[i + 1]``."""
    before, after = batch.before, batch.after
    room = longest - len(before) - len(after)
    for text, row in zip(batch.texts, starts.tolist(), strict=False):
        for start, end, first, last in windows(len(text.ids), room):
            above, below = bisect_left(text.subwords, first), bisect_left(text.subwords, last)
            yield _Piece([*before, *text.ids[start:end], *after], row + above, row + below, len(before) - start)


def _places(group: Sequence[_Piece], subwords: Integers, width: int) -> tuple[Integers, Integers]:
    """Return the rows of the result that a pass fills, and the cells of its output, (pieces, width), for each."""
    first, last, shift = np.array([piece[1:] for piece in group]).T
    count = last - first
    # Piece by piece: from its first row on, one after the other.
    rows = np.arange(count.sum()) + np.repeat(first - (count.cumsum() - count), count)
    return rows, subwords[rows] + np.repeat(np.arange(len(group)) * width + shift, count)


def _integers(lists: Iterable[Sequence[int]]) -> Integers:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64)


def windows(length: int, size: int) -> list[tuple[int, int, int, int]]:
    """Cut ``length`` subwords into overlapping windows of at most ``size``.

    Returns:
        (start, end, first, last) each: the window reads ``start:end``, and its vectors are used for ``first:last``;
        these follow on one another, and lie as far from the window's edges as the overlap of a half allows.

    >>> windows(5, 8)
    [(0, 5, 0, 5)]
    >>> windows(10, 4)
    [(0, 4, 0, 3), (2, 6, 3, 5), (4, 8, 5, 7), (6, 10, 7, 10)]
    """
    if length <= size:
        return [(0, length, 0, length)]
    starts = [*range(0, length - size, max(size // 2, 1)), length - size]
    cuts = [0, *((left + size + right) // 2 for left, right in pairwise(starts)), length]
    return [(start, start + size, first, last) for start, first, last in zip(starts, cuts[:-1], cuts[1:], strict=True)]


def _layers(model: Any, count: int) -> Any:
    """The model's stack of layers; None where it keeps them in another form (XLM keeps parallel lists of parts)."""
    for module in model.modules():
        parts = list(module) if isinstance(module, torch.nn.ModuleList) else []
        if len(parts) == count > 0 and type(parts[0]).__name__.endswith(("Layer", "Block")):
            return module
    return None
