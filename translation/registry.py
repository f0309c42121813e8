"""Translators by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spanferry.data.registry import LazyTable
from spanferry.data.settings import check_settings
from spanferry.translation.base import Translator

TRANSLATORS = LazyTable(
    kind="translator",
    group="spanferry.translators",
    builtin={
        "ctranslate2": "spanferry.translation.ct2:load_ctranslate2",
        "fake": "spanferry.translation.fake:FakeTranslator",
    },
)


def load_translator(name_or_model: str | Path = "bundled", **settings: Any) -> Translator:
    """Load a translator by its name, or a model through CTranslate2.

    Args:
        name_or_model: a name in `TRANSLATORS` (``"fake"``, a plug-in's), ``"bundled"`` for the model that comes with
            the package, else a folder or a hub id of a checkpoint.
        settings: what the translator takes; for CTranslate2 see `spanferry.translation.ct2.load_ctranslate2`.

    Raises:
        ConfigError: a setting is unknown, or a value is of the wrong kind or out of range.
        ModelError: there is no such model.

    >>> fake = load_translator("fake", dictionary={"cat": "Katze"})
    >>> fake.translate(["a cat"], source="eng_Latn", target="deu_Latn")[0].text
    'a Katze'
    """
    name = str(name_or_model)
    if name in TRANSLATORS.names():
        factory = TRANSLATORS.load(name)
        check_settings(f"translator {name!r}", settings, factory)
        translator: Translator = factory(**settings)
        return translator
    loaded: Translator = TRANSLATORS.load("ctranslate2")(name_or_model, **settings)
    return loaded
