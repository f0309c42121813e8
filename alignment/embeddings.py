"""Align by the similarity of contextual embeddings: SimAlign's methods and awesome-align's, batched over the corpus.

With ``method`` argmax, itermax or match the links are those of the `simalign` package on the same encoder (Jalili
Sabet et al. 2020); with softmax and entmax those of awesome-align (Dou and Neubig 2021). The encoder is any
multilingual one of transformers with a fast tokenizer; `spanferry.alignment.presets` has the published choices of
encoder, layer and threshold by name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from spanferry.alignment.base import TokenizedText, WordAlignment
from spanferry.alignment.encoder import SplitBatch, SplitText, SubwordEncoder
from spanferry.alignment.linking import ALIASES, LinkSettings, Pair, align_by_similarity
from spanferry.data.errors import ModelError
from spanferry.translation.checkpoints import checksum, find_checkpoint, no_progress_bars


class EmbeddingAligner:
    """Links words whose contextual embeddings are alike.

    Args:
        model: folder or hub id of an encoder, or SimAlign's names ``"bert"`` and ``"xlmr"``.
        method, unit, distortion, threshold, temperature: see `spanferry.alignment.linking.LinkSettings`.
        layer: hidden state to use; 8 is best in both papers for models of 12 layers.
        device: ``"cpu"``, ``"cuda"``, ...; not part of the fingerprint, no more than the number of subwords in one
            forward pass.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded, or has no fast tokenizer.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        method: str = "itermax",
        layer: int = 8,
        unit: str = "bpe",
        distortion: float = 0.0,
        threshold: float = 0.001,
        temperature: float = 0.05,
        device: str = "cpu",
        batch_tokens: int | None = None,
    ) -> None:
        self._settings = LinkSettings(method, unit, distortion, threshold, temperature)
        checkpoint = find_checkpoint(ALIASES.get(str(model), model))
        self._fingerprint = f"embeddings:{checksum(checkpoint)[:16]}:layer={layer}:{self._settings.fingerprint}"
        self._encoder = _load_encoder(checkpoint.folder, layer=layer, device=device, batch_tokens=batch_tokens)

    @property
    def fingerprint(self) -> str:
        """Identity of weights, layer and method."""
        return self._fingerprint

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair; the encoder is not told the languages."""
        return align_by_similarity(pairs, self._encoder, self._settings, source=source, target=target)


class WordSplitter:
    """Cuts each word by itself, as SimAlign and awesome-align do: `is_split_into_words` of transformers' tokenizers."""

    def __init__(self, tokenizer: Any) -> None:
        # The call leaves the tokenizer beneath without truncation and padding. That one is asked from now on: what
        # transformers makes of each text beyond its subwords takes half as long again as the cutting.
        mask = tokenizer([["a"]], is_split_into_words=True, return_special_tokens_mask=True)
        self._tokenizer = tokenizer.backend_tokenizer
        ids, special = mask["input_ids"][0], mask["special_tokens_mask"][0]
        first, last = special.index(0), len(special) - special[::-1].index(0)
        self._before, self._after = ids[:first], ids[last:]

    def __call__(self, texts: Sequence[TokenizedText], language: str) -> SplitBatch:
        """Return the subwords of each text; the language plays no part."""
        split, words_of = [], [text.words for text in texts]
        pieces = self._cut(dict.fromkeys(chain.from_iterable(words_of)))
        for text in words_of:
            parts = [pieces[word] for word in text]
            ids = list(chain.from_iterable(parts))
            words = [number for number, part in enumerate(parts) for _ in part]
            split.append(SplitText(ids, list(range(len(ids))), words))
        return SplitBatch(self._before, self._after, split)

    def _cut(self, words: Collection[str]) -> dict[str, list[int]]:
        """Return the subwords of each of these distinct words: cut once, however often it stands in the texts."""
        parts: list[list[int]] = [[] for _ in words]
        encoded = self._tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        for subword, number in zip(encoded.ids, encoded.word_ids, strict=True):
            parts[number].append(subword)
        return dict(zip(words, parts, strict=True))


def _load_encoder(folder: Path, *, layer: int, device: str, batch_tokens: int | None) -> SubwordEncoder:
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with no_progress_bars():
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval().to(device)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: cannot be loaded as an encoder of transformers: {error}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: its tokenizer cannot tell which word a subword belongs to (no fast tokenizer)")
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    return SubwordEncoder(
        model,
        layer=layer,
        splitter=WordSplitter(tokenizer),
        max_length=min(tokenizer.model_max_length, _positions(model.config)),
        pad=tokenizer.pad_token_id or 0,
        batch_tokens=batch_tokens,
    )


def _positions(config: Any) -> int:
    """Longest sequence that the position embeddings allow."""
    positions = int(getattr(config, "max_position_embeddings", None) or 10**9)
    # RoBERTa and its kin count positions from the padding token's id on.
    return positions - config.pad_token_id - 1 if "roberta" in config.model_type else positions
