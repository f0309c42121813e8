"""A `PhraseScorer` made of a dictionary: for tests and examples, with no model behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import regex

_LIKELY, _UNLIKELY, _LEFT_OUT = -0.1, -6.0, -3.0
# Words of scripts that have them, else characters as readers see them.
_WORD = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{M}]+|\p{N}+|(?!\s)\X", regex.VERSION1)


class FakePhraseScorer:
    """Believes in its dictionary, in both directions: a token is a word, and words come in any order.

    A word costs 0.1 nats where its counterpart stands in the source, all of it where it has several words, and 6 where
    nothing of it does; in between where some of it does. The end token costs 0.1, and 3 more for each word of the
    source that no word of the target accounts for.

    Args:
        dictionary: source word -> its rendering, of one word or several; other words stay as they are.

    >>> scorer = FakePhraseScorer({"fries": "patatas fritas"})
    >>> scorer.score(["fries"] * 2, ["patatas fritas", "patatas"], source="eng_Latn", target="spa_Latn")
    [[-0.1, -0.1, -0.1], [-0.1, -0.1]]
    >>> scorer.score(["patatas fritas hoy", "patatas"], ["fries", "fries"], source="spa_Latn", target="eng_Latn")
    [[-0.1, -3.1], [-3.05, -0.1]]
    """

    max_tokens = 100_000

    def __init__(self, dictionary: Mapping[str, str] | None = None) -> None:
        self._renderings = {word: tuple(_words(rendering)) for word, rendering in (dictionary or {}).items()}
        self._origins = {word: origin for origin, words in self._renderings.items() for word in words}
        self.fingerprint = f"fake:{hashlib.sha256(repr(sorted(self._renderings.items())).encode()).hexdigest()[:16]}"

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the number of words of each text."""
        return [len(_words(text)) for text in texts]

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        """Return log P of each word and the end token."""
        return [self._score(_words(here), _words(there)) for here, there in zip(sources, targets, strict=True)]

    def _score(self, here: list[str], there: list[str]) -> list[float]:
        accounted: set[str] = set()
        scores = []
        for word in there:
            share, used = max(self._support(counterpart, here) for counterpart in self._counterparts(word))
            accounted.update(used)
            scores.append(round(_UNLIKELY + share * (_LIKELY - _UNLIKELY), 6))
        return [*scores, round(_LIKELY + _LEFT_OUT * len(set(here) - accounted), 6)]

    def _counterparts(self, word: str) -> list[tuple[str, ...]]:
        """Return what may stand in the other language for a word: itself, its rendering, what it renders."""
        found: list[tuple[str, ...]] = [(word,)]
        if word in self._renderings:
            found.append(self._renderings[word])
        if word in self._origins:
            found.append((self._origins[word],))
        return found

    def _support(self, counterpart: tuple[str, ...], here: list[str]) -> tuple[float, list[str]]:
        used = [word for word in counterpart if word in here]
        return len(used) / len(counterpart), used

    def target_offsets(self, texts: Sequence[str], language: str) -> list[list[tuple[int, int]]]:
        """Return where each word stands."""
        return [[match.span() for match in _WORD.finditer(text)] for text in texts]


def _words(text: str) -> list[str]:
    return [match.group() for match in _WORD.finditer(text)]
