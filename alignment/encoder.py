"""Texts -> one vector a subword, with the word that each subword belongs to: batched, and no further than needed.

Texts are sorted by length and run in batches of a bounded number of tokens; the layers above the one that is wanted
are dropped; a text over the encoder's limit is read in overlapping windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

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
        subwords: positions in ``ids``, and
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


@dataclass(frozen=True, slots=True)
class Packed:
    """Vectors of many texts, one after the other: text i has the rows ``starts[i] : starts[i + 1]``.

    Attributes:
        vectors: (rows, dimension), one row a (subword, word).
        words: (rows,), the word of each.
        starts: (texts + 1,).
    """

    vectors: torch.Tensor
    words: np.ndarray[Any, np.dtype[np.int64]]
    starts: np.ndarray[Any, np.dtype[np.int64]]


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
        batch_tokens: at most so many subwords, padding included, in one forward pass. Absent, 1,024 on a CPU, whose
            caches hold the states of no more (a quarter faster than 4,096), and 8,192 elsewhere.

    Raises:
        ConfigError: the model has fewer layers.
    """

    def __init__(
        self, model: Any, *, layer: int, splitter: Splitter, max_length: int, pad: int, batch_tokens: int | None = None
    ) -> None:
        self.dimension: int = model.config.hidden_size
        self._model, self._splitter, self._pad = model, splitter, pad
        if batch_tokens is None:
            batch_tokens = 1024 if model.device.type == "cpu" else 8192
        self._max_length = max_length
        self._budget = TokenBudget(
            batch_tokens, name="the aligner's encoder", advice="Let the aligner have device: cpu"
        )
        self._state = HiddenState(model, layer)

    def encode(self, texts: Sequence[TokenizedText], language: str) -> Packed:
        """Return the vectors of every subword of ``texts``."""
        batch = self._splitter(texts, language)
        lengths = np.array([0, *(len(text.ids) for text in batch.texts)]).cumsum()
        vectors = torch.empty((int(lengths[-1]), self.dimension), device=self._model.device)
        room = self._max_length - len(batch.before) - len(batch.after)
        pieces = [(index, *window) for index, text in enumerate(batch.texts) for window in windows(len(text.ids), room)]
        pieces.sort(key=lambda piece: piece[2] - piece[1])
        special = len(batch.before) + len(batch.after)

        def length(piece: Piece) -> int:
            return piece[2] - piece[1] + special

        def run(group: Sequence[Piece]) -> Any:
            return self._run(
                [[*batch.before, *batch.texts[i].ids[start:end], *batch.after] for i, start, end, _, _ in group]
            )

        for group, hidden in self._budget.run(pieces, length, run):
            for row, (index, start, _, first, last) in enumerate(group):
                begin = len(batch.before) + first - start
                place = int(lengths[index]) + first
                vectors[place : place + last - first] = hidden[row, begin : begin + last - first]
        return _pack(batch.texts, vectors, lengths)

    def _run(self, rows: list[list[int]]) -> Any:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows], device=self._model.device)
        lengths = torch.tensor([len(row) for row in rows], device=self._model.device)
        mask = (torch.arange(width, device=self._model.device) < lengths[:, None]).long()
        with torch.inference_mode():
            return self._state(ids, mask)


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


Piece = tuple[int, int, int, int, int]  # text, and its window: start, end, first, last


def _pack(texts: Sequence[SplitText], vectors: torch.Tensor, lengths: np.ndarray[Any, np.dtype[np.int64]]) -> Packed:
    rows = [np.asarray(text.subwords, dtype=np.int64) + start for text, start in zip(texts, lengths, strict=False)]
    words = [np.asarray(text.words, dtype=np.int64) for text in texts]
    starts = np.array([0, *map(len, words)]).cumsum()
    chosen = np.concatenate([np.empty(0, np.int64), *rows])
    if not np.array_equal(chosen, np.arange(len(vectors))):
        vectors = vectors[torch.from_numpy(chosen).to(vectors.device)]
    return Packed(vectors, np.concatenate([np.empty(0, np.int64), *words]), starts)


def _layers(model: Any, count: int) -> Any:
    """The model's stack of layers; None where it keeps them in another form (XLM keeps parallel lists of parts)."""
    for module in model.modules():
        parts = list(module) if isinstance(module, torch.nn.ModuleList) else []
        if len(parts) == count > 0 and type(parts[0]).__name__.endswith(("Layer", "Block")):
            return module
    return None
