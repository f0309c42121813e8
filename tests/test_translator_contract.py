"""What every translator promises, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from spanferry.data.errors import LanguageError, ModelError
from spanferry.translation.base import Scorer, Translator
from spanferry.translation.families import FAMILIES
from spanferry.translation.registry import TRANSLATORS, load_translator

Load = Callable[..., Translator]


@pytest.fixture(params=["fake", *FAMILIES])
def load(request: pytest.FixtureRequest, tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> Load:
    name = str(request.param)
    if name == "fake":
        return lambda **transient: load_translator(
            "fake", dictionary={"cat": "Katze"}, languages=["eng_Latn", "deu_Latn"], max_tokens=60
        )
    return lambda **transient: load_translator(
        tiny_checkpoint(name),
        cache_dir=model_cache,
        quantization="int8_float32",
        beam_size=2,
        max_tokens=60,
        **transient,
    )


@pytest.fixture
def translator(load: Load) -> Translator:
    return load(device="cpu")


def test_it_is_a_translator(translator: Translator) -> None:
    assert isinstance(translator, Translator)
    assert translator.languages is None or {"deu_Latn"} <= translator.languages
    assert translator.max_tokens == 60


def test_order_and_duplicates_are_kept(translator: Translator, checkpoints: ModuleType) -> None:
    texts = checkpoints.sentences(12, seed=4)
    once = translator.translate(texts, source="eng_Latn", target="deu_Latn")
    assert len(once) == 12
    mixed = [texts[3], *reversed(texts), texts[3], texts[3]]
    again = translator.translate(mixed, source="eng_Latn", target="deu_Latn")
    by_text = dict(zip(texts, (hypothesis.text for hypothesis in once), strict=True))
    assert [hypothesis.text for hypothesis in again] == [by_text[text] for text in mixed]


def test_nothing_becomes_nothing(translator: Translator) -> None:
    hypotheses = translator.translate(["", "the cat.", " \n\t"], source="eng_Latn", target="deu_Latn")
    assert [bool(hypothesis.text.strip()) for hypothesis in hypotheses] == [False, True, False]
    assert translator.translate([], source="eng_Latn", target="deu_Latn") == []
    assert hypotheses[1].score is None or hypotheses[1].score <= 0


def test_a_long_text_is_refused_not_cut(translator: Translator) -> None:
    long = "the red cat " * 60
    assert translator.count_tokens([long], "eng_Latn")[0] > translator.max_tokens
    with pytest.raises(ModelError, match=r"text 1 has .* tokens, more than the 60"):
        translator.translate(["the cat.", long], source="eng_Latn", target="deu_Latn")


def test_a_language_it_does_not_speak_is_refused(translator: Translator) -> None:
    with pytest.raises(LanguageError, match="Dzongkha"):
        translator.translate(["the cat."], source="eng_Latn", target="dzo_Tibt")
    with pytest.raises(LanguageError, match="klingon"):
        translator.translate(["the cat."], source="eng_Latn", target="klingon")


def test_the_fingerprint_is_free_of_device_batch_and_threads(load: Load) -> None:
    one = load(device="cpu")
    other = load(device="cpu", workers=2, threads=1, batch_tokens=64)
    assert one.fingerprint == other.fingerprint
    assert "\n" not in one.fingerprint


def test_a_scorer_scores_each_token_and_the_end(translator: Translator) -> None:
    if not isinstance(translator, Scorer):
        pytest.skip("does not score")
    scores = translator.score(["the cat.", ""], ["die Katze.", "die"], source="eng_Latn", target="deu_Latn")
    lengths = translator.tokenizer.subwords.encode_target(["die Katze.", "die"])  # type: ignore[attr-defined]
    assert [len(score) for score in scores] == [len(tokens) + 1 for tokens in lengths]
    assert all(value <= 0 for score in scores for value in score)


def test_every_name_in_the_table_can_be_loaded() -> None:
    assert {"ctranslate2", "fake"} <= set(TRANSLATORS.names())
    for name in TRANSLATORS.names():
        assert callable(TRANSLATORS.load(name))
