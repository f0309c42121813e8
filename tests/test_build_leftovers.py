"""What earlier builds left behind goes; what is not a build's stays, whatever it is called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanferry.flows import dataset
from spanferry.flows.build import build
from spanferry.flows.claims import claim
from spanferry.flows.config import parse_config
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import noted_jobs

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

THEIRS = (
    "data/notes.txt",
    "data/de/mine.parquet",
    "data/de/train-mine-of-them.parquet",
    "data/de/extra-00000-of-00001.parquet",
    "data/mine/train-00000-of-00001.parquet",
    "dropped/mine/train.jsonl",
    ".spanferry/shards/readme.txt",
    ".spanferry/shards/de/train/1.jsonl",
    ".spanferry/shards/de/train/00001.jsonl.bak",
)


def run(settings: Settings, **changes: Any) -> Path:
    return build(parse_config(settings | changes)).folder


def files(folder: Path, under: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in (folder / under).rglob("*") if path.is_file())


@pytest.fixture
def fresh(build_settings: Settings, tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Return what shards and files of the dataset a build has that never was another."""

    def look(**changes: Any) -> list[list[str]]:
        folder = run(build_settings | {"output": str(tmp_path / "fresh")}, **changes)
        found = [files(folder, under) for under in (".spanferry/shards", "data", "dropped", ".spanferry/dataset")]
        shutil.rmtree(folder)
        return found

    return look


def test_fewer_rows_leave_no_shard_of_more(
    build_settings: Settings, fresh: Callable[..., list[list[str]]], published: Published
) -> None:
    folder = run(build_settings)
    assert len(files(folder, ".spanferry/shards")) == 2 * 3 * 2
    whole = published(folder)
    run(build_settings, limit=60)
    assert [files(folder, under) for under in (".spanferry/shards", "data", "dropped", ".spanferry/dataset")] == fresh(
        limit=60
    )
    run(build_settings)
    assert published(folder) == whole


def test_fewer_files_languages_and_splits(
    build_settings: Settings, fresh: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = build_settings["source"]["path"]
    two = {"source": build_settings["source"] | {"path": {"train": source, "dev": source}}}
    monkeypatch.setattr(dataset, "ROWS_A_FILE", 30)
    folder = run(build_settings, **two)
    assert "data/es/dev-00003-of-00004.parquet" in files(folder, "data")
    run(build_settings, limit=20, targets=["de"])
    assert [files(folder, under) for under in (".spanferry/shards", "data", "dropped", ".spanferry/dataset")] == fresh(
        limit=20, targets=["de"]
    )


def test_what_is_not_the_builds_stays(build_settings: Settings) -> None:
    folder = run(build_settings)
    for name in THEIRS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("years of work", encoding="utf-8")
    run(build_settings, limit=60, targets=["es"])
    assert all((folder / name).read_text(encoding="utf-8") == "years of work" for name in THEIRS)
    assert not (folder / "data/de/train-00000-of-00001.parquet").exists()


def test_a_mark_that_names_files_elsewhere_removes_none(build_settings: Settings, tmp_path: Path) -> None:
    folder = run(build_settings)
    names = ["../thesis.tex", "data/../../thesis.tex", "README.md", str(tmp_path / "thesis.tex"), ""]
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    mark = folder / ".spanferry/dataset/fr/train.json"
    mark.parent.mkdir()
    mark.write_text(json.dumps({"key": "", "files": dict.fromkeys(names)}), encoding="utf-8")
    run(build_settings)
    assert (tmp_path / "thesis.tex").exists() and (folder / "README.md").exists() and not mark.exists()


def test_what_a_run_was_stopped_at_is_known_to_be_its_own(
    build_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the files of a language and the mark that says that they are whole."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def stop(*_: Any) -> str:
            raise KeyboardInterrupt

        patch.setattr(dataset, "file_digest", stop)
        run(build_settings)
    folder = Path(build_settings["output"])
    assert files(folder, "data") == ["data/de/train-00000-of-00001.parquet"]
    run(build_settings, targets=["es"])
    assert files(folder, "data") == ["data/es/train-00000-of-00001.parquet"]


def test_a_shard_that_somebody_works_on_stays(build_settings: Settings) -> None:
    folder = run(build_settings)
    [*_, last] = noted_jobs(BuildFolder(folder))["de"]
    Path(last.output).unlink()
    held = claim(last)
    assert held is not None
    run(build_settings, limit=60)
    assert held.lock.is_locked and Path(last.output).with_suffix(".json").exists()
    held.release()
    run(build_settings, limit=60)
    left = sorted(path.name for path in (folder / ".spanferry/shards/de/train").iterdir())
    assert left == ["00000.json", "00000.jsonl", "00001.json", "00001.jsonl"]
