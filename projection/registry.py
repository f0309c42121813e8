"""The projectors by name. A third party adds one by an entry point of the group ``spanferry.projectors``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from spanferry.alignment.base import Aligner
from spanferry.data.errors import ConfigError
from spanferry.data.registry import LazyTable
from spanferry.data.settings import check_names, check_present, check_values, parameters_of
from spanferry.projection.base import Projector

PROJECTORS = LazyTable(
    kind="projection method",
    group="spanferry.projectors",
    builtin={
        "alignment": "spanferry.projection.by_alignment:AlignmentProjector",
        "candidates": "spanferry.projection.candidates:CandidatesProjector",
        "cascade": "spanferry.projection.cascade:CascadeProjector",
        "constrained": "spanferry.projection.constrained:ConstrainedProjector",
        "ensemble": "spanferry.projection.cascade:EnsembleProjector",
        "markers": "spanferry.projection.markers:MarkersProjector",
        "match": "spanferry.projection.match:MatchProjector",
        "min-max": "spanferry.projection.by_alignment:min_max_projector",
    },
)


class Aligners:
    """The aligners that projectors share: each is loaded when first asked for, and once, whoever asks for it.

    Args:
        default: the aligner of a method that names none, or its name; None: every method must name its own.
        settings: what the default is loaded with, when it is a name.
        given: name -> the settings that any aligner of that name gets unless its own say otherwise (a device, say).
        methods: name of a method, its own settings -> those that it is made with.

    >>> aligners = Aligners("fake")
    >>> aligners.get() is aligners.get("fake"), aligners.get() is aligners.get("fake", {"dictionary": {"wine": "Wein"}})
    (True, False)
    """

    def __init__(
        self,
        default: Aligner | str | None = None,
        settings: Mapping[str, Any] | None = None,
        given: Callable[[str], Mapping[str, Any]] | None = None,
        methods: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.default = default
        self._default_settings = settings or {}
        self._given = given
        self.complete = methods or (lambda _, settings: settings)
        self._loaded: dict[str, Aligner] = {}

    def get(self, name: str | None = None, settings: Mapping[str, Any] | None = None) -> Aligner:
        """Return the aligner called ``name``, or the default, made with ``settings``.

        Raises:
            ConfigError: see `spanferry.alignment.registry.load_aligner`; or there is no default, or it takes no
                settings because it was given ready made.
        """
        from spanferry.alignment.registry import load_aligner

        if not isinstance(settings, Mapping | None):
            raise ConfigError(f"aligner_settings are {settings!r}: expected a mapping")
        if name is None:
            if self.default is None:
                raise ConfigError("no aligner was given")
            if not isinstance(self.default, str):
                if settings:
                    raise ConfigError("aligner_settings without an aligner: name the aligner that they are for")
                return self.default
            name, settings = self.default, {**self._default_settings, **(settings or {})}
        key = json.dumps([name, settings or {}], sort_keys=True, default=repr)
        if key not in self._loaded:
            given = self._given(name) if self._given else {}
            self._loaded[key] = load_aligner(name, **{**given, **(settings or {})})
        return self._loaded[key]


def load_projector(name: str, aligners: Aligners | None = None, /, **settings: Any) -> Projector:
    """Make the projector called ``name`` with its own settings.

    Every method also takes ``calibration``, a file that `spanferry score --fit-calibration` wrote for the same method
    and settings, and with it ``min_confidence``, 0..1: see `spanferry.projection.calibrated`.

    An aligner is given as such, or by its name, and then with ``aligner_settings``, see
    `spanferry.alignment.registry`. ``aligners`` has those that are shared, and the one to take when none is named.

    Raises:
        ConfigError: the name or a setting is unknown, a required setting is missing, or a value is of the wrong kind
            or out of range.
        DataError: the calibration cannot be read.

    >>> load_projector("alignment", aligner="fake", gap_cost=0.2).fingerprint[:42]
    'alignment/3(form=auto,gap_cost=0.2,ranges='
    >>> load_projector("alignment", aligner="fake", gapcost=0.2)
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: projection method 'alignment' has no setting 'gapcost': did you mean ...
    """
    factory = PROJECTORS.load(name)
    parameters = projector_settings(name)
    aligners = aligners or Aligners()
    general = {key: settings.pop(key, None) for key in ("calibration", "min_confidence") if key not in parameters}
    aligned = "aligner" in parameters
    settings = aligners.complete(name, settings)
    owner, own = f"projection method {name!r}", ["aligner_settings"] if aligned else []
    check_names(owner, (each for each in settings if each not in own), factory, also=[*general, *own])
    made = ("aligner", "steps")  # of names and settings, in a moment
    check_values(owner, {key: value for key, value in settings.items() if key not in made}, factory)
    if aligned:
        _settle_aligner(settings, aligners)
    if "steps" in parameters:
        from spanferry.projection.cascade import load_steps

        settings["steps"] = load_steps(settings.get("steps", parameters["steps"].default), aligners)
    check_present(owner, settings, factory)
    check_values(owner, {key: settings[key] for key in made if key in settings}, factory)
    projector = cast(Projector, factory(**settings))
    if general.get("calibration") is None and general.get("min_confidence") is None:
        return projector
    from spanferry.projection.calibrated import calibrated

    return calibrated(projector, **general)


def _settle_aligner(settings: dict[str, Any], aligners: Aligners) -> None:
    """Put an aligner in place of its name and settings."""
    own = settings.pop("aligner_settings", None)
    named = settings.get("aligner")
    if named is None and aligners.default is None and own is None:
        return  # what is missing is said with every other setting that is
    if named is None or isinstance(named, str):
        settings["aligner"] = aligners.get(named, own)
    elif own is not None:
        raise ConfigError("aligner_settings go with an aligner's name, not with an aligner that is ready made")


def projector_settings(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the settings that the projector called ``name`` takes: name -> parameter, with its default.

    Raises:
        ConfigError: the name is unknown.

    >>> list(projector_settings("min-max"))
    ['aligner', 'max_gap', 'identical', 'snap', 'min_score']
    """
    return parameters_of(PROJECTORS.load(name))
