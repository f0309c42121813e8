"""What a projection is, and what a projector must do: one answer for every source span, a place or a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from spanferry.alignment.base import Token
from spanferry.data.example import Span
from spanferry.translation.base import Segment


class Reason(StrEnum):
    """Why a span has no place in the target text."""

    UNALIGNED = "unaligned"  # no target token is linked to any of its tokens
    DISCONTINUOUS = "discontinuous"  # its links lie in pieces that no allowed gap joins
    OVERLAP = "overlap"  # a better span took its place, and the source spans did not overlap
    NO_CANDIDATE = "no_candidate"  # the method found no range to choose from
    LOW_SCORE = "low_score"  # the best range scores under the threshold
    TRUNCATED = "truncated"  # its part of the source was never translated
    FILTERED = "filtered"  # a filter refused it; the verdict is in `detail`


@dataclass(frozen=True, slots=True)
class Vote:
    """What one method of several said of a span: a place, or None, with its score by its own scale."""

    method: str
    target: Span | None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """Where one source span went.

    Attributes:
        source: the span in the source text.
        target: the span in the target text, or None exactly when ``reason`` says why there is none.
        method: name of the method that decided (``"alignment"``, ``"constrained"``, ...).
        score: confidence in 0..1 by the method's own scale; None where it has none.
        reason: see `Reason`.
        detail: free text for people: a filter's verdict, what a search did.
        source_coverage: share of the source span's words that have a counterpart in the target span, 0..1; None where
            the method does not look at words.
        target_coverage: share of the target span's words that have a counterpart in the source span, 0..1.
        confidence: probability that both ends are right, 0..1, from a calibration on gold; None without one.
        votes: what each method said, for a method made of methods.
    """

    source: Span
    target: Span | None
    method: str
    score: float | None = None
    reason: Reason | None = None
    detail: str = ""
    source_coverage: float | None = None
    target_coverage: float | None = None
    confidence: float | None = None
    votes: tuple[Vote, ...] = ()

    def __post_init__(self) -> None:
        if (self.target is None) != (self.reason is not None):
            raise ValueError(f"a projection has a target or a reason, exactly one: {self}")


@dataclass(frozen=True, slots=True)
class TranslatedText:
    """One text with spans and its translation: what a projector works on.

    Attributes:
        source: the source text; ``spans`` point into it (their ``field`` is carried to the target span).
        target: its translation.
        spans: the source spans, in any order; may nest, cross, touch and repeat.
        segments: which stretch of the target renders which stretch of the source; empty means the whole.
        source_tokens, target_tokens: tokens that the data brings; None lets the projector tokenise.
        placed: where the marks of each span came out, half-open offsets into ``target``, when the text was translated
            with the marks in it; an entry is None for marks that did not come back. None: translated without marks.
    """

    source: str
    target: str
    spans: tuple[Span, ...]
    segments: tuple[Segment, ...] = ()
    source_tokens: tuple[Token, ...] | None = None
    target_tokens: tuple[Token, ...] | None = None
    placed: tuple[tuple[int, int] | None, ...] | None = None


@runtime_checkable
class Projector(Protocol):
    """A method that carries spans across a translation."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections, and of nothing else.

        It has `spanferry.alignment.base.CORPUS_WISE` in it where what becomes of a text depends on the other texts of
        the call; the fingerprint of an aligner that is such says so already.
        """
        ...

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``.

        ``source`` and ``target`` are FLORES-200 codes.
        """
        ...
