"""A transformer decoder taken apart, so that every position may attend to any set of earlier states.

transformers runs a batch whose rows all have pasts of the same length. A search over variants of a translation has
rows that continue different beginnings of different length, most of them shared. Here the keys and values of every
position that was ever computed lie in one pool (`StatePool`), and a row names the slots of its past, so that nothing
is copied or computed again when sequences branch (the idea of paged attention, Kwon et al. 2023, with pages of one
token). The weights and their modules are those of the transformers model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spanferry.data.errors import ModelError


class StatePool:
    """Keys and values of positions, by slot, for every layer; grows when it is full.

    Args:
        layers: number of layers.
        width: size of a key (all heads together).
        like: a tensor of the wanted type, on the wanted device.
        slots: how many to begin with.
    """

    def __init__(self, layers: int, width: int, like: Tensor, slots: int = 4096) -> None:
        self._like, self._shape = like, (layers, width)
        self.keys = [like.new_zeros(slots, width) for _ in range(layers)]
        self.values = [like.new_zeros(slots, width) for _ in range(layers)]
        self._free = np.arange(slots - 1, -1, -1, dtype=np.int64)
        self._returned: list[np.ndarray] = []

    @property
    def size(self) -> int:
        """Number of slots, free or taken."""
        return len(self.keys[0])

    @property
    def used(self) -> int:
        """Number of slots that are taken."""
        return self.size - len(self._free) - sum(map(len, self._returned))

    def take(self, count: int) -> np.ndarray:
        """Return `count` free slots, which are then taken."""
        if count > len(self._free):
            self._free = np.concatenate([self._free, *self._returned])
            self._returned.clear()
        if count > len(self._free):
            self._grow(count)
        split = len(self._free) - count
        taken, self._free = self._free[split:], self._free[:split]
        return taken

    @contextmanager
    def lent(self, count: int) -> Iterator[np.ndarray]:
        """Give `count` free slots, which are then taken, unless the block fails."""
        slots = self.take(count)
        try:
            yield slots
        except BaseException:
            self.give_back(slots)
            raise

    def give_back(self, slots: np.ndarray) -> None:
        """Free the slots."""
        self._returned.append(slots)

    def _grow(self, count: int) -> None:
        old = len(self.keys[0])
        new = max(old + old // 2, old + count)
        try:
            for tensors in (self.keys, self.values):
                for layer, tensor in enumerate(tensors):
                    grown = tensor.new_zeros(new, tensor.shape[1])
                    grown[:old] = tensor
                    tensors[layer] = grown
        except (RuntimeError, MemoryError):  # no room for all of them: as if nothing had been tried
            for tensors in (self.keys, self.values):
                tensors[:] = [tensor[:old] for tensor in tensors]
            raise
        self._free = np.concatenate([np.arange(new - 1, old - 1, -1, dtype=np.int64), self._free])


class Lease:
    """Slots that go back to their pool when the last reference to this object is gone."""

    __slots__ = ("_pool", "slots")

    def __init__(self, pool: StatePool, slots: np.ndarray) -> None:
        self._pool, self.slots = pool, slots

    def __del__(self) -> None:
        self._pool.give_back(self.slots)


@dataclass(frozen=True)
class Attention:
    """One attention block: the projections, how the scores are scaled, and the norm before (or after) it."""

    query: Any
    key: Any
    value: Any
    output: Any
    norm: Any
    heads: int
    scale: float


@dataclass(frozen=True)
class DecoderLayer:
    """Self-attention, attention to the source, and the feed-forward block with its norm."""

    own: Attention
    source: Attention
    feed_forward: Callable[[Tensor], Tensor]
    norm: Any


@dataclass(frozen=True)
class Decoder:
    """A decoder's parts, the same for every family.

    Attributes:
        embed: token ids (T), positions (T) -> inputs (T x width).
        layers: from the first to the last.
        norm_first: the norm stands before a block and the residual around both (pre-norm), else after their sum.
        finish: outputs of the last layer (T x width) -> what `logits` takes.
        logits: (T x width), None -> of the whole vocabulary (T x words); or of T sentences, N positions each
            (T x N x width), M token ids of each sentence (T x M) -> (T x N x M).
        logit: (T x width), a token id for each (T) -> (T), in float32.
        words: size of the vocabulary.
        bias: query positions (R x Q), key positions (K) -> bias on the own attention's scores (R x heads x Q x K).
        longest: how many positions there are; None for any number.
    """

    embed: Callable[[Tensor, Tensor], Tensor]
    layers: tuple[DecoderLayer, ...]
    norm_first: bool
    finish: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor, Tensor | None], Tensor]
    logit: Callable[[Tensor, Tensor], Tensor]
    words: int
    bias: Callable[[Tensor, Tensor], Tensor] | None
    longest: int | None


@dataclass(frozen=True)
class Reach:
    """Who attends to what: G groups of up to Q new tokens each, out of T, that attend to up to K states each.

    Attributes:
        gather: (G x Q) index of each group's new tokens among the T; padding points anywhere.
        scatter: (T) index of each new token in G x Q.
        states: (G x K) slots of the states.
        visible: (G x Q x K) or (G x 1 x K) which of the states a new token sees; at least one.
    """

    gather: Tensor
    scatter: Tensor
    states: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Rows:
    """A batch: rows of new tokens, T in all, laid out flat, row after row.

    Attributes:
        tokens, positions: (T) token ids, and their places in their sequences.
        slots: (T) where the new states go.
        own: each row, attending to its past, its own new tokens included, in sequence order.
        source: the new tokens of a sentence, of whatever rows, attending to the source.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    own: Reach
    source: Reach


def run_rows(decoder: Decoder, rows: Rows, pool: StatePool, source_pool: StatePool) -> Tensor:
    """Compute the new tokens' states, store their keys and values, and return the outputs (T x width)."""
    hidden = decoder.embed(rows.tokens, rows.positions)
    heads = decoder.layers[0].own.heads
    bias = None
    if decoder.bias is not None:
        places = torch.arange(rows.own.states.shape[1], device=hidden.device)
        bias = decoder.bias(rows.positions[rows.own.gather], places)
    own_heads, source_heads = _Heads(rows.own, heads, hidden, bias), _Heads(rows.source, heads, hidden)
    for number, layer in enumerate(decoder.layers):

        def own(inputs: Tensor, number: int = number, part: Attention = layer.own) -> Tensor:
            keys, values = pool.keys[number], pool.values[number]
            keys.index_copy_(0, rows.slots, part.key(inputs))
            values.index_copy_(0, rows.slots, part.value(inputs))
            return own_heads.attend(part, inputs, keys, values)

        def source(inputs: Tensor, number: int = number, part: Attention = layer.source) -> Tensor:
            return source_heads.attend(part, inputs, source_pool.keys[number], source_pool.values[number])

        blocks = ((own, layer.own.norm), (source, layer.source.norm), (layer.feed_forward, layer.norm))
        for block, norm in blocks:
            hidden = hidden + block(norm(hidden)) if decoder.norm_first else norm(hidden + block(hidden))
    return decoder.finish(hidden)


class _Heads:
    """Attention, the heads laid out as a batch of small matrices: on a CPU about twice as fast as torch's own
    `scaled_dot_product_attention`, which takes longer to begin with a matrix than to multiply one so small.

    Args:
        reach: who attends to what.
        heads: how many heads there are.
        like: a tensor of the type to compute in, on its device.
        bias: on the scores (G x heads x Q x K).
    """

    def __init__(self, reach: Reach, heads: int, like: Tensor, bias: Tensor | None = None) -> None:
        each = torch.arange(heads, device=like.device)[:, None]
        self._queries, self._states = (
            (index[:, None] * heads + each).flatten(0, 1) for index in (reach.gather, reach.states)
        )
        wide = reach.gather.shape[1]
        self._back = (reach.scatter // wide * heads + each).T * wide + reach.scatter[:, None] % wide
        hidden = (~reach.visible[:, None]).float() * torch.finfo(torch.float32).min
        self._bias = hidden if bias is None else bias + hidden

    def attend(self, part: Attention, inputs: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return the block's outputs (T x width) of inputs (T x width); keys and values are by slot."""
        size = keys.shape[1] // part.heads
        queries = pick(part.query(inputs).view(-1, size), self._queries)
        scores = queries @ pick(keys.view(-1, size), self._states).transpose(1, 2)
        by_head = scores.float().view(-1, part.heads, *scores.shape[1:])
        shares = by_head.mul_(part.scale).add_(self._bias).softmax(-1).to(scores.dtype)
        mixed = shares.view(scores.shape) @ pick(values.view(-1, size), self._states)
        output: Tensor = part.output(pick(mixed.view(-1, size), self._back).flatten(1))
        return output


def store_source(decoder: Decoder, states: Tensor, slots: Tensor, pool: StatePool) -> None:
    """Store the keys and values of encoder outputs (N x width) in `slots` (N)."""
    for number, layer in enumerate(decoder.layers):
        pool.keys[number].index_copy_(0, slots, layer.source.key(states))
        pool.values[number].index_copy_(0, slots, layer.source.value(states))


def pick(table: Tensor, numbers: Tensor) -> Tensor:
    """Return rows of a table (N x width) by their numbers, of any shape: as ``table[numbers]``, which takes several
    times as long on a CPU.

    >>> pick(torch.tensor([[0.0, 0.5], [1.0, 1.5]]), torch.tensor([1, 1, 0]))
    tensor([[1.0000, 1.5000],
            [1.0000, 1.5000],
            [0.0000, 0.5000]])
    """
    return functional.embedding(numbers, table)


def take_apart(model: Any) -> Decoder:
    """Return the decoder of a transformers model: M2M100 and NLLB, mBART, Marian, T5 and MADLAD.

    Raises:
        ModelError: the model is of another class.
    """
    kind = model.config.model_type
    if kind in ("m2m_100", "mbart", "marian"):
        return _bart_like(model, kind)
    if kind in ("t5", "mt5", "umt5"):
        return _t5(model)
    raise ModelError(
        f"{type(model).__name__}: scoring beginnings of translations is not supported for it. "
        "Supported: M2M100 and NLLB, mBART, Marian (OPUS-MT), T5 and MADLAD"
    )


def _project(head: Any, outputs: Tensor, tokens: Tensor | None) -> Tensor:
    if tokens is None:
        return functional.linear(outputs, head.weight)
    return outputs @ pick(head.weight, tokens).transpose(1, 2)


def _project_each(head: Any, outputs: Tensor, tokens: Tensor) -> Tensor:
    return (outputs.float() * pick(head.weight, tokens).float()).sum(-1)


def _bart_like(model: Any, kind: str) -> Decoder:
    decoder, config = model.get_decoder(), model.config
    embedding, table = decoder.embed_tokens, decoder.embed_positions
    # fairseq counts positions from the padding index on; Marian from 0.
    first = {"m2m_100": config.pad_token_id + 1, "mbart": 2, "marian": 0}[kind]
    places = table.weights if kind == "m2m_100" else table.weight
    scale = decoder.embed_scale if kind == "marian" else 1.0

    def embed(tokens: Tensor, positions: Tensor) -> Tensor:
        inputs: Tensor = embedding(tokens) * scale + places[positions + first]
        return decoder.layernorm_embedding(inputs) if kind == "mbart" else inputs

    shift: Any = None if kind == "m2m_100" else model.final_logits_bias[0].clone()
    if kind == "marian":
        # Marian itself has no padding token; transformers added one, to begin with, which is never written.
        shift[config.pad_token_id] = float("-inf")

    def logits(outputs: Tensor, tokens: Tensor | None) -> Tensor:
        scores = _project(model.lm_head, outputs, tokens)
        if shift is not None:
            scores = scores + (shift if tokens is None else shift[tokens][:, None])
        return scores

    def logit(outputs: Tensor, tokens: Tensor) -> Tensor:
        scores = _project_each(model.lm_head, outputs, tokens)
        return scores if shift is None else scores + shift[tokens]

    def attention(block: Any, norm: Any) -> Attention:
        return Attention(
            block.q_proj, block.k_proj, block.v_proj, block.out_proj, norm, block.num_heads, block.head_dim**-0.5
        )

    def layer(part: Any) -> DecoderLayer:
        return DecoderLayer(
            attention(part.self_attn, part.self_attn_layer_norm),
            attention(part.encoder_attn, part.encoder_attn_layer_norm),
            lambda inputs: part.fc2(part.activation_fn(part.fc1(inputs))),
            part.final_layer_norm,
        )

    return Decoder(
        embed,
        tuple(layer(part) for part in decoder.layers),
        norm_first=kind != "marian",
        finish=(lambda outputs: outputs) if kind == "marian" else decoder.layer_norm,
        logits=logits,
        logit=logit,
        words=config.vocab_size,
        bias=None,
        longest=len(places) - first,
    )


def _t5(model: Any) -> Decoder:
    decoder = model.get_decoder()
    first = decoder.block[0].layer[0].SelfAttention

    def bias(queries: Tensor, keys: Tensor) -> Tensor:
        buckets = first._relative_position_bucket(
            keys - queries[..., None],
            bidirectional=False,
            num_buckets=first.relative_attention_num_buckets,
            max_distance=first.relative_attention_max_distance,
        )
        values: Tensor = first.relative_attention_bias(buckets)
        return values.permute(0, 3, 1, 2)

    scale = model.model_dim**-0.5 if model.config.scale_decoder_outputs else 1.0

    def attention(block: Any, norm: Any) -> Attention:
        return Attention(block.q, block.k, block.v, block.o, norm, block.n_heads, 1.0)

    def layer(part: Any) -> DecoderLayer:
        own, source, last = part.layer
        return DecoderLayer(
            attention(own.SelfAttention, own.layer_norm),
            attention(source.EncDecAttention, source.layer_norm),
            last.DenseReluDense,
            last.layer_norm,
        )

    return Decoder(
        lambda tokens, positions: decoder.embed_tokens(tokens),
        tuple(layer(part) for part in decoder.block),
        norm_first=True,
        finish=decoder.final_layer_norm,
        logits=lambda outputs, tokens: _project(model.lm_head, outputs * scale, tokens),
        logit=lambda outputs, tokens: _project_each(model.lm_head, outputs * scale, tokens),
        words=model.config.vocab_size,
        bias=bias,
        longest=None,
    )
