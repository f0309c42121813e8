"""Memory stays flat however large the dataset: measured of real processes, each with a size of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from spanferry.flows.folder import BuildFolder

MOST_GROWTH = 30e6
"""Bytes. 5 MB were measured; the outcomes of 12,500 rows, held as values in Python, are 51 (4.1 kB a row)."""


def peak(place: Path, settings: dict[str, Any], rows: int) -> int:
    """Return the most bytes that the process of a build of so many rows held."""
    place.mkdir()
    with (place / "train.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(rows):
            text = f"Clara Weiss sold house {number % 500} in Porto to the people of row {number % 499}, {number % 97}."
            spans = [
                {"start": 0, "end": 11, "label": "PER"},
                {"start": (at := text.index("Porto")), "end": at + 5, "label": "LOC"},
            ]
            stream.write(json.dumps({"id": str(number), "text": text, "spans": spans}) + "\n")
    settings = settings | {"limit": None, "targets": ["de"], "output": "out"}
    settings["source"] = {"path": "train.jsonl", "language": "en"}
    settings["run"] = {"memory": "memory.sqlite", "shard_rows": 500}
    (place / "build.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "spanferry.flows.cli", "build", "build.yaml", "--quiet"]
    subprocess.run(command, cwd=place, check=True)
    [run] = BuildFolder(place / "out").runs()
    assert run["languages"]["de"]["rows"] == rows
    return int(run["peak_bytes"])


def test_six_times_the_rows_take_no_more_memory(build_settings: dict[str, Any], tmp_path: Path) -> None:
    small, large = (peak(tmp_path / str(rows), build_settings, rows) for rows in (2_500, 15_000))
    assert large - small < MOST_GROWTH
