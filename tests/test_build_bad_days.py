"""What goes wrong while a build runs: a full disk, a source or a model exchanged, a damaged memory, a jumping clock."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanferry.data.errors import SpanferryError
from spanferry.data.shared_file import CorruptMemoryWarning
from spanferry.flows import build as build_module
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.jobs import Job

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def plain(build_settings: Settings, tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the bytes of the build on a good day, its output being ``out`` in a folder of its own."""
    build_settings["output"] = "out"
    build_settings["run"]["memory"] = "memory.sqlite"
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    build(parse_config(build_settings))
    monkeypatch.setattr(parts, "_loaded", None)  # another folder, another memory
    monkeypatch.chdir(tmp_path)
    return published(tmp_path / "plain" / "out")


def before_shard(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Do something before shard ``number`` of the first language is written."""
    write = build_module.write_shard

    def acting(job: Job, outcomes: Any) -> Any:
        if Path(job.output).match(f"de/train/{number:05d}.jsonl"):
            act()
        return write(job, outcomes)

    monkeypatch.setattr(build_module, "write_shard", acting)


def test_a_disk_that_is_really_full(
    build_settings: Settings, plain: dict[str, bytes], tmp_path: Path, published: Published
) -> None:
    """On a file system of 200 kB that is made larger afterwards; the memory lies elsewhere."""
    small = ["unshare", "-rm", "sh", "-ec"]
    probe = subprocess.run([*small, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no right to mount a file system")
    (tmp_path / "out").mkdir()
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build_settings, sort_keys=False), encoding="utf-8")
    program = f"""
        mount -t tmpfs -o size=200k tmpfs out
        {sys.executable} -m spanferry.flows.cli build build.yaml --quiet 2> first || echo "code $?" >> first
        find out/.spanferry/shards -name '*.json' > finished
        mount -o remount,size=50m out
        {sys.executable} -m spanferry.flows.cli build build.yaml
        cp -r out saved
    """
    done = subprocess.run([*small, program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, message, code = (tmp_path / "first").read_text(encoding="utf-8").splitlines()
    assert code == "code 2"
    assert "No space left on device. What is finished is safe; mend this, and the same command goes on" in message
    finished = (tmp_path / "finished").read_text(encoding="utf-8").splitlines()
    assert 0 < len(finished) < 6 and "rows" in done.stderr
    assert published(tmp_path / "saved") == plain


def test_a_source_that_changes_during_the_build_is_not_mixed_into_it(
    build_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Published
) -> None:
    path = tmp_path / "train.jsonl"
    shutil.copy(build_settings["source"]["path"], path)
    build_settings["source"]["path"] = str(path)
    old = build(parse_config(build_settings))
    before = published(old.folder)
    shutil.rmtree(old.folder)

    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    with monkeypatch.context() as patch:
        before_shard(patch, 1, lambda: path.write_text("".join(lines[::-1]), encoding="utf-8") and None)
        build(parse_config(build_settings))
    assert published(old.folder) == before, "the rows that were read at the beginning"
    after = build(parse_config(build_settings))
    assert after.report["signature"] != old.report["signature"]
    assert [timing.reused for timing in after.timings.values()] == [0, 0]
    staged = (old.folder / ".spanferry" / "source" / "train" / "00000.jsonl").read_text(encoding="utf-8")
    assert json.loads(staged.splitlines()[0])["fields"]["text"] == json.loads(lines[-1])["text"]


@pytest.mark.parametrize("which", ["memory.sqlite", "memory.projections.sqlite"])
def test_a_memory_that_is_damaged_during_the_build(  # noqa: PLR0917  (fixtures)
    which: str,
    build_settings: Settings,
    plain: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: Published,
) -> None:
    config = parse_config(build_settings)
    shutil.copytree(tmp_path / "plain", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out"))

    def damage() -> None:
        for path in tmp_path.glob(f"{which}*"):
            # In place, as rot is: SQLite has one of these files in its memory, and a shorter one kills the process.
            with path.open("r+b") as file:
                file.write(random.Random(path.name).randbytes(path.stat().st_size))

    with monkeypatch.context() as patch, pytest.warns(CorruptMemoryWarning, match=r"moved to .*corrupt-1"):
        before_shard(patch, 0, damage)
        build(config)
    assert published(tmp_path / "out") == plain
    assert (tmp_path / f"{which}.corrupt-1").exists()


def test_a_clock_that_jumps(
    build_settings: Settings,
    plain: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: Published,
) -> None:
    clock = random.Random(7)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: clock.uniform(0, 4e9))
        result = build(parse_config(build_settings))
    assert published(tmp_path / "out") == plain
    assert 0 < result.seconds < 1000 and all(timing.seconds > 0 for timing in result.timings.values())
    again = build(parse_config(build_settings))
    assert all(timing.rows == 0 for timing in again.timings.values())


def test_a_model_that_is_replaced_or_deleted_half_way_is_not_mixed(
    tiny_checkpoint: Callable[[str], Path],
    build_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_cache: Path,
) -> None:
    import safetensors.torch

    monkeypatch.setenv("SPANFERRY_CACHE", str(model_cache))
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint("nllb"), model)
    build_settings |= {"translation": {"model": str(model), "beam_size": 1}, "limit": 6}
    build_settings["run"] |= {"shard_rows": 3, "device": "cpu", "workers": 1, "threads": 1}
    config = parse_config(build_settings)
    old = build(config, only=["de"]).report["models"]["translator"]

    weights = safetensors.torch.load_file(model / "model.safetensors")
    safetensors.torch.save_file(
        {name: value.flip(0).contiguous() for name, value in weights.items()},
        model / "model.safetensors",
        metadata={"format": "pt"},
    )
    monkeypatch.setattr(parts, "_loaded", None)  # as another process would begin
    result = build(config)
    assert result.report["models"]["translator"] != old
    assert {name: timing.rows for name, timing in result.timings.items()} == {"de": 6, "es": 6}

    shutil.rmtree(model)
    monkeypatch.setattr(parts, "_loaded", None)
    with pytest.raises(SpanferryError, match=str(model)):
        build(config)
