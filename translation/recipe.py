"""The training recipe: every setting of a run, read from YAML and checked before any work is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from spanferry.data.errors import ConfigError, LanguageError, did_you_mean, yaml_problem
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
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class QuotaSettings(_Settings):
    """At most `pairs` pairs of `min_words` to `max_words` source words (split on spaces) of one corpus."""

    pairs: int = Field(gt=0)
    """At most so many pairs."""
    min_words: int = Field(default=1, ge=1)
    """Source words that a pair has at least."""
    max_words: int = Field(default=60, ge=1)
    """And at most."""

    @model_validator(mode="after")
    def _a_range(self) -> QuotaSettings:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is more than max_words {self.max_words}")
        return self


class CorpusSettings(_Settings):
    """One file of `source TAB target TAB corpus` lines and what is taken from it."""

    path: Path
    """Seen from the recipe; plain, `.gz` or `.zst`."""
    source_language: Language
    """Of the first column."""
    target_language: Language
    """Of the second column."""
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
    """Share of the examples that get markers, where the word links allow it."""
    longest_phrase: int = Field(default=5, ge=1)
    """Words between two markers at most, on either side."""


class AugmentSettings(_Settings):
    """Changes to some pairs, so that the model meets names and untidy typing."""

    exchange_names: float = Field(default=0.0, ge=0, le=1)
    """Share of the pairs in which a name that both sides share becomes another one."""
    lower_case: float = Field(default=0.0, ge=0, le=1)
    """Share of the examples whose source is in lower case, and neither side ends in a full stop."""


class AlignmentSettings(_Settings):
    """Guided alignment (Garg et al. 2019): heads of one decoder layer are taught statistical word links."""

    weight: float = Field(default=0.0, ge=0)
    """Of this loss beside that of the translation; 0: none."""
    layer: int = -1
    """The decoder layer, from 0; -1 is the last."""
    heads: list[int] = [0]
    """The heads that are taught, from 0."""


class ScratchModel(_Settings):
    """A new M2M100 model (pre-norm transformer, tied embeddings) and its vocabulary."""

    vocabulary: int = Field(default=8192, ge=600)
    """Tokens at most, those of languages, signs and the alphabet included."""
    languages: list[Language]
    """Languages that get a token; all those of `data`, and others for later training."""
    width: int = 256
    """Numbers of a state."""
    feed_forward: int = 1024
    """Numbers inside a feed-forward layer."""
    heads: int = 8
    """Attention heads of a layer."""
    encoder_layers: int = 6
    """Layers that read."""
    decoder_layers: int = 2
    """Layers that write; few are fast."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the numbers that are silent at a step."""


class OptimizerSettings(_Settings):
    """Adam with linear warm-up and linear decay to zero at the end of the run, by steps or by the clock."""

    learning_rate: float = Field(gt=0)
    """The highest, reached after the warm-up."""
    warmup_steps: int = Field(default=500, ge=1)
    """Steps over which the rate rises."""
    max_steps: int = Field(gt=0)
    """Steps of the run, at the most where `max_minutes` is given."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Time budget. The learning rate falls by whichever of steps and minutes is nearer to its end."""
    batch_tokens: int = Field(default=2048, gt=0)
    """Most tokens in a batch, padding included, on its longer side."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per step."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the probability that is spread over all tokens."""
    weight_decay: float = Field(default=0.0, ge=0)
    """How much weights are pulled to zero."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are cut to this length."""
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
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: not UTF-8 at byte {error.start}, expected a YAML file") from None
        except yaml.YAMLError as error:
            line, problem = yaml_problem(error)
            raise ConfigError(f"{path}{'' if line is None else f':{line}'}: not valid YAML: {problem}") from None
        except RecursionError:
            raise ConfigError(f"{path}: a value stands a thousand deep; expected a mapping of settings") from None
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
    """What the run is called, for people."""
    output: Path
    """The folder of the run, seen from the recipe: data, checkpoints, the result."""
    optimizer: OptimizerSettings
    """How it is trained, and how long."""
    save_minutes: float = Field(default=5.0, gt=0)
    """Minutes between checkpoints: what a stop costs at most."""
    keep_checkpoints: int = Field(default=3, ge=1)
    """The newest checkpoints that are kept."""
    report_steps: int = Field(default=50, ge=1)
    """Steps between two lines of the log."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that make batches; a fast GPU wants some, a CPU none."""
    seed: int = 1
    """Of all that is drawn by chance."""

    def relative_to(self, folder: Path) -> Self:
        """Return the recipe with its paths seen from `folder`."""
        return self.model_copy(update={"output": folder / self.output})


class TrainRecipe(RunSettings):
    """A training run: from scratch (`model`), or from a checkpoint (`start_from`, a folder or a hub id)."""

    data: list[CorpusSettings] = Field(min_length=1)
    """The corpora."""
    model: ScratchModel | None = None
    """A new model of this size."""
    start_from: str | None = None
    """A checkpoint to train on: a folder, seen from the recipe, or a hub id."""
    pivot: bool = False
    """Join the first two corpora of the same source language through identical sentences."""
    both_directions: bool = True
    """Every pair is an example in either direction."""
    markers: MarkerSettings = MarkerSettings()
    """Markers around aligned phrases."""
    augment: AugmentSettings = AugmentSettings()
    """Changes to some pairs."""
    guided_alignment: AlignmentSettings = AlignmentSettings()
    """What attention is taught of word links."""
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
