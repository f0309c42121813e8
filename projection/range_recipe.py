"""The recipe by which the model of ranges is trained: every setting, read from YAML and checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from spanferry.translation.recipe import CorpusSettings, Recipe


class RangeRecipe(Recipe):
    """The training of `spanferry.projection.range_model` on texts whose translators carried marks over."""

    output: Path
    """The file to write, ``.safetensors``."""
    data: list[CorpusSettings] = Field(min_length=1)
    """Files with inline marks; each is read in both directions."""
    aligner: str = "joint"
    """Whose probabilities it learns to read."""
    aligner_settings: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the aligner."""
    most_alike: int = Field(default=3, ge=1)
    """So many phrases with the same source text are learned from, of one file: menus repeat themselves."""
    hidden: int = Field(default=64, ge=1)
    """Hidden units."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the hidden units that are silent at a step."""
    epochs: int = Field(default=24, ge=1)
    """Passes over the data."""
    batch_spans: int = Field(default=256, ge=1)
    """Spans a step."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """The highest, of one cycle over the run."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the sentence pairs that are only tested on."""
    seed: int = 1
    """Of all that is drawn by chance."""

    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""
        data = [corpus.model_copy(update={"path": folder / corpus.path}) for corpus in self.data]
        return self.model_copy(update={"output": folder / self.output, "data": data})
