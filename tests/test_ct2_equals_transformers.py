"""Token for token what transformers generates, for every family, greedy and with a beam."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.translation.ct2 import CTranslate2Translator, load_ctranslate2
from spanferry.translation.families import FAMILIES

# What the families' own checkpoints have on the hub: length_penalty 1 everywhere; beams of 4 to 6.
BEAM = 4
LONGEST = 60


@dataclass(frozen=True)
class Case:
    """A family's checkpoint, and transformers' own tokenizer and model of it."""

    family: str
    tokenizer: Any
    model: Any
    toy: ModuleType
    load: Callable[..., CTranslate2Translator]

    def encode(self, texts: list[str], target: str) -> Any:
        return self.toy.encode(self.family, self.tokenizer, texts, "eng_Latn", target)


@pytest.fixture(scope="module", params=FAMILIES)
def case(
    request: pytest.FixtureRequest,
    checkpoints: ModuleType,
    tiny_checkpoint: Callable[[str], Path],
    model_cache: Path,
) -> Case:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    family = str(request.param)
    folder = tiny_checkpoint(family)
    load = partial(load_ctranslate2, folder, device="cpu", quantization="float32", cache_dir=model_cache)
    with warnings.catch_warnings():  # OPUS-MT's tokenizer recommends sacremoses, and does not use it
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    return Case(family, tokenizer, AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), checkpoints, load)


@pytest.fixture(scope="module")
def texts(checkpoints: ModuleType) -> list[str]:
    odd = ["The Cat, sees 5 lamps! 😀 <b>x</b>  two  spaces", "zzz ünknown wörds", "the", "la vieja gata? 100 %"]
    return [*checkpoints.sentences(22, seed=9), *odd]


def ids_of(ours: CTranslate2Translator, tokens: list[list[str]]) -> list[list[int]]:
    number = {token: place for place, token in enumerate(ours.tokenizer.subwords.vocabulary)}
    return [[number[token] for token in sequence] for sequence in tokens]


@pytest.mark.parametrize("target", ["deu_Latn", "spa_Latn"])
def test_source_tokens_are_the_same(case: Case, texts: list[str], target: str) -> None:
    ours = case.load()
    inputs = case.encode(texts, target)
    theirs = [
        [number for number, kept in zip(row, mask, strict=True) if kept]
        for row, mask in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
    ]
    assert ids_of(ours, ours.tokenizer.encode_source(texts, "eng_Latn", target)) == theirs
    special = sum(map(len, ours.tokenizer.around_source("eng_Latn", target)))
    assert ours.count_tokens(texts, "eng_Latn") == [len(row) - special for row in theirs]


@pytest.mark.parametrize("beam", [1, BEAM])
@pytest.mark.parametrize("target", ["deu_Latn", "spa_Latn"])
def test_target_tokens_are_the_same(case: Case, texts: list[str], target: str, beam: int) -> None:
    ours = case.load(beam_size=beam)
    start = case.toy.forced_start(case.family, case.tokenizer, target)
    generated = case.model.generate(
        **case.encode(texts, target),
        num_beams=beam,
        do_sample=False,
        length_penalty=1.0,
        early_stopping=beam > 1,  # as in the configurations of M2M-100 and mBART-50
        max_new_tokens=LONGEST,
        **({} if start is None else {"forced_bos_token_id": start}),
    )
    end = case.tokenizer.eos_token_id
    theirs = []
    for row in generated.tolist():
        written = row[1:] if start is None else row[2:]
        theirs.append(written[: written.index(end)] if end in written else written)

    prefix = ours.tokenizer.target_prefix(target)
    results = ours.engine.translate_batch(
        ours.tokenizer.encode_source(texts, "eng_Latn", target),
        [prefix] * len(texts) if prefix else None,
        beam_size=beam,
        max_decoding_length=LONGEST,
    )
    tokens = [result.hypotheses[0][len(prefix) :] for result in results]
    assert ids_of(ours, tokens) == theirs
    assert len({tuple(row) for row in theirs}) >= 5  # the model does not say the same to everything

    decoded = [case.tokenizer.decode(row, skip_special_tokens=True).strip() for row in theirs]
    assert ours.tokenizer.decode(tokens) == decoded

    # And through the front door, which has its own batches and limits. (A beam that has not ended by one limit may end
    # elsewhere by another, so that greedy search alone can be compared.)
    if beam == 1:
        spoken = ours.translate(texts, source="eng_Latn", target=target)
        for hypothesis, row, text in zip(spoken, theirs, decoded, strict=True):
            if hypothesis.finished and len(row) < LONGEST - 1:
                assert hypothesis.text == text


def test_scores_are_the_same(case: Case, texts: list[str]) -> None:
    import torch

    ours = case.load()
    targets = case.toy.sentences(len(texts), "deu_Latn", seed=9)
    scores = ours.score(texts, targets, source="eng_Latn", target="deu_Latn")
    written = ids_of(ours, ours.tokenizer.encode_target(targets, "deu_Latn"))
    for text, row, score in zip(texts, written, scores, strict=True):
        labels = torch.tensor([[*row, case.tokenizer.eos_token_id]])
        with torch.no_grad():
            logits = case.model(**case.encode([text], "deu_Latn"), labels=labels).logits[0]
        if case.family == "marian":  # transformers keeps <pad> among what may be written, OPUS-MT itself does not
            logits[:, case.tokenizer.pad_token_id] = -torch.inf
        expected = logits.log_softmax(-1).gather(1, labels[0][:, None])[:, 0]
        first = len(ours.tokenizer.target_prefix("deu_Latn"))
        assert score == pytest.approx(expected[first:].tolist(), abs=2e-4)
