"""How far a build is: bars on a terminal, plain lines elsewhere, nothing at all for library use.

The build only says `start`, `advance` and `finish`; a stage is a text such as ``"de: translating"``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Protocol


class Progress(Protocol):
    """What a build reports to; may be called from any thread."""

    def start(self, stage: str, total: int | None, done: int = 0) -> None:
        """Begin a stage of ``total`` rows (None: nobody knows), of which ``done`` were there before."""
        ...

    def advance(self, stage: str, rows: int) -> None:
        """Say that ``rows`` more are through."""
        ...

    def finish(self, stage: str) -> None:
        """End a stage, whole or not."""
        ...

    def note(self, text: str) -> None:
        """Say something once, in one line."""
        ...


class Silent:
    """Reports nothing."""

    def start(self, stage: str, total: int | None, done: int = 0) -> None: ...

    def advance(self, stage: str, rows: int) -> None: ...

    def finish(self, stage: str) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass
class _Stage:
    total: int | None
    reused: int
    done: int
    began: float = field(default_factory=lambda: time.monotonic())  # noqa: PLW0108  (looked up when called)

    @property
    def rate(self) -> float:
        """Rows a second since the stage began, those reused left out."""
        return (self.done - self.reused) / max(time.monotonic() - self.began, 1e-9)

    def summary(self, stage: str) -> str | None:
        """One line on a finished stage; None where nothing was done in it."""
        fresh = self.done - self.reused
        seconds = time.monotonic() - self.began
        return f"{stage}: {fresh:,} rows in {duration(seconds)}, {self.rate:,.1f} a second" if fresh else None


class Lines:
    """One plain line now and then, for logs: at the start, every ``every`` seconds, and at the end of a stage."""

    def __init__(self, stream: IO[str] | None = None, every: float = 30.0) -> None:
        self._stream, self._every, self._lock = stream or sys.stderr, every, threading.Lock()
        self._stages: dict[str, _Stage] = {}
        self._last = time.monotonic()

    def start(self, stage: str, total: int | None, done: int = 0) -> None:
        self._stages[stage] = _Stage(total, done, done)
        self._last = time.monotonic()
        if total is not None and done < total:
            self.note(f"{stage}: {total:,} rows" + (f", {done:,} of them done before" if done else ""))

    def advance(self, stage: str, rows: int) -> None:
        with self._lock:
            state = self._stages[stage]
            state.done += rows
            if time.monotonic() - self._last < self._every:
                return
            self._last = time.monotonic()
        of, left = "", ""
        if state.total is not None and state.rate:
            of, left = f" of {state.total:,}", f", {duration((state.total - state.done) / state.rate)} left"
        self.note(f"{stage}: {state.done:,}{of} rows, {state.rate:,.1f} a second{left}")

    def finish(self, stage: str) -> None:
        if summary := self._stages.pop(stage).summary(stage):
            self.note(summary)

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Bars:
    """One bar a stage, with rate and time left; a finished stage becomes a plain line above the bars."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._states: dict[str, _Stage] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int | None, done: int = 0) -> None:
        self._states[stage] = _Stage(total, done, done)
        if total is None or done < total:
            self._tasks[stage] = self._bars.add_task(stage, total=total, completed=done, rate="")

    def advance(self, stage: str, rows: int) -> None:
        state = self._states[stage]
        state.done += rows
        self._bars.update(self._tasks[stage], advance=rows, rate=f"{state.rate:,.1f}/s")

    def finish(self, stage: str) -> None:
        if stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))
        if summary := self._states.pop(stage).summary(stage):
            self.note(summary)

    def note(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False)


@contextmanager
def console_progress(quiet: bool = False) -> Iterator[Progress]:
    """Give what fits standard error: bars on a terminal, lines elsewhere, nothing if ``quiet``."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        from rich.console import Console

        with Bars(Console(stderr=True)) as bars:
            yield bars
    else:
        yield Lines()


def duration(seconds: float) -> str:
    """Write a time for people.

    >>> duration(0.42), duration(75), duration(3 * 3600 + 62), duration(200_000)
    ('0.4 s', '1 min 15 s', '3 h 01 min', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
