"""A model that scores many short translations, and says where the tokens that it scored stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from spanferry.translation.ct2 import CTranslate2Translator, load_ctranslate2


@runtime_checkable
class PhraseScorer(Protocol):
    """A `spanferry.translation.base.Scorer` whose answers can be laid over the text. Languages are FLORES-200 codes."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the scores, and of nothing else."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest source or target that the model can take, in its own tokens, special tokens excluded."""
        ...

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the length of each text in the model's own tokens, special tokens excluded."""
        ...

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        """Return, a pair, log P(token | tokens before it, source) for each target token and the end token.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
            ModelError: a text is longer than `max_tokens`.
        """
        ...

    def target_offsets(self, texts: Sequence[str], language: str) -> list[list[tuple[int, int]]]:
        """Return where each token of a target stands, ``text[start:end]``, a space before it included or not.

        As many as :meth:`score` has answers, without the end token.
        """
        ...


class CTranslate2PhraseScorer:
    """Scores phrases with a converted model, sorted by length, batched by tokens.

    Args:
        model: folder, hub id or ``"bundled"``; or a loaded model, to share it with the translation.
        settings: of a model to load, see `load_ctranslate2`.
    """

    def __init__(self, model: str | Path | CTranslate2Translator = "bundled", **settings: Any) -> None:
        loaded = model if isinstance(model, CTranslate2Translator) else load_ctranslate2(model, **settings)
        self.translator = loaded
        self.max_tokens = loaded.max_tokens
        self.fingerprint = loaded.computes  # how it would search does not matter here

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the length of each text in the model's own tokens, special tokens excluded."""
        return self.translator.count_tokens(texts, language)

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        """Return log P of each target token and the end token, a pair; see `PhraseScorer.score`."""
        return self.translator.score(sources, targets, source=source, target=target)

    def target_offsets(self, texts: Sequence[str], language: str) -> list[list[tuple[int, int]]]:
        """Return where each token of a target stands; see `PhraseScorer.target_offsets`."""
        subwords = self.translator.tokenizer.subwords
        return [offsets for _, offsets in subwords.encode_with_offsets(texts, target=True)]
