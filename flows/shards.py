"""Shards: how a build of any size is cut, written and found again.

A shard is a pure function of its rows, the settings that matter, the models and the code of its step; the fingerprint
of all of these is its key. Its file is written under a temporary name and moved into place, and only then its sidecar
(``00003.json`` beside ``00003.jsonl``) is written, in the same way. The sidecar alone says that a shard is done: it
holds the key, the checksum of the file and the counts, so a half-written, stale or damaged file is never taken for a
result, however a run ended.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

from filelock import FileLock, Timeout

from spanferry.data.errors import DataError
from spanferry.data.formats import replacing

Item = TypeVar("Item")


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cut(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream into lists of ``size``; the last may be shorter.

    >>> list(cut("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def remove_temporary(folder: Path) -> None:
    """Remove what killed runs left half-written in a build's folder; only for who holds its lock.

    What `replacing` writes to is called ``.NAME.PROCESS.tmp``; other files are left alone, and so are those of shards
    that another process has claimed, see `spanferry.flows.claims`.
    """
    for path in folder.rglob(".*.tmp"):
        claim = path.with_name(path.name[1:].partition(".")[0] + ".lock")
        if path.suffixes[-2:-1] and path.suffixes[-2][1:].isdigit() and not is_held(claim):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_held(lock: Path) -> bool:
    """Say whether a process, on this machine or another, holds the lock of this file."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


@contextmanager
def writing_text(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing in the manner of `replacing`."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


def write_json(path: Path, value: Any) -> None:
    """Write plain data as readable JSON in the manner of `replacing`."""
    with writing_text(path) as stream:
        json.dump(value, stream, ensure_ascii=False, indent=2, allow_nan=False)
        stream.write("\n")


@dataclass(frozen=True)
class Sidecar:
    """What stands beside a finished file.

    Attributes:
        key: `spanferry.data.signature.fingerprint` of everything that the file is a function of.
        checksum: SHA-256 of the file.
        counts: what it holds, by name (``{"rows": 2000, "kept": 1987}``).
        facts: anything else worth knowing without opening it.
    """

    key: str
    checksum: str
    counts: Mapping[str, Any]
    facts: Mapping[str, Any]


def sidecar_path(path: Path) -> Path:
    """Return where the sidecar of ``path`` stands.

    >>> sidecar_path(Path("de/train/00003.jsonl")).as_posix()
    'de/train/00003.json'
    """
    return path.with_suffix(".json")


def finish(path: Path, key: str, counts: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> Sidecar:
    """Declare ``path`` done: checksum it and write its sidecar, the last act of a shard."""
    sidecar = Sidecar(key, file_digest(path), counts, facts or {})
    write_sidecar(path, sidecar)
    return sidecar


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of a file whose checksum is known."""
    facts = {"counts": dict(sidecar.counts), "facts": dict(sidecar.facts)}
    write_json(sidecar_path(path), {"key": sidecar.key, "checksum": sidecar.checksum, **facts})


def parse_sidecar(text: str | bytes) -> Sidecar | None:
    """Return a sidecar from what its file holds; None if that is not whole."""
    try:
        value = json.loads(text)
        return Sidecar(value["key"], value["checksum"], value["counts"], value["facts"])
    except (ValueError, KeyError, TypeError):
        return None


def finished(path: Path, key: str | None = None) -> Sidecar | None:
    """Return the sidecar of ``path`` if it is whole, fits ``key`` and the file has its checksum; None otherwise."""
    try:
        sidecar = parse_sidecar(sidecar_path(path).read_bytes())
        if sidecar is None or (key is not None and sidecar.key != key):
            return None
        return sidecar if file_digest(path) == sidecar.checksum else None
    except OSError:
        return None


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, in the manner of `replacing`."""
    with writing_text(path) as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read what `write_records` wrote.

    Raises:
        DataError: the file is gone or damaged.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"damaged: {error}", path=path, line=number, hint="run the build again") from None
    except FileNotFoundError:
        raise DataError("this part of the build is gone", path=path, hint="run the build again") from None
