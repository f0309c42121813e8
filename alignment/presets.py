"""Published encoder aligners by name: `EmbeddingAligner` with the encoder, layer and threshold of a paper's program.

=========  =============  =====  ==================  ============================================================
name       encoder        layer  links               source
=========  =============  =====  ==================  ============================================================
awesome    mBERT, cased   8      softmax > 0.001,    Dou and Neubig, "Word Alignment by Fine-tuning Embeddings on
                                 or entmax > 0       Parallel Corpora", EACL 2021; neulab/awesome-align
accalign   LaBSE          6      softmax > 0.1       Wang, Chen, Wang, Han and Chen, "Multilingual Sentence
                                                     Transformer as A Multilingual Word Aligner", Findings of
                                                     EMNLP 2022; sufenlp/AccAlign
=========  =============  =====  ==================  ============================================================

Any fine-tuned checkpoint of the same form serves as ``model``, awesome-align's own among them. AccAlign's adapter does
not: it was trained with the package adapter-transformers 4.16.2 and lies outside the hub (its README names both).
Without it, this is LaBSE as the paper first measures it, before fine-tuning.
"""

from __future__ import annotations

from pathlib import Path

from spanferry.alignment.embeddings import EmbeddingAligner
from spanferry.alignment.linking import ALIASES
from spanferry.data.errors import ConfigError

LABSE = "sentence-transformers/LaBSE"
# awesome-align's thresholds by method.
_AWESOME = {"softmax": 0.001, "entmax": 0.0}


def awesome(
    model: str | Path = ALIASES["bert"],
    *,
    method: str = "softmax",
    layer: int = 8,
    threshold: float | None = None,
    device: str = "cpu",
    batch_tokens: int | None = None,
) -> EmbeddingAligner:
    """Make awesome-align's aligner, as it is before fine-tuning, or with a fine-tuned ``model``.

    Args:
        model: folder or hub id of an encoder.
        method: ``"softmax"`` or ``"entmax"``.
        layer: hidden state.
        threshold: what a probability must exceed in both directions, 0..1; None is the method's own.
        device, batch_tokens: see `EmbeddingAligner`.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded.

    >>> awesome(method="argmax")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: method 'argmax': awesome-align has softmax, entmax
    """
    if method not in _AWESOME:
        raise ConfigError(f"method {method!r}: awesome-align has {', '.join(_AWESOME)}")
    threshold = _AWESOME[method] if threshold is None else threshold
    return EmbeddingAligner(
        model, method=method, layer=layer, threshold=threshold, device=device, batch_tokens=batch_tokens
    )


def accalign(
    model: str | Path = LABSE,
    *,
    layer: int = 6,
    threshold: float = 0.1,
    device: str = "cpu",
    batch_tokens: int | None = None,
) -> EmbeddingAligner:
    """Make AccAlign's aligner without its adapter.

    Args:
        model: folder or hub id of an encoder.
        layer: hidden state.
        threshold: what a probability must exceed in both directions, 0..1.
        device, batch_tokens: see `EmbeddingAligner`.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded.
    """
    return EmbeddingAligner(
        model, method="softmax", layer=layer, threshold=threshold, device=device, batch_tokens=batch_tokens
    )
