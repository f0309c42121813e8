"""On a CUDA device: the same translations as on the CPU, and int8 with float16 by default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import ctranslate2
import pytest

from spanferry.translation.convert import ensure_converted
from spanferry.translation.ct2 import load_ctranslate2

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ctranslate2.get_cuda_device_count() == 0, reason="CTranslate2 finds no CUDA device"),
]


@pytest.mark.parametrize("family", ["nllb", "t5"])
def test_a_gpu_translates_as_the_cpu_does(
    family: str, tiny_checkpoint: Callable[[str], Path], model_cache: Path, checkpoints: ModuleType
) -> None:
    texts = checkpoints.sentences(100, seed=21)
    pair = {"source": "eng_Latn", "target": "deu_Latn"}
    settings = {"quantization": "float32", "cache_dir": model_cache, "beam_size": 2}
    cpu = load_ctranslate2(tiny_checkpoint(family), device="cpu", **settings)
    gpu = load_ctranslate2(tiny_checkpoint(family), device="cuda", **settings)
    assert gpu.fingerprint == cpu.fingerprint
    expected = [hypothesis.text for hypothesis in cpu.translate(texts, **pair)]
    same = sum(hypothesis.text == text for hypothesis, text in zip(gpu.translate(texts, **pair), expected, strict=True))
    assert same >= 98  # float32 sums in another order may turn a tie


def test_the_default_on_a_gpu_is_what_the_gpu_can_do(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> None:
    model = ensure_converted(tiny_checkpoint("nllb"), cache_dir=model_cache)
    supported = ctranslate2.get_supported_compute_types("cuda")
    assert model.quantization == ("int8_float16" if "int8_float16" in supported else "float16")
    hypotheses = load_ctranslate2(tiny_checkpoint("nllb"), cache_dir=model_cache).translate(
        ["the old cat."], source="eng_Latn", target="deu_Latn"
    )
    assert hypotheses[0].text
