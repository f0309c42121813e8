"""What a build's settings are: pydantic models, read from YAML, shown as a JSON schema, typed for Prefect.

Settings are of two kinds. The semantic ones decide what the dataset contains; they go into its signature and into the
key of every shard. Everything under `run:` is transient: device, threads, batch size, shard size and folders change
how fast a build is, are not meant to change what it writes, and enter no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from spanferry.alignment.registry import DEFAULT_ALIGNER
from spanferry.data.errors import ConfigError, SpanferryError, did_you_mean
from spanferry.flows.config_file import RawConfig, override, read_config, validate
from spanferry.flows.output_place import check_places
from spanferry.translation.protect import Kind

if TYPE_CHECKING:
    from spanferry.flows.predict_config import TranslateTestConfig

AnyConfig: TypeAlias = "BuildConfig | TranslateTestConfig"
"""The settings of a build of either direction."""


class Settings(BaseModel):
    """Common ground: unknown keys are refused, values keep their type, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _TrainPlace(Settings):
    path: str | dict[str, str] = Field(
        description="a file, a datasets folder, a hub id, sample:NAME, or by split: {train: a.jsonl, test: b.jsonl}"
    )
    language: str = Field(description="language of the data: en, eng, eng_Latn or English")

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
        return known_language(language)


class ReadingSettings(Settings):
    """How data is read: see `spanferry.data.formats.read_examples`."""

    format: str | None = Field(None, description="conll, jsonl, csv, tsv, parquet, datasets or hub; else by the ending")
    splits: list[str] | None = Field(None, description="splits to take of a datasets folder or hub dataset")
    config: str | None = Field(None, description="which config of a hub dataset")
    revision: str | None = Field(None, description="commit or tag of a hub dataset")
    columns: dict[str, str | int | None] = Field(
        default_factory=dict, description="role -> column, where the usual names do not fit: {text: sentence, id: null}"
    )
    names: dict[str, list[str]] = Field(
        default_factory=dict,
        description="label names in order, for columns of numbers: {ner_tags: [O, B-PER], spans.label: [PER]}",
    )
    scheme: str = Field("IOB2", description="chunk scheme of tags: IOB1, IOB2, BIOES, ...")
    repair: bool = Field(False, description="read tags that break their scheme as conlleval does")
    encoding: str = Field("utf-8", description="of text files")
    separator: str | None = Field(None, description="between columns of text files")
    quotes: bool = Field(True, description="whether quotes enclose cells of CSV files")
    license: str | None = Field(None, description="license of the data, as the hub writes it: cc-by-4.0")
    name: str | None = Field(None, description="how the dataset card calls the data")


# A model's fields stand in the order of its bases, last base first: that of a configuration file.
class SourceSettings(ReadingSettings, _TrainPlace):
    """Where the labelled data comes from, and how it is read."""


class TranslationSettings(Settings):
    """How text is translated. See `spanferry.translation.decoding.Decoding` and `TextSettings` for the fine points."""

    model: str = Field("bundled", description="bundled, a folder with a checkpoint, or a hub id")
    revision: str | None = Field(None, description="commit or tag of a hub model; the newest if absent")
    license: str | None = Field(None, description="license of the model, where its card does not say it")
    quantization: str = Field("auto", description="int8, float16, float32, ...; auto chooses by the device")
    beam_size: Annotated[int, Field(ge=1)] = Field(4, description="hypotheses kept; 1 is greedy and fastest")
    length_penalty: Annotated[float, Field(ge=0)] = Field(1.0, description="above 1 favours longer translations")
    repetition_penalty: Annotated[float, Field(ge=1)] = Field(1.0, description="above 1 discourages repetition")
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = Field(0, description="no n-gram this long twice; 0 is off")
    suppress_unknown: bool = Field(False, description="never write the unknown token")
    protect: list[Kind] = Field(
        ["code", "math", "email", "url", "placeholder", "number"], description="matter that must come through unchanged"
    )
    split: Literal["sentences", "lines"] = Field("sentences", description="what the model sees at once")
    fields: Literal["apart", "jointly"] = Field(
        "apart", description="the texts of one example are translated each for itself, or as one (jointly)"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="further settings of the translator")


class ProjectionSettings(Settings):
    """How spans are carried across."""

    method: str = Field("alignment", description="how a span finds its place: alignment, constrained, cascade, ...")
    aligner: str = Field(DEFAULT_ALIGNER, description="which word aligner the method uses")
    on_lost: Literal["drop_example", "keep"] = Field(
        "drop_example", description="an example that lost a span is dropped, or kept without it (keep)"
    )
    calibration: str | None = Field(
        None, description="file from `spanferry score --fit-calibration`: how sure the method is of each span"
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="a span that is less sure has no place, 0 to 1; needs a calibration"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="further settings of the method")
    aligner_settings: dict[str, Any] = Field(default_factory=dict, description="further settings of the aligner")

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        from spanferry.projection.registry import PROJECTORS

        return known("projection method", method, PROJECTORS.names())

    @field_validator("aligner")
    @classmethod
    def _known_aligner(cls, aligner: str) -> str:
        from spanferry.alignment.registry import ALIGNERS

        return known("aligner", aligner, ALIGNERS.names())


class RunSettings(Settings):
    """Speed only: nothing here is meant to change what is written (a GPU rounds differently from a CPU)."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:1")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="batches computed at once; 0 chooses")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of a worker; 0 chooses")
    batch_tokens: Annotated[int, Field(ge=0)] = Field(0, description="tokens of a batch, padding included; 0 chooses")
    shard_rows: Annotated[int, Field(ge=1)] = Field(2000, description="rows a shard: what a crash costs at most")
    memory: str | bool = Field(
        True, description="what was translated and projected before: a file, true (in the user's cache), false"
    )
    work_folder: str | None = Field(
        None, description="where a build whose output is a URL is worked on; a folder in the user's cache if absent"
    )
    task_runner: Literal["threads", "processes", "dask", "ray"] = Field(
        "threads",
        description="who does shards, by way of Prefect: its own process, others beside it, a dask or ray cluster",
    )
    task_runner_address: str | None = Field(
        None, description="of a running cluster: tcp://host:8786 (dask), ray://host:10001; one is started if absent"
    )
    task_runner_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="shards at once by processes, dask or ray; 0 chooses: by the cores, or the size of the cluster"
    )

    @model_validator(mode="after")
    def _fitting_runner(self) -> RunSettings:
        if self.task_runner_address is not None and self.task_runner not in {"dask", "ray"}:
            raise ValueError(f"task_runner_address: {self.task_runner} has none, expected task_runner dask or ray")
        if self.task_runner_workers > 1 and self.task_runner == "threads":
            raise ValueError("task_runner_workers: threads do one shard at a time; choose task_runner processes")
        return self


class What(Settings):
    """What builds of both directions begin with."""

    task: str = Field(
        description="shape of the data: ner, slots, text-classification, pair-classification, multiple-choice or "
        "question-answering"
    )

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        from spanferry.data.tasks import TASKS

        return known("task", task, TASKS.names())


class _TrainSides(Settings):
    direction: Literal["translate-train", "back-translate"] = Field(
        "translate-train",
        description="translate-train: labelled data is translated and its labels carried over; back-translate: it goes "
        "through each target and back, to read like what a model meets in translate-test",
    )
    source: SourceSettings = Field(description="the labelled data: {path: train.jsonl, language: en}")
    targets: list[str] = Field(min_length=1, description="languages to carry the data into")

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, targets: list[str]) -> list[str]:
        return [known_language(target) for target in targets]


class How(Settings):
    """What builds of both directions have in common: how text is translated and spans are carried, and the output."""

    translation: TranslationSettings = Field(default_factory=TranslationSettings)
    projection: ProjectionSettings = Field(default_factory=ProjectionSettings)
    filters: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict,
        description="checks by name, each with its settings: {length_ratio: {on_fail: flag}}; see docs/projection.md",
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="rows of each split to take; all if absent")
    on_error: Literal["raise", "skip"] = Field("raise", description="a bad row stops the build, or goes to rejects/")
    output: str = Field(description="folder to write, or a URL of shared storage, s3://bucket/demo; made if absent")
    run: RunSettings = Field(default_factory=RunSettings)

    @field_validator("filters")
    @classmethod
    def _known_filters(cls, filters: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        from spanferry.projection.filters import load_filters

        try:
            load_filters(filters)
        except SpanferryError as error:
            raise ValueError(str(error)) from None
        return filters


class BuildConfig(How, _TrainSides, What):
    """One build of the direction translate-train: a labelled dataset in one language, carried into others.

    >>> config = parse_config({"task": "ner", "source": {"path": "train.jsonl", "language": "en"},
    ...                        "targets": ["de"], "output": "out/demo"})
    >>> config.translation.model, config.projection.method
    ('bundled', 'alignment')
    """

    @model_validator(mode="after")
    def _fitting(self) -> BuildConfig:
        check_fields(self.task, self.translation)
        if self.direction == "back-translate" and self.projection.method == "markers":
            raise ValueError("projection.method: markers are written into the text once, and cannot go there and back")
        return self

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

    @property
    def datasets(self) -> list[str]:
        """The languages that a dataset is written for, as the user names them."""
        return self.targets

    def sides(self, dataset: str) -> tuple[str, str]:
        """Return the languages that the text of a dataset is translated from and into."""
        return self.source.language, dataset


def known_language(name: str) -> str:
    """Return the name of a language as it was given; refuse it where there is none, in pydantic's way."""
    from spanferry.translation.languages import get_language

    try:
        get_language(name)
    except SpanferryError as error:
        raise ValueError(str(error)) from None
    return name


def check_fields(task: str, translation: TranslationSettings) -> None:
    """Refuse to translate the texts of one example jointly where it has one, or spans, in pydantic's way."""
    from spanferry.data.tasks import get_task

    shape = get_task(task)
    if translation.fields == "jointly" and (len(shape.fields) < 2 or shape.spans_in):
        raise ValueError(
            f"translation.fields: found 'jointly' for task {task!r}, expected a task of several texts without spans "
            "(pair-classification, multiple-choice); remove it"
        )


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """Return a name that is one of ``names``; refuse it where it is not, in pydantic's way."""
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; {did_you_mean(name, names)}")
    return name


def _validate(raw: RawConfig) -> AnyConfig:
    from spanferry.flows.predict_config import TranslateTestConfig

    models: dict[str, type[AnyConfig]] = {
        "translate-train": BuildConfig,
        "back-translate": BuildConfig,
        "translate-test": TranslateTestConfig,
    }
    direction = raw.values.get("direction", "translate-train")
    if direction not in models:
        raise ConfigError(
            f"{raw.where(['direction'])}: unknown direction {direction!r}; {did_you_mean(str(direction), models)}"
        )
    config = validate(models[direction], raw)
    check_places(config, raw)
    return config


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration of either direction."""
    from spanferry.flows.predict_config import TranslateTestConfig

    return TypeAdapter(BuildConfig | TranslateTestConfig).json_schema()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a build's configuration from YAML, with ``--set`` overrides.

    Raises:
        ConfigError: one sentence a mistake: file, line, key, what was found, what was expected.
    """
    return _validate(read_config(path, overrides))


def parse_config(values: dict[str, Any], overrides: Sequence[str] = ()) -> AnyConfig:
    """Make a configuration from plain values.

    Raises:
        ConfigError: as `load_config`, without file and line.
    """
    return _validate(override(RawConfig(values), overrides))
