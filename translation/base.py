"""What a translation is, and what a translator must do.

Two layers. A `Translator` is a model: sentences in, one `Hypothesis` a sentence out. Everything that makes it safe on
real text (long texts, protected matter, duplicates, the memory) stands around it and returns a `Translation`, which
also says which stretch of the target renders which stretch of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One sentence as the model returned it.

    Attributes:
        text: the translation, detokenised.
        score: mean natural-log probability per target token (end token included), <= 0; None where a backend has none.
        finished: False when decoding stopped at the length limit, so that the text may be cut off.
    """

    text: str
    score: float | None = None
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """One translated stretch: ``source[source_start:source_end]`` became ``target[target_start:target_end]``.

    Segments of a `Translation` are in source order and do not overlap; what lies between them (white space, line
    breaks, list bullets, code blocks) is the same on both sides.
    """

    source_start: int
    source_end: int
    target_start: int
    target_end: int


@dataclass(frozen=True, slots=True)
class Translation:
    """A whole text and its translation.

    Attributes:
        source: the text as it was given.
        text: its translation.
        segments: the stretches that were translated together, see `Segment`.
        score: mean of the segments' scores, weighted by target length in characters; None without scores.
        flags: what a reader should know, sorted: ``"unfinished"`` (a segment hit the length limit),
            ``"protected_lost"`` (a URL, number or placeholder did not come through), ``"split"`` (a sentence over the
            model's limit was cut at a weaker boundary).
    """

    source: str
    text: str
    segments: tuple[Segment, ...] = ()
    score: float | None = None
    flags: tuple[str, ...] = ()


@runtime_checkable
class Translator(Protocol):
    """A translation model: sentences in, one `Hypothesis` a sentence out, in the same order.

    Languages are FLORES-200 codes (``eng_Latn``); see `spanferry.translation.languages`.
    """

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the output (weights' checksum, beam, prefixes), and of nothing else.

        Device, batch size and threads are not in it: they must not change what is remembered.
        """
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """FLORES-200 codes that the model speaks; None when it cannot tell (a bare T5)."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest source the model can take, in its own tokens, special tokens excluded."""
        ...

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the length of each text in the model's own tokens, special tokens excluded."""
        ...

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        """Translate each sentence of ``texts``.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
            ModelError: a text is longer than `max_tokens` (texts are never cut off silently), or the model failed.
        """
        ...


@runtime_checkable
class Bounded(Protocol):
    """A translator that can be told to give up sooner: what runs on and on costs most, and is worth nothing."""

    def bounded(self, max_length_ratio: float) -> Translator:
        """Return the same model, whose translations stop at so many tokens for each token of the source.

        It has a fingerprint of its own, since a translation may be cut off that the other one ends.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """A model that says how probable a given translation is."""

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        """Return, a pair, log P(token | tokens before it, source) for each target token and the end token."""
        ...
