"""How well a phrase renders another: scores from a translation model's probabilities, in context and out of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from spanferry.alignment.base import Token
from spanferry.alignment.placement import words_of_subwords
from spanferry.translation.phrase_scorer import PhraseScorer

Pair = tuple[str, str]
"""A source phrase and a target phrase."""

_MOST_NATS = 5.0
"""What one word can say for or against a range: one odd token must not outweigh its neighbours."""
_TEMPERATURE = 3.0
"""Nats: words of a range are not independent, so that their sum is far too sure of itself."""


def direct_score(log_probs: Sequence[float]) -> float:
    """Return p(y | x) ^ (1 / |y|) from the log-probabilities of y's tokens and the end token; 0..1.

    Vamvas and Sennrich 2022, "NMTScore: A Multilingual Analysis of Translation-based Text Similarity Measures",
    section 3.1. (Their program raises 2 instead of e to the mean, which pulls all scores towards 1.)

    >>> round(direct_score([-0.25, -0.75, -0.5]), 6)
    0.606531
    """
    return math.exp(sum(log_probs) / len(log_probs))


def phrase_scores(
    pairs: Iterable[Pair],
    scorer: PhraseScorer,
    *,
    source: str,
    target: str,
    both: bool = True,
    normalize: bool = True,
) -> dict[Pair, float]:
    """Score each distinct pair of phrases (x, y) once, out of context, as NMTScore's direct score does.

    With s(y | x) the `direct_score` of y as a translation of x ::

        score = (s(y | x) / s(y | y) + s(x | y) / s(x | x)) / 2

    without the first summand unless `both`, and without the divisors unless `normalize`. It can exceed 1.

    >>> from spanferry.translation.fake_phrase_scorer import FakePhraseScorer
    >>> scorer = FakePhraseScorer({"red": "rojo"})
    >>> scores = phrase_scores([("red", "rojo"), ("red", "azul")], scorer, source="eng_Latn", target="spa_Latn")
    >>> {y: round(score, 2) for (_, y), score in scores.items()}
    {'rojo': 1.0, 'azul': 0.01}
    """
    distinct = list(dict.fromkeys(pairs))
    here, there = [pair[0] for pair in distinct], [pair[1] for pair in distinct]
    back = _directed(there, here, scorer, languages=(target, source), normalize=normalize)
    if not both:
        return dict(zip(distinct, back, strict=True))
    forth = _directed(here, there, scorer, languages=(source, target), normalize=normalize)
    return {pair: (one + other) / 2 for pair, one, other in zip(distinct, forth, back, strict=True)}


def _directed(
    given: Sequence[str], written: Sequence[str], scorer: PhraseScorer, *, languages: tuple[str, str], normalize: bool
) -> list[float]:
    """Return s(written | given), divided by s(written | written) if wanted."""
    source, target = languages
    scores = [direct_score(row) for row in scorer.score(given, written, source=source, target=target)]
    if not normalize:
        return scores
    phrases = list(dict.fromkeys(written))
    own = map(direct_score, scorer.score(phrases, phrases, source=target, target=target))
    divisors = dict(zip(phrases, own, strict=True))
    return [score / divisors[phrase] for score, phrase in zip(scores, written, strict=True)]


def word_log_probs(
    log_probs: Sequence[float], offsets: Sequence[tuple[int, int]], words: Sequence[Token]
) -> list[float]:
    """Add up the log-probabilities of each word's tokens; a token that two words share counts for both.

    >>> word_log_probs([-1.0, -0.5, -2.0, -0.1], [(0, 2), (2, 4), (4, 8)], [Token(0, 4), Token(5, 8)])
    [-1.5, -2.0]
    """
    totals = [0.0] * len(words)
    for token, word in zip(*words_of_subwords(words, offsets), strict=True):
        totals[word] += log_probs[token]
    return totals


class Belonging:
    """Do the target's words come from the span, or from the rest of the source?

    The translation is scored twice as a whole, so that each word has its context on the target side: once given the
    span alone, once given the source without the span. A word of the span's rendering is more probable by the one, any
    other word by the other; the difference, at most 5 nats a word, is summed over a range.

    Args:
        given_span: log P of each target word, given the span alone.
        given_rest: the same given the source without the span.

    >>> belonging = Belonging([-1.0, -1.0, -6.0], [-1.0, -7.0, -2.0])
    >>> belonging.nats(1, 2), belonging.nats(0, 3), round(belonging.share(1, 2), 3)
    (5.0, 1.0, 0.841)
    """

    def __init__(self, given_span: Sequence[float], given_rest: Sequence[float]) -> None:
        gains = (
            max(-_MOST_NATS, min(_MOST_NATS, span - rest)) for span, rest in zip(given_span, given_rest, strict=True)
        )
        self._until = list(accumulate(gains, initial=0.0))

    def nats(self, first: int, last: int) -> float:
        """Return by how much the words `first` to `last` (excluded) are more probable given the span."""
        return self._until[last] - self._until[first]

    def share(self, first: int, last: int) -> float:
        """Return the same as a probability, ``1 / (1 + exp(-nats / 3))``."""
        return 1 / (1 + math.exp(-self.nats(first, last) / _TEMPERATURE))
