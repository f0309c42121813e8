"""The working parts of a build, made from its settings: one translator, one projector, one memory a process."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, ModelError, did_you_mean
from spanferry.data.tasks import Task, get_task
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.predict_config import TranslateTestConfig
from spanferry.projection.base import Projection, Projector, TranslatedText
from spanferry.projection.by_alignment import AlignmentProjector
from spanferry.projection.calibrated import CalibratedProjector
from spanferry.projection.carry import OnLost
from spanferry.projection.filters import Filter, load_filters
from spanferry.projection.markers import MarkersProjector
from spanferry.projection.predict_file import FilePredictor
from spanferry.projection.predict_remembered import PredictionMemory, PredictionStats, RememberingPredictor
from spanferry.projection.prediction import Predictor, load_predictor, predictor_settings
from spanferry.projection.registry import Aligners, load_projector
from spanferry.projection.remembering import ProjectionMemory, ProjectionStats, RememberingProjector, beside
from spanferry.translation.base import Translator
from spanferry.translation.checkpoints import cache_folder
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.pipeline import TextSettings


@dataclass(frozen=True)
class Parts:
    """What a shard is worked with.

    Attributes:
        task: shape of the data.
        translator: the model.
        text: how texts are prepared for it.
        projector: how spans are carried.
        filters: what is judged, and what is done about it.
        filter_settings: the settings that the filters were made from.
        on_lost: what becomes of an example that lost a span.
        memory: the translation memory; None without.
        predictor: the model of the pivot language, in translate-test; None in translate-train.
        predictor_labels: what the predictor calls a label -> what the data calls it, or None to leave it out.
        fields: whether the texts of one example are translated ``"apart"`` or ``"jointly"``.
        back: whether text is translated into the target and back, and labels are carried within their own language.
        causes: whether the gold spans of test data are projected forth and back, to find out why some are missed.
    """

    task: Task
    translator: Translator
    text: TextSettings
    projector: Projector
    filters: tuple[Filter, ...]
    filter_settings: Mapping[str, Any]
    on_lost: OnLost
    memory: TranslationMemory | None
    predictor: Predictor | None = None
    predictor_labels: Mapping[str, str | None] = field(default_factory=dict)
    fields: str = "apart"
    back: bool = False
    causes: bool = False

    def fingerprint(self) -> dict[str, Any]:
        """Return everything about the parts that can change what a shard holds."""
        found: dict[str, Any] = {
            "task": self.task.name,
            "translator": self.translator.fingerprint,
            "text": asdict(self.text),
            "projector": self.projector.fingerprint,
            "filters": dict(self.filter_settings),
            "on_lost": self.on_lost,
        }
        if self.predictor is not None:
            found["predictor"] = self.predictor.fingerprint
            found["predictor_labels"] = dict(self.predictor_labels)
            found["causes"] = self.causes
        if self.fields != "apart":
            found["fields"] = self.fields
        return found


class NoSpans:
    """The projector of tasks without spans."""

    fingerprint = "none"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return nothing for each text, since there is nothing to carry."""
        return [() for _ in texts]


_loaded: tuple[str, Parts] | None = None
_loading = threading.Lock()


def load_parts(config: AnyConfig) -> Parts:
    """Make the parts of a build, or return those that this process made last, if the settings are the same.

    A model cannot be sent to another process, so every process that works on shards calls this for itself; only the
    last parts are kept, so that two models are never in memory at once.
    """
    global _loaded  # noqa: PLW0603  (the one model of a process)
    settings = config.model_dump_json(include={"task", "translation", "projection", "filters", "run", "predictor"})
    settings += f"{config.direction} {_causes(config)}"
    with _loading:
        if _loaded is None or _loaded[0] != settings:
            _loaded = None
            _loaded = settings, _load(config)
        return _loaded[1]


def _load(config: AnyConfig) -> Parts:
    task = get_task(config.task)
    translator = _translator(config)
    memory_file = _memory_file(config.run.memory)
    return Parts(
        task=task,
        translator=translator,
        text=TextSettings(protect=tuple(config.translation.protect), split=config.translation.split),
        projector=_remembering(_projector(config, lambda: translator), memory_file) if task.spans_in else NoSpans(),
        filters=load_filters(config.filters),
        filter_settings=config.filters,
        on_lost=config.projection.on_lost if isinstance(config, BuildConfig) else "keep",
        memory=None if memory_file is None else TranslationMemory(memory_file),
        predictor=None if isinstance(config, BuildConfig) else _predictor(config, task, memory_file),
        predictor_labels={} if isinstance(config, BuildConfig) else config.predictor.labels,
        fields=config.translation.fields,
        back=config.direction == "back-translate",
        causes=_causes(config),
    )


def _causes(config: AnyConfig) -> bool:
    return not isinstance(config, BuildConfig) and config.causes and config.source.labelled


def _torch_device(config: AnyConfig) -> str:
    """Return where torch computes: ``"cpu"``, ``"cuda"``, or ``"cuda:1"``."""
    from spanferry.translation.convert import resolve_device

    wanted, _, index = config.run.device.partition(":")
    device = resolve_device(wanted)
    return f"{device}:{index}" if index and device == "cuda" else device


def _translator(config: AnyConfig) -> Translator:
    from spanferry.translation.registry import TRANSLATORS, load_translator

    chosen = config.translation
    if chosen.model in TRANSLATORS.names():  # not a model but a kind of translator, with settings of its own
        takes = inspect.signature(TRANSLATORS.load(chosen.model)).parameters
        for name in chosen.settings:
            if name not in takes:
                raise ConfigError(f"translation.settings.{name}: unknown setting; {did_you_mean(name, takes)}")
        return load_translator(chosen.model, **chosen.settings)
    decoding = chosen.model_dump(
        include={
            "revision", "quantization", "beam_size", "length_penalty", "repetition_penalty", "no_repeat_ngram_size",
            "suppress_unknown",
        }
    )  # fmt: skip
    run = config.run.model_dump(include={"workers", "threads", "batch_tokens"})
    return load_translator(chosen.model, **{**decoding, **run, "device": config.run.device, **chosen.settings})


def _predictor(config: TranslateTestConfig, task: Task, memory_file: Path | None) -> Predictor:
    """Return the model of the pivot language, which remembers; what is in a file already is not remembered again."""
    settings = dict(config.predictor.settings)
    if "device" in predictor_settings(config.predictor.name):
        settings.setdefault("device", config.run.device)
    try:
        predictor = load_predictor(config.predictor.name, task=task, **settings)
    except ModelError as error:
        raise ModelError(f"predictor: {error}") from error
    memory = None
    if memory_file is not None and not isinstance(predictor, FilePredictor):
        memory = PredictionMemory(beside(memory_file, "predictions"))
    return RememberingPredictor(predictor, task.name, memory)


def load_linker(config: AnyConfig) -> AlignmentProjector | None:
    """Make the projector along whose links a build carries spans: its method, or the first step that has links.

    None where no method has any. No other step is loaded, nor the translation model, unless links are its attention.

    Raises:
        ConfigError: a setting is wrong.
        ModelError: the aligner's model is gone.
    """
    from spanferry.projection.cascade import DEFAULT_STEPS

    steps: Sequence[Mapping[str, Any]] = [{"method": config.projection.method, **config.projection.settings}]
    if config.projection.method in ("cascade", "ensemble"):
        steps = config.projection.settings.get("steps", DEFAULT_STEPS)
    for step in steps:
        if step["method"] in LINKED:
            settings = {name: value for name, value in step.items() if name not in _OF_NO_LINK}
            projector = load_projector(step["method"], _aligners(config, lambda: _translator(config)), **settings)
            assert isinstance(projector, AlignmentProjector)
            return projector
    return None


LINKED = ("alignment", "min-max")
"""The methods that carry spans along links."""
_OF_NO_LINK = ("method", "name", "accept", "calibration", "min_confidence")


def _projector(config: AnyConfig, translator: Callable[[], Translator]) -> Projector:
    chosen = config.projection
    aligners = _aligners(config, translator)
    dial = {"calibration": chosen.calibration, "min_confidence": chosen.min_confidence}
    given = {name: value for name, value in dial.items() if value is not None}
    if chosen.method == "markers":
        given |= _marking(config, translator())
    return load_projector(chosen.method, aligners, **{**chosen.settings, **given})


def _aligners(config: AnyConfig, translator: Callable[[], Translator]) -> Aligners:
    chosen = config.projection
    return Aligners(
        chosen.aligner,
        chosen.aligner_settings,
        lambda name: _aligner_defaults(config, translator, name),
        lambda method, settings: _method_settings(config, translator, method, settings),
    )


def _marking(config: AnyConfig, translator: Translator) -> dict[str, Any]:
    """Return what translates marked text: the model that translates the data.

    Raises:
        ConfigError: the settings of a build of translate-train name another.
    """
    if "model" not in config.projection.settings:
        return {"model": translator}
    if isinstance(config, BuildConfig):
        raise ConfigError("projection.settings.model: a build marks with translation.model; remove this setting")
    return {}


_BY_SCORES = ("candidates", "constrained")
"""The methods that ask a translation model how probable something is."""


def _method_settings(
    config: AnyConfig, translator: Callable[[], Translator], method: str, own: dict[str, Any]
) -> dict[str, Any]:
    """Return what a method is made with: those that score get the device, and the model that translated.

    Their own settings come first. A kind of translator that is no model scores nothing; the bundled model does.
    """
    from spanferry.translation.registry import TRANSLATORS

    if method not in _BY_SCORES:
        return own
    given = own.get("settings") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"projection.settings.settings is {given!r}: expected settings of the model, name: value")
    chosen, settings = config.translation, {"device": _torch_device(config), **given}
    if "model" in own or chosen.model in TRANSLATORS.names():
        return own | {"settings": settings}
    if method == "candidates" and "settings" not in own:
        from spanferry.translation.phrase_scorer import CTranslate2PhraseScorer

        shared: Any = translator()  # loaded once
        return own | {"model": CTranslate2PhraseScorer(shared)}
    loading = {"revision": chosen.revision, "allow_pickle": chosen.settings.get("allow_pickle", False)}
    return own | {"model": chosen.model, "settings": loading | settings}


def _aligner_defaults(config: AnyConfig, translator: Callable[[], Translator], aligner: str) -> dict[str, Any]:
    """Return what an aligner gets unless its own settings say otherwise: the device, and the model that translated."""
    from spanferry.alignment.registry import ALIGNERS
    from spanferry.translation.registry import TRANSLATORS

    defaults: dict[str, Any] = {}
    if "device" in inspect.signature(ALIGNERS.load(aligner)).parameters:
        defaults["device"] = _torch_device(config)
    if config.translation.model not in TRANSLATORS.names():
        if aligner == "attention":
            defaults["model"] = translator()
        elif aligner in ("mt-encoder", "joint"):
            settings = config.translation
            defaults |= {"model": settings.model, "revision": settings.revision}
            defaults["allow_pickle"] = settings.settings.get("allow_pickle", False)
    return defaults


def _memory_file(setting: str | bool) -> Path | None:
    if setting is False:
        return None
    return cache_folder() / "memory.sqlite" if setting is True else Path(setting)


def _remembering(projector: Projector, memory_file: Path | None) -> Projector:
    """Let a projector remember; not one by marks, whose work is the translation, which is remembered."""
    if markers_of(projector) is not None:
        return projector
    return RememberingProjector(projector, None if memory_file is None else ProjectionMemory(beside(memory_file)))


def asked_so_far(parts: Parts) -> dict[str, int]:
    """Return what the projection method and the predictor were asked since they were made, and what was remembered.

    Zeros where nobody counts, as of projections by marks. Named as in `Timing`.
    """
    carrying = parts.projector.stats if isinstance(parts.projector, RememberingProjector) else ProjectionStats()
    said = parts.predictor.stats if isinstance(parts.predictor, RememberingPredictor) else PredictionStats()
    return {
        "predicted": said.predicted,
        "predictions_remembered": said.remembered,
        "projected": carrying.projected,
        "projections_remembered": carrying.remembered,
    }


def asked_since(parts: Parts, before: Mapping[str, int]) -> dict[str, int]:
    """Return what was asked after `asked_so_far` had returned ``before``."""
    return {name: number - before[name] for name, number in asked_so_far(parts).items()}


def markers_of(projector: Projector) -> MarkersProjector | None:
    """Return the projector by marks that this is, calibrated or not; None if it is another."""
    inner = projector.projector if isinstance(projector, CalibratedProjector) else projector
    return inner if isinstance(inner, MarkersProjector) else None
