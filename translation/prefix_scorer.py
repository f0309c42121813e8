"""A model that scores target tokens a few at a time and remembers where it was: what an exact search asks of a model.

`Scorer` (in `base`) takes whole translations. A search over many variants of one translation needs less: the
probability of the next few tokens after a beginning that it has seen before, and of other tokens that might stand
there. Beginnings are shared, and the model keeps what it computed for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

State = Any
"""What a model remembers of a sequence that it was fed; opaque to the search, and only valid for its own sentence."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A source sentence that the model has read.

    Attributes:
        state: the state in which no target token was fed yet.
        prompt: token ids that stand before every translation (start of decoding, target language).
    """

    state: State
    prompt: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Go on from the first `length` tokens of `state` with the tokens of `feed`, and answer the questions in `ask`.

    Attributes:
        state: of an earlier `Outcome` of the same sentence, or of `Opened`.
        length: how many of the state's tokens count; the rest is as if it had never been fed.
        feed: token ids; none to ask about what was fed before.
        ask: pairs (offset, token): log P(token | the first `length + offset + 1` tokens, those of `feed` included,
            source); a negative offset asks about what was fed before.
        rough: the answers may be more than the true log-probabilities, never less, if that is cheaper.
    """

    state: State
    length: int
    feed: Sequence[int]
    ask: Sequence[tuple[int, int]]
    rough: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a `Step`.

    Attributes:
        answers: natural-log probabilities, <= 0, one a question, in the order of `Step.ask`.
        state: the first `length` tokens and the tokens of `feed`.
        rough: the answers are bounds from above.
    """

    answers: list[float]
    state: State
    rough: bool = False


@runtime_checkable
class PrefixScorer(Protocol):
    """A translation model that scores beginnings of translations. Languages are FLORES-200 codes."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the scores, and of nothing else."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest source or target that the model can take, in its own tokens, special tokens excluded."""
        ...

    @property
    def open_tokens(self) -> int:
        """How many template tokens, all sentences together, should be at work at a time: it bounds the memory."""
        ...

    @property
    def end(self) -> int:
        """The id of the token that ends a translation."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id of the token for characters that the vocabulary lacks; None where there is no such token."""
        ...

    def encode_source(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a source, special tokens excluded."""
        ...

    def encode_target(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a translation, special tokens excluded."""
        ...

    def open(self, sources: Sequence[str], *, source: str, target: str) -> list[Opened]:
        """Read the source sentences, all at once.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
            ModelError: a sentence is longer than `max_tokens`.
        """
        ...

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Take all the steps, of any opened sentences, in whatever batches suit the model; one outcome a step."""
        ...

    def close(self, opened: Opened) -> None:
        """Forget the sentence; no state of it is valid any more."""
        ...
