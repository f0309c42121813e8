"""1.5-entmax against bisection, and the published aligners by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment import presets
from spanferry.alignment.embeddings import EmbeddingAligner
from spanferry.alignment.matching import entmax, entmax_probability
from spanferry.alignment.registry import load_aligner
from spanferry.data.errors import ConfigError

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}


def by_bisection(logits: np.ndarray) -> np.ndarray:
    """1.5-entmax by its definition: the t for which the squares of what lies above it sum to 1."""
    z = logits / 2
    low, high = z.max() - 1, z.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (np.maximum(z - middle, 0) ** 2).sum() > 1 else (low, middle)
    return np.maximum(z - low, 0) ** 2


@given(st.lists(st.one_of(st.floats(-50, 50), st.sampled_from([0.0, 1.0, -1.0])), min_size=1, max_size=12))
def test_entmax_is_what_its_definition_says(logits: list[float]) -> None:
    found = entmax(torch.tensor(logits, dtype=torch.float64), 0).numpy()
    assert np.allclose(found, by_bisection(np.array(logits)), atol=1e-7)


def test_entmax_of_each_row_and_column_ignores_the_padding() -> None:
    chance = np.random.default_rng(4)
    logits = chance.normal(0, 3, (2, 4, 5))
    sizes = [(3, 5), (4, 2)]
    forward, backward = entmax_probability(torch.tensor(logits), torch.tensor(sizes))
    for pair, (rows, columns) in enumerate(sizes):
        inside = logits[pair, :rows, :columns]
        for row in range(rows):
            assert np.allclose(forward[pair, row, :columns], by_bisection(inside[row]), atol=1e-7)
        for column in range(columns):
            assert np.allclose(backward[pair, :rows, column], by_bisection(inside[:, column]), atol=1e-7)
        for side in (forward, backward):
            assert not side[pair, rows:].any() and not side[pair, :, columns:].any()


def test_presets_are_the_embedding_aligner_as_published(
    encoder_folder: Callable[[str], Path], simalign_ratio: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pairs = encoder_folder("bert"), simalign_ratio.sample_pairs()[:8]
    made: list[tuple[object, dict[str, object]]] = []

    def recorded(model: object, **settings: object) -> EmbeddingAligner:
        made.append((model, settings))
        return EmbeddingAligner(folder, **{**settings, "layer": 3})  # type: ignore[arg-type]

    monkeypatch.setattr(presets, "EmbeddingAligner", recorded)
    aligners = [load_aligner("awesome"), load_aligner("awesome", method="entmax"), load_aligner("accalign")]
    # Models, layers and thresholds: the programs' defaults (neulab/awesome-align, sufenlp/AccAlign's run_align.sh).
    published = [(model, s["method"], s["layer"], s["threshold"]) for model, s in made]
    assert published == [
        ("google-bert/bert-base-multilingual-cased", "softmax", 8, 0.001),
        ("google-bert/bert-base-multilingual-cased", "entmax", 8, 0.0),
        ("sentence-transformers/LaBSE", "softmax", 6, 0.1),
    ]
    direct = EmbeddingAligner(folder, method="softmax", layer=3, threshold=0.1)
    assert aligners[2].fingerprint == direct.fingerprint
    assert aligners[2].align(pairs, **LANGUAGES) == direct.align(pairs, **LANGUAGES)
    assert len({aligner.fingerprint for aligner in aligners}) == 3


def test_a_method_that_awesome_align_has_not() -> None:
    with pytest.raises(ConfigError, match="awesome-align has softmax, entmax"):
        load_aligner("awesome", method="itermax")
