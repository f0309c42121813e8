"""Shards claimed one at a time, so that several processes, on several machines, can work on one build.

A claim is a lock on a file beside the shard, on the storage that the machines share. The operating system lets go of it
when the process that holds it dies, however it dies; so a shard is never lost, none is computed twice once it is done,
and none is written by two at a time. Where that storage has no locks, the claim is one of `spanferry.flows.leases` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from spanferry.flows.jobs import Job
from spanferry.flows.leases import Lease
from spanferry.flows.places import stored_of
from spanferry.flows.shards import Sidecar, is_held


@dataclass(frozen=True)
class Claim:
    """A shard that this process alone works on, until `release`."""

    job: Job
    lock: FileLock
    lease: Lease | None = None

    def share(self) -> None:
        """Send what became of the shard to where other machines see it, if that is another place."""
        if (stored := stored_of(self.job)) is not None:
            stored.share(self.job)

    def release(self) -> None:
        """Let go of the shard, done or not."""
        if self.lease is not None:
            self.lease.release()
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
    try:
        if job.done() is None:  # no other process was faster
            if (stored := stored_of(job)) is None:
                return Claim(job, lock)
            if (own := stored.claim(job, wait)) is not None:
                return Claim(own[0], lock, own[1])
    except BaseException:
        lock.release()
        raise
    lock.release()
    return None


def done(job: Job) -> Sidecar | None:
    """Return the sidecar of a shard that is done, wherever that was; its file may be elsewhere too."""
    if (here := job.done()) is not None or (stored := stored_of(job)) is None:
        return here
    return stored.done(job)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Return the shards that are done nowhere; nothing is fetched."""
    open_jobs = [job for job in jobs if job.done() is None]
    if not open_jobs or (stored := stored_of(open_jobs[0])) is None:
        return open_jobs
    return stored.unfinished(open_jobs)


def settle(jobs: Sequence[Job]) -> None:
    """Bring here the shards that are done elsewhere, and send those that are done here; nothing where that is one."""
    if jobs and (stored := stored_of(jobs[0])) is not None:
        stored.settle(jobs)


def is_claimed(job: Job) -> bool:
    """Say whether a process works on a shard, here or on another machine; it is not disturbed."""
    return is_held(claim_path(Path(job.output)))


def claims(jobs: Iterable[Job], passed_over: list[Job]) -> Iterator[Claim]:
    """Claim shards one by one, as they are asked for; those that others hold are put on the list."""
    for job in jobs:
        if (own := claim(job)) is not None:
            yield own
        elif done(job) is None:
            passed_over.append(job)


def remove_claims(folder: Path) -> None:
    """Remove the files of the claims under a folder whose shards are all done."""
    for path in folder.rglob("*.lock"):
        path.unlink(missing_ok=True)
