"""Shards and folders: what is written is whole or not there, and a sidecar never vouches for anything else."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import BuildError, DataError
from spanferry.data.example import Example
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import pack, unpack
from spanferry.flows.shards import (
    cut,
    file_digest,
    finish,
    finished,
    read_records,
    sidecar_path,
    write_records,
    writing_text,
)

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.integers(), max_size=50), st.integers(1, 12))
def test_cutting_loses_and_adds_nothing(items: list[int], size: int) -> None:
    shards = list(cut(items, size))
    assert [item for shard in shards for item in shard] == items
    assert all(len(shard) == size for shard in shards[:-1])
    assert all(shards)


@given(st.lists(st.dictionaries(st.text(max_size=5), plain, max_size=3), max_size=5))
def test_records_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("records") / "00000.jsonl"
    write_records(path, records)
    assert list(read_records(path)) == records


@given(
    st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=False)
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.binary(max_size=8)
)
def test_values_that_json_has_no_word_for_come_back_as_they_were(value: Any) -> None:
    record = json.loads(json.dumps(pack(Example("1", {"text": "a"}, meta={"one": value, "more": [{"x": value}]}))))
    found = unpack(record).meta
    assert found == {"one": value, "more": [{"x": value}]}
    assert type(found["one"]) is type(value)
    if isinstance(value, dt.datetime):
        assert found["one"].utcoffset() == value.utcoffset()
        assert str(found["one"].tzinfo) == str(value.tzinfo)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "found a value of type object, expected text, numbers"),
        (pd.NaT, "found a value of type NaTType"),
        (pd.Timestamp(1), "found 1970-01-01 00:00:00.000000001, expected whole microseconds; round the column"),
    ],
)
def test_a_value_that_cannot_be_kept_names_its_column(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"example '1', column 'odd': {message}"):
        pack(Example("1", {"text": "a"}, meta={"odd": [value]}))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "00000.jsonl"
    write_records(path, [{"id": "old"}])
    with pytest.raises(RuntimeError), writing_text(path) as stream:
        stream.write("half")
        raise RuntimeError("disk full, say")
    assert list(read_records(path)) == [{"id": "old"}]
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_no_result_and_the_next_build_cleans_up(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path / "out")
    with folder.claimed():
        pass
    path = folder.shard("de", "train", 0)
    program = f"""
import os, signal
from pathlib import Path
from spanferry.flows.shards import writing_text
with writing_text(Path({str(path)!r})) as stream:
    stream.write('half')
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert not path.exists()
    assert len(list(path.parent.iterdir())) == 1
    with folder.claimed():
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["key", "file", "gone", "sidecar cut", "sidecar empty", "sidecar of another shape"])
def test_a_sidecar_vouches_only_for_its_own_file_and_key(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "00000.jsonl"
    write_records(path, [{"id": "1"}])
    written = finish(path, "key", {"rows": 1})
    assert finished(path, "key") == written
    match damage:
        case "file":
            path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        case "gone":
            path.unlink()
        case "sidecar cut":
            sidecar_path(path).write_bytes(sidecar_path(path).read_bytes()[:-20])
        case "sidecar empty":
            sidecar_path(path).write_bytes(b"")
        case "sidecar of another shape":
            sidecar_path(path).write_text("[1]")
    assert finished(path, "other key" if damage == "key" else "key") is None


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "00000.jsonl"
    path.write_text('{"id": 1}\n{"id"\n')
    with pytest.raises(DataError, match=r"00000\.jsonl:2: damaged.*run the build again"):
        list(read_records(path))


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    # FIPS 180-4, example of SHA-256 for "abc"
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_that_is_something_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BuildError, match=r"found thesis\.tex and no build"), BuildFolder(tmp_path).claimed():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused_as_output(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("")
    with pytest.raises(BuildError, match="found a file, expected a folder"), BuildFolder(path).claimed():
        pass


def test_a_build_of_a_later_format_is_refused(tmp_path: Path) -> None:
    with BuildFolder(tmp_path).claimed():
        pass
    (tmp_path / ".spanferry" / "build.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(BuildError, match="build of format 99, expected 1"), BuildFolder(tmp_path).claimed():
        pass


def test_the_second_build_in_one_folder_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from spanferry.flows.folder import BuildFolder
with BuildFolder(Path({str(tmp_path)!r})).claimed():
    print('held', flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(BuildError, match="another build is writing"), BuildFolder(tmp_path).claimed():
            pass
        holder.kill()
    with BuildFolder(tmp_path).claimed():
        pass


def test_runs_are_kept_and_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path)
    with folder.claimed():
        folder.log_run({"seconds": 1.5})
        with (folder.state / "runs.jsonl").open("a") as stream:
            stream.write('{"secon')
    [run] = folder.runs()
    assert run["seconds"] == 1.5 and abs(run["ended"] - time.time()) < 3600


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_place_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BuildError, match="cannot be written"), BuildFolder(tmp_path / "out").claimed():
        pass
