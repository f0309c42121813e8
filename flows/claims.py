"""Shards claimed one at a time, so that several processes, on several machines, can work on one build.

A claim is a lock on a file beside the shard, on the storage that the machines share. The operating system lets go of it
when the process that holds it dies, however it dies; so a shard is never lost, none is computed twice once it is done,
and none is written by two at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from spanferry.flows.jobs import Job
from spanferry.flows.shards import is_held


@dataclass(frozen=True)
class Claim:
    """A shard that this process alone works on, until `release`."""

    job: Job
    lock: FileLock

    def release(self) -> None:
        """Let go of the shard, done or not."""
        self.lock.release()


def claim_path(output: Path) -> Path:
    """Return the file whose lock is the claim on a shard.

    >>> claim_path(Path("de/train/00003.jsonl")).as_posix()
    'de/train/00003.lock'
    """
    return output.with_suffix(".lock")


def claim(job: Job, wait: float = 0.0) -> Claim | None:
    """Claim a shard; None if it is done, or another process has held it for ``wait`` seconds (below 0: for ever)."""
    path = claim_path(Path(job.output))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=wait, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    if job.done() is not None:  # another process was faster
        lock.release()
        return None
    return Claim(job, lock)


def is_claimed(job: Job) -> bool:
    """Say whether a process works on a shard, here or on another machine; it is not disturbed."""
    return is_held(claim_path(Path(job.output)))


def claims(jobs: Iterable[Job], passed_over: list[Job]) -> Iterator[Claim]:
    """Claim shards one by one, as they are asked for; those that others hold are put on the list."""
    for job in jobs:
        if (own := claim(job)) is not None:
            yield own
        elif job.done() is None:
            passed_over.append(job)


def remove_claims(folder: Path) -> None:
    """Remove the files of the claims under a folder whose shards are all done."""
    for path in folder.rglob("*.lock"):
        path.unlink(missing_ok=True)
