"""The cache of converted models: what is in it is whole, and is what was asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import ConfigError, ModelError
from spanferry.translation import convert
from spanferry.translation.checkpoints import cache_folder, checksum, find_checkpoint
from spanferry.translation.convert import choose_quantization, ensure_converted
from spanferry.translation.ct2 import load_ctranslate2


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Callable[[str], Path]) -> Path:
    return tiny_checkpoint("nllb")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_the_record_says_what_was_converted(checkpoint: Path, tmp_path: Path) -> None:
    model = ensure_converted(checkpoint, device="cpu", cache_dir=tmp_path)
    assert (model.family, model.quantization, model.max_positions) == ("nllb", "int8_float32", 128)
    assert model.revision is None
    assert model.checksum == checksum(find_checkpoint(checkpoint))
    record = json.loads((model.path / "spanferry.json").read_text(encoding="utf-8"))
    assert record["model"] == str(checkpoint)
    assert record["checksum"] == model.checksum
    assert {"model.bin", "tokenizer.json", "spanferry.json"} <= {file.name for file in model.path.iterdir()}


def test_a_model_is_converted_once_a_quantization(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_converted(checkpoint, device="cpu", quantization="float32", cache_dir=tmp_path)
    other = ensure_converted(checkpoint, device="cpu", quantization="int8", cache_dir=tmp_path)
    assert first.path != other.path
    monkeypatch.setattr(convert, "_convert", lambda *args: pytest.fail("converted again"))
    assert ensure_converted(checkpoint, device="cpu", quantization="float32", cache_dir=tmp_path) == first


def test_another_checkpoint_of_the_same_name_is_another_model(copy: Path, tmp_path: Path) -> None:
    before = ensure_converted(copy, device="cpu", cache_dir=tmp_path)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "spanferry": {"alignment_layer": 1}}), encoding="utf-8")
    after = ensure_converted(copy, device="cpu", cache_dir=tmp_path)
    assert before.checksum != after.checksum
    assert before.path != after.path
    assert (after.alignment_layer, after.alignment_heads) == (1, (0,))


def test_two_processes_convert_once(checkpoint: Path, tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "from spanferry.translation.convert import ensure_converted\n"
        "model = ensure_converted(sys.argv[1], device='cpu', cache_dir=sys.argv[2])\n"
        "print(model.path)\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [(*process.communicate(), process.returncode) for process in running]
    assert [code for *_, code in results] == [0, 0], results
    assert len({out for out, *_ in results}) == 1
    assert sum(err.count("to CTranslate2 (int8_float32), once") for _, err, _ in results) == 1
    assert [path.name for path in (tmp_path / "ct2").iterdir() if "draft" in path.name] == []
    load_ctranslate2(checkpoint, device="cpu", cache_dir=tmp_path)


def test_a_crash_half_way_leaves_nothing_that_looks_whole(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(checkpoint: object, draft: Path, *args: object) -> None:
        (draft / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(convert, "_convert", crash)
        with pytest.raises(KeyboardInterrupt):
            ensure_converted(checkpoint, device="cpu", cache_dir=tmp_path)
    assert not [path for path in (tmp_path / "ct2").iterdir() if path.is_dir()]
    # A process that is killed cannot tidy up; the next one does.
    model = ensure_converted(checkpoint, device="cpu", cache_dir=tmp_path / "other")
    final = tmp_path / "ct2" / model.path.name
    left_over = final.with_name(f".{final.name}.draft-killed")
    left_over.mkdir()
    final.mkdir()
    (final / "model.bin").write_bytes(b"half")
    again = ensure_converted(checkpoint, device="cpu", cache_dir=tmp_path)
    assert again.path == final
    assert not left_over.exists()
    assert (final / "model.bin").stat().st_size == (model.path / "model.bin").stat().st_size


def test_a_folder_of_ctranslate2_is_taken_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    ours = ensure_converted(checkpoint, device="cpu", quantization="float32", cache_dir=tmp_path)
    assert ensure_converted(ours.path, cache_dir=tmp_path).path == ours.path
    foreign = Path(shutil.copytree(ours.path, tmp_path / "foreign"))
    (foreign / "spanferry.json").unlink()
    model = ensure_converted(foreign, cache_dir=tmp_path)
    assert (model.path, model.family, model.quantization) == (foreign, "nllb", "given")
    pair = {"source": "eng_Latn", "target": "deu_Latn"}
    one = load_ctranslate2(ours.path, device="cpu", cache_dir=tmp_path).translate(["the cat."], **pair)
    assert load_ctranslate2(foreign, device="cpu", cache_dir=tmp_path).translate(["the cat."], **pair) == one


def test_the_checksum_is_remembered_until_a_file_changes(copy: Path, tmp_path: Path) -> None:
    memo = tmp_path / "memo"
    before = checksum(find_checkpoint(copy), memo)
    (note,) = memo.iterdir()
    note.write_text("remembered", encoding="ascii")
    assert checksum(find_checkpoint(copy), memo) == "remembered"
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    status = weights.stat()
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert checksum(find_checkpoint(copy), memo) not in ("remembered", before)


@pytest.mark.parametrize(
    ("device", "supported", "expected"),
    [
        ("cpu", {"float32", "int8", "int8_float32"}, "int8_float32"),
        ("cpu", {"float32"}, "float32"),
        ("cuda", {"float32", "float16", "int8", "int8_float16"}, "int8_float16"),
        ("cuda", {"float32", "float16", "bfloat16"}, "float16"),  # sm_120 (Blackwell): no int8
    ],
)
def test_quantization_follows_the_device(
    monkeypatch: pytest.MonkeyPatch, device: str, supported: set[str], expected: str
) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: supported)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: int(device == "cuda"))
    assert choose_quantization("auto") == expected


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SPANFERRY_CACHE", raising=False)
    assert cache_folder() == tmp_path / "spanferry"
    monkeypatch.setenv("SPANFERRY_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "no-such-folder"}, "no such folder. Expected a folder with a checkpoint or a hub id"),
        ({"revision": "main"}, "a local folder has no revision"),
        ({"quantization": "int9"}, "unknown quantization 'int9'"),
        ({"device": "cuda:0"}, "expected auto, cpu or cuda"),
    ],
)
def test_wrong_arguments_are_named(checkpoint: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=said):
        ensure_converted(**{"model": checkpoint, "cache_dir": tmp_path, **settings})
