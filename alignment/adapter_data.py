"""Word-aligned parallel text -> what an adapter is trained on: subwords, their words, and the words' links."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spanferry.alignment.adapter_recipe import AdapterRecipe, AlignedCorpus
from spanferry.alignment.base import Token, TokenizedText
from spanferry.alignment.mt_encoder import MTSplitter
from spanferry.alignment.statistical import EflomalAligner
from spanferry.data.errors import DataError
from spanferry.translation.corpus import (
    Range,
    SentencePair,
    choose,
    common_names,
    exchange_names,
    read_pairs,
    words,
)
from spanferry.translation.families import ModelTokenizer
from spanferry.translation.flat_rows import FlatRows, RowWriter
from spanferry.translation.training_data import same_languages

_COLUMNS = {"source": 1, "source_words": 2, "target": 1, "target_words": 2, "links": 2}


def load_pairs(recipe: AdapterRecipe) -> list[list[SentencePair]]:
    """Read and choose the pairs of each corpus, with their word links.

    Raises:
        DataError: a file is missing or has a wrong line.
        ConfigError: eflomal is needed and not installed.
    """
    return [_load(corpus, recipe.symmetrization) for corpus in recipe.data]


def _load(corpus: AlignedCorpus, symmetrization: str) -> list[SentencePair]:
    pairs: Iterable[SentencePair] = read_pairs(corpus.path, corpus.source_language, corpus.target_language)
    if corpus.links is not None:
        return list(choose(_with_links(pairs, corpus.links), corpus.limits()))
    chosen = list(choose(pairs, corpus.limits()))
    texts = [(tokens(pair.source), tokens(pair.target)) for pair in chosen]
    aligned = EflomalAligner(symmetrization=symmetrization).align(
        texts, source=corpus.source_language, target=corpus.target_language
    )
    return [
        replace(pair, links=_ranges(source, target, [(link.source, link.target) for link in alignment.links]))
        for pair, (source, target), alignment in zip(chosen, texts, aligned, strict=True)
    ]


def tokens(text: str) -> TokenizedText:
    """Return a text with its words and single punctuation marks, whatever the language.

    >>> tokens("Tom's dog.").words
    ['Tom', "'", 's', 'dog', '.']
    """
    return TokenizedText(text, tuple(Token(*span) for span in words(text)))


def _ranges(
    source: TokenizedText, target: TokenizedText, links: Iterable[tuple[int, int]]
) -> tuple[tuple[Range, Range], ...]:
    return tuple((tuple(source.tokens[i]), tuple(target.tokens[j])) for i, j in links)  # type: ignore[misc]


def _with_links(pairs: Iterable[SentencePair], file: Path) -> Iterator[SentencePair]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the word links cannot be read: {error}", path=file) from error
    count = 0
    for count, pair in enumerate(pairs, start=1):
        if count > len(lines):
            raise DataError(f"found {len(lines)} lines of links, expected one for each sentence pair", path=file)
        source, target = tokens(pair.source), tokens(pair.target)
        try:
            links = [(int(i), int(j)) for i, j in (link.split("-") for link in lines[count - 1].split())]
            yield replace(pair, links=_ranges(source, target, links))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"found {lines[count - 1]!r}, expected links i-j of {len(source.tokens)} source and "
                f"{len(target.tokens)} target words",
                path=file,
                line=count,
            ) from error
    if count < len(lines):
        raise DataError(f"found {len(lines)} lines of links, expected {count}, one for each sentence pair", path=file)


def examples(recipe: AdapterRecipe, corpora: Sequence[Sequence[SentencePair]]) -> Iterator[SentencePair]:
    """Yield the pairs to train on; what happens to one depends on the seed and its place alone."""
    names = common_names(pair for pairs in corpora for pair in pairs) if recipe.exchange_names else []
    for number, (corpus, pairs) in enumerate(zip(recipe.data, corpora, strict=True)):
        for place, pair in enumerate(pairs):
            if not pair.links or min(len(words(pair.source)), len(words(pair.target))) < recipe.least_words:
                continue
            chance = random.Random(f"{recipe.seed}-{number}-{place}")
            for _ in range(int(corpus.weight + chance.random())):
                changed = chance.random() < recipe.exchange_names
                yield exchange_names(pair, names, chance) if changed else pair


def word_links(pair: SentencePair, source: TokenizedText, target: TokenizedText) -> list[tuple[int, int]]:
    """Return the links between words that a pair's links between character ranges stand for.

    A range of several words, a name that was put in, is linked word by word where both sides are the same.

    >>> pair = SentencePair("eng_Latn", "deu_Latn", "Ana Lovrić ran", "Ana Lovrić lief", "x",
    ...                     links=(((0, 10), (0, 10)), ((11, 14), (11, 15))))
    >>> word_links(pair, tokens(pair.source), tokens(pair.target))
    [(0, 0), (1, 1), (2, 2)]
    """
    found: set[tuple[int, int]] = set()
    for one, other in pair.links:
        left, right = _inside(source, one), _inside(target, other)
        if pair.source[slice(*one)] == pair.target[slice(*other)]:
            found.update(zip(left, right, strict=True))
        else:
            found.update((i, j) for i in left for j in right)
    return sorted(found)


def _inside(text: TokenizedText, span: Range) -> list[int]:
    return [number for number, token in enumerate(text.tokens) if span[0] <= token.start and token.end <= span[1]]


def prepare(
    pairs: Iterable[SentencePair], tokenizer: ModelTokenizer, folder: Path, *, max_tokens: int, chunk: int = 20_000
) -> dict[str, int]:
    """Write pairs as numbers to flat `.npy` arrays in `folder`, read by `AlignedPairs`.

    Texts are cut exactly as the aligner cuts them, each with its own language's token.

    Returns:
        Counts: `pairs`, `too_long`, `tokens`.

    Raises:
        LanguageError: the model does not read a language.
    """
    split = MTSplitter(tokenizer)
    written = RowWriter(_COLUMNS)
    counts = {"pairs": 0, "too_long": 0, "tokens": 0}
    for group in same_languages(pairs, chunk):
        languages = tokenizer.check_pair(group[0].source_language, group[0].target_language, model="the model")
        texts = [[tokens(pair.source) for pair in group], [tokens(pair.target) for pair in group]]
        sides = [split(side, language) for side, language in zip(texts, languages, strict=True)]
        for number, pair in enumerate(group):
            parts = [side.texts[number] for side in sides]
            rows = [[*side.before, *part.ids, *side.after] for side, part in zip(sides, parts, strict=True)]
            if max(map(len, rows)) > max_tokens:
                counts["too_long"] += 1
                continue
            row: dict[str, Iterable[Any]] = {"links": word_links(pair, texts[0][number], texts[1][number])}
            for name, side, part, ids in zip(("source", "target"), sides, parts, rows, strict=True):
                row[name] = ids
                places = [subword + len(side.before) for subword in part.subwords]
                row[f"{name}_words"] = zip(places, part.words, strict=True)
            written.add(row)
            counts["pairs"] += 1
            counts["tokens"] += sum(map(len, rows))
    written.save(folder)
    return counts


class AlignedPairs(FlatRows):
    """What `prepare` wrote, mapped into memory.

    Item i has `source`, `target` (ids), `source_words`, `target_words` (rows: place of a subword, its word) and
    `links` (rows: source word, target word).
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _COLUMNS)


class CollatePairs:
    """Pads items of `AlignedPairs` to one batch; the B sources and the B targets are read in one forward pass.

    The batch has `input_ids`, `attention_mask` (2B x L), `pool` (2B x W x L; row w averages word w's subwords) and
    `links` (B x W x W, 0 or 1).
    """

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        rows = [item[side] for side in ("source", "target") for item in items]
        cells = [item[f"{side}_words"] for side in ("source", "target") for item in items]
        length = max(map(len, rows))
        width = 1 + max(int(part[:, 1].max(initial=0)) for part in cells)
        ids, mask = torch.full((len(rows), length), self._pad), torch.zeros(len(rows), length, dtype=torch.long)
        pool, links = torch.zeros(len(rows), width, length), torch.zeros(len(items), width, width)
        for number, (row, part) in enumerate(zip(rows, cells, strict=True)):
            ids[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
            mask[number, : len(row)] = 1
            places = torch.from_numpy(part.astype(np.int64))
            pool[number, places[:, 1], places[:, 0]] = 1.0
        for number, item in enumerate(items):
            found = torch.from_numpy(item["links"].astype(np.int64))
            links[number, found[:, 0], found[:, 1]] = 1.0
        pool /= pool.sum(-1, keepdim=True).clamp(min=1.0)
        return {"input_ids": ids, "attention_mask": mask, "pool": pool, "links": links}
