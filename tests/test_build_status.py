"""How far a build is, seen from outside while it runs, after it stopped, and when it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spanferry.data.errors import BuildError
from spanferry.flows import build as build_module
from spanferry.flows.build import build
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.jobs import Job
from spanferry.flows.status import BuildStatus, status

Settings = dict[str, Any]


def watch(monkeypatch: pytest.MonkeyPatch, folder: str, act: Callable[[BuildStatus], None]) -> None:
    """Look at the build after each shard."""
    write = build_module.write_shard

    def watched(job: Job, outcomes: Any) -> Any:
        sidecar = write(job, outcomes)
        act(status(folder))
        return sidecar

    monkeypatch.setattr(build_module, "write_shard", watched)


def test_a_build_that_runs_is_seen_shard_by_shard(build_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BuildStatus] = []
    watch(monkeypatch, build_settings["output"], seen.append)
    build(parse_config(build_settings))
    assert [tuple(each.done for each in found.languages.values()) for found in seen] == [
        (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3),
    ]  # fmt: skip
    assert {found.state for found in seen} == {"running"}
    assert [found.languages["de"].rows_done for found in seen[:3]] == [50, 100, 120]
    first, last = seen[0], status(build_settings["output"])
    assert first.rate and first.seconds_left == pytest.approx(190 / first.rate)
    assert last.state == "finished" and last.seconds_left in {0, None}
    total = last.languages["de"].counts
    assert total["rows"] == total["kept"] + total["dropped"] == 120


def test_a_build_that_stopped_says_where(build_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(found: BuildStatus) -> None:
        if found.languages["de"].done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        watch(patch, build_settings["output"], stop)
        build(parse_config(build_settings))
    found = status(build_settings["output"])
    assert found.state == "stopped" and found.languages["de"].done == 2 and found.languages["es"].rows_done == 0
    printed = CliRunner().invoke(app, ["status", build_settings["output"]]).output
    assert "2/3" in printed and "0/3" in printed and "stopped" in printed and "left at this rate" in printed
    as_json = json.loads(CliRunner().invoke(app, ["status", build_settings["output"], "--json"]).output)
    assert as_json["languages"]["de"]["rows_done"] == 100

    build_settings["projection"]["on_lost"] = "keep"  # what is done is of another build now
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        watch(patch, build_settings["output"], stop)
        build(parse_config(build_settings))
    assert status(build_settings["output"]).languages["de"].done == 2


def test_looking_does_not_keep_a_build_from_starting(build_settings: Settings, tmp_path: Path) -> None:
    config = parse_config(build_settings)
    build(config)
    for _ in range(3):
        status(config.output)
        assert all(timing.rows == 0 for timing in build(config).timings.values())


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_where_there_is_no_build(place: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="found no build that has read its source"):
        status(tmp_path / place)


def test_a_folder_in_brackets_is_printed_as_it_is(build_settings: Settings, tmp_path: Path) -> None:
    build(parse_config(build_settings))
    for name in ("out [x] ü", "out [", "[red]"):
        folder = shutil.copytree(build_settings["output"], tmp_path / name)
        result = CliRunner().invoke(app, ["status", str(folder)])
        assert result.exit_code == 0 and f"{folder}: finished" in result.output
