"""Checkpoint to CTranslate2 model, once, into a cache.

A conversion writes into a folder beside the final one and renames it when it is whole, under a lock: a crash leaves
nothing that could be taken for a model, and of several processes one converts and the others wait. `spanferry.json` in
the folder says what was converted from what.

A checkpoint's `config.json` may have a section of ours,
``"spanferry": {"alignment_layer": 3, "alignment_heads": [2], "alignment_state": "writes"}``: the decoder layer (from 0)
and the heads whose cross-attention aligns words, and whether it does so at the step that writes a token or at the one
that reads it. CTranslate2 returns the mean over the first heads of one layer, so the named heads are moved to the
front, which changes nothing else.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, ModelError, did_you_mean
from spanferry.translation.checkpoints import Checkpoint, cache_folder, checksum, find_checkpoint
from spanferry.translation.families import TOKENIZER_FILES, detect_family, load_tokenizer
from spanferry.translation.subwords import read_json

ALIGNMENT_STATES = ("writes", "reads")
QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")
_RECORD = "spanferry.json"
_FORMAT = 1
"""Goes up when a conversion would come out differently, so that older ones in the cache are left alone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A CTranslate2 model and where it came from.

    Attributes:
        path: its folder: model.bin, vocabulary, tokenizer files.
        model: the name that it was asked for by.
        revision: hub commit, None for a local checkpoint.
        checksum: SHA-256 over the original's weights, configuration and tokenizer files.
        quantization: how the weights are stored (``"int8"``).
        family: see `spanferry.translation.families`.
        max_positions: longest sequence that the model has position encodings for, special tokens included.
        alignment_layer: decoder layer whose attention is returned, None where the checkpoint names none.
        alignment_heads: heads of that layer, as the original counts them; empty where the checkpoint names none.
        alignment_state: the step at which they align a target token: the one that ``"writes"`` it, or ``"reads"`` it.
        languages: FLORES-200 codes that it was trained on; empty where the checkpoint does not tell (its vocabulary
            may have tokens for more).
    """

    path: Path
    model: str
    revision: str | None
    checksum: str
    quantization: str
    family: str
    max_positions: int
    alignment_layer: int | None = None
    alignment_heads: tuple[int, ...] = ()
    alignment_state: str = "writes"
    languages: tuple[str, ...] = ()


def ensure_converted(
    model: str | Path,
    *,
    revision: str | None = None,
    quantization: str = "auto",
    device: str = "auto",
    cache_dir: str | Path | None = None,
    allow_pickle: bool = False,
) -> ConvertedModel:
    """Return a model in CTranslate2's form, converting it the first time.

    Args:
        model: folder with a Hugging Face checkpoint or a CTranslate2 model, hub id, or ``"bundled"``.
        revision: branch, tag or commit of a hub model.
        quantization: one of `QUANTIZATIONS`, or ``"auto"``: int8_float32 on a CPU; on a CUDA device int8_float16, or
            float16 where the device has no fast int8.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` (a CUDA device where there is one).
        cache_dir: where converted models are kept; by default `SPANFERRY_CACHE`, else the user's cache folder.
        allow_pickle: read `pytorch_model.bin` where a checkpoint has no safetensors.

    Raises:
        ModelError: the model cannot be found, read or converted.
        ConfigError: no such quantization.
    """
    checkpoint = find_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    cache = cache_folder(cache_dir)
    try:
        if checkpoint.converted:
            return _accept(checkpoint, cache)
        quantization = choose_quantization(device) if quantization == "auto" else quantization
        if quantization not in QUANTIZATIONS:
            raise ConfigError(f"unknown quantization {quantization!r}: {did_you_mean(quantization, QUANTIZATIONS)}")
        sum_ = checksum(checkpoint, cache / "checksums")
        final = cache / "ct2" / f"{checkpoint.folder.name[:40]}-{sum_[:16]}-{quantization}-v{_FORMAT}"
        if (final / _RECORD).is_file():
            return _read_record(final)
        return _convert_locked(checkpoint, final, sum_, quantization)
    except PermissionError as error:
        raise ModelError(
            f"{cache}: cannot be written to ({error}). Set SPANFERRY_CACHE to a folder that can"
        ) from error


def choose_quantization(device: str = "auto") -> str:
    """Return the fastest way to store weights that the device computes with; see :func:`ensure_converted`."""
    import ctranslate2

    device = resolve_device(device)
    supported = ctranslate2.get_supported_compute_types(device)
    wanted = ("int8_float32", "float32") if device == "cpu" else ("int8_float16", "float16", "float32")
    return next(kind for kind in wanted if kind in supported)


def resolve_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda"``.

    Raises:
        ConfigError: another word, or CUDA where there is none.
    """
    import ctranslate2

    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {device!r}: expected auto, cpu or cuda")
    if device == "cpu":
        return device
    found = ctranslate2.get_cuda_device_count() > 0
    if device == "cuda" and not found:
        raise ConfigError("device is cuda, but CTranslate2 finds no CUDA device. Set device to auto or cpu")
    return "cuda" if found else "cpu"


def _convert_locked(checkpoint: Checkpoint, final: Path, sum_: str, quantization: str) -> ConvertedModel:
    from filelock import FileLock

    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.with_name(f".{final.name}.lock")):
        if (final / _RECORD).is_file():  # another process was first
            return _read_record(final)
        prefix = f".{final.name}.draft-"
        for left_over in final.parent.glob(f"{prefix}*"):  # of a crash: whoever wrote it held this lock
            shutil.rmtree(left_over)
        _log.info("converting %s to CTranslate2 (%s), once, into %s", checkpoint.name, quantization, final)
        draft = Path(tempfile.mkdtemp(prefix=prefix, dir=final.parent))
        try:
            _convert(checkpoint, draft, sum_, quantization)
            if final.exists():  # without a record: not ours, or damaged by hand
                shutil.rmtree(final)
            draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _read_record(final)


def _convert(checkpoint: Checkpoint, draft: Path, sum_: str, quantization: str) -> None:
    from spanferry.translation.convert_spec import convert_checkpoint

    config = read_json(checkpoint.folder / "config.json")
    family = _family(checkpoint, config)
    tokenizer = load_tokenizer(checkpoint.folder, family)
    layer, heads, state = _alignment(checkpoint.folder, config)
    convert_checkpoint(checkpoint, config, tokenizer, draft, quantization, alignment=(layer, heads))
    for name in TOKENIZER_FILES:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, draft / name)
    record = ConvertedModel(
        path=draft,
        model=checkpoint.name,
        revision=checkpoint.revision,
        checksum=sum_,
        quantization=quantization,
        family=family,
        max_positions=longest_sequence(config),
        alignment_layer=layer,
        alignment_heads=heads,
        alignment_state=state,
        languages=trained_languages(config),
    )
    # Written last: a folder with a record is whole.
    content = {"format": _FORMAT, **{key: value for key, value in asdict(record).items() if key != "path"}}
    (draft / _RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_record(folder: Path) -> ConvertedModel:
    content = read_json(folder / _RECORD)
    if content.pop("format", None) != _FORMAT:
        raise ModelError(f"{folder / _RECORD}: written by another version of spanferry. Convert the original again")
    for name in ("alignment_heads", "languages"):
        content[name] = tuple(content.get(name, ()))
    return ConvertedModel(path=folder, **content)


_MODEL_TYPES = {
    "m2m_100": ("nllb", "m2m100"),
    "marian": ("marian",),
    "mbart": ("mbart50",),
    "t5": ("t5",),
}


def _family(checkpoint: Checkpoint, config: dict[str, Any]) -> str:
    kind = str(config.get("model_type"))
    if kind not in _MODEL_TYPES:
        raise ModelError(
            f"{checkpoint.name}: model_type {kind!r} is not a translation model that is known here; expected one of "
            f"{', '.join(sorted(_MODEL_TYPES))}"
        )
    families = _MODEL_TYPES[kind]
    family = families[0] if len(families) == 1 else detect_family(checkpoint.folder)
    if family not in families:
        raise ModelError(f"{checkpoint.name}: a {kind} model with a tokenizer of {family}")
    return family


def _alignment(folder: Path, config: dict[str, Any]) -> tuple[int | None, tuple[int, ...], str]:
    ours = config.get("spanferry") or {}
    state = ours.get("alignment_state", "writes")
    if state not in ALIGNMENT_STATES:
        what = did_you_mean(state, ALIGNMENT_STATES)
        raise ModelError(f"{folder / 'config.json'}: spanferry.alignment_state: {what}")
    if "alignment_layer" not in ours:
        return None, (), state
    heads = ours.get("alignment_heads", [0])
    layer, heads = ours["alignment_layer"], tuple([heads] if isinstance(heads, int) else heads)
    layers, count = config.get("decoder_layers", 0), config.get("decoder_attention_heads", 0)
    if not 0 <= layer < layers or not heads or not all(0 <= head < count for head in heads):
        raise ModelError(
            f"{folder / 'config.json'}: spanferry.alignment_layer {layer} and alignment_heads {list(heads)} do not fit "
            f"a decoder of {layers} layers with {count} heads each (both count from 0)"
        )
    return layer, heads, state


def trained_languages(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the FLORES-200 codes that a model was trained on, by its `config.json`; none where it does not tell.

    >>> trained_languages({"spanferry": {"languages": ["deu_Latn"]}})
    ('deu_Latn',)
    """
    return tuple((config.get("spanferry") or {}).get("languages", ()))


def longest_sequence(config: Mapping[str, Any]) -> int:
    """Return how many tokens a model takes, special tokens included, by its `config.json`.

    >>> longest_sequence({"max_position_embeddings": 1024})
    1024
    """
    # T5 has no position encodings that could run out; 512 is what it and MADLAD-400 were trained with.
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 512)


_DEFAULT_POSITIONS = {"nllb": 1024, "m2m100": 1024, "mbart50": 1024, "marian": 512, "t5": 512}


def _accept(checkpoint: Checkpoint, cache: Path) -> ConvertedModel:
    """Take a folder that CTranslate2's own converter, or we, wrote."""
    if (checkpoint.folder / _RECORD).is_file():
        return _read_record(checkpoint.folder)
    family = detect_family(checkpoint.folder)
    return ConvertedModel(
        path=checkpoint.folder,
        model=checkpoint.name,
        revision=checkpoint.revision,
        checksum=checksum(checkpoint, cache / "checksums"),
        quantization="given",
        family=family,
        max_positions=_DEFAULT_POSITIONS[family],
    )
