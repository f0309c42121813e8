"""Train the model of ranges on texts whose translators carried marks over.

    spanferry models train-ranges RECIPE.yaml

A line like ``Press <1>Esc</1>. TAB <1>Esc</1> drücken. TAB gnome`` says where a phrase went. The texts without marks
are aligned; every range that the phrase could have (`spanferry.projection.range_features`) is laid beside the one that
the translator marked, and the network learns to tell it from the others.

A phrase is learned from in both directions, and twice: with all that the aligner's witnesses say, and with one witness
alone or with links alone. So one model serves every aligner, those that know more than links and those that do not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.alignment.lexical import best_links
from spanferry.alignment.registry import load_aligner
from spanferry.alignment.symmetrize import grow_diag_final_and
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import DataError
from spanferry.data.outputs import check_output
from spanferry.projection.range_features import NAMES, Array, span_ranges, views
from spanferry.projection.range_model import RangeModel, save_range_model
from spanferry.projection.range_recipe import RangeRecipe
from spanferry.translation.corpus import Range, SentencePair, choose, read_pairs
from spanferry.translation.marking import Phrase, from_inline_marks
from spanferry.translation.recipe import CorpusSettings

_log = logging.getLogger(__name__)

# Links of one witness alone are drawn from this probability on, as `joint` and `mt-encoder` draw theirs.
_THRESHOLD = 0.1
# A feature that hardly varies is measured by no less.
_LEAST_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class Lesson:
    """A phrase's ranges, (ranges, `NAMES`), and the number of the one that the translator marked."""

    features: Array
    right: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run: the model's file, lessons taught, lessons held out, and how many of these it has right."""

    path: Path
    taught: int
    tested: int
    right: int


def train_ranges(recipe: RangeRecipe, *, report: Callable[[str], None] = _log.info) -> Trained:
    """Run a recipe and write the model; ``report`` is told of each step in a line.

    Raises:
        DataError: a file cannot be read, or has no phrase to learn from.
        ConfigError, ModelError: the aligner cannot be loaded, or does not know a language.
        ConfigError: the model's file cannot be written, or is read; said before the minutes of work, not after.
    """
    check_output(recipe.output, [corpus.path for corpus in recipe.data])
    taught, tested = lessons(recipe, report)
    report(f"learning from {len(taught):,} lessons")
    model = fit(taught, recipe)
    save_range_model(model, recipe.output)
    right = sum(int(model.probabilities(one.features).argmax()) == one.right for one in tested)
    return Trained(recipe.output, len(taught), len(tested), right)


def lessons(recipe: RangeRecipe, report: Callable[[str], None]) -> tuple[list[Lesson], list[Lesson]]:
    """Return the lessons to learn from, and those of the sentence pairs that are held out.

    Raises:
        ConfigError: the aligner is unknown, or a setting of it.
        DataError: a file cannot be read, or there are too few phrases.
        ModelError: the aligner's model cannot be loaded.
    """
    chance = Random(recipe.seed)
    aligner = load_aligner(recipe.aligner, **recipe.aligner_settings)
    taught: list[Lesson] = []
    tested: list[Lesson] = []
    for corpus in recipe.data:
        marked = list(marked_pairs(corpus, recipe.most_alike))
        report(f"{corpus.path.name}: aligning {len(marked):,} sentence pairs")
        texts = [
            tokenize([getattr(pair, side) for pair, _ in marked], language)
            for side, language in (("source", corpus.source_language), ("target", corpus.target_language))
        ]
        pairs = list(zip(*texts, strict=True))
        found = aligner.align(pairs, source=corpus.source_language, target=corpus.target_language)
        for (_, phrases), pair, alignment in zip(marked, pairs, found, strict=True):
            goal = tested if chance.random() < recipe.held_out else taught
            goal += _lessons_of(pair, phrases, [alignment, chance.choice(list(_with_less(alignment)))])
    if not taught or not tested:
        raise DataError("found too few phrases to learn from", path=recipe.data[0].path)
    return taught, tested


def marked_pairs(corpus: CorpusSettings, most_alike: int) -> Iterator[tuple[SentencePair, list[Phrase]]]:
    """Yield a file's pairs without their marks, and the phrases that were marked.

    Left out: phrases that are a whole text or read the same on both sides, which any aligner places, phrases whose
    source text came `most_alike` times before, and pairs without any other.

    Raises:
        DataError: see `spanferry.translation.corpus.read_pairs`.
    """
    met: Counter[str] = Counter()
    for tagged in choose(read_pairs(corpus.path, corpus.source_language, corpus.target_language), corpus.limits()):
        plain = from_inline_marks(tagged)
        if plain is None:
            continue
        pair, phrases = plain
        kept = []
        for phrase in phrases:
            here, there = pair.source[slice(*phrase[0])], pair.target[slice(*phrase[1])]
            if _whole(pair.source, phrase[0]) or _whole(pair.target, phrase[1]) or here.lower() == there.lower():
                continue
            met[here] += 1
            if met[here] <= most_alike:
                kept.append(phrase)
        if kept:
            yield pair, kept


def _whole(text: str, phrase: Range) -> bool:
    return not any(character.isalnum() for character in text[: phrase[0]] + text[phrase[1] :])


def _lessons_of(
    pair: tuple[TokenizedText, TokenizedText], phrases: Sequence[Phrase], alignments: Sequence[WordAlignment]
) -> Iterator[Lesson]:
    """Yield the lessons of a sentence pair, in both directions, by each of its alignments."""
    words = [text.words for text in pair]
    places = [(_words_of(here, pair[0]), _words_of(there, pair[1])) for here, there in phrases]
    for alignment in alignments:
        for turned in (False, True):
            if turned:
                links = [Link(j, i, score) for i, j, score in alignment.links]
                seen = views(words[1], words[0], links, [each.T for each in alignment.witnesses])
            else:
                seen = views(words[0], words[1], alignment.links, alignment.witnesses)
            for place in places:
                here, there = reversed(place) if turned else place
                ranges = span_ranges(here, seen) if here[0] < here[1] else None
                if ranges is None:
                    continue
                right = np.nonzero((ranges.starts == there[0]) & (ranges.ends == there[1]))[0]
                if len(right):
                    yield Lesson(ranges.features.astype(np.float32), int(right[0]))


def _with_less(alignment: WordAlignment) -> Iterator[WordAlignment]:
    """Yield what less would be known: each witness alone, links with their scores, bare links."""
    if len(alignment.witnesses) > 1:
        for witness in alignment.witnesses:
            yield best_links(witness, grow_diag_final_and, _THRESHOLD, tolerance=1e-3, witnesses=(witness,))
    if alignment.witnesses:
        yield WordAlignment(alignment.links)
    yield WordAlignment(tuple(Link(i, j) for i, j, _ in alignment.links))


def _words_of(characters: Range, text: TokenizedText) -> Range:
    """Return the half-open range of the words that share a character with a phrase."""
    inside = [n for n, (start, end) in enumerate(text.tokens) if start < characters[1] and characters[0] < end]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def fit(taught: Sequence[Lesson], recipe: RangeRecipe) -> RangeModel:
    """Learn from lessons: the weights that give the right ranges the highest probability (maximum likelihood, Adam)."""
    torch.manual_seed(recipe.seed)
    every = np.concatenate([one.features for one in taught])
    shift, scale = every.mean(0), np.maximum(every.std(0), _LEAST_SCALE)
    network = _Network(len(NAMES), recipe.hidden, recipe.dropout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
    steps = recipe.epochs * -(-len(taught) // recipe.batch_spans)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps + 1)
    order = Random(recipe.seed)
    for _ in range(recipe.epochs):
        shuffled = order.sample(taught, len(taught))
        for start in range(0, len(taught), recipe.batch_spans):
            loss = _loss(network, shuffled[start : start + recipe.batch_spans], shift, scale)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    weights = [parameter.detach().numpy() for parameter in network.weights()]
    return RangeModel(shift, scale, *weights)


class _Network(torch.nn.Module):
    """`RangeModel` as it is trained."""

    def __init__(self, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self._direct = torch.nn.Linear(features, 1, bias=False)
        self._hidden = torch.nn.Linear(features, hidden)
        self._dropout = torch.nn.Dropout(dropout)
        self._result = torch.nn.Linear(hidden, 1, bias=False)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        hidden = self._dropout(self._hidden(seen).tanh())
        result: torch.Tensor = (self._direct(seen) + self._result(hidden)).squeeze(-1)
        return result

    def weights(self) -> Iterator[torch.Tensor]:
        """Yield the weights in the order and the shapes of `RangeModel`."""
        yield self._direct.weight[0]
        yield self._hidden.weight.T
        yield self._hidden.bias
        yield self._result.weight[0]


def _loss(network: _Network, batch: Sequence[Lesson], shift: Array, scale: Array) -> torch.Tensor:
    """Mean -log of the probability that the right ranges have."""
    sizes = [len(one.features) for one in batch]
    seen = torch.from_numpy((np.concatenate([one.features for one in batch]) - shift) / scale)
    lists = torch.nn.utils.rnn.pad_sequence(
        list(network(seen).split(sizes)), batch_first=True, padding_value=-torch.inf
    )
    return torch.nn.functional.cross_entropy(lists, torch.tensor([one.right for one in batch]))
