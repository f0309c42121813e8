"""From a recipe's corpora to the sentence pairs a model is trained on: chosen, aligned, pivoted, marked, augmented."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from spanferry.translation.corpus import (
    SentencePair,
    align_words,
    choose,
    common_names,
    exchange_names,
    pivot_pairs,
    read_pairs,
    without_final_mark,
)
from spanferry.translation.marking import (
    Phrase,
    choose_phrases,
    from_inline_marks,
    insert_markers,
    marker_style,
    phrase_pairs,
)
from spanferry.translation.recipe import CorpusSettings, TrainRecipe


@dataclass(frozen=True, slots=True)
class Source:
    """A chosen pair, and the phrases that its translator marked (none for most)."""

    pair: SentencePair
    marked: tuple[Phrase, ...] = ()


def load_sources(recipe: TrainRecipe) -> list[Source]:
    """Read, choose, join through English where the recipe says `pivot`, and align the words where links are needed."""
    plain: list[list[SentencePair]] = []
    sources: list[Source] = []
    for corpus in recipe.data:
        pairs = _chosen(corpus)
        if corpus.inline_marks:
            parsed = (from_inline_marks(pair) for pair in pairs)
            sources += [Source(pair, tuple(phrases)) for pair, phrases in filter(None, parsed)]
        else:
            plain.append(pairs)
    if recipe.pivot and len(plain) > 1:
        plain.append(pivot_pairs(plain[0], plain[1]))
    sources += [Source(pair) for pairs in plain for pair in pairs]
    needs_links = recipe.guided_alignment.weight or recipe.markers.share or recipe.augment.exchange_names
    return _aligned(sources) if needs_links else sources


def _chosen(corpus: CorpusSettings) -> list[SentencePair]:
    pairs = read_pairs(corpus.path, corpus.source_language, corpus.target_language)
    return list(choose(pairs, corpus.limits()))


def _aligned(sources: list[Source]) -> list[Source]:
    by_languages: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        key = (source.pair.source_language, source.pair.target_language)
        by_languages.setdefault(key, []).append(source)
    return [
        Source(pair, source.marked)
        for several in by_languages.values()
        for source, pair in zip(several, align_words([source.pair for source in several]), strict=True)
    ]


def examples(recipe: TrainRecipe, sources: list[Source], counts: Counter[str]) -> Iterator[SentencePair]:
    """The training pairs, each in one direction; `counts` is told what was made, by kind and by corpus.

    What happens to one pair depends on the seed, its place and its direction alone.
    """
    names = common_names(source.pair for source in sources) if recipe.augment.exchange_names else []
    directions = (False, True) if recipe.both_directions else (False,)
    for (number, source), backwards in itertools.product(enumerate(sources), directions):
        chance = random.Random(f"{recipe.seed}-{number}-{backwards}")
        pair, kind = _one_example(recipe, source, names, chance, backwards=backwards)
        counts[f"kind: {kind}"] += 1
        counts[f"corpus: {pair.origin}"] += 1
        counts[f"direction: {pair.source_language}-{pair.target_language}"] += 1
        yield pair


def _one_example(
    recipe: TrainRecipe, source: Source, names: list[str], chance: random.Random, *, backwards: bool
) -> tuple[SentencePair, str]:
    pair, phrases = source.pair, list(source.marked)
    if phrases:
        pair = insert_markers(pair, phrases, marker_style(len(phrases), chance))
        return (pair.reversed() if backwards else pair), "marked by a translator"
    kind = "plain"
    if chance.random() < recipe.augment.exchange_names:
        changed = exchange_names(pair, names, chance)
        kind = "name exchanged" if changed is not pair else kind
        pair = changed
    if backwards:
        pair = pair.reversed()
    if chance.random() < recipe.markers.share:
        phrases = choose_phrases(phrase_pairs(pair, longest=recipe.markers.longest_phrase), chance)
        if phrases:
            return insert_markers(pair, phrases, marker_style(len(phrases), chance)), "marked by alignment"
    if chance.random() < recipe.augment.lower_case:
        return without_final_mark(pair), "lower case"
    return pair, kind
