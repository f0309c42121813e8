"""Align by the states of a translation model's encoder, each side read in its own language.

The model has seen translations, so its encoder puts renderings of each other close together without being trained to;
an adapter (`spanferry.alignment.adapter`) trains it to. The bundled model has one. Two settings matter:

- ``method="mutual", unit="word"``, the default: cosines of the words' mean states, normalised in both directions. What
  it is worth with the bundled model, with its adapter and without, and the commands, are in `docs/projection.md`.
- ``method="softmax", unit="bpe"``: TransAlign (October 2025; its published program) on large models: dot products of
  the encoder's last states, normalised by softmax in both directions; subwords are linked where both probabilities
  exceed 0.001, words where any of their subwords are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spanferry.alignment.adapter import BUNDLED as BUNDLED_ADAPTER
from spanferry.alignment.adapter import adapter_checksum, load_adapter, merge, require_base
from spanferry.alignment.base import TokenizedText, WordAlignment
from spanferry.alignment.encoder import SplitBatch, SplitText, SubwordEncoder
from spanferry.alignment.linking import LinkSettings, Matrix, Pair, align_by_similarity, word_probabilities
from spanferry.alignment.placement import words_of_subwords
from spanferry.data.errors import ModelError
from spanferry.translation.checkpoints import checksum, find_checkpoint, no_progress_bars
from spanferry.translation.convert import longest_sequence, trained_languages
from spanferry.translation.families import ModelTokenizer, load_tokenizer

_TRANSALIGN_THRESHOLD = 0.001
# Loses nothing on Europarl; above it the error rate still falls on XL-WA's dev sets, but recall too: bundled/README.md.
_THRESHOLDS = {"mutual": 0.1}


class MTEncoderAligner:
    """Links words whose states in a translation model's encoder are alike.

    Args:
        model: folder, hub id or ``"bundled"``: an M2M100, NLLB, mBART-50, Marian or T5 checkpoint.
        method, unit, distortion, threshold, temperature: see `spanferry.alignment.linking.LinkSettings`; ``threshold``
            is 0.1 with ``mutual`` unless it is given, else TransAlign's 0.001.
        layer: hidden state to use; None is the one that the adapter was trained for, without one the encoder's output.
        adapter: folder of an adapter that `spanferry models train-aligner` wrote for this model, ``"bundled"`` for the
            one of the bundled model, None for none; ``"auto"`` is ``"bundled"`` with the bundled model and none else.
        revision: commit or tag of a hub model; the newest if absent.
        allow_pickle: take `pytorch_model.bin` where no safetensors are, read by torch's weights_only unpickler.
        device: ``"cpu"``, ``"cuda"``, ...; not part of the fingerprint, no more than the number of subwords in one
            forward pass.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded, or the adapter is another model's.
    """

    def __init__(
        self,
        model: str | Path = "bundled",
        *,
        method: str = "mutual",
        layer: int | None = None,
        unit: str = "word",
        distortion: float = 0.0,
        threshold: float | None = None,
        temperature: float = 0.05,
        adapter: str | Path | None = "auto",
        revision: str | None = None,
        allow_pickle: bool = False,
        device: str = "cpu",
        batch_tokens: int | None = None,
    ) -> None:
        if threshold is None:
            threshold = _THRESHOLDS.get(method, _TRANSALIGN_THRESHOLD)
        self._settings = LinkSettings(method, unit, distortion, threshold, temperature)
        checkpoint = find_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
        if checkpoint.converted:
            raise ModelError(
                f"{model}: a converted CTranslate2 model, whose encoder cannot be read on its own. Give 'mt-encoder' "
                "the checkpoint that it was made from (its setting `model`), or take the aligner 'attention'"
            )
        encoder = load_encoder(checkpoint.folder)
        identity, taught = checksum(checkpoint)[:16], frozenset[str]()
        if (folder := _adapter_folder(adapter, model)) is not None:
            record, matrices = load_adapter(folder)
            require_base(record, checkpoint, folder)
            merge(encoder, matrices)
            identity += f"+{adapter_checksum(folder)[:16]}"
            taught = frozenset(record.languages)
            layer = record.layer if layer is None else layer
        self._name = str(model)
        self._tokenizer = load_tokenizer(checkpoint.folder)
        if trained := trained_languages(encoder.config.to_dict()):
            self._tokenizer = self._tokenizer.within(taught.union(trained))
        self._fingerprint = f"mt-encoder:{identity}:layer={layer}:{self._settings.fingerprint}"
        self._encoder = SubwordEncoder(
            encoder.to(device),
            layer=encoder.config.num_hidden_layers if layer is None else layer,
            splitter=MTSplitter(self._tokenizer),
            max_length=longest_sequence(encoder.config.to_dict()),
            pad=encoder.config.pad_token_id,
            batch_tokens=batch_tokens,
        )

    @property
    def fingerprint(self) -> str:
        """Identity of weights, layer and method."""
        return self._fingerprint

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair.

        Raises:
            LanguageError: neither the model nor its adapter was taught ``source`` or ``target``.
        """
        self._tokenizer.check_pair(source, target, model=self._name)
        return align_by_similarity(pairs, self._encoder, self._settings, source=source, target=target)

    def probabilities(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[Matrix]:
        """Return the matrix that ``mutual`` links by: see `spanferry.alignment.linking.word_probabilities`.

        Raises:
            LanguageError: see `align`.
        """
        self._tokenizer.check_pair(source, target, model=self._name)
        return word_probabilities(pairs, self._encoder, self._settings.temperature, source=source, target=target)


class MTSplitter:
    """Cuts a text as the translation model does, with its language token."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids = {token: number for number, token in enumerate(tokenizer.subwords.vocabulary)}

    def __call__(self, texts: Sequence[TokenizedText], language: str) -> SplitBatch:
        """Return the subwords of each text, and the words whose characters they share."""
        # OPUS-MT's token names the language to translate into: the side that it never translates into has none.
        tokens = self._tokenizer.language_tokens
        known = not tokens or language in tokens
        before, after = self._tokenizer.around_source(language, language) if known else ([], [self._tokenizer.eos])
        split: list[SplitText] = []
        placed = self._tokenizer.subwords.encode_with_offsets([text.text for text in texts])
        for text, (pieces, offsets) in zip(texts, placed, strict=True):
            subwords, words = words_of_subwords(text.tokens, offsets)
            split.append(SplitText(self._number(pieces), subwords, words))
        return SplitBatch(self._number(before), self._number(after), split)

    def _number(self, tokens: Sequence[str]) -> list[int]:
        return [self._ids[token] for token in tokens]


def _adapter_folder(adapter: str | Path | None, model: str | Path) -> Path | None:
    if adapter == "auto":
        adapter = "bundled" if str(model) == "bundled" else None
    if adapter is None:
        return None
    return BUNDLED_ADAPTER if str(adapter) == "bundled" else Path(adapter).expanduser()


def load_encoder(folder: Path) -> Any:
    """Return the encoder of a checkpoint, in float32 and evaluation mode.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoModelForSeq2SeqLM

    try:
        with no_progress_bars():
            model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: cannot be loaded as a translation model of transformers: {error}") from error
    return model.get_encoder().eval()
