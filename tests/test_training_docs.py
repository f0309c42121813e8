"""The recipes in docs/training.md are recipes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from spanferry.alignment.adapter_recipe import AdapterRecipe, AlignedCorpus
from spanferry.projection.range_recipe import RangeRecipe
from spanferry.translation.recipe import (
    AlignmentSettings,
    AugmentSettings,
    CorpusSettings,
    MarkerSettings,
    OptimizerSettings,
    QuotaSettings,
    ScratchModel,
    TrainRecipe,
)


@pytest.fixture
def documented(root: Path, tmp_path: Path) -> list[Path]:
    """The recipes in the order of the text, as files."""
    text = (root / "docs/training.md").read_text(encoding="utf-8")
    files = []
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(block, encoding="utf-8")
    return files


def test_the_documented_recipe_for_markers_is_read(documented: list[Path]) -> None:
    recipe = TrainRecipe.read(documented[0])
    assert recipe.start_from == "facebook/nllb-200-distilled-600M"
    assert re.search(recipe.train_only[0], "model.decoder.layers.11.fc1.weight")
    assert not re.search(recipe.train_only[0], "model.decoder.layers.1.fc1.weight")
    assert 0 < recipe.optimizer.learning_rate < 1e-3


def test_the_documented_recipe_for_an_adapter_is_read(documented: list[Path]) -> None:
    recipe = AdapterRecipe.read(documented[1])
    assert recipe.model == "facebook/nllb-200-distilled-600M"
    assert recipe.targets == ["fc1", "fc2"]


def test_the_documented_recipe_for_ranges_is_read(documented: list[Path]) -> None:
    recipe = RangeRecipe.read(documented[2])
    assert recipe.aligner == "mt-encoder" and recipe.data[0].inline_marks
    assert recipe.output.name == "my-ranges.safetensors"
    assert len(documented) == 3


@pytest.mark.parametrize(
    "settings",
    [
        *(TrainRecipe, AdapterRecipe, RangeRecipe, AlignedCorpus, CorpusSettings, QuotaSettings, MarkerSettings),
        *(AugmentSettings, AlignmentSettings, ScratchModel, OptimizerSettings),
    ],
)
def test_every_setting_of_a_recipe_has_its_meaning(settings: type[BaseModel]) -> None:
    assert [name for name, field in settings.model_fields.items() if not field.description] == []
