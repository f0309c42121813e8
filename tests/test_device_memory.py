"""Devices whose memory is full, in the words of the libraries: smaller batches, the same results, down to one text."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.attention import AttentionAligner
from spanferry.alignment.embeddings import EmbeddingAligner
from spanferry.alignment.tokens import from_words
from spanferry.data.errors import ModelError
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.report import LanguagesFailed
from spanferry.flows.status import status
from spanferry.projection.transformers_model import LoadedModel
from spanferry.translation import ct2, torch_scorer
from spanferry.translation.convert import ensure_converted
from spanferry.translation.ct2 import CTranslate2Translator
from spanferry.translation.decoding import Decoding, Placement
from spanferry.translation.device_memory import TokenBudget, is_out_of_memory
from spanferry.translation.prefix_scorer import Step
from spanferry.translation.torch_decoder import StatePool
from spanferry.translation.torch_scorer import TorchScorer, load_torch_scorer

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}

# As CTranslate2 4 says it (include/ctranslate2: cuda/utils.h), and as torch 2 does.
CT2_FULL = "CUDA failed with error out of memory"
TORCH_FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.79 GiB, 13.06 MiB free."


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (RuntimeError(CT2_FULL), True),
        (torch.OutOfMemoryError(TORCH_FULL), True),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"), True),
        (MemoryError("std::bad_alloc"), True),
        (RuntimeError("CUDA failed with error device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_is_full(error: Exception, full: bool) -> None:
    assert is_out_of_memory(error) is full


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 200), st.integers(30, 200))
def test_every_item_is_worked_on_once_within_what_fits(lengths: list[int], budget: int, memory: int) -> None:
    items = sorted(enumerate(lengths), key=lambda item: item[1])
    tried: list[int] = []

    def work(batch: Sequence[tuple[int, int]]) -> int:
        tried.append(len(batch) * batch[-1][1])
        if tried[-1] > memory:
            raise RuntimeError(CT2_FULL)
        return len(batch)

    tokens = TokenBudget(budget, name="model", advice="Lower it")
    results = list(tokens.run(items, lambda item: item[1], work))
    assert [item for batch, _ in results for item in batch] == items
    assert all(result == len(batch) for batch, result in results)
    assert all(size <= max(budget, 30) for size in tried)
    failed = [size for size in tried if size > memory]
    assert len(failed) <= np.log2(max(budget, 2)) + 1, "each failure halves what is tried after it"
    tried.clear()
    list(tokens.run(items, lambda item: item[1], work))
    assert not failed or max(tried) <= max(memory, 30), "what was learned is kept"


class Promise:
    def __init__(self, promise: Any) -> None:
        self._promise = promise

    def result(self) -> Any:
        if isinstance(self._promise, Exception):
            raise self._promise
        return self._promise.result()


class SmallDevice:
    """A real engine, on a device that takes so many tokens with padding, and only so long a text in some language."""

    def __init__(self, engine: Any, most: int, message: str = CT2_FULL, only: str | None = None) -> None:
        self._engine, self._most, self._message, self._only = engine, most, message, only
        self.num_translators = engine.num_translators
        self.sizes: list[int] = []

    def _fits(self, source: list[list[str]], prefix: Any) -> bool:
        self.sizes.append(len(source) * max(map(len, source)))
        return self.sizes[-1] <= self._most or (self._only is not None and self._only not in prefix[0])

    def translate_batch(self, source: list[list[str]], prefix: Any = None, **options: Any) -> Any:
        if self._fits(source, prefix):
            return self._engine.translate_batch(source, prefix, **options)
        error = RuntimeError(self._message)
        if not options.get("asynchronous"):
            raise error
        return [Promise(error) for _ in source]


@pytest.fixture
def translator(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> Callable[..., CTranslate2Translator]:
    def load(engine: Any = None) -> CTranslate2Translator:
        model = ensure_converted(tiny_checkpoint("nllb"), quantization="float32", device="cpu", cache_dir=model_cache)
        placement = Placement(device="cpu", batch_tokens=1024, workers=1, threads=1)
        return CTranslate2Translator(model, Decoding(beam_size=1), placement, engine=engine)

    return load


@pytest.mark.parametrize("message", [CT2_FULL, "cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_translator_goes_down_to_one_sentence_at_a_time(
    message: str, translator: Callable[..., CTranslate2Translator], checkpoints: ModuleType
) -> None:
    plain = translator()
    texts = checkpoints.sentences(40, seed=3)
    expected = [each.text for each in plain.translate(texts, **LANGUAGES)]
    longest = max(plain.count_tokens(texts, "eng_Latn")) + 2  # the language token and the end
    small = SmallDevice(plain.engine, longest, message)
    found = translator(small).translate(texts, **LANGUAGES)
    assert [each.text for each in found] == expected
    assert max(small.sizes) > longest, "it was tried with more"
    with pytest.raises(ModelError) as caught:
        translator(SmallDevice(plain.engine, longest - 1, message)).translate(texts, **LANGUAGES)
    problem = str(caught.value)
    assert "one text alone does not fit into the device's memory" in problem and message in problem
    assert "Lower beam_size or max_tokens, choose a smaller quantization, or free the device" in problem


def test_attention_goes_on_with_smaller_batches(
    translator: Callable[..., CTranslate2Translator], checkpoints: ModuleType
) -> None:
    texts = [from_words(text.split()) for text in checkpoints.sentences(20, seed=5)]
    pairs = [(text, text) for text in texts]
    plain = translator()
    expected = AttentionAligner(plain, method="forward").align(pairs, **LANGUAGES)
    small = SmallDevice(plain.engine, 40)
    found = AttentionAligner(translator(small), method="forward").align(pairs, **LANGUAGES)
    assert [[link[:2] for link in each.links] for each in found] == [
        [link[:2] for link in each.links] for each in expected
    ]
    assert max(small.sizes) > 40
    with pytest.raises(ModelError, match="one text alone does not fit"):
        AttentionAligner(translator(SmallDevice(plain.engine, 3)), method="forward").align(pairs, **LANGUAGES)


def test_an_encoder_goes_on_with_smaller_batches(
    encoder_folder: Callable[[str], Path], simalign_ratio: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = simalign_ratio.sample_pairs()[::6]
    aligner = EmbeddingAligner(encoder_folder("bert"), layer=2)
    expected = aligner.align(pairs, **LANGUAGES)
    state, most, sizes = aligner._encoder._state, 100, []

    def small(ids: torch.Tensor, mask: torch.Tensor) -> Any:
        sizes.append(ids.numel())
        if ids.numel() > most:
            raise torch.OutOfMemoryError(TORCH_FULL)
        return state(ids, mask)

    monkeypatch.setattr(aligner._encoder, "_state", small)
    found = aligner.align(pairs, **LANGUAGES)
    assert [[link[:2] for link in each.links] for each in found] == [
        [link[:2] for link in each.links] for each in expected
    ]
    assert sizes[0] > most and sum(size > most for size in sizes) < 6
    most = 5
    with pytest.raises(ModelError, match=r"the aligner's encoder: one text alone .*\(CUDA out of memory.*device: cpu"):
        aligner.align(pairs, **LANGUAGES)


def test_an_exact_search_goes_on_with_smaller_batches(
    tiny_checkpoint: Callable[[str], Path], checkpoints: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = checkpoints.sentences(12, seed=4)
    targets = checkpoints.sentences(12, "deu_Latn", seed=4)

    def answers(scorer: TorchScorer) -> list[float]:
        fed = scorer.encode_target(targets, "deu_Latn")
        opened = scorer.open(sources, **LANGUAGES)
        steps = [
            Step(each.state, 0, [*each.prompt, *ids], [(len(each.prompt), ids[1])])
            for each, ids in zip(opened, fed, strict=True)
        ]
        found = [outcome.answers[0] for outcome in scorer.run(steps)]
        for each in opened:
            scorer.close(each)
        return found

    expected = answers(load_torch_scorer(tiny_checkpoint("nllb"), device="cpu"))
    scorer = load_torch_scorer(tiny_checkpoint("nllb"), device="cpu")
    run_rows, store, most, sizes = torch_scorer.run_rows, torch_scorer.store_source, 40, list[int]()

    def small(decoder: Any, rows: Any, *pools: Any) -> Any:
        sizes.append(len(rows.tokens))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError(TORCH_FULL)
        return run_rows(decoder, rows, *pools)

    def small_too(decoder: Any, states: torch.Tensor, *rest: Any) -> None:
        if len(states) > most:
            raise torch.OutOfMemoryError(TORCH_FULL)
        store(decoder, states, *rest)

    monkeypatch.setattr(torch_scorer, "run_rows", small)
    monkeypatch.setattr(torch_scorer, "store_source", small_too)
    assert answers(scorer) == pytest.approx(expected, abs=1e-4)
    assert sizes[0] > most and min(sizes) < most
    sizes.clear()
    answers(scorer)
    assert max(sizes) <= most, "what was learned is kept"
    gc.collect()
    assert scorer._pool.used == scorer._source_pool.used == 0, "what failed holds no room"
    most = 3
    with pytest.raises(ModelError, match="one text alone does not fit"):
        answers(scorer)


def test_a_pool_that_cannot_grow_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = StatePool(3, 4, torch.zeros(1), slots=4)
    taken = pool.take(3)
    pool.keys[2][taken] = 7.0
    zeros, calls = torch.Tensor.new_zeros, []

    def full(tensor: torch.Tensor, *shape: int) -> torch.Tensor:
        calls.append(shape)
        if len(calls) == 5:
            raise torch.OutOfMemoryError(TORCH_FULL)
        return zeros(tensor, *shape)

    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(torch.Tensor, "new_zeros", full)
        pool.take(9)
    assert pool.used == 3 and {len(tensor) for tensor in (*pool.keys, *pool.values)} == {4}
    more = pool.take(9)
    assert len({*taken.tolist(), *more.tolist()}) == 12 and bool((pool.keys[2][taken] == 7.0).all())


def test_a_predictor_goes_on_with_smaller_batches(
    classifier: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [("Anna sees Paris",), ("the old red house in Oslo",), ("Clara Sommer likes the garden today .",)] * 9
    model = LoadedModel(classifier("texts"), "SequenceClassification", revision=None, device="cpu", batch_tokens=1024)
    rows, _ = model.encode_all(texts)
    expected = dict(model.run(rows))
    logits, most, sizes = model._logits, 40, []

    def small(group: Sequence[Any]) -> Any:
        sizes.append(len(group) * max(len(row["input_ids"]) for row in group))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError(TORCH_FULL)
        return logits(group)

    monkeypatch.setattr(model, "_logits", small)
    found = dict(model.run(rows))
    assert sorted(found) == list(range(len(rows))) and sizes[0] > most
    assert all(np.allclose(found[number][0], expected[number][0], atol=1e-5) for number in found)
    most = 3
    with pytest.raises(ModelError, match="one text alone does not fit"):
        list(model.run(rows))


def test_a_build_does_what_fits_and_notes_what_does_not(
    *,
    tiny_checkpoint: Callable[[str], Path],
    checkpoints: ModuleType,
    build_settings: dict[str, Any],
    tmp_path: Path,
    model_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence of one language does not fit: its shard is on record, all else is done, and the rest afterwards."""
    monkeypatch.setenv("SPANFERRY_CACHE", str(model_cache))
    texts = checkpoints.sentences(9, seed=8)
    long = max(range(9), key=lambda number: len(texts[number]))
    rows = [
        {"id": str(number), "text": text, "spans": []} for number, text in enumerate([*texts, texts[long] + " the cat"])
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_settings |= {"translation": {"model": str(tiny_checkpoint("nllb")), "beam_size": 1, "split": "lines"}}
    build_settings["source"]["path"] = str(path)
    build_settings["run"] |= {"shard_rows": 3, "device": "cpu", "workers": 1, "threads": 1}
    config = parse_config(build_settings)
    real, devices = ct2._load_engine, []

    def load(*arguments: Any) -> Any:
        engine = real(*arguments)
        tokenizer = ct2.load_tokenizer(arguments[0].path, arguments[0].family)
        sizes = [len(tokens) + 2 for tokens in tokenizer.encode([row["text"] for row in rows])]
        assert sizes[-1] > max(sizes[:-1])
        devices.append(SmallDevice(engine, max(sizes[:-1]), only="spa_Latn"))
        return devices[-1]

    monkeypatch.setattr(parts, "_loaded", None)
    with monkeypatch.context() as patch, pytest.raises(LanguagesFailed) as caught:
        patch.setattr(ct2, "_load_engine", load)
        build(config)
    assert caught.value.result is not None and list(caught.value.result.report["languages"]) == ["de"]
    [failure] = status(config.output).languages["es"].failures
    assert (failure.shard, failure.rows) == (3, 1) and status(config.output).languages["es"].done == 3
    assert (
        "one text alone does not fit into the device's memory (CUDA failed with error out of memory)" in failure.reason
    )
    assert "Lower beam_size" in failure.reason and not failure.traceback
    monkeypatch.setattr(parts, "_loaded", None)
    mended = build(config, only_failed=True)
    assert {name: each.rows for name, each in mended.timings.items()} == {"de": 0, "es": 1}
    assert mended.report["missing"] == [] and not status(config.output).languages["es"].failures
