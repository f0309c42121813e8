"""The `simalign` package as it is, one sentence pair at a time: the reference that `embeddings` is held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.alignment.linking import ALIASES, LinkSettings
from spanferry.data.errors import ConfigError, ModelError
from spanferry.translation.checkpoints import checksum, find_checkpoint

# Our name of a method -> simalign's letter for it, and its name in the answer.
_METHODS = {"argmax": ("a", "inter"), "itermax": ("i", "itermax"), "match": ("m", "mwmf")}


class SimAlignPackageAligner:
    """Links words by `simalign.SentenceAligner` (Jalili Sabet et al. 2020).

    Args:
        model: folder or hub id of an encoder, or ``"bert"`` and ``"xlmr"``.
        method: argmax, itermax or match.
        layer, unit, distortion: as in `spanferry.alignment.embeddings.EmbeddingAligner`.
        device: ``"cpu"``, ``"cuda"``, ...

    The package tells no similarities: every score is 1.0.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        method: str = "itermax",
        layer: int = 8,
        unit: str = "bpe",
        distortion: float = 0.0,
        device: str = "cpu",
    ) -> None:
        LinkSettings(method, unit, distortion)
        if method not in _METHODS:
            raise ConfigError(f"method {method!r}: simalign has {', '.join(_METHODS)}")
        letter, self._method = _METHODS[method]
        checkpoint = find_checkpoint(ALIASES.get(str(model), model))
        self._fingerprint = f"simalign:{checksum(checkpoint)[:16]}:{method}:{layer}:{unit}:{distortion}"
        self._aligner = _load(
            checkpoint.folder, unit=unit, distortion=distortion, letter=letter, device=device, layer=layer
        )

    @property
    def fingerprint(self) -> str:
        """Identity of weights, layer and method."""
        return self._fingerprint

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        """Return one alignment a pair; the languages play no part.

        Raises:
            ModelError: a text is longer than the encoder takes (the package would cut it off).
        """
        return [self._align(left, right) for left, right in pairs]

    def _align(self, left: TokenizedText, right: TokenizedText) -> WordAlignment:
        if not (left.tokens and right.tokens):
            return WordAlignment(())
        tokenizer = self._aligner.embed_loader.tokenizer
        for text in (left, right):
            length = len(tokenizer(text.words, is_split_into_words=True, verbose=False)["input_ids"])
            if length > tokenizer.model_max_length:
                raise ModelError(
                    f"a text of {length} subwords, more than the {tokenizer.model_max_length} that simalign's encoder "
                    f"takes: {text.text[:60]!r}... The aligner 'embeddings' reads such texts in windows"
                )
        found = self._aligner.get_word_aligns(left.words, right.words)[self._method]
        return WordAlignment(tuple(Link(int(i), int(j)) for i, j in found))


def _load(folder: Path, *, unit: str, distortion: float, letter: str, device: str, layer: int) -> Any:
    from simalign import SentenceAligner

    try:
        return SentenceAligner(
            model=str(folder),
            token_type=unit,
            distortion=distortion,
            matching_methods=letter,
            device=device,
            layer=layer,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: simalign cannot load it: {error}") from error
