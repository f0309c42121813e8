"""Progress in a log: plain lines, few of them, and true."""

from __future__ import annotations

import io
import re

import pytest

from spanferry.flows import progress as progress_module
from spanferry.flows.progress import Lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_now_and_then_with_rate_and_time_left(clock: list[float]) -> None:
    stream = io.StringIO()
    lines = Lines(stream, every=30)
    lines.start("de: translating", 1000, 200)
    for _ in range(4):
        clock[0] += 10
        lines.advance("de: translating", 100)
    lines.finish("de: translating")
    assert stream.getvalue().splitlines() == [
        "de: translating: 1,000 rows, 200 of them done before",
        "de: translating: 500 of 1,000 rows, 10.0 a second, 50.0 s left",
        "de: translating: 400 rows in 40.0 s, 10.0 a second",
    ]


def test_a_stage_without_work_is_not_mentioned(clock: list[float]) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start("de: translating", 50, 50)
    lines.finish("de: translating")
    assert stream.getvalue() == ""


def test_a_stage_of_unknown_length_has_no_time_left(clock: list[float]) -> None:
    stream = io.StringIO()
    lines = Lines(stream, every=30)
    lines.start("reading train", None)
    clock[0] += 31
    lines.advance("reading train", 3100)
    lines.finish("reading train")
    first, last = stream.getvalue().splitlines()
    assert first == "reading train: 3,100 rows, 100.0 a second"
    assert re.fullmatch(r"reading train: 3,100 rows in 31\.0 s, 100\.0 a second", last)
