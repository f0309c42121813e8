"""The settings of a build of the direction translate-test: text in many languages, and a model of one.

task: ner
direction: translate-test
source:
  path: tests/{language}.conll      # or, by language: {de: tests/german.conll, es: tests/es.jsonl}
  languages: [de, es]
pivot: en
predictor: {name: transformers, model: my-english-tagger}
output: out/predicted
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from spanferry.data.errors import did_you_mean
from spanferry.flows.config import (
    How,
    ProjectionSettings,
    ReadingSettings,
    Settings,
    SourceSettings,
    What,
    check_fields,
    known,
    known_language,
)
from spanferry.translation.languages import get_language

PLACE = "{language}"
"""Stands for the language, as the user names it, in the path and the other settings of a source."""


class _TestPlace(Settings):
    path: str | dict[str, str] = Field(
        description="a file, folder or hub id with {language} in its name, or by language: {de: a.conll, es: b.conll}"
    )
    languages: list[str] = Field(
        default_factory=list, description="languages of the text; those of path if it is given by language"
    )
    labelled: bool = Field(True, description="false for text that has no labels of its own to compare with")

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, languages: list[str]) -> list[str]:
        return [known_language(language) for language in languages]


class TestSourceSettings(ReadingSettings, _TestPlace):
    """The text to predict on, and how it is read; {language} stands for the language in any of it."""

    __test__ = False  # no test of pytest's

    @model_validator(mode="after")
    def _one_source_a_language(self) -> TestSourceSettings:
        if isinstance(self.path, dict):
            for language in self.path:
                known_language(language)
            for language in self.languages:
                known("language", language, list(self.path))
        elif not self.languages:
            raise ValueError("languages: missing (languages of the text: [de, es])")
        elif len(self.languages) > 1 and not any(PLACE in text for text in (self.path, self.config or "")):
            raise ValueError(
                f"path: found {self.path!r} for {len(self.languages)} languages, expected {PLACE} in it or in config, "
                "or a path by language: {de: a.conll, es: b.conll}"
            )
        seen: dict[str, str] = {}
        for name in self.names_of_languages:
            if (other := seen.get(get_language(name).flores)) is not None:
                raise ValueError(f"languages: {name!r} is {other!r} again; remove it")
            seen[get_language(name).flores] = name
        return self

    @property
    def names_of_languages(self) -> list[str]:
        """The languages of the text, as the user names them."""
        return self.languages or list(self.path)

    def of(self, language: str) -> SourceSettings:
        """Return where and how the text of one language is read."""
        values: dict[str, Any] = _in_place(self.model_dump(exclude={"languages", "labelled", "path"}), language)
        path = self.path[language] if isinstance(self.path, dict) else self.path
        return SourceSettings(path=path.replace(PLACE, language), language=language, **values)


class PredictorSettings(Settings):
    """The model that predicts; further keys are its own settings, see `spanferry.projection.prediction`."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="transformers, spacy, file, or a plug-in's name")
    labels: dict[str, str | None] = Field(
        default_factory=dict,
        description="what the model calls a label -> what the data calls it: {PERSON: PER, DATE: null}",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The predictor's own settings."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _known_settings(self) -> PredictorSettings:
        from spanferry.projection.prediction import PREDICTORS, predictor_settings

        known("predictor", self.name, PREDICTORS.names())
        parameters: Mapping[str, inspect.Parameter] = predictor_settings(self.name)
        for setting in self.settings:
            if setting not in parameters:
                hint = did_you_mean(setting, [*parameters, "name", "labels"])
                raise ValueError(f"predictor {self.name!r} has no setting {setting!r}; {hint}")
        for setting, parameter in parameters.items():
            if parameter.default is inspect.Parameter.empty and setting not in self.settings:
                raise ValueError(f"{setting}: missing (predictor {self.name!r} needs it)")
        return self


class TestProjectionSettings(ProjectionSettings):
    """How predicted spans are carried back."""

    __test__ = False  # no test of pytest's

    on_lost: Literal["keep"] = Field("keep", description="every row of test data stays, whatever it lost")


class _TestSides(Settings):
    direction: Literal["translate-test"] = Field(
        description="translate-test: text is translated for a model of one language, and its predictions carried back"
    )
    source: TestSourceSettings = Field(
        description="the text to predict on: {path: tests/{language}.conll, languages: [de, es]}"
    )
    pivot: str = Field(description="language of the predictor, which the text is translated into")
    predictor: PredictorSettings = Field(description="the model: {name: transformers, model: FOLDER_OR_HUB_ID}")
    causes: bool = Field(
        True, description="with gold: find out why spans are missed, by projecting gold forth and back"
    )

    @field_validator("pivot")
    @classmethod
    def _known_pivot(cls, pivot: str) -> str:
        return known_language(pivot)


class TranslateTestConfig(How, _TestSides, What):
    """One build of the direction translate-test: a model's predictions on a translation, carried to the original text.

    >>> config = TranslateTestConfig(task="ner", direction="translate-test", pivot="en", output="out/predicted",
    ...     source={"path": "tests/{language}.conll", "languages": ["de", "es"]},
    ...     predictor={"name": "file", "path": "predictions.jsonl"})
    >>> config.source.of("es").path, config.sides("es")
    ('tests/es.conll', ('es', 'en'))
    """

    projection: TestProjectionSettings = Field(default_factory=TestProjectionSettings)

    @model_validator(mode="after")
    def _consistent(self) -> TranslateTestConfig:
        check_fields(self.task, self.translation)
        if self.projection.method == "markers" and self.projection.settings.get("text") == "marked":
            raise ValueError(
                "projection.settings.text: found marked, but marks are written into a text before it is translated, "
                "and predictions come after; expected plain, which marks a translation of its own"
            )
        pivot = get_language(self.pivot)
        for name in self.datasets:
            if get_language(name).flores == pivot.flores:
                raise ValueError(f"source.languages: {name!r} is the pivot, whose text needs no translation; remove it")
        for name, settings in self.filters.items():
            if (settings or {}).get("on_fail") == "drop_example":
                raise ValueError(
                    f"filters.{name}.on_fail: found 'drop_example', but every row of test data stays; expected flag "
                    "(the row says so), or drop_span where the filter judges spans (a prediction is lost, and says why)"
                )
        return self

    @property
    def datasets(self) -> list[str]:
        """The languages that a dataset is written for, as the user names them."""
        return self.source.names_of_languages

    def sides(self, dataset: str) -> tuple[str, str]:
        """Return the languages that the text of a dataset is translated from and into."""
        return dataset, self.pivot


def _in_place(value: Any, language: str) -> Any:
    """Put a language in the place of `PLACE`, wherever it stands in settings."""
    if isinstance(value, str):
        return value.replace(PLACE, language)
    if isinstance(value, dict):
        return {key: _in_place(below, language) for key, below in value.items()}
    return [_in_place(item, language) for item in value] if isinstance(value, list) else value
