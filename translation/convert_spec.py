"""The weights' way into CTranslate2's form, with what its own converter lacks for transformers 5.

CTranslate2's converter reads every weight. It is given the vocabulary from our own tokenizers, so that ids are the ids
that translation uses, and five things that it does not know: mBART is pre-norm (its configuration no longer says so),
the decoder's start token of mBART-50, whether T5 scales its output (that, too, has moved in the configuration), T5
checkpoints that ship their shared embedding under another name, and the attention heads that align words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ctranslate2.converters import TransformersConverter

from spanferry.data.errors import ModelError
from spanferry.translation.checkpoints import Checkpoint, no_progress_bars
from spanferry.translation.families import ModelTokenizer

Alignment = tuple[int | None, tuple[int, ...]]


def convert_checkpoint(
    checkpoint: Checkpoint,
    config: dict[str, Any],
    tokenizer: ModelTokenizer,
    output: Path,
    quantization: str,
    *,
    alignment: Alignment = (None, ()),
) -> None:
    """Write a checkpoint as a CTranslate2 model into an existing folder.

    Args:
        checkpoint: what to convert.
        config: content of its config.json.
        tokenizer: its tokenizer.
        output: folder to write model.bin, config.json and the vocabulary into; what is in it is removed.
        quantization: CTranslate2's name of how to store the weights.
        alignment: decoder layer and heads whose attention is to be returned.

    Raises:
        ModelError: CTranslate2 or transformers refuse the checkpoint.
    """
    if "vocab_size" not in config:
        raise ModelError(f"{checkpoint.folder / 'config.json'}: no vocab_size")
    vocabulary = _Vocabulary(tokenizer, int(config["vocab_size"]), config.get("decoder_start_token_id"))
    converter = _Converter(checkpoint, vocabulary, alignment)
    try:
        with no_progress_bars():
            converter.convert(str(output), quantization=quantization, force=True)
    except ModelError:
        raise
    except Exception as error:  # whatever a damaged checkpoint makes transformers, torch or CTranslate2 raise
        raise ModelError(f"{checkpoint.name}: cannot be converted to CTranslate2: {error}") from error


class _Vocabulary:
    """What CTranslate2's converter asks of a transformers tokenizer, answered from ours."""

    special_tokens_map: Mapping[str, list[str]] = MappingProxyType({})
    num_madeup_words = 0

    def __init__(self, tokenizer: ModelTokenizer, size: int, start_id: int | None) -> None:
        known = tokenizer.subwords.vocabulary
        # Rows of the embedding that no token has; the decoder may in principle choose one, so they need a name.
        self.tokens = [*known[:size], *(f"madeupword{number}" for number in range(len(known), size))]
        missing = [token for token in (tokenizer.eos, tokenizer.unk) if token not in self.tokens]
        outside = [token for token in tokenizer.language_tokens.values() if token in known[size:]]
        if missing or outside:
            raise ModelError(
                f"the tokenizer does not fit the model: {', '.join([*missing, *outside[:3]])} "
                f"not among the {size} tokens that the model knows"
            )
        self.start_token = tokenizer.start if start_id is None else self.tokens[start_id]
        self.bos_token = self.start_token
        self.pad_token = self.start_token
        self.eos_token = tokenizer.eos
        self.unk_token = tokenizer.unk
        self.unk_token_id = self.tokens.index(tokenizer.unk)

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return self.tokens[number]


class _Converter(TransformersConverter):  # type: ignore[misc]
    def __init__(self, checkpoint: Checkpoint, vocabulary: _Vocabulary, alignment: Alignment) -> None:
        super().__init__(str(checkpoint.folder))
        self._checkpoint = checkpoint
        self._vocabulary = vocabulary
        self._alignment = alignment

    def load_tokenizer(self, tokenizer_class: Any, model_name_or_path: str, **kwargs: Any) -> Any:
        return self._vocabulary

    def load_model(self, model_class: Any, model_name_or_path: str, **kwargs: Any) -> Any:
        safe = self._checkpoint.weights[0].endswith((".safetensors", ".safetensors.index.json"))
        model = model_class.from_pretrained(
            model_name_or_path, use_safetensors=safe, weights_only=True, trust_remote_code=False, **kwargs
        )
        if model.config.model_type == "mbart":
            model.config.normalize_before = True
        if model.config.model_type == "t5":
            _restore_shared_embedding(model, self._checkpoint)
            # CTranslate2 scales the decoder's output by what this attribute used to mean.
            model.config.tie_word_embeddings = model.config.scale_decoder_outputs
        layer, heads = self._alignment
        if layer is not None:
            _move_heads_first(model.model.decoder.layers[layer].encoder_attn, heads)
        return model

    def _load(self) -> Any:
        spec = super()._load()
        if self._vocabulary.start_token and not getattr(spec.decoder, "start_from_zero_embedding", False):
            spec.config.decoder_start_token = self._vocabulary.start_token
        layer, heads = self._alignment
        if layer is not None:
            spec.decoder.alignment_layer = np.dtype("int16").type(layer)
            spec.decoder.alignment_heads = np.dtype("int16").type(len(heads))
        return spec


def _move_heads_first(attention: Any, heads: tuple[int, ...]) -> None:
    """Renumber the heads of one attention layer, which leaves its function as it is."""
    import torch

    count = attention.num_heads
    order = torch.tensor([*heads, *(head for head in range(count) if head not in heads)])
    rows = torch.arange(attention.q_proj.out_features).view(count, -1)[order].flatten()
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.copy_(projection.weight[rows].clone())
            if projection.bias is not None:
                projection.bias.copy_(projection.bias[rows].clone())
        attention.out_proj.weight.copy_(attention.out_proj.weight[:, rows].clone())


def _restore_shared_embedding(model: Any, checkpoint: Checkpoint) -> None:
    """Undo a wrong tie: MADLAD-400 ships its embedding as `decoder.embed_tokens`, without `shared`.

    transformers 5 then ties the embeddings with the output layer, which is another matrix there.
    """
    import torch
    from safetensors import safe_open

    tensors: dict[str, Any] = {}
    names: set[str] = set()
    for part in checkpoint.weights:
        if not part.endswith(".safetensors"):
            continue
        with safe_open(str(checkpoint.folder / part), framework="pt") as file:
            keys = set(file.keys())
            names |= keys
            for name in keys & {"decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "lm_head.weight"}:
                tensors[name] = file.get_tensor(name)
    embedding = tensors.get("decoder.embed_tokens.weight", tensors.get("encoder.embed_tokens.weight"))
    if "shared.weight" in names or embedding is None or "lm_head.weight" not in tensors:
        return
    dtype = model.lm_head.weight.dtype
    rows, width = embedding.shape
    shared = torch.nn.Embedding(rows, width, _weight=embedding.to(dtype))
    model.shared = model.encoder.embed_tokens = model.decoder.embed_tokens = shared
    model.lm_head.weight = torch.nn.Parameter(tensors["lm_head.weight"].to(dtype), requires_grad=False)
