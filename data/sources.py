"""Which formats there are, and which one a source has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.hf import is_hub_id
from spanferry.data.squad import looks_like_squad
from spanferry.data.tasks import Task

FORMATS: Final = ("conll", "jsonl", "csv", "tsv", "parquet", "squad", "datasets", "hub")
_SUFFIXES: Final = {
    **dict.fromkeys((".conll", ".conll02", ".conll03", ".conllu", ".bio", ".iob", ".iob2"), "conll"),
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), "jsonl"),
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}


def source_format(source: str | Path, given: str | None = None) -> str:
    """Return the format of something to read: as given, else by what is on disk and by its suffix.

    A ``.json`` file holds a SQuAD document or JSON lines, which its first characters tell.

    Raises:
        DataError: nothing is there, and it cannot be a dataset's name on the hub.
        ConfigError: the suffix says nothing, or there is no such format.
    """
    if given is not None:
        return _checked(given)
    path = Path(source)
    if path.is_dir():
        return "datasets"
    if path.suffix.lower() == ".json" and path.is_file() and looks_like_squad(path):
        return "squad"
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    if not path.exists():
        if is_hub_id(str(source)):
            return "hub"
        raise missing(path)
    raise _untold(path)


def target_format(path: Path, given: str | None = None) -> str:
    """Return the format of something to write: as given, else by its suffix.

    >>> target_format(Path("de/train.parquet"))
    'parquet'

    Raises:
        ConfigError: the suffix says nothing, or the format cannot be written.
    """
    kind = _checked(given) if given is not None else _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise _untold(path)
    if kind == "hub":
        raise ConfigError(f"{path}: examples are written to files or folders; publishing puts those on the hub")
    return kind


def check_fit(kind: str, task: Task, where: str | Path) -> None:
    """Refuse a format that cannot hold the rows of a task.

    Raises:
        ConfigError: CoNLL columns for a shape without tags, or a SQuAD document for one that has no answers.
    """
    if kind == "conll" and not task.tagged:
        raise ConfigError(f"{where}: CoNLL columns label tokens, and task {task.name!r} has no tags")
    if kind == "squad" and "answers" not in task.span_roles:
        raise ConfigError(f"{where}: a SQuAD document holds questions: set task question-answering, not {task.name}")


def missing(path: Path) -> DataError:
    """Return the error for a source that is not there, naming what is like it in the same folder."""
    near = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""
    near = near if near.startswith("did you mean") and len(near) < 200 else ""
    where = "" if path.parent.is_dir() else f": the folder {path.parent} does not exist"
    return DataError(f"no such file or folder{where}", path=path, hint=near.split("?")[0] + "?" if near else None)


def _checked(name: str) -> str:
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}: {did_you_mean(name, FORMATS)}")
    return name


def _untold(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: the suffix {path.suffix!r} does not tell the format: set format to one of {', '.join(FORMATS)}"
    )
