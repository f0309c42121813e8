"""Both engines, loaded from real checkpoints with real tokenizers, find the same places with the same probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.alignment.tokens import split_on_space
from spanferry.data.errors import ConfigError, LanguageError, ModelError
from spanferry.data.example import Span
from spanferry.projection.base import TranslatedText
from spanferry.projection.constrained import ConstrainedProjector
from spanferry.translation.ct2 import load_ctranslate2
from spanferry.translation.ct2_scorer import CTranslate2PrefixScorer
from spanferry.translation.prefix_scorer import PrefixScorer
from spanferry.translation.torch_scorer import TorchScorer, load_torch_scorer

FAMILIES = ("nllb", "m2m100", "mbart50", "marian", "t5")
# The toy vocabularies have no brackets; to the search, any two strings will do.
MARKERS = [("[ ", " ]"), ("here ", " today"), ("and ", " never")]


@pytest.fixture(params=FAMILIES)
def engines(
    request: pytest.FixtureRequest, tiny_checkpoint: Callable[[str], Path], model_cache: Path
) -> tuple[TorchScorer, CTranslate2PrefixScorer]:
    folder = tiny_checkpoint(request.param)
    translator = load_ctranslate2(folder, quantization="float32", cache_dir=model_cache, device="cpu")
    return load_torch_scorer(folder, device="cpu"), CTranslate2PrefixScorer(translator)


def texts(checkpoints: ModuleType) -> list[TranslatedText]:
    made = []
    for english, german in zip(checkpoints.sentences(6), checkpoints.sentences(6, "deu_Latn"), strict=True):
        words = split_on_space(english).tokens
        made.append(
            TranslatedText(
                english,
                german,
                (Span(*words[1], "A"), Span(*words[-2], "B")),
                target_tokens=split_on_space(german).tokens,
            )
        )
    return made


def test_both_engines_find_the_same(
    engines: tuple[TorchScorer, CTranslate2PrefixScorer], checkpoints: ModuleType
) -> None:
    found: list[list[list[Any]]] = []
    for engine in engines:
        assert isinstance(engine, PrefixScorer)
        projector = ConstrainedProjector(engine, n_best=3, markers=MARKERS)
        found.append(projector.find(texts(checkpoints), source="eng_Latn", target="deu_Latn"))
    for ours, theirs in zip(*found, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert len(one.places) == 3
            assert [(p.start, p.end) for p in one.places] == [(p.start, p.end) for p in other.places]
            for place, same in zip(one.places, other.places, strict=True):
                assert place.log_prob == pytest.approx(same.log_prob, rel=1e-4, abs=1e-3)
                assert place.opening == pytest.approx(same.opening, rel=1e-4, abs=1e-3)


def test_a_marked_template_scores_as_the_whole_text_does(
    engines: tuple[TorchScorer, CTranslate2PrefixScorer], checkpoints: ModuleType
) -> None:
    torch_engine, converted = engines
    text = texts(checkpoints)[0]
    projector = ConstrainedProjector(torch_engine, markers=MARKERS)
    [[places, _]] = projector.find([text], source="eng_Latn", target="deu_Latn")
    best, span = places.places[0], text.spans[0]
    scored = []
    for opening, closing in MARKERS:
        marked = [
            f"{whole[:start]}{opening}{whole[start:end]}{closing}{whole[end:]}"
            for whole, start, end in ((text.source, span.start, span.end), (text.target, best.start, best.end))
        ]
        scores = converted.translator.score(marked[:1], marked[1:], source="eng_Latn", target="deu_Latn")
        scored.append(sum(scores[0]))
    assert any(score == pytest.approx(best.log_prob, rel=1e-4, abs=1e-3) for score in scored)


def test_wrong_input_is_refused(engines: tuple[TorchScorer, CTranslate2PrefixScorer]) -> None:
    for engine in engines:
        with pytest.raises(LanguageError):
            engine.open(["the cat"], source="eng_Latn", target="Klingon")
        with pytest.raises(ModelError, match="Split it into sentences"):
            engine.open(["cat " * 2000], source="eng_Latn", target="deu_Latn")


def test_a_model_is_loaded_by_its_name(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> None:
    folder = tiny_checkpoint("nllb")
    settings = {"quantization": "float32", "cache_dir": model_cache}
    names = {
        ConstrainedProjector(folder).fingerprint,
        ConstrainedProjector(folder, settings={"precision": "bfloat16"}).fingerprint,
        ConstrainedProjector(str(folder), engine="ctranslate2", settings=settings).fingerprint,
    }
    assert len(names) == 3
    with pytest.raises(ConfigError, match="expected 'torch' or 'ctranslate2'"):
        ConstrainedProjector(folder, engine="jax")
    with pytest.raises(ConfigError, match="expected one of float32"):
        ConstrainedProjector(folder, settings={"precision": "int3"})
    converted = load_ctranslate2(folder, **settings).model.path
    with pytest.raises(ModelError, match="the torch engine needs the checkpoint that it was made from"):
        ConstrainedProjector(converted)
