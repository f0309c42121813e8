"""Training pairs as token ids on disk, and batches of them bounded by tokens.

Tokenising is done once: :func:`prepare` writes flat arrays that :class:`PreparedPairs` maps into memory, so that the
training loop only slices and pads.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spanferry.translation.corpus import Range, SentencePair
from spanferry.translation.families import ModelTokenizer
from spanferry.translation.flat_rows import FlatRows, RowWriter

_COLUMNS = {"source": 1, "target": 1, "links": 2}
IGNORED_LABEL = -100


def prepare(
    pairs: Iterable[SentencePair],
    tokenizer: ModelTokenizer,
    folder: Path,
    *,
    max_tokens: int,
    with_links: bool,
    chunk: int = 20_000,
) -> dict[str, int]:
    """Write the token ids (and subword links) of `pairs` to `folder`.

    Args:
        pairs: what to learn, each in the direction it is to be learned in.
        tokenizer: the model's; texts are encoded exactly as they will be when the model translates.
        folder: gets flat `.npy` arrays of numbers, and where each pair's part ends in them.
        max_tokens: pairs with more tokens than this on a side, special tokens included, are left out and counted.
        with_links: keep the pairs' links, as links between token positions.
        chunk: pairs encoded at a time.

    Returns:
        Counts: `pairs`, `too_long`, `source_tokens`, `target_tokens`.

    Raises:
        LanguageError: the tokenizer has no such language.
    """
    ids = {token: number for number, token in reversed(list(enumerate(tokenizer.subwords.vocabulary)))}
    rows = RowWriter(_COLUMNS)
    counts = {"pairs": 0, "too_long": 0, "source_tokens": 0, "target_tokens": 0}
    for group in same_languages(pairs, chunk):
        source_language, target_language = tokenizer.check_pair(
            group[0].source_language, group[0].target_language, model="the model to be trained"
        )
        before, after = tokenizer.around_source(source_language, target_language)
        prefix = tokenizer.target_prefix(target_language)
        sources = tokenizer.subwords.encode_with_offsets([pair.source for pair in group])
        targets = tokenizer.subwords.encode_with_offsets([pair.target for pair in group], target=True)
        for pair, (source, offsets), (target, target_offsets) in zip(group, sources, targets, strict=True):
            whole_source, whole_target = [*before, *source, *after], [*prefix, *target, tokenizer.eos]
            if max(len(whole_source), len(whole_target)) > max_tokens:
                counts["too_long"] += 1
                continue
            links: list[tuple[int, int]] = []
            if with_links:
                positions = subword_links(pair.links, offsets, target_offsets)
                links = [(i + len(before), j + len(prefix)) for i, j in positions]
            rows.add(
                {
                    "source": (ids[token] for token in whole_source),
                    "target": (ids[token] for token in whole_target),
                    "links": links,
                }
            )
            counts["pairs"] += 1
    rows.save(folder)
    counts["source_tokens"], counts["target_tokens"] = rows.size("source"), rows.size("target")
    return counts


def same_languages(pairs: Iterable[SentencePair], chunk: int) -> Iterator[list[SentencePair]]:
    """Yield chunks in which all pairs have the same two languages; order within a language pair is kept."""
    waiting: dict[tuple[str, str], list[SentencePair]] = {}
    for pair in pairs:
        group = waiting.setdefault((pair.source_language, pair.target_language), [])
        group.append(pair)
        if len(group) == chunk:
            yield list(group)
            group.clear()
    yield from (group for group in waiting.values() if group)


def subword_links(
    links: Iterable[tuple[Range, Range]], source_ranges: Sequence[Range], target_ranges: Sequence[Range]
) -> list[tuple[int, int]]:
    """Turn links between character ranges into links between token positions, every part with every part.

    >>> subword_links([((0, 3), (0, 5))], [(0, 3), (3, 4)], [(0, 2), (2, 5), (5, 6)])
    [(0, 0), (0, 1)]
    """
    return [
        (i, j)
        for source, target in links
        for i, source_range in enumerate(source_ranges)
        if _overlap(source, source_range)
        for j, target_range in enumerate(target_ranges)
        if _overlap(target, target_range)
    ]


def _overlap(one: Range, other: Range) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


class PreparedPairs(FlatRows):
    """What :func:`prepare` wrote, mapped into memory: item i is `source`, `target` (ids) and `links` (L x 2)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _COLUMNS)


class TokenBatches(torch.utils.data.Sampler[list[int]]):
    """`steps` batches of indices, each with at most `batch_tokens` tokens, padding included, on its longer side.

    Passes over the data follow one another, each in an order of its own that depends on `seed` and the number of the
    pass alone: a run that stopped after n batches goes on with batch n + 1. Within a pass, indices are shuffled, cut
    into pools, sorted by length within the pool, batched, and the batches shuffled.
    """

    def __init__(
        self, lengths: np.ndarray[Any, Any], *, batch_tokens: int, steps: int, seed: int, pool: int = 50_000
    ) -> None:
        self._lengths, self._batch_tokens, self._steps = lengths, batch_tokens, steps
        self._seed, self._pool = seed, pool

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[int]]:
        passes = itertools.chain.from_iterable(self._one_pass(number) for number in itertools.count())
        return itertools.islice(passes, self._steps)

    def _one_pass(self, number: int) -> list[list[int]]:
        generator = np.random.default_rng((self._seed, number))
        order = generator.permutation(len(self._lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._pool):
            pool = order[start : start + self._pool]
            batch: list[int] = []
            longest = 0
            for index in pool[np.argsort(self._lengths[pool], kind="stable")].tolist():
                longest = max(longest, int(self._lengths[index]))
                if batch and longest * (len(batch) + 1) > self._batch_tokens:
                    batches.append(batch)
                    batch, longest = [], int(self._lengths[index])
                batch.append(index)
            batches.append(batch)
        random.Random(f"{self._seed}-{number}").shuffle(batches)
        return batches


class Collate:
    """Pads items of :class:`PreparedPairs` to one batch of tensors.

    The batch has `input_ids`, `attention_mask` (B x S), `decoder_input_ids`, `labels` (B x T; -100 is padding) and,
    with links, `alignment` (B x T x S): row j is the distribution over source tokens that attention should have at
    the decoder step which predicts label j, all zeros where label j has no link.
    """

    def __init__(self, *, pad: int, decoder_start: int, with_links: bool) -> None:
        self._pad, self._decoder_start, self._with_links = pad, decoder_start, with_links

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        shape = (len(items), max(len(item["source"]) for item in items))
        target_shape = (len(items), max(len(item["target"]) for item in items))
        source = torch.full(shape, self._pad)
        mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(target_shape, IGNORED_LABEL)
        decoder = torch.full(target_shape, self._pad)
        for row, item in enumerate(items):
            target = torch.from_numpy(item["target"].astype(np.int64))
            length = len(item["source"])
            source[row, :length] = torch.from_numpy(item["source"].astype(np.int64))
            mask[row, :length] = 1
            labels[row, : len(target)] = target
            decoder[row, 0] = self._decoder_start
            decoder[row, 1 : len(target)] = target[:-1]
        batch = {
            "input_ids": source,
            "attention_mask": mask,
            "decoder_input_ids": decoder,
            "labels": labels,
        }
        if self._with_links:
            alignment = torch.zeros(len(items), target_shape[1], shape[1])
            for row, item in enumerate(items):
                links = torch.from_numpy(item["links"].astype(np.int64))
                alignment[row, links[:, 1], links[:, 0]] = 1.0
            batch["alignment"] = alignment / alignment.sum(-1, keepdim=True).clamp(min=1.0)
        return batch
