"""A translation model that remembers: no sentence is translated twice, and a crash costs one chunk of work at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from spanferry.data.errors import ModelError
from spanferry.translation.base import Bounded, Hypothesis, Translator
from spanferry.translation.memory import TranslationMemory

Progress = Callable[[int, int], None]
"""Called with (sentences done, sentences in all) whenever the first of them has grown."""


@dataclass(slots=True)
class TranslationStats:
    """What calls of `translate_texts` did; hand the same value to several calls to add them up.

    Attributes:
        texts: texts given.
        sentences: different sentences among them, those that need no model left out.
        remembered: sentences (and parts and second tries of sentences) that came from the memory.
        translated: sentences (and parts and second tries) that the model translated.
        characters: their length, in characters.
        retried: sentences translated a second time because protected matter was lost.
        lost: sentences whose protected matter was lost for good.
        model_seconds: time in the model's `translate`.
        seconds: time in `translate_texts`, the model's included.
    """

    texts: int = 0
    sentences: int = 0
    remembered: int = 0
    translated: int = 0
    characters: int = 0
    retried: int = 0
    lost: int = 0
    model_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class RememberingModel:
    """A translator for one language pair that knows what it has translated, in this call or in an earlier build.

    Attributes:
        translator: the model.
        source: FLORES-200 code of the language it reads.
        target: FLORES-200 code of the language it writes.
        memory: what earlier builds translated; None for none.
        stats: is added to.
        chunk_size: most sentences in one call of the model; the memory is written after each.
        known: sentence -> what the model made of it.
    """

    translator: Translator
    source: str
    target: str
    memory: TranslationMemory | None = None
    stats: TranslationStats = field(default_factory=TranslationStats)
    chunk_size: int = 5000
    known: dict[str, Hypothesis] = field(default_factory=dict)

    def bounded(self, max_length_ratio: float) -> RememberingModel:
        """Return a model that gives up sooner, if the translator can (`Bounded`), and this one if it cannot."""
        if not isinstance(self.translator, Bounded):
            return self
        return replace(self, translator=self.translator.bounded(max_length_ratio), known={})

    def recall(self, texts: Iterable[str]) -> None:
        """Fetch what the memory has of ``texts`` into `known`."""
        if self.memory is not None:
            unknown = [text for text in texts if text not in self.known]
            found = self.memory.get(self.translator.fingerprint, self.source, self.target, unknown)
            self.known.update(found)
            self.stats.remembered += len(found)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each of ``texts`` in the model's tokens."""
        return self.translator.count_tokens(texts, self.source) if texts else []

    def too_long(self, texts: Iterable[str]) -> list[str]:
        """Return those of ``texts`` that the model cannot take; what is known it has taken before."""
        limit = self.translator.max_tokens
        # A token is a character at least, and a tokenizer adds at most a word boundary: short texts need no counting.
        # Outside ASCII, normalisation can make many characters of one.
        doubtful = [text for text in texts if (len(text) >= limit or not text.isascii()) and text not in self.known]
        return [text for text, tokens in zip(doubtful, self.count_tokens(doubtful), strict=True) if tokens > limit]

    def translate(self, texts: Iterable[str], progress: Progress | None = None) -> None:
        """Translate those of ``texts`` that are not in `known`, into it and into the memory.

        Raises:
            LanguageError, ModelError: from the translator; what its earlier chunks gave is in the memory.
        """
        wanted = dict.fromkeys(texts)
        missing = [text for text in wanted if text not in self.known]
        done = len(wanted) - len(missing)
        if progress is not None and done:
            progress(done, len(wanted))
        for at in range(0, len(missing), self.chunk_size):
            new = self._translate_chunk(missing[at : at + self.chunk_size])
            self.known.update(new)
            if self.memory is not None:
                self.memory.put(self.translator.fingerprint, self.source, self.target, new)
            if progress is not None:
                progress(done + at + len(new), len(wanted))

    def _translate_chunk(self, chunk: list[str]) -> dict[str, Hypothesis]:
        began = time.perf_counter()
        hypotheses = self.translator.translate(chunk, source=self.source, target=self.target)
        self.stats.model_seconds += time.perf_counter() - began
        self.stats.translated += len(chunk)
        self.stats.characters += sum(map(len, chunk))
        if len(hypotheses) != len(chunk):
            raise ModelError(
                f"the translator {self.translator.fingerprint} returned {len(hypotheses)} translations of {len(chunk)} "
                "sentences; a Translator must return one for each, in order"
            )
        return dict(zip(chunk, hypotheses, strict=True))
