"""Where a model's files are, what they are worth trusting, and which exact files they were.

A model is named by a folder, by a hub id (``Helsinki-NLP/opus-mt-en-de``), or as ``"bundled"``, the small one that
comes with this package. Weights are read from safetensors; a pickle (`pytorch_model.bin`) can run code when it is
loaded, so it is refused unless it is asked for, and then read by torch's `weights_only` unpickler. Code that comes
with a checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spanferry.data.errors import ModelError
from spanferry.translation.families import TOKENIZER_FILES
from spanferry.translation.subwords import read_json

BUNDLED = Path(__file__).with_name("bundled")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL_FILES = ("*.json", "*.model", "*.spm", "README.md")
_CONFIG_FILES = ("config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        name: as the user gave it.
        folder: where the files lie.
        revision: hub commit, None for a local folder.
        weights: the files with the weights, relative to the folder.
        converted: it is a CTranslate2 model already.
    """

    name: str
    folder: Path
    revision: str | None
    weights: tuple[str, ...]
    converted: bool = False

    @property
    def files(self) -> list[Path]:
        """Everything that can change a translation: weights, configuration, tokenizer."""
        names = [*self.weights, *_CONFIG_FILES, *TOKENIZER_FILES]
        if self.converted:
            names += [path.name for path in self.folder.glob("*vocabulary.*")]
        return [self.folder / name for name in sorted(set(names)) if (self.folder / name).is_file()]


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return the folder for converted models: the argument, else `SPANFERRY_CACHE`, else the user's cache (XDG)."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    if os.environ.get("SPANFERRY_CACHE"):
        return Path(os.environ["SPANFERRY_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanferry"


def find_checkpoint(model: str | Path, *, revision: str | None = None, allow_pickle: bool = False) -> Checkpoint:
    """Find a model's files; those of a hub model are downloaded first.

    Args:
        model: folder, hub id, or ``"bundled"``.
        revision: branch, tag or commit of a hub model.
        allow_pickle: take `pytorch_model.bin` where no safetensors are.

    Raises:
        ModelError: there is no such model, files are missing, or its weights are a pickle.
    """
    folder = BUNDLED if str(model) == "bundled" else Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{model}: a local folder has no revision, found revision {revision!r}")
        return _checkpoint(str(model), folder.resolve(), None, allow_pickle)
    if not _HUB_ID.fullmatch(str(model)):
        raise ModelError(
            f"{model}: no such folder. Expected a folder with a checkpoint or a hub id (organisation/name); the "
            "translation model that is shipped is 'bundled'"
        )
    folder = _download(str(model), revision, ["*.safetensors", *_SMALL_FILES])
    if allow_pickle and not list(folder.glob("*.safetensors")):
        folder = _download(str(model), revision, ["pytorch_model*.bin", *_SMALL_FILES])
    return _checkpoint(str(model), folder, folder.name, allow_pickle)


def find_card(model: str | Path, *, revision: str | None = None) -> Path | None:
    """Return the file that describes a model (README.md), of a hub model fetched; None where there is none to be had.

    >>> find_card("bundled").name
    'README.md'
    """
    return _find_file("README.md", model, revision)


def find_tokenizer(model: str | Path, *, revision: str | None = None) -> Path | None:
    """Return a model's tokenizer.json, of a hub model fetched; None where there is none to be had.

    Args:
        model: ``"bundled"``, a hub id, a folder, or the file itself.
        revision: commit or tag of a hub model.

    >>> find_tokenizer("bundled").name
    'tokenizer.json'
    """
    file = Path(model).expanduser()
    return file if file.is_file() else _find_file("tokenizer.json", model, revision)


def _find_file(name: str, model: str | Path, revision: str | None) -> Path | None:
    """Return one small file of a model; None where it is not there or not to be reached: nothing else is lost."""
    folder = BUNDLED if str(model) == "bundled" else Path(model).expanduser()
    if not folder.is_dir():
        if not _HUB_ID.fullmatch(str(model)):
            return None
        try:
            folder = _download(str(model), revision, [name])
        except ModelError:
            return None
    file = folder / name
    return file if file.is_file() else None


def _download(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"{model}{at}: not a folder here, and the hub did not give it: {error}. "
            "Check the name, the network and HF_TOKEN, or give a local folder"
        ) from error


def _checkpoint(name: str, folder: Path, revision: str | None, allow_pickle: bool) -> Checkpoint:
    if (folder / "model.bin").is_file():
        return Checkpoint(name, folder, revision, ("model.bin",), converted=True)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json and no model.bin: neither a checkpoint nor a CTranslate2 model")
    weights = _weights(folder, "model.safetensors")
    if not weights:
        pickled = _weights(folder, "pytorch_model.bin")
        if not pickled:
            raise ModelError(f"{folder}: no weights: expected model.safetensors or model.safetensors.index.json")
        if not allow_pickle:
            raise ModelError(
                f"{name}: the weights are a pickle ({pickled[0]}), which can run code when loaded; expected "
                "model.safetensors. Take a revision with safetensors (on the hub often revision refs/pr/<number>), or "
                "set allow_pickle to read it with torch's weights_only unpickler"
            )
        weights = pickled
    return Checkpoint(name, folder, revision, weights)


def _weights(folder: Path, single: str) -> tuple[str, ...]:
    """The one file with the weights, or the index and its parts."""
    if (folder / single).is_file():
        return (single,)
    index = folder / f"{single}.index.json"
    if not index.is_file():
        return ()
    parts = sorted(set(read_json(index).get("weight_map", {}).values()))
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing or not parts:
        raise ModelError(f"{index}: names parts that are not there: {', '.join(missing) or 'none at all'}")
    return (index.name, *parts)


def checksum(checkpoint: Checkpoint, memo: Path | None = None) -> str:
    """Return the SHA-256 over names and contents of the checkpoint's files, in hexadecimal.

    Args:
        checkpoint: what to sum.
        memo: folder to remember the sum in. It is taken from there as long as every file has the same size, change
            time and inode, so that gigabytes are not read at every start.
    """
    files = checkpoint.files
    stamp = [[str(file), *_stamp(file)] for file in files]
    note = None
    if memo is not None:
        note = memo / f"{hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:32]}.sha256"
        if note.is_file():
            return note.read_text(encoding="ascii")
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.name}\0{digest}\n".encode())
    if note is not None:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, total.hexdigest())
    return total.hexdigest()


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees it whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for every checkpoint that it loads."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
