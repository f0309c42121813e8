"""Batches, limits, memory, scores: what stands between a caller and the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from spanferry.alignment.attention import AttentionAligner
from spanferry.data.errors import ConfigError, LanguageError, ModelError
from spanferry.translation.convert import ensure_converted
from spanferry.translation.ct2 import CTranslate2Translator, load_ctranslate2
from spanferry.translation.ct2_scorer import CTranslate2PrefixScorer
from spanferry.translation.decoding import Decoding, Placement
from spanferry.translation.phrase_scorer import CTranslate2PhraseScorer
from spanferry.translation.registry import load_translator


@pytest.fixture(scope="module")
def load(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> Callable[..., CTranslate2Translator]:
    def loaded(family: str = "nllb", **settings: Any) -> CTranslate2Translator:
        options = {"quantization": "float32", "device": "cpu", "cache_dir": model_cache, **settings}
        return load_ctranslate2(tiny_checkpoint(family), **options)

    return loaded


@pytest.mark.parametrize("beam", [1, 3])
def test_batches_and_threads_change_nothing(
    load: Callable[..., CTranslate2Translator], checkpoints: ModuleType, beam: int
) -> None:
    texts = checkpoints.sentences(60, seed=11)
    pair = {"source": "eng_Latn", "target": "deu_Latn"}
    expected = [hypothesis.text for hypothesis in load(beam_size=beam).translate(texts, **pair)]
    for placement in ({"batch_tokens": 1}, {"batch_tokens": 97}, {"workers": 3, "threads": 1, "batch_tokens": 200}):
        translated = load(beam_size=beam, **placement).translate(texts, **pair)
        assert [hypothesis.text for hypothesis in translated] == expected


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.7])
@pytest.mark.parametrize(("family", "beam"), [("nllb", 1), ("nllb", 4), ("t5", 4)])
def test_the_score_is_the_mean_log_probability(
    load: Callable[..., CTranslate2Translator], checkpoints: ModuleType, family: str, beam: int, penalty: float
) -> None:
    translator = load(family, beam_size=beam, length_penalty=penalty, max_length_ratio=1.0)
    written: list[list[str]] = []
    decode = translator.tokenizer.decode

    def recorded(tokens: list[list[str]]) -> list[str]:
        written.extend(tokens)
        return decode(tokens)

    object.__setattr__(translator.tokenizer, "decode", recorded)
    # One length, so that what is written comes in the order of the texts.
    texts = [text for text in checkpoints.sentences(60, seed=12) if len(text.split()) == 7]
    hypotheses = translator.translate(texts, source="eng_Latn", target="deu_Latn")
    assert len(written) == len(texts) >= 5
    by_text = dict(zip(decode(written), written, strict=True))
    prefix = translator.tokenizer.target_prefix("deu_Latn")
    source = translator.tokenizer.encode_source(texts, "eng_Latn", "deu_Latn")
    for hypothesis, tokens in zip(hypotheses, source, strict=True):
        target = [*prefix, *by_text[hypothesis.text]]
        (result,) = translator.engine.score_batch([tokens], [target[: len(target) - hypothesis.finished]])
        expected = result.log_probs[len(prefix) : len(target)]
        assert hypothesis.score == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_what_stops_at_the_limit_is_not_finished(
    load: Callable[..., CTranslate2Translator], checkpoints: ModuleType
) -> None:
    translator = load(beam_size=1, suppress_unknown=True)
    engine = translator.engine

    class Endless:
        """The engine, kept from writing the end token."""

        num_translators = 1

        def translate_batch(self, *args: Any, **options: Any) -> Any:
            return engine.translate_batch(*args, min_decoding_length=options["max_decoding_length"], **options)

    translator.engine = Endless()
    texts = ["the cat.", "the old cat sees the red bridge and the small lamp."]
    hypotheses = translator.translate(texts, source="eng_Latn", target="deu_Latn")
    assert [hypothesis.finished for hypothesis in hypotheses] == [False, False]
    short, long = translator.count_tokens([hypothesis.text for hypothesis in hypotheses], "deu_Latn")
    assert short <= 40 < long
    hasty = translator.bounded(1.5)
    hypotheses = hasty.translate(texts, source="eng_Latn", target="deu_Latn")
    assert [hypothesis.finished for hypothesis in hypotheses] == [False, False]
    assert hasty.count_tokens([hypothesis.text for hypothesis in hypotheses], "deu_Latn")[1] < long
    assert hasty.fingerprint == translator.fingerprint.replace("ratio3", "ratio1.5") != translator.fingerprint
    assert translator.bounded(3.0) is translator


class Promise:
    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class SmallMemory:
    """An engine that echoes, and runs out of memory on more than `most` padded tokens."""

    num_translators = 1

    def __init__(self, most: int, message: str = "CUDA failed with error out of memory") -> None:
        self.most, self.message = most, message
        self.sizes: list[int] = []

    def translate_batch(self, source: list[list[str]], target_prefix: Any, **options: Any) -> list[Promise]:
        size = len(source) * max(map(len, source))
        self.sizes.append(size)
        if size > self.most:
            return [Promise(RuntimeError(self.message)) for _ in source]
        return [
            Promise(SimpleNamespace(hypotheses=[[*prefix, *tokens[1:]]], scores=[-0.5]))
            for tokens, prefix in zip(source, target_prefix, strict=True)
        ]


def small(tiny_checkpoint: Callable[[str], Path], cache: Path, engine: SmallMemory) -> CTranslate2Translator:
    model = ensure_converted(tiny_checkpoint("nllb"), quantization="float32", device="cpu", cache_dir=cache)
    return CTranslate2Translator(model, Decoding(), Placement(device="cpu", batch_tokens=1024), engine=engine)


def test_out_of_memory_goes_on_with_smaller_batches(
    tiny_checkpoint: Callable[[str], Path], model_cache: Path, checkpoints: ModuleType
) -> None:
    engine = SmallMemory(most=300)
    translator = small(tiny_checkpoint, model_cache, engine)
    texts = checkpoints.sentences(200, seed=13)
    hypotheses = translator.translate(texts, source="eng_Latn", target="deu_Latn")
    assert [hypothesis.text for hypothesis in hypotheses] == texts
    assert all(hypothesis.finished for hypothesis in hypotheses)
    first = len(engine.sizes)
    translator.translate(texts, source="eng_Latn", target="deu_Latn")
    assert max(engine.sizes[first:]) <= 300, "what was learned about the memory is kept"


def test_one_sentence_that_does_not_fit_is_an_error(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> None:
    translator = small(tiny_checkpoint, model_cache, SmallMemory(most=3))
    with pytest.raises(ModelError, match="one text alone does not fit"):
        translator.translate(["the cat sees the lamp."] * 3, source="eng_Latn", target="deu_Latn")


def test_other_failures_are_not_taken_for_memory(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> None:
    translator = small(tiny_checkpoint, model_cache, SmallMemory(most=3, message="CUDA failed: illegal address"))
    with pytest.raises(ModelError, match="illegal address"):
        translator.translate(["the cat sees the lamp."] * 3, source="eng_Latn", target="deu_Latn")


def test_what_computes_otherwise_is_called_otherwise(load: Callable[..., CTranslate2Translator]) -> None:
    settings: list[dict[str, Any]] = [{}, {"compute_type": "int8"}, {"max_tokens": 9}, {"compute_type": "default"}]
    loaded = [load("mbart50", **each) for each in settings]
    named: list[Callable[[CTranslate2Translator], Any]] = [
        lambda model: model, CTranslate2PhraseScorer, CTranslate2PrefixScorer, AttentionAligner,
    ]  # fmt: skip
    for what in named:
        plain, other, shorter, same = (what(model).fingerprint for model in loaded)
        assert len({plain, other, shorter}) == 3 and plain == same
    longest = loaded[0].max_tokens
    assert load("mbart50", max_tokens=longest).fingerprint == loaded[0].fingerprint


def test_loops_can_be_forbidden(load: Callable[..., CTranslate2Translator], checkpoints: ModuleType) -> None:
    texts = checkpoints.sentences(30, seed=14)
    pair = {"source": "eng_Latn", "target": "deu_Latn"}
    translator = load("mbart50", beam_size=1, no_repeat_ngram_size=3)
    for hypothesis in translator.translate(texts, **pair):
        tokens = translator.tokenizer.subwords.encode_target([hypothesis.text])[0]
        trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
        assert len(trigrams) == len(set(trigrams))
    assert "ngram3" in translator.fingerprint
    assert load("mbart50", repetition_penalty=1.3).fingerprint != load("mbart50").fingerprint


def test_special_tokens_in_a_text_are_text(load: Callable[..., CTranslate2Translator]) -> None:
    for family in ("nllb", "mbart50", "marian", "m2m100"):
        tokenizer = load(family).tokenizer
        tokens = tokenizer.encode(["the </s> cat deu_Latn de_DE __de__ >>deu<<"])[0]
        assert not {"</s>", *tokenizer.language_tokens.values()} & set(tokens)


def test_a_bilingual_model_knows_its_direction(
    tiny_checkpoint: Callable[[str], Path], model_cache: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    folder = tmp_path / "opus-mt-en-de"
    shutil.copytree(tiny_checkpoint("marian"), folder)
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    renamed = {token.replace(">>", "##").replace("<<", "##"): number for token, number in vocabulary.items()}
    (folder / "vocab.json").write_text(json.dumps(renamed), encoding="utf-8")
    config = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    translator = load_ctranslate2(folder, device="cpu", cache_dir=model_cache)
    assert translator.languages == {"eng_Latn", "deu_Latn"}
    words = translator.tokenizer.encode(["the lamp"])[0]
    assert translator.tokenizer.encode_source(["the lamp"], "eng_Latn", "deu_Latn") == [[*words, "</s>"]]
    translator.translate(["the cat."], source="en", target="German")
    with pytest.raises(LanguageError, match="as its source language German"):
        translator.translate(["die Katze."], source="de", target="en")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beem_size": 3}, "unknown setting 'beem_size' of a translator: did you mean 'beam_size'"),
        ({"beam_size": 0}, "beam_size is 0: expected at least 1"),
        ({"batch_tokens": -1}, "batch_tokens is -1"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"max_tokens": 4000}, "max_tokens is 4000: expected 1 to 126"),
        ({"compute_type": "int3"}, "CTranslate2 cannot load the model"),
    ],
)
def test_wrong_settings_are_named(
    tiny_checkpoint: Callable[[str], Path], model_cache: Path, settings: dict[str, Any], said: str
) -> None:
    options = {"device": "cpu", "quantization": "float32", "cache_dir": model_cache, **settings}
    with pytest.raises((ConfigError, ModelError), match=said):
        load_translator(tiny_checkpoint("nllb"), **options)


def test_the_bundled_model_loads_and_translates(model_cache: Path) -> None:
    translator = load_translator("bundled", device="cpu", cache_dir=model_cache)
    assert translator.languages == {"eng_Latn", "deu_Latn", "spa_Latn"}
    (hypothesis,) = translator.translate(["Good morning."], source="en", target="de")
    assert hypothesis.finished and hypothesis.text


def test_a_language_with_a_token_but_no_training_is_not_spoken(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """`config.json` may say which languages were trained; the vocabulary often has tokens for more."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint("nllb"), checkpoint)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["spanferry"] = {"languages": ["eng_Latn", "deu_Latn"]}
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for _ in range(2):  # fresh, and read back from the cache
        translator = load_ctranslate2(checkpoint, quantization="float32", device="cpu", cache_dir=tmp_path / "cache")
        assert translator.languages == {"eng_Latn", "deu_Latn"}
        assert len(translator.translate(["Hello."], source="eng_Latn", target="deu_Latn")) == 1
        with pytest.raises(LanguageError, match="It speaks: deu_Latn, eng_Latn"):
            translator.translate(["Hello."], source="eng_Latn", target="fra_Latn")
