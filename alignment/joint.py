"""Align by two witnesses of different kinds: what a translation model's encoder sees, and what was counted in text.

The encoder (`mt-encoder`) knows meaning in context and is led astray by names and rare words; counts, spelling and word
order (`lexical`) know names and idioms and are led astray by what they never met. Each says, for every two words, how
sure it is that they render each other; the mean of both is linked: each word's best on the other side, symmetrised.
What that is worth is in `docs/alignment.md` and `docs/projection.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spanferry.alignment.base import Matrix, WordAlignment
from spanferry.alignment.lexical import LexicalAligner, best_links
from spanferry.alignment.linking import Pair
from spanferry.alignment.mt_encoder import MTEncoderAligner
from spanferry.alignment.symmetrize import get_symmetrization
from spanferry.data.errors import ConfigError

# The encoder's numbers differ in rounding from batch to batch, and a word that stands twice is as like itself twice.
_TOLERANCE = 1e-3


class JointAligner:
    """Links words by the mean of what `mt-encoder` and `lexical` say.

    Where there are no priors for the two languages, the encoder is heard alone.

    Args:
        model, adapter, layer, revision, allow_pickle, device, batch_tokens: of the encoder, see
            `spanferry.alignment.mt_encoder.MTEncoderAligner`.
        priors, readings: see `spanferry.alignment.lexical.LexicalAligner`. With 1 reading, the default, a pair's links
            depend on nothing but the pair; with 3 the pairs of one call teach each other names and terms.
        threshold: least mean of the two for a link, 0..1.
        symmetrization: see `spanferry.alignment.symmetrize`.

    The score of a link is the mean.

    Raises:
        ConfigError: a setting is out of range.
        DataError: a file of priors cannot be read.
        ModelError: the model cannot be loaded, or the adapter is another model's.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        *,
        adapter: str | Path | None = "auto",
        layer: int | None = None,
        priors: str | Path | list[str | Path] | None = "bundled",
        readings: int = 1,
        threshold: float = 0.1,
        symmetrization: str = "grow-diag-final-and",
        revision: str | None = None,
        allow_pickle: bool = False,
        device: str = "cpu",
        batch_tokens: int | None = None,
    ) -> None:
        if not 0.0 <= threshold < 1.0:
            raise ConfigError(f"threshold {threshold}, expected 0 <= threshold < 1")
        self._symmetrize, self._threshold = get_symmetrization(symmetrization), threshold
        self._lexical = LexicalAligner(priors=priors, readings=readings)
        self._encoder = MTEncoderAligner(
            model,
            adapter=adapter,
            layer=layer,
            revision=revision,
            allow_pickle=allow_pickle,
            device=device,
            batch_tokens=batch_tokens,
        )
        witnesses = f"{self._encoder.fingerprint}+{self._lexical.fingerprint}"
        self._fingerprint = f"joint:{threshold}:{symmetrization}:({witnesses})"

    @property
    def fingerprint(self) -> str:
        """Identity of both aligners and of how they are joined."""
        return self._fingerprint

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair.

        Raises:
            ConfigError: files of priors were given, but none for these languages.
            LanguageError: neither the model nor its adapter was taught ``source`` or ``target``.
        """
        heard: list[Sequence[Matrix]] = [self._encoder.probabilities(pairs, source=source, target=target)]
        if self._lexical.knows(source, target):
            heard.append(self._lexical.probabilities(pairs, source=source, target=target))
        return [self._linked(witnesses) for witnesses in zip(*heard, strict=True)]

    def _linked(self, witnesses: tuple[Matrix, ...]) -> WordAlignment:
        mean: Matrix = np.mean(witnesses, axis=0, dtype=np.float64)
        return best_links(mean, self._symmetrize, self._threshold, tolerance=_TOLERANCE, witnesses=witnesses)
