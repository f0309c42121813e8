"""The projectors by name. A third party adds one by an entry point of the group ``spanferry.projectors``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.registry import LazyTable
from spanferry.projection.base import Projector

PROJECTORS = LazyTable(
    kind="projection method",
    group="spanferry.projectors",
    builtin={
        "alignment": "spanferry.projection.by_alignment:AlignmentProjector",
        "constrained": "spanferry.projection.constrained:ConstrainedProjector",
        "min-max": "spanferry.projection.by_alignment:min_max_projector",
    },
)


def load_projector(name: str, **settings: Any) -> Projector:
    """Make the projector called ``name`` with its own settings.

    An aligner may be given as such or by its name, see `spanferry.alignment.registry`.

    Raises:
        ConfigError: the name or a setting is unknown, a required setting is missing, or a value is out of range.

    >>> load_projector("alignment", aligner="fake", gap_cost=0.2).fingerprint[:43]
    'alignment/1(form=candidates,gap_cost=0.2,id'
    >>> load_projector("alignment", aligner="fake", gapcost=0.2)
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: projection method 'alignment' has no setting 'gapcost': did you mean ...
    """
    factory = PROJECTORS.load(name)
    parameters = projector_settings(name)
    for setting in settings:
        if setting not in parameters:
            hint = did_you_mean(setting, parameters)
            raise ConfigError(f"projection method {name!r} has no setting {setting!r}: {hint}")
    for setting, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and setting not in settings:
            raise ConfigError(f"projection method {name!r} needs the setting {setting!r}, a {parameter.annotation}")
    if isinstance(settings.get("aligner"), str):
        from spanferry.alignment.registry import load_aligner

        settings["aligner"] = load_aligner(settings["aligner"])
    return cast(Projector, factory(**settings))


def projector_settings(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the settings that the projector called ``name`` takes: name -> parameter, with its default.

    Raises:
        ConfigError: the name is unknown.

    >>> list(projector_settings("min-max"))
    ['aligner', 'max_gap', 'identical', 'snap', 'min_score']
    """
    return inspect.signature(PROJECTORS.load(name)).parameters
