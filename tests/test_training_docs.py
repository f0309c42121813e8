"""The recipe in docs/training.md is a recipe."""

from __future__ import annotations

import re
from pathlib import Path

from spanferry.translation.recipe import TrainRecipe


def test_the_documented_recipe_is_read(root: Path, tmp_path: Path) -> None:
    text = (root / "docs/training.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(block, encoding="utf-8")
    recipe = TrainRecipe.read(tmp_path / "recipe.yaml")
    assert recipe.start_from == "facebook/nllb-200-distilled-600M"
    assert re.search(recipe.train_only[0], "model.decoder.layers.11.fc1.weight")
    assert not re.search(recipe.train_only[0], "model.decoder.layers.1.fc1.weight")
    assert 0 < recipe.optimizer.learning_rate < 1e-3
