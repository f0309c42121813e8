"""Claims on shared storage without locks: files that one process makes, and that count while it gives signs of life.

A process that works on a build renews one file of its own, every `BEAT` seconds. A claim is a file that names the
process, made by `Storage.create`, so that of many who try one gets it. Where the process has been silent for `EXPIRES`
seconds, by the storage's clock and no other, its claim is void: the next one makes a file ``.claim-after-THAT-PROCESS``
beside it, which again one of many succeeds in. Nobody removes another's claim to get it, so no claim is ever removed by
mistake.

    00003.claim                                  made by a; a dies
    00003.claim-after-a                          made by b, who holds the shard now

What cannot be ruled out: a process that was only stopped for a minute (a machine asleep, a network gone) goes on with a
shard that another has taken over. Both write the same bytes under the same name, whole and in one step, and the sidecar
last; so that costs time, and never a result.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from spanferry.data.errors import BuildError
from spanferry.flows.storage import Entry, Storage

BEAT = 10.0
"""Seconds between two signs of life."""

EXPIRES = 60.0
"""Seconds of silence after which a process counts as dead."""

WORKERS = ".spanferry/workers"


@dataclass
class Lease:
    """Something that this process alone works on, until `release`.

    Attributes:
        storage: where it was claimed.
        places: the files of the claim, the oldest first; those of the dead before it are among them.
    """

    storage: Storage
    places: list[str] = field(default_factory=list)

    def release(self) -> None:
        """Let go of it. Where the storage cannot be reached, the claim ends with this process."""
        places, self.places = self.places, []
        with contextlib.suppress(BuildError):
            for place in places:  # in this order: the first one is what keeps others out
                self.storage.remove([place])


class Worker:
    """This process, as others see it in the storage.

    Args:
        storage: of the build.
        home: id of the work folder. What another process of the same folder claimed is void, since that process is
            dead: whoever asks holds the lock of the same thing in that folder.
    """

    def __init__(self, storage: Storage, home: str) -> None:
        machine = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())
        self.name = f"{machine}.{home}.{os.getpid()}.{secrets.token_hex(4)}"
        self._storage, self._once, self._home = storage, storage.trying_once(), home
        self._stopping = threading.Event()
        self._beating: threading.Thread | None = None
        self._ahead = 0.0  # of this machine's steady clock, the storage's
        self._starting = threading.Lock()

    def take(self, what: str) -> Lease | None:
        """Claim something by its name; None if another process that is alive holds it, or was quicker.

        Raises:
            BuildError: the storage cannot be reached, or not be relied upon for claims.
        """
        self._start()
        lease, root = Lease(self._once), f"{what}.claim"
        place, first = root, b""
        while (holder := self._storage.create(place, self.name.encode())) != self.name.encode():
            if self._is_alive(holder.decode()):
                return None
            first = first or holder
            lease.places.append(place)
            place = f"{root}-after-{holder.decode()}"
        lease.places.append(place)
        if first and self._storage.read(root) != first:  # let go of in between, and perhaps claimed anew
            self._storage.remove([place])
            return None
        return lease

    def stop(self) -> None:
        """Give no more signs of life."""
        with self._starting:
            if self._beating is None:
                return
            self._stopping.set()
            self._beating.join(2.0)  # it may be waiting for an answer
            self._beating = None
            atexit.unregister(self.stop)
        with contextlib.suppress(BuildError):
            self._once.remove([self._file])

    @property
    def _file(self) -> str:
        return f"{WORKERS}/{self.name}"

    def _start(self) -> None:
        """Give a first sign of life, and see that the storage can do what claims rest on.

        Raises:
            BuildError: it cannot.
        """
        with self._starting:
            if self._beating is not None:
                return
            mine, other = self.name.encode(), b"another"
            if self._storage.create(self._file, mine) != mine or self._storage.create(self._file, other) != mine:
                raise BuildError(
                    f"{self._storage.url}: this storage writes a file that is there already, though asked not to (S3's "
                    "If-None-Match, Google's ifGenerationMatch); expected storage that can, since builds know of each "
                    "other by this alone"
                )
            self._look_at_clock()
            self._stopping.clear()
            self._beating = threading.Thread(target=self._beat, name="signs of life", daemon=True)
            self._beating.start()
            atexit.register(self.stop)

    def _beat(self) -> None:
        while not self._stopping.wait(BEAT):
            with contextlib.suppress(BuildError):  # the next one may come through
                self._once.write(self._file, self.name.encode())
                self._look_at_clock()

    def _look_at_clock(self) -> None:
        if (written := self._once.modified(self._file)) is not None:
            self._ahead = written - time.monotonic()

    def _is_alive(self, name: str) -> bool:
        if name.split(".")[1:2] == [self._home]:
            return False
        seen = self._storage.modified(f"{WORKERS}/{name}")
        return seen is not None and self._now - seen < EXPIRES

    @property
    def _now(self) -> float:
        return time.monotonic() + self._ahead

    def holder(self, what: str) -> str | None:
        """Return who holds something; None if nobody who is alive does."""
        return holder(self._storage, what, self._now)

    def dead(self, entries: Mapping[str, Entry]) -> list[str]:
        """Return the signs of life, of those in a listing, that are too old to be one."""
        old = self._now - EXPIRES
        return [name for name, entry in entries.items() if name.startswith(f"{WORKERS}/") and entry.modified < old]


def holder(storage: Storage, what: str, now: float) -> str | None:
    """Return who holds something, without claiming it; None if nobody who is alive does.

    Args:
        storage: where it is claimed.
        what: its name.
        now: seconds since 1970, by a clock that is right to some seconds.
    """
    place = f"{what}.claim"
    while (found := storage.read(place)) is not None:
        seen = storage.modified(f"{WORKERS}/{found.decode()}")
        if seen is not None and now - seen < EXPIRES:
            return found.decode()
        place = f"{what}.claim-after-{found.decode()}"
    return None


def machine_of(holder: str) -> str:
    """Return for people where a process runs.

    >>> machine_of("gpu-1.5f0c.4711.9ab2")
    'gpu-1, process 4711'
    """
    machine, _, process, _ = (*holder.split("."), "", "", "")[:4]
    return f"{machine}, process {process}"
