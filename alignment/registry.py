"""The aligners by name. A third party adds one by an entry point of the group ``spanferry.aligners``."""

from __future__ import annotations

from typing import Any, cast

from spanferry.alignment.base import Aligner
from spanferry.data.registry import LazyTable
from spanferry.data.settings import check_settings

ALIGNERS = LazyTable(
    kind="aligner",
    group="spanferry.aligners",
    builtin={
        "accalign": "spanferry.alignment.presets:accalign",
        "attention": "spanferry.alignment.attention:AttentionAligner",
        "awesome": "spanferry.alignment.presets:awesome",
        "eflomal": "spanferry.alignment.statistical:EflomalAligner",
        "embeddings": "spanferry.alignment.embeddings:EmbeddingAligner",
        "fake": "spanferry.alignment.fake:FakeAligner",
        "joint": "spanferry.alignment.joint:JointAligner",
        "lexical": "spanferry.alignment.lexical:LexicalAligner",
        "mt-encoder": "spanferry.alignment.mt_encoder:MTEncoderAligner",
        "simalign": "spanferry.alignment.simalign_package:SimAlignPackageAligner",
    },
)

# What carried spans best with the bundled model; the figures are in `docs/projection.md`.
DEFAULT_ALIGNER = "joint"


def load_aligner(name: str, **settings: Any) -> Aligner:
    """Make the aligner called ``name`` with its own settings (model, layer, method, ...).

    Raises:
        ConfigError: the name or a setting is unknown, a required setting is missing, a value is of the wrong kind or
            out of range, or a package that the aligner needs is not installed.
        ModelError: its model cannot be loaded.

    >>> load_aligner("fake", dictionary={"wine": "Wein"}).fingerprint[:5]
    'fake:'
    >>> load_aligner("fake", dictionry={})
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: aligner 'fake' has no setting 'dictionry': did you mean 'dictionary'? Known: ...
    """
    factory = ALIGNERS.load(name)
    check_settings(f"aligner {name!r}", settings, factory)
    return cast(Aligner, factory(**settings))
