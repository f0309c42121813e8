"""The recipe of an adapter's training: every setting, read from YAML and checked before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field

from spanferry.translation.recipe import CorpusSettings, RunSettings


class AlignedCorpus(CorpusSettings):
    """A file of parallel text, and where its word links come from."""

    links: Path | None = None
    """Pharaoh lines (``0-0 1-2``), one a line of ``path``, over words and single punctuation marks (`corpus.words`).
    Without it, eflomal aligns what the quotas choose."""
    weight: float = Field(default=1.0, gt=0)
    """How often a pair is used in a pass over the data, each time with other names; 0.4 uses two pairs of five."""


class AdapterRecipe(RunSettings):
    """The training of an adapter for a model's encoder."""

    model: str = "bundled"
    """A checkpoint: folder, hub id or ``bundled``."""
    data: list[AlignedCorpus] = Field(min_length=1)
    """The corpora."""
    layer: int | None = Field(default=None, ge=1)
    """The hidden state to teach; the encoder's output if absent."""
    rank: int = Field(default=8, ge=1)
    """Of the updates of the layers' matrices."""
    targets: list[str] = Field(default=["fc1", "fc2"], min_length=1)
    """Linear layers that get an update, by the last part of their names."""
    embedding_rank: int = Field(default=0, ge=0)
    """Of the update of the embeddings; 0: none."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by it; give the aligner the same."""
    symmetrization: str = "grow-diag"
    """How eflomal's two directions become links; see `spanferry.alignment.symmetrize`."""
    exchange_names: float = Field(default=0.3, ge=0, le=1)
    """Share of the pairs in which a name that both sides share becomes another one."""
    least_words: int = Field(default=1, ge=1)
    """Pairs with fewer words on a side help eflomal, but are not trained on."""
    max_tokens: int = Field(default=128, ge=8)
    """Longer texts, in tokens with special tokens, are left out."""

    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""
        data = [
            corpus.model_copy(
                update={
                    "path": folder / corpus.path,
                    "links": None if corpus.links is None else folder / corpus.links,
                }
            )
            for corpus in self.data
        ]
        return super().relative_to(folder).model_copy(update={"data": data})
