"""The parts of a build: which model each is given, and where it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import pytest

from spanferry.data.errors import ConfigError
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.parts import load_parts
from spanferry.flows.report import LanguagesFailed

Settings = dict[str, Any]


@pytest.fixture
def tiny(
    build_settings: Settings, tiny_checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A build with a model of its own."""
    monkeypatch.setenv("SPANFERRY_CACHE", str(tmp_path / "cache"))
    build_settings["translation"] = {"model": str(tiny_checkpoint("nllb")), "beam_size": 1}
    build_settings["projection"] = {}
    return build_settings | {"targets": ["de"], "run": {"device": "cpu", "memory": False}, "limit": 4}


@pytest.mark.parametrize("method", ["candidates", "constrained"])
def test_a_method_that_scores_asks_the_model_that_translated(tiny: Settings, method: str) -> None:
    def fingerprints(**projection: Any) -> tuple[str, str]:
        loaded = load_parts(parse_config(tiny | {"projection": projection}))
        return loaded.translator.fingerprint.split(":")[1], loaded.projector.fingerprint

    model, projector = fingerprints(method=method)
    assert model in projector
    model, projector = fingerprints(method=method, settings={"settings": {}})
    assert model in projector
    model, projector = fingerprints(method=method, settings={"model": "bundled"})
    assert model not in projector
    steps = [{"method": "match"}, {"method": method}]
    model, projector = fingerprints(method="cascade", settings={"steps": steps})
    assert model in projector
    with pytest.raises(ConfigError, match=r"projection\.settings\.settings is 'x': expected settings of the model"):
        fingerprints(method=method, settings={"settings": "x"})


@pytest.mark.parametrize("method", ["candidates", "constrained"])
def test_the_bundled_model_does_not_score_what_it_does_not_speak(build_settings: Settings, method: str) -> None:
    build_settings["projection"] = {"method": method}
    with pytest.raises(LanguagesFailed, match=r"bundled does not speak French \(fra_Latn\)"):
        build(parse_config(build_settings | {"targets": ["fr"]}))


def test_the_gpu_that_is_named_is_everybodys(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    for device, expected in {"cuda:1": "cuda:1", "cuda": "cuda", "auto": "cuda", "cpu": "cpu"}.items():
        config = parse_config(tiny, [f"run.device={device}"])

        def refuse() -> Any:
            raise AssertionError("nothing is loaded")

        assert parts._aligner_defaults(config, refuse, "joint")["device"] == expected
        own = {"settings": {"precision": "bfloat16"}}
        made = parts._method_settings(config, refuse, "constrained", own)["settings"]
        assert made["device"] == expected and made["precision"] == "bfloat16"
        assert parts._method_settings(config, refuse, "alignment", own) == own
