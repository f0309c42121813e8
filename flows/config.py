"""What a build's settings are: pydantic models, read from YAML, shown as a JSON schema, typed for Prefect.

Settings are of two kinds. The semantic ones decide what the dataset contains; they go into its signature and into the
key of every shard. Everything under `run:` is transient: device, threads, batch size, shard size and folders change
how fast a build is, never what it writes, and enter no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from spanferry.data.errors import SpanferryError, did_you_mean
from spanferry.flows.config_file import RawConfig, override, read_config, validate


class Settings(BaseModel):
    """Common ground: unknown keys are refused, values keep their type, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SourceSettings(Settings):
    """Where the labelled data comes from."""

    path: str | dict[str, str] = Field(
        description="a file, a folder saved by datasets, a hub id, or a mapping such as {train: a.jsonl, test: b.jsonl}"
    )
    language: str = Field(description="language of the data: en, eng, eng_Latn or English")
    format: str | None = Field(None, description="jsonl, conll, parquet, csv, datasets or hub; by the ending if absent")
    splits: list[str] | None = Field(None, description="splits of a hub dataset or datasets folder; all if absent")
    config: str | None = Field(None, description="which config of a hub dataset")
    options: dict[str, Any] = Field(
        default_factory=dict, description="how to read the format: columns, scheme, delimiter, ..."
    )
    license: str | None = Field(None, description="license of the data, as the hub writes it: cc-by-4.0")
    name: str | None = Field(None, description="how the dataset card calls the data")

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(path, dict):
            for split in path:
                if not split.isidentifier():
                    raise ValueError(f"split {split!r}: expected letters, digits and _, as in train or test_2")
        if not path:
            raise ValueError("found nothing, expected a path")
        return path

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str) -> str:
        return _language(language)


class TranslationSettings(Settings):
    """How text is translated."""

    model: str = Field("bundled", description="bundled, a checkpoint folder, a CTranslate2 folder or a hub id")
    revision: str | None = Field(None, description="commit or tag of a hub model; the newest if absent")
    quantization: str | None = Field(None, description="int8, float16, float32, ...; by the device if absent")
    beam_size: Annotated[int, Field(ge=1, le=64)] = Field(4, description="beams; 1 is greedy and fastest")
    license: str | None = Field(None, description="license of the model, for the card, where it is not known")


class ProjectionSettings(Settings):
    """How spans are carried. Keys beside `method` go to the method, keys under `aligner_settings` to its aligner."""

    method: str = Field("alignment", description="alignment, or another method: `spanferry schema` lists them")
    aligner: str = Field("attention", description="word aligner of the alignment method")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    aligner_settings: dict[str, Any] = Field(default_factory=dict, description="settings of the aligner")


class RunSettings(Settings):
    """Transient settings: they change the speed of a build, never what it writes."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:1")
    threads: Annotated[int, Field(ge=1)] | None = Field(None, description="CPU threads of a worker; all if absent")
    workers: Annotated[int, Field(ge=1)] | None = Field(None, description="parallel workers in CTranslate2")
    batch_tokens: Annotated[int, Field(ge=32)] | None = Field(None, description="tokens a batch, padding included")
    shard_rows: Annotated[int, Field(ge=1)] = Field(2000, description="rows a shard: what a crash costs at most")
    memory: str | bool = Field(True, description="translation memory: a file, true for the shared one, false for none")


class BuildConfig(Settings):
    """One build: a labelled dataset in one language, carried into others.

    >>> config = parse_config({"task": "ner", "source": {"path": "train.jsonl", "language": "en"},
    ...                        "targets": ["de"], "output": "out/demo"})
    >>> config.translation.model, config.projection.method
    ('bundled', 'alignment')
    """

    task: str = Field(description="shape of the data: ner, slots, text-classification or pair-classification")
    direction: Literal["translate-train"] = Field(
        "translate-train", description="translate-train: labelled data is translated and its labels carried over"
    )
    source: SourceSettings
    targets: list[str] = Field(min_length=1, description="languages to carry the data into")
    translation: TranslationSettings = Field(default_factory=TranslationSettings)
    projection: ProjectionSettings = Field(default_factory=ProjectionSettings)
    filters: dict[str, Any] = Field(default_factory=dict, description="filters by name, each with its settings")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="rows of each split to take; all if absent")
    on_error: Literal["raise", "skip"] = Field("raise", description="a bad row stops the build, or goes to rejects/")
    output: str = Field(description="folder to write; made if absent")
    run: RunSettings = Field(default_factory=RunSettings)

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        from spanferry.data.tasks import TASKS

        return _known("task", task, TASKS.names())

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, targets: list[str]) -> list[str]:
        return [_language(target) for target in targets]

    @field_validator("projection")
    @classmethod
    def _known_projection(cls, projection: ProjectionSettings) -> ProjectionSettings:
        from spanferry.alignment.registry import ALIGNERS
        from spanferry.projection.registry import PROJECTORS

        _known("projection method", projection.method, PROJECTORS.names())
        _known("aligner", projection.aligner, ALIGNERS.names())
        return projection

    @model_validator(mode="after")
    def _distinct_languages(self) -> BuildConfig:
        from spanferry.translation.languages import get_language

        source = get_language(self.source.language)
        seen = {source.flores: "the source language"}
        for name in self.targets:
            language = get_language(name)
            if language.flores in seen:
                raise ValueError(f"target {name!r} ({language.name}) is already {seen[language.flores]}; remove it")
            seen[language.flores] = f"a target ({name!r})"
        return self


def _language(name: str) -> str:
    from spanferry.translation.languages import get_language

    try:
        get_language(name)
    except SpanferryError as error:
        raise ValueError(str(error)) from None
    return name


def _known(kind: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; {did_you_mean(name, names)}")
    return name


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> BuildConfig:
    """Read a build's configuration from YAML, with ``--set`` overrides.

    Raises:
        ConfigError: one sentence a mistake: file, line, key, what was found, what was expected.
    """
    return validate(BuildConfig, read_config(path, overrides))


def parse_config(values: dict[str, Any], overrides: Sequence[str] = ()) -> BuildConfig:
    """Make a configuration from plain values.

    Raises:
        ConfigError: as `load_config`, without file and line.
    """
    return validate(BuildConfig, override(RawConfig(values), overrides))
