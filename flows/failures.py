"""Shards that failed, noted beside where they would lie, so that any machine sees them and they can be done again.

``00003.failed`` stands beside ``00003.jsonl`` from when the shard fails until it is done. It counts only for the job
that failed: one with other settings, models or rows has another key, and has not failed yet.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spanferry.data.errors import BuildError, ConfigError, DataError, SpanferryError
from spanferry.data.example import Example
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import Job
from spanferry.flows.shards import write_json

STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS})
"""Numbers of the errors by which the operating system says that nothing can be written, for now."""


@dataclass(frozen=True)
class Failure:
    """One shard that failed.

    Attributes:
        language: BCP-47 name of the language of the dataset.
        split: ``"train"``, ...
        shard: its number within the split, from 0.
        rows: how many it has.
        key: of the job that failed, see `spanferry.flows.jobs.Job`.
        reason: what went wrong, in one line.
        time: when, ISO 8601 in UTC, by the clock of the machine that it failed on; for people, nothing depends on it.
        traceback: where in the program; empty for errors that a user can mend.
    """

    language: str
    split: str
    shard: int
    rows: int
    key: str
    reason: str
    time: str
    traceback: str = ""


@dataclass
class Undone:
    """What a run could not do.

    Attributes:
        waiting: examples that must be predicted on elsewhere first.
        failed: shards that failed in this run.
    """

    waiting: list[Example] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def failure_path(output: Path) -> Path:
    """Return where it is noted that a shard failed.

    >>> failure_path(Path("de/train/00003.jsonl")).as_posix()
    'de/train/00003.failed'
    """
    return output.with_suffix(".failed")


def note_failure(job: Job, error: Exception) -> Failure:
    """Write down that a shard failed; the note replaces an older one in one step."""
    output = Path(job.output)
    *_, language, split, _ = output.parts
    expected = isinstance(error, SpanferryError)
    failure = Failure(
        language=language,
        split=split,
        shard=int(output.stem),
        rows=job.rows,
        key=job.key,
        reason=reason_of(error),
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        traceback="" if expected else "".join(traceback.format_exception(error)),
    )
    with contextlib.suppress(OSError):  # a note less on the storage must not cost the shards that can be written
        write_json(failure_path(output), asdict(failure))
    return failure


def failure_of(job: Job) -> Failure | None:
    """Return the note that this very job failed; None if there is none, or it is of a job with another key."""
    facts = BuildFolder.read_json(failure_path(Path(job.output)))
    try:
        return Failure(**facts) if facts is not None and facts["key"] == job.key else None
    except (KeyError, TypeError):  # written by another version
        return None


def forget_failure(output: Path) -> None:
    """Remove the note that a shard failed, because it is done now."""
    failure_path(output).unlink(missing_ok=True)


def stops_the_build(error: Exception) -> bool:
    """Tell whether an error is of a kind that every other shard would meet too.

    Settings, data, the memory and storage are the same for all; what a model makes of some texts is not.

    >>> stops_the_build(OSError(errno.ENOSPC, "No space left on device")), stops_the_build(RuntimeError("CUDA failed"))
    (True, False)
    """
    if isinstance(error, OSError):
        return error.errno in STORAGE_ERRORS
    return isinstance(error, ConfigError | DataError | BuildError)


def reason_of(error: BaseException) -> str:
    """Return what went wrong, in one line.

    >>> reason_of(ConfigError("no such layer"))
    'no such layer'
    >>> reason_of(ValueError("not enough values to unpack\\n  (expected 2)"))
    'ValueError: not enough values to unpack (expected 2)'
    """
    text = " ".join(str(error).split())
    if isinstance(error, SpanferryError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def by_language(failures: Iterable[Failure]) -> dict[str, str]:
    """Say in one clause a language what failed, and why.

    >>> one = Failure("de", "train", 3, 2000, "", "out of memory", "")
    >>> by_language([one, Failure("de", "train", 7, 2000, "", "out of memory", "")])
    {'de': '2 shards failed (train 3, 7): out of memory'}
    """
    found: dict[str, list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.language, []).append(failure)
    return {language: "; ".join(by_reason(each)) for language, each in found.items()}


def by_reason(failures: Sequence[Failure]) -> list[str]:
    """Say of one language's failures, in a clause a reason, which shards it stopped; the first few of each.

    >>> several = [Failure("de", "train", number, 10, "", "out of memory", "") for number in range(7)]
    >>> by_reason([*several, Failure("de", "test", 0, 10, "", "cable", "")])
    ['7 shards failed (train 0, 1, 2, 3, 4, ...): out of memory', '1 shard failed (test 0): cable']
    """
    reasons: dict[str, list[Failure]] = {}
    for failure in failures:
        reasons.setdefault(failure.reason, []).append(failure)
    return [
        f"{len(each):,} {'shard' if len(each) == 1 else 'shards'} failed ({_numbers(each)}): {reason}"
        for reason, each in reasons.items()
    ]


def _numbers(failures: Sequence[Failure], most: int = 5) -> str:
    splits: dict[str, list[str]] = {}
    for failure in failures[:most]:
        splits.setdefault(failure.split, []).append(str(failure.shard))
    named = "; ".join(f"{split} {', '.join(numbers)}" for split, numbers in splits.items())
    return named + (", ..." if len(failures) > most else "")
