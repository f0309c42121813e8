"""What a word alignment is, and what an aligner must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]

CORPUS_WISE = "corpus-wise"
"""Stands in the fingerprint of an aligner whose links depend on the other pairs of a call, and so in that of whatever
uses it: what it says of a pair is not to be remembered for that pair."""


class Token(NamedTuple):
    """A word of a text, with its place: ``text[start:end]``, half-open, in Unicode code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text and its tokens, in order and without overlap.

    White space belongs to no token that `spanferry.alignment.tokens` finds; a word that the data brings may hold some.

    >>> TokenizedText("Zoë lacht.", (Token(0, 3), Token(4, 9), Token(9, 10))).words
    ['Zoë', 'lacht', '.']
    """

    text: str
    tokens: tuple[Token, ...]

    @property
    def words(self) -> list[str]:
        """The tokens' own characters."""
        return [self.text[start:end] for start, end in self.tokens]


class Link(NamedTuple):
    """Source token ``source`` and target token ``target`` (zero-based) render each other.

    ``score`` lies in 0..1: a probability or a similarity, by the aligner's own scale.
    """

    source: int
    target: int
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class WordAlignment:
    """How the words of one sentence pair are linked, and what the links were drawn from.

    Attributes:
        links: sorted by (source, target), each pair once.
        witnesses: matrices of (source tokens, target tokens), 0..1, as many as the aligner heard: how probable each
            thinks it that two words render each other. They say of a word that hangs on a weak link where else it could
            belong. Empty where an aligner has links alone; comparisons leave them out.
    """

    links: tuple[Link, ...]
    witnesses: tuple[Matrix, ...] = field(default=(), compare=False, repr=False)


@runtime_checkable
class Aligner(Protocol):
    """Anything that links the words of a text with the words of its translation."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the links (weights, layer, method), and of nothing else.

        It has `CORPUS_WISE` in it where the links of a pair depend on the other pairs of the call.
        """
        ...

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        """Return one alignment a pair (source text, target text), in the same order.

        ``source`` and ``target`` are FLORES-200 codes. A pair with no tokens on one side has no links.
        """
        ...
