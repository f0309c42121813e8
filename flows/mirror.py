"""What `spanferry status` looks at where a build lies in shared storage: its state, as a folder would have it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from filelock import FileLock

from spanferry.flows.claims import claim_path
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import not_begun
from spanferry.flows.leases import holder
from spanferry.flows.storage import Entry, Storage, in_parallel
from spanferry.flows.stored import BUILD

_PLAN = ".spanferry/plan.json"
_SHARDS = ".spanferry/shards/"


@contextmanager
def mirrored(url: str) -> Iterator[BuildFolder]:
    """Give a temporary folder with the state of a build, as the storage has it: its plan, sidecars and notes.

    Files have the times that the storage gives them, and what a process works on is locked as that process would have
    locked it. Whether one is alive is judged by this machine's clock, since looking writes nothing to the storage.

    Raises:
        BuildError: there is no build, or none that has read its source yet; or the storage cannot be reached.
    """
    storage = Storage(url)
    storage.check()
    entries = storage.entries()
    if _PLAN not in entries:
        raise not_begun(storage.url)
    with TemporaryDirectory(prefix="spanferry-") as place, ExitStack() as locks:
        folder = BuildFolder(Path(place))
        wanted = [name for name in entries if _is_state(name)]
        in_parallel(lambda name: storage.download(name, folder.root / name), wanted)
        for name in wanted:
            _date(folder.root / name, entries[name].modified)
        if (begun := entries.get(f"{BUILD}.claim")) is not None:
            _date(folder.plan, begun.modified)
        for lock in _locks(storage, folder, entries):
            lock.parent.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(lock))
        yield folder


def _is_state(name: str) -> bool:
    path = PurePosixPath(name)
    if name.startswith(".spanferry/source/"):  # what is known of each split, and none of its rows
        return path.suffix == ".json" and not path.stem.isdecimal()
    return name in {_PLAN, "report.json"} or (name.startswith(_SHARDS) and path.suffix in {".json", ".failed"})


def _date(path: Path, moment: float) -> None:
    if path.exists():  # it may have been removed since it was listed
        os.utime(path, (moment, moment))


def _locks(storage: Storage, folder: BuildFolder, entries: Mapping[str, Entry]) -> list[Path]:
    """Return the files that processes which are alive would hold."""
    now = time.time()
    claims = [name.removesuffix(".claim") for name in entries if name.endswith(".claim")]
    found = zip(claims, in_parallel(lambda what: holder(storage, what, now), claims), strict=True)
    held = {what for what, who in found if who is not None}
    locks = [claim_path(folder.root / f"{what}.jsonl") for what in held if what != BUILD]
    return [*locks, folder.lock] if BUILD in held else locks
