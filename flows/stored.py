"""A build in shared storage, and the folder on this machine that it is worked on in.

With ``output: s3://bucket/builds/demo`` a build works on local files as ever, in a work folder (`work_folder`); what is
in the storage is the truth, and laid out in the same way. A shard that is finished there is fetched and not computed;
one that is computed here is sent at once, its sidecar last; the dataset follows at the end, its card last. Claims keep
several machines apart, see `spanferry.flows.leases`.

A work folder may be deleted between builds. All that it may have and the storage has not are shards that were finished
while the storage could not be reached, and the next build sends them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from spanferry.data.errors import BuildError
from spanferry.flows.folder import BuildFolder, check_contents
from spanferry.flows.leases import Lease, Worker, machine_of
from spanferry.flows.shards import Sidecar, file_digest, parse_sidecar, sidecar_path, write_sidecar
from spanferry.flows.storage import Entry, Storage, in_parallel

if TYPE_CHECKING:
    from spanferry.flows.jobs import Job

POLL = 2.0
"""Seconds between two looks at a shard that another process works on."""

BUILD = ".spanferry/build"
"""What is claimed by the one build that writes the dataset."""

_DATASET = ("data", "dropped", "rejects", "corrections")
_LAST = ("report.json", "config.yaml", "README.md")
_STATE = ("build.json", "plan.json", "runs.jsonl", "source/", "shards/", "dataset/")
_OURS = (*(f"{kind}/" for kind in _DATASET), *_LAST, *(f".spanferry/{name}" for name in _STATE))
_OF_A_SHARD = re.compile(r"(\.spanferry/shards/[^/]+/[^/]+/\d{5,})\.(jsonl|json|failed)")
_CLAIM = re.compile(r"\.spanferry/shards/[^/]+/[^/]+/\d{5,}\.claim")
_SMALL = 8_000_000
"""Bytes up to which a file is read to see whether it is the same, where a listing does not tell."""


class StoredBuild:
    """A build in shared storage, as one process on one machine sees it.

    Args:
        storage: where it lies.
        folder: the work folder.
        home: id of the work folder.
    """

    def __init__(self, storage: Storage, folder: BuildFolder, home: str) -> None:
        self.storage, self.folder, self._home = storage, folder, home
        self._entries: dict[str, Entry] = {}

    @cached_property
    def _worker(self) -> Worker:
        return Worker(self.storage, self._home)

    def read_json(self, path: Path) -> dict[str, Any] | None:
        """Return what a JSON file holds in the storage; None if it is not there or not whole."""
        try:
            value = json.loads(self.storage.read(self.name(path)) or b"")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def name(self, path: Path) -> str:
        """Return what a file of the work folder is called in the storage."""
        return path.relative_to(self.folder.root).as_posix()

    # The build as a whole.

    def check(self) -> dict[str, Entry]:
        """Refuse a place that holds something else; return what is there.

        Raises:
            BuildError: it holds things but no build, or a build of a later version.
        """
        entries = self.storage.entries()
        others = sorted({name.partition("/")[0] for name in entries} - {".spanferry"})
        check_contents(self.storage.url, self.read_json(self.folder.state / "build.json"), others)
        return entries

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the build, as the lock of a folder does; bring here what people corrected, and the list of runs.

        Raises:
            BuildError: it is something else's, or another build holds it.
        """
        entries = self._entries = self.check()
        lease = self._worker.take(BUILD)
        if lease is None:
            who = self._worker.holder(BUILD)
            self.rest()
            raise BuildError(
                f"output {self.storage.url}: another build is writing to it"
                f"{f' ({machine_of(who)})' if who else ''}; wait for it, or name another `output`. One that was killed "
                "on another machine counts as dead after a minute"
            )
        try:
            self.fetch([name for name in entries if name.startswith("corrections/")], entries)
            self._forget(["corrections"], entries)
            self.fetch([".spanferry/runs.jsonl"], entries)
            yield
        finally:
            lease.release()
            self.rest()

    def rest(self) -> None:
        """Give no more signs of life, since nothing is claimed now."""
        self._worker.stop()

    def share_plan(self) -> None:
        """Send the source as it was read, and then the plan, so that others can help."""
        source = _files(self.folder.state / "source")
        self.send([self.folder.state / "build.json"], self._entries)
        self.send([path for path in source if path.suffix == ".jsonl"], self._entries)
        self.send([path for path in source if path.suffix == ".json"], self._entries)
        self.send([self.folder.plan], self._entries)
        old = {name for name in self._entries if name.startswith(".spanferry/source/")}
        self.storage.remove(old - set(map(self.name, source)))

    def share_dataset(self) -> None:
        """Send what readers of the dataset need, its card last; remove what only an earlier build wrote.

        Whatever else lies there is somebody's own.
        """
        entries = self.storage.entries()
        marks = _files(self.folder.state / "dataset")
        changed = [mark for mark in marks if not self._is_same(mark, entries)]
        sound = {name for mark in marks if mark not in changed for name in _named(self.folder.read_json(mark))}
        old_marks = {name for name in entries if name.startswith(".spanferry/dataset/")}
        stale = old_marks - set(map(self.name, marks))
        for name in (*stale, *map(self.name, changed)):
            stale |= set(_named(self.read_json(self.folder.root / name)))
        stale |= {name for name in entries if name.startswith(("rejects/", "corrections/"))}

        data = [path for kind in _DATASET for path in _files(self.folder.root / kind)]
        self.send([path for path in data if self._unsent(path, sound, entries)], entries)
        self.send(changed, entries)
        self.storage.remove(stale - set(map(self.name, data)))
        for name in _LAST:
            self.send([self.folder.root / name], entries)

    def _unsent(self, path: Path, sound: set[str], entries: Mapping[str, Entry]) -> bool:
        """Say whether a file may be another than the one that a mark, which is the same here and there, vouches for."""
        name = self.name(path)
        return name not in sound or name not in entries or entries[name].size != path.stat().st_size

    def end(self, planned: Iterable[Job], *, ran: bool, whole: bool) -> None:
        """Send the list of runs, and remove shards, claims and notes that nothing depends on any more.

        Args:
            planned: all shards of the build.
            ran: whether anything was computed; a run that found all done leaves no trace.
            whole: whether no shard is left to do.
        """
        if ran:
            self.storage.upload(self.folder.state / "runs.jsonl", ".spanferry/runs.jsonl")
        entries = self.storage.entries(".spanferry")
        shards = {self.name(Path(job.output).with_suffix("")) for job in planned}
        old = [name for name in entries if (found := _OF_A_SHARD.fullmatch(name)) and found[1] not in shards]
        notes = [name for name in entries if name.endswith(".failed") and not (self.folder.root / name).exists()]
        claims = [name for name in entries if _CLAIM.match(name)] if whole else []
        self.storage.remove({*old, *notes, *claims, *self._worker.dead(entries)})

    # Shards.

    def settle(self, jobs: Sequence[Job]) -> None:
        """Bring here the shards that are finished in the storage, and send there those that are finished here.

        A shard that is damaged in the storage, or on its way, counts as not finished.
        """
        entries = self._around(jobs)
        in_parallel(lambda job: self._settle(job, entries), jobs)
        notes = {self.name(Path(job.output).with_suffix(".failed")): job for job in jobs}
        self.fetch([name for name, job in notes.items() if name in entries and job.done() is None], entries)

    def _settle(self, job: Job, entries: Mapping[str, Entry]) -> None:
        path = Path(job.output)
        sidecar = sidecar_path(path)
        here, there = job.done(), None
        if self.name(sidecar) in entries:
            if here is not None and self.name(path) in entries and self._is_same(sidecar, entries):
                return
            there = self.done(job)
        if there is not None:
            if self.storage.download(self.name(path), path, there.checksum):
                write_sidecar(path, there)
                return
            self.storage.remove([self.name(sidecar)])  # damaged or gone: whoever claims it next does it again
        if here is not None:
            self._send_shard(path)

    def unfinished(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the shards that are not finished in the storage."""
        entries = self._around(jobs)
        begun = [job for job in jobs if self.name(sidecar_path(Path(job.output))) in entries]
        done = {job.output for job, found in zip(begun, in_parallel(self.done, begun), strict=True) if found}
        return [job for job in jobs if job.output not in done]

    def _around(self, jobs: Sequence[Job]) -> dict[str, Entry]:
        """Return what is in the storage where these shards lie."""
        places = dict.fromkeys(Path(job.output).parent for job in jobs)
        return {name: entry for place in places for name, entry in self.storage.entries(self.name(place)).items()}

    def done(self, job: Job) -> Sidecar | None:
        """Return the sidecar of a shard that is finished in the storage; its file may not be here."""
        data = self.storage.read(self.name(sidecar_path(Path(job.output))))
        found = None if data is None else parse_sidecar(data)
        return found if found is not None and found.key == job.key else None

    def claim(self, job: Job, wait: float) -> tuple[Job, Lease] | None:
        """Claim a shard, and bring its source rows here; None if it is finished, or another process has it.

        Args:
            job: the shard.
            wait: seconds to wait for another process to let go of it; below 0 for ever.

        Raises:
            BuildError: the build reads another source by now.
        """
        end = math.inf if wait < 0 else time.monotonic() + wait
        while True:
            if (lease := self._worker.take(self.name(Path(job.output).with_suffix("")))) is not None:
                try:
                    if self.done(job) is None:
                        return self._with_source(job), lease
                except BaseException:
                    lease.release()
                    raise
                lease.release()
            if self.done(job) is not None or time.monotonic() >= end:
                return None
            time.sleep(POLL)

    def _with_source(self, job: Job) -> Job:
        here = Path(job.source)
        if not (here.is_file() and file_digest(here) == job.checksum):
            # Named by content: whoever builds in the same work folder, with whatever source, does not meet it.
            here = self.folder.state / "fetched" / f"{job.checksum}.jsonl"
            if not here.is_file() and not self.storage.download(self.name(Path(job.source)), here, job.checksum):
                raise BuildError(f"{self.storage.url}: the build reads another source by now; help with it anew")
        return replace(job, source=str(here))

    def moved_here(self, job: Job) -> Job:
        """Return a job of another machine with its paths in the work folder of this one."""

        def moved(path: str) -> str:
            parts = Path(path).parts
            return str(self.folder.root.joinpath(*parts[len(parts) - parts[::-1].index(".spanferry") - 1 :]))

        return replace(job, source=moved(job.source), output=moved(job.output))

    def share(self, job: Job) -> None:
        """Send what became of a shard: its file and then its sidecar, or else the note that it failed."""
        path = Path(job.output)
        if job.done() is not None:
            self._send_shard(path)
        elif (note := path.with_suffix(".failed")).is_file():
            self.storage.upload(note, self.name(note))

    def _send_shard(self, path: Path) -> None:
        for each in (path, sidecar_path(path)):
            self.storage.upload(each, self.name(each))

    # Files.

    def send(self, paths: Sequence[Path], entries: Mapping[str, Entry]) -> None:
        """Send those files that are not as they are in the storage."""
        changed = [path for path in paths if not self._is_same(path, entries)]
        in_parallel(lambda path: self.storage.upload(path, self.name(path)), changed)

    def fetch(self, names: Iterable[str], entries: Mapping[str, Entry]) -> None:
        """Fetch those files that are in the storage and not as they are here."""
        places = {name: self.folder.root / name for name in names if name in entries}
        changed = [name for name, path in places.items() if not path.is_file() or not self._is_same(path, entries)]
        in_parallel(lambda name: self.storage.download(name, places[name]), changed)

    def fetch_build(self) -> None:
        """Bring here all that readers of a finished build need, and nothing that is not part of it any more.

        Raises:
            BuildError: a build is working in the work folder.
        """
        try:
            lock = FileLock(self.folder.lock, timeout=0)
            lock.acquire()
        except Timeout:
            raise BuildError(
                f"{self.folder.root}: a build of {self.storage.url} is working there; wait for it, or look with "
                "another SPANFERRY_CACHE"
            ) from None
        with lock:
            entries = self.check()
            wanted = [name for name in entries if name.startswith(_OURS) and ".claim" not in name]
            # A sidecar after what it vouches for.
            for late in (False, True):
                self.fetch([name for name in wanted if late == name.endswith((".json", ".md"))], entries)
            self._forget(_DATASET, entries)

    def _forget(self, kinds: Sequence[str], entries: Mapping[str, Entry]) -> None:
        """Remove files here that are not in the storage any more."""
        for path in (path for kind in kinds for path in _files(self.folder.root / kind)):
            if self.name(path) not in entries:
                path.unlink()

    def _is_same(self, path: Path, entries: Mapping[str, Entry]) -> bool:
        """Say whether a file that is here is in the storage, byte for byte."""
        entry = entries.get(self.name(path))
        if entry is None or entry.size != path.stat().st_size:
            return False
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "md5").hexdigest() == entry.md5:
                return True
        # The tag of an encrypted file, or of one that was sent in parts, is no MD5 of it.
        return entry.size <= _SMALL and self.storage.read(self.name(path)) == path.read_bytes()


def _files(place: Path) -> list[Path]:
    """Return the files below a folder, and none that is being written."""
    return sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))


def _named(mark: Mapping[str, Any] | None) -> Iterable[str]:
    """Return the files of the dataset that a mark names, whatever a damaged one says."""
    names = (mark or {}).get("files", ())
    return [name for name in names if name.startswith(("data/", "dropped/")) and ".." not in name]
