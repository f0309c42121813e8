"""The CTranslate2 backend: sentences sorted by length, batched by tokens, computed by several workers at once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, ModelError
from spanferry.data.settings import check_values
from spanferry.translation.base import Hypothesis
from spanferry.translation.convert import ConvertedModel, ensure_converted, resolve_device
from spanferry.translation.decoding import OWNER, Decoding, Placement, refuse_unknown, sort_settings
from spanferry.translation.device_memory import is_out_of_memory, one_is_too_much
from spanferry.translation.families import load_tokenizer

_log = logging.getLogger(__name__)
_CONVERSION_SETTINGS = ("revision", "quantization", "cache_dir", "allow_pickle")


def load_ctranslate2(model: str | Path = "bundled", **settings: Any) -> CTranslate2Translator:
    """Load a model, converting it first where needed.

    Args:
        model: folder, hub id, or ``"bundled"``.
        settings: the fields of `Decoding` and `Placement`, and ``revision``, ``quantization``, ``cache_dir`` and
            ``allow_pickle`` of `ensure_converted`; ``max_tokens`` lowers the longest source below the model's own limit.

    Raises:
        ConfigError: a setting is unknown, of the wrong kind or out of range.
        ModelError: the model cannot be found, converted or loaded.
    """  # noqa: E501
    decoding, placement, rest = sort_settings(settings)
    refuse_unknown(rest, (*_CONVERSION_SETTINGS, "max_tokens"))
    check_values(OWNER, rest, ensure_converted, CTranslate2Translator)
    max_tokens = rest.pop("max_tokens", None)
    converted = ensure_converted(model, device=placement.device, **rest)
    return CTranslate2Translator(converted, decoding, placement, max_tokens=max_tokens)


class CTranslate2Translator:
    """A `Translator` and `Scorer` on a converted model.

    Args:
        model: from `ensure_converted`.
        decoding: how to search.
        placement: where to compute.
        max_tokens: longest source in tokens, special tokens excluded; None for the model's own limit.
        engine: what computes, for tests; by default a `ctranslate2.Translator`.
    """

    def __init__(
        self,
        model: ConvertedModel,
        decoding: Decoding | None = None,
        placement: Placement | None = None,
        *,
        max_tokens: int | None = None,
        engine: Any = None,
    ) -> None:
        self.model = model
        self.decoding = decoding or Decoding()
        self.placement = placement or Placement()
        self.tokenizer = load_tokenizer(model.path, model.family).within(model.languages)
        self.device = resolve_device(self.placement.device)
        self.engine = engine or _load_engine(model, self.placement, self.device)
        self._batch_tokens = self.placement.padded_tokens(self.device)
        self._max_tokens = self._longest_source(max_tokens)

    def _longest_source(self, wanted: int | None) -> int:
        limits = [self.model.max_positions, self.tokenizer.length_limit or self.model.max_positions]
        possible = min(limits) - 2  # a language token and the end token
        if wanted is not None and not 1 <= wanted <= possible:
            raise ConfigError(f"max_tokens is {wanted}: expected 1 to {possible}, what {self.model.model} can take")
        return wanted or possible

    @property
    def computes(self) -> str:
        """Identity of what computes, however it is asked: weights, arithmetic, and the longest source if it is lowered.

        int8 weights count as the same on a CPU and on a GPU (int8_float16).
        """
        parts = ["ctranslate2", self.model.checksum[:16], self.model.quantization.split("_", maxsplit=1)[0]]
        if self.placement.compute_type != "default":
            parts.append(self.placement.compute_type)
        if self._max_tokens < self._longest_source(None):  # what is longer is cut, or refused
            parts.append(f"max{self._max_tokens}")
        return ":".join(parts)

    @property
    def fingerprint(self) -> str:
        """See `Translator.fingerprint`."""
        search = self.decoding
        parts = (
            self.computes,
            f"beam{search.beam_size}",
            f"lp{search.length_penalty:g}",
            f"rep{search.repetition_penalty:g}",
            f"ngram{search.no_repeat_ngram_size}",
            f"unk{int(not search.suppress_unknown)}",
            f"ratio{search.max_length_ratio:g}",
        )
        return ":".join(parts)

    def bounded(self, max_length_ratio: float) -> CTranslate2Translator:
        """Return this model with translations no longer than that; see `Bounded.bounded` and `Decoding`."""
        if max_length_ratio >= self.decoding.max_length_ratio:
            return self
        other = copy(self)  # the engine is shared
        other.decoding = replace(self.decoding, max_length_ratio=max_length_ratio)
        return other

    @property
    def languages(self) -> frozenset[str] | None:
        """FLORES-200 codes that the model speaks on either side; None when its files do not tell."""
        sources, targets = self.tokenizer.sources, self.tokenizer.targets
        return None if sources is None or targets is None else sources | targets

    @property
    def max_tokens(self) -> int:
        """Longest source in the model's own tokens, special tokens excluded."""
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the length of each text in the model's own tokens, special tokens excluded."""
        return [len(ids) for ids in self.tokenizer.subwords.encode(texts)]

    def can_spell(self, texts: Sequence[str]) -> list[bool]:
        """Tell of each text whether the vocabulary has all of it, to read and to write."""
        read, written = self.tokenizer.subwords.encode(texts), self.tokenizer.subwords.encode_target(texts)
        unknown = self.tokenizer.unk
        return [unknown not in (*one, *other) for one, other in zip(read, written, strict=True)]

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        """Translate each sentence; see `Translator.translate`.

        An empty sentence has an empty translation. Order and duplicates are kept.
        """
        source, target = self.tokenizer.check_pair(source, target, model=self.model.model)
        words = self.tokenizer.encode(texts)
        self._check_length(texts, words)
        before, after = self.tokenizer.around_source(source, target)
        prefix = self.tokenizer.target_prefix(target)
        limits = [self.decoding.length_limit(len(sequence), self.model.max_positions) for sequence in words]
        options = self._options()

        def submit(chunk: list[int]) -> list[Any]:
            results: list[Any] = self.engine.translate_batch(
                [[*before, *words[number], *after] for number in chunk],
                [prefix] * len(chunk) if prefix else None,
                max_decoding_length=limits[chunk[0]] + len(prefix),
                asynchronous=True,
                **options,
            )
            return results

        def size(number: int) -> int:
            return len(words[number]) + len(before) + len(after)

        speaking = [number for number, text in enumerate(texts) if words[number] and not text.isspace()]
        order = sorted(speaking, key=lambda number: -len(words[number]))
        chunks = _chunks(order, size, self._batch_tokens, same=lambda number: limits[number])
        hypotheses = [Hypothesis("")] * len(words)
        for chunk, results in self._compute(chunks, size, submit):
            for number, hypothesis in zip(chunk, self._read(results, len(prefix)), strict=True):
                hypotheses[number] = hypothesis
        return hypotheses

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        """Return log P of each target token and the end token, a pair; see `Scorer.score`.

        Raises:
            ModelError: a source or target is longer than the model can take.
        """
        source, target = self.tokenizer.check_pair(source, target, model=self.model.model)
        if len(sources) != len(targets):
            raise ConfigError(f"{len(sources)} sources but {len(targets)} targets: expected a target for each source")
        source_tokens = self.tokenizer.encode_source(sources, source, target)
        target_tokens = self.tokenizer.encode_target(targets, target)
        extra = sum(map(len, self.tokenizer.around_source(source, target)))
        skip = len(self.tokenizer.target_prefix(target))
        self._check_length(sources, source_tokens, extra)
        self._check_length(targets, target_tokens, skip)
        return self.score_tokens(source_tokens, target_tokens, skip=skip)

    def score_tokens(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], *, skip: int
    ) -> list[list[float]]:
        """Return log P of the tokens of each target after the first `skip`, and of the end token.

        Args:
            sources: tokens as the encoder reads them.
            targets: tokens as the decoder writes them, the language token included, without the end token.
            skip: tokens at the beginning of each target that are given, not scored.
        """

        def submit(chunk: list[int]) -> list[Any]:
            results: list[Any] = self.engine.score_batch(
                [sources[number] for number in chunk],
                [targets[number] for number in chunk],
                max_input_length=0,
                offset=skip,
                asynchronous=True,
            )
            return results

        def size(number: int) -> int:
            return len(sources[number]) + len(targets[number])

        scores: list[list[float]] = [[] for _ in sources]
        order = sorted(range(len(sources)), key=lambda number: -size(number))
        for chunk, results in self._compute(_chunks(order, size, self._batch_tokens), size, submit):
            for number, result in zip(chunk, results, strict=True):
                scores[number] = list(result.log_probs)
        return scores

    def _check_length(self, texts: Sequence[str], words: Sequence[Sequence[str]], extra: int = 0) -> None:
        for number, sequence in enumerate(words):
            if len(sequence) - extra > self._max_tokens:
                raise ModelError(
                    f"text {number} has {len(sequence) - extra} tokens, more than the {self._max_tokens} that "
                    f"{self.model.model} takes: {texts[number][:60]!r}... Split it into sentences first"
                )

    def _options(self) -> dict[str, Any]:
        search = self.decoding
        return {
            "beam_size": search.beam_size,
            "length_penalty": search.length_penalty,
            "repetition_penalty": search.repetition_penalty,
            "no_repeat_ngram_size": search.no_repeat_ngram_size,
            "disable_unk": search.suppress_unknown,
            "max_input_length": 0,
            "return_scores": True,
            "return_end_token": True,
        }

    def _read(self, results: Sequence[Any], prefix: int) -> list[Hypothesis]:
        eos = self.tokenizer.eos
        tokens = [result.hypotheses[0][prefix:] for result in results]
        finished = [bool(sequence) and sequence[-1] == eos for sequence in tokens]
        texts = self.tokenizer.decode(tokens)
        return [
            Hypothesis(text, self._mean(result.scores[0], len(sequence), prefix), ended)
            for text, result, sequence, ended in zip(texts, results, tokens, finished, strict=True)
        ]

    def _mean(self, score: float, length: int, prefix: int) -> float:
        """Mean log P per token from CTranslate2's score, which is log P / (prefix and tokens) ** length_penalty."""
        total: float = score * (length + prefix) ** self.decoding.length_penalty
        return min(0.0, total / max(1, length))

    def _compute(
        self, chunks: Iterable[list[int]], size: Callable[[int], int], submit: Callable[[list[int]], list[Any]]
    ) -> Iterator[tuple[list[int], list[Any]]]:
        """Keep the workers busy; where memory runs out, go on with batches of half the size, now and later."""
        waiting = deque(chunks)
        running: deque[tuple[list[int], list[Any]]] = deque()
        # Deep, because batches take unlike times: the others go on while the slowest one is waited for.
        window = 16 * self.engine.num_translators
        while waiting or running:
            while waiting and len(running) < window:
                chunk = waiting.popleft()
                running.append((chunk, submit(chunk)))
            chunk, promises = running.popleft()
            try:
                results = [promise.result() for promise in promises]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise ModelError(f"{self.model.model}: {error}") from error
                if len(chunk) == 1:
                    advice = "Lower beam_size or max_tokens, choose a smaller quantization"
                    raise one_is_too_much(self.model.model, error, advice) from error
                self._batch_tokens = min(self._batch_tokens, len(chunk) // 2 * size(chunk[0]))
                _log.warning("out of memory: going on with batches of %d tokens", self._batch_tokens)
                waiting = deque(_cut([chunk, *waiting], size, self._batch_tokens))
                continue
            yield chunk, results


def _load_engine(model: ConvertedModel, placement: Placement, device: str) -> Any:
    import ctranslate2

    workers, threads = placement.cpu_workers() if device == "cpu" else (max(1, placement.workers), 0)
    index = placement.device_index
    try:
        return ctranslate2.Translator(
            str(model.path),
            device=device,
            device_index=list(index) if isinstance(index, tuple) else index,
            compute_type=placement.compute_type,
            inter_threads=workers,
            intra_threads=threads,
            max_queued_batches=-1,
        )
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{model.path}: CTranslate2 cannot load the model: {error}") from error


def _cut(chunks: Iterable[list[int]], size: Callable[[int], int], tokens: int) -> Iterator[list[int]]:
    """Cut batches, each longest first, so that none has more than `tokens` tokens with padding.

    >>> list(_cut([[7, 7, 7, 7, 7]], lambda number: number, 14))
    [[7, 7], [7, 7], [7]]
    """
    for chunk in chunks:
        most = max(1, tokens // size(chunk[0]))
        yield from (chunk[start : start + most] for start in range(0, len(chunk), most))


def _chunks(
    order: Sequence[int],
    length: Callable[[int], int],
    tokens: int,
    same: Callable[[int], int] = lambda number: 0,
) -> list[list[int]]:
    """Cut a sequence, longest first, into batches of at most `tokens` tokens with padding, each of one kind.

    >>> _chunks([4, 2, 0], lambda number: number + 1, 10)
    [[4, 2], [0]]
    """
    chunks: list[list[int]] = []
    longest = 0
    for number in order:
        chunk = chunks[-1] if chunks else []
        if chunk and (len(chunk) + 1) * longest <= tokens and same(chunk[0]) == same(number):
            chunk.append(number)
        else:
            chunks.append([number])
            longest = length(number)
    return chunks
