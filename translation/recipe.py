"""The training recipe: every setting of a run, read from YAML and checked before any work is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from spanferry.data.errors import ConfigError, LanguageError, did_you_mean
from spanferry.translation.corpus import Quota
from spanferry.translation.languages import get_language


def _flores(code: str) -> str:
    try:
        return get_language(code).flores
    except LanguageError as error:
        raise ValueError(str(error)) from error


Language = Annotated[str, AfterValidator(_flores)]
"""A language in any form that `get_language` knows; kept as its FLORES-200 code."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuotaSettings(_Settings):
    """At most `pairs` pairs of `min_words` to `max_words` source words (split on spaces) of one corpus."""

    pairs: int = Field(gt=0)
    min_words: int = Field(default=1, ge=1)
    max_words: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _a_range(self) -> QuotaSettings:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        return self


class CorpusSettings(_Settings):
    """One file of `source TAB target TAB corpus` lines and what is taken from it."""

    path: Path
    source_language: Language
    target_language: Language
    inline_marks: bool = False
    """True where the file has `<1>...</1>` marks on both sides; such pairs are always marked examples."""
    quotas: dict[str, list[QuotaSettings]]
    """By name of the corpus in the third column; a corpus that is not named is left out."""

    def limits(self) -> dict[str, list[Quota]]:
        """Return the quotas as `spanferry.translation.corpus.choose` takes them."""
        return {
            name: [Quota(quota.pairs, quota.min_words, quota.max_words) for quota in several]
            for name, several in self.quotas.items()
        }


class MarkerSettings(_Settings):
    """How often aligned phrases get markers on both sides."""

    share: float = Field(default=0.1, ge=0, lt=1)
    longest_phrase: int = Field(default=5, ge=1)


class AugmentSettings(_Settings):
    """Changes to some pairs, so that the model meets names and untidy typing."""

    exchange_names: float = Field(default=0.0, ge=0, le=1)
    lower_case: float = Field(default=0.0, ge=0, le=1)


class AlignmentSettings(_Settings):
    """Guided alignment (Garg et al. 2019): heads of one decoder layer are taught statistical word links."""

    weight: float = Field(default=0.0, ge=0)
    layer: int = -1
    heads: list[int] = [0]


class ScratchModel(_Settings):
    """A new M2M100 model (pre-norm transformer, tied embeddings) and its vocabulary."""

    vocabulary: int = Field(default=8192, ge=600)
    languages: list[Language]
    width: int = 256
    feed_forward: int = 1024
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 2
    dropout: float = Field(default=0.1, ge=0, lt=1)


class OptimizerSettings(_Settings):
    """Adam with linear warm-up and linear decay to zero at the end of the run, by steps or by the clock."""

    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=500, ge=1)
    max_steps: int = Field(gt=0)
    max_minutes: float | None = Field(default=None, gt=0)
    """Time budget. The learning rate falls by whichever of steps and minutes is nearer to its end."""
    batch_tokens: int = Field(default=2048, gt=0)
    """Most tokens in a batch, padding included, on its longer side."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per step."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: forward and backward under autocast, weights and optimizer stay in float32."""


class Recipe(_Settings, ABC):
    """A file of settings whose paths are relative to its folder."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a recipe from YAML; relative paths in it are relative to the file's folder.

        Raises `ConfigError` that names the file, the setting, what was found and the nearest known name.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the recipe ({error.strerror}).") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: found {type(values).__name__}, expected a mapping of settings.")
        try:
            recipe = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: {_explain(error, cls)}") from error
        return recipe.relative_to(path.parent)

    @abstractmethod
    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""


class RunSettings(Recipe):
    """What every training run has: a name, a folder, an optimizer, checkpoints."""

    name: str
    output: Path
    optimizer: OptimizerSettings
    save_minutes: float = Field(default=5.0, gt=0)
    keep_checkpoints: int = Field(default=3, ge=1)
    report_steps: int = Field(default=50, ge=1)
    loader_workers: int = Field(default=0, ge=0)
    """Processes that make batches; a fast GPU wants some, a CPU none."""
    seed: int = 1

    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""
        return self.model_copy(update={"output": folder / self.output})


class TrainRecipe(RunSettings):
    """A training run: from scratch (`model`), or from a checkpoint (`start_from`, a folder or a hub id)."""

    data: list[CorpusSettings] = Field(min_length=1)
    model: ScratchModel | None = None
    start_from: str | None = None
    pivot: bool = False
    """Join the first two corpora of the same source language through identical sentences."""
    both_directions: bool = True
    markers: MarkerSettings = MarkerSettings()
    augment: AugmentSettings = AugmentSettings()
    guided_alignment: AlignmentSettings = AlignmentSettings()
    train_only: list[str] = []
    """Regular expressions; parameters whose names match none stay as they are (EasyProject: the last layers alone)."""
    max_tokens: int = Field(default=128, ge=8)
    """Longer pairs, in tokens with special tokens, are left out."""

    @model_validator(mode="after")
    def _one_origin(self) -> TrainRecipe:
        if (self.model is None) == (self.start_from is None):
            raise ValueError("give either `model` (train from scratch) or `start_from` (fine-tune), not both")
        return self

    @model_validator(mode="after")
    def _languages_fit(self) -> TrainRecipe:
        used = {language for corpus in self.data for language in (corpus.source_language, corpus.target_language)}
        if self.model is not None and not used <= set(self.model.languages):
            missing = ", ".join(sorted(used - set(self.model.languages)))
            raise ValueError(f"`model.languages` lacks {missing}, which `data` has")
        plain = [corpus.source_language for corpus in self.data if not corpus.inline_marks]
        if self.pivot and (len(plain) < 2 or plain[0] != plain[1]):
            raise ValueError("`pivot` needs two corpora without inline marks and with the same source language first")
        return self

    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""
        update: dict[str, object] = {
            "data": [corpus.model_copy(update={"path": folder / corpus.path}) for corpus in self.data]
        }
        if self.start_from is not None and (folder / self.start_from).is_dir():  # else a hub id, or seen from elsewhere
            update["start_from"] = str(folder / self.start_from)
        return super().relative_to(folder).model_copy(update=update)


def _explain(error: ValidationError, recipe: type[BaseModel]) -> str:
    parts = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "recipe"
        text = problem["msg"]
        if problem["type"] == "extra_forbidden":
            text = f"unknown setting; {did_you_mean(str(problem['loc'][-1]), _known_settings(recipe))}"
        elif problem["type"] != "missing":
            text += f" (found {problem['input']!r})" if not isinstance(problem["input"], dict) else ""
        parts.append(f"{place}: {text}")
    return "; ".join(parts)


def _known_settings(kind: type[BaseModel]) -> set[str]:
    """Names of a recipe's settings and of those inside them."""
    known = set(kind.model_fields)
    waiting = [field.annotation for field in kind.model_fields.values()]
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and issubclass(found, BaseModel):
            known |= _known_settings(found)
        waiting += get_args(found)
    return known
