"""Builds whose output is in an object store: an S3 server that runs, workers that are killed, a network that is cut.

At the end a build on a server of Google's kind, see `tests/object_stores.py` for what that is worth.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import pytest
import yaml
from typer.testing import CliRunner

from spanferry.data.errors import BuildError
from spanferry.flows import build as build_module
from spanferry.flows import leases, places, storage
from spanferry.flows.build import build
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.helping import help_build
from spanferry.flows.jobs import Job
from spanferry.flows.plan import rehearse
from spanferry.flows.report import BuildResult
from spanferry.flows.status import status

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

# A build whose translator takes its time, that notes which shards it writes, and whose death is soon noticed.
PROGRAM = """
import os, sys, time
from pathlib import Path
from spanferry.flows import build, leases, stored
from spanferry.flows.cli import main
from spanferry.translation.fake import FakeTranslator
leases.BEAT, leases.EXPIRES, stored.POLL = 0.5, 10.0, 0.2
translate, write = FakeTranslator.translate, build.write_shard
def slow(self, texts, **languages):
    time.sleep(0.05 * len(texts))
    return translate(self, texts, **languages)
def noted(job, outcomes):
    if noted.shards == int(os.environ.get("HALT_AFTER", -1)):  # with a shard in its hands, until it is killed
        Path("halted").touch()
        time.sleep(3600)
    noted.shards += 1
    with open("written", "a") as stream:
        stream.write(f"{os.getpid()} {'/'.join(Path(job.output).parts[-3:])}\\n")
    return write(job, outcomes)
noted.shards = 0
FakeTranslator.translate, build.write_shard = slow, noted
main()
"""


@pytest.fixture
def url(s3: Any) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def settings(build_settings: Settings, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A build into the store; the work folder is in a cache of the test's own."""
    monkeypatch.setenv("SPANFERRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "_opened", {})
    return build_settings | {"output": url, "run": {"memory": False, "shard_rows": 20}, "limit": 60}


def on_another_machine(settings: Settings, name: str = "elsewhere") -> Settings:
    """The same build, worked on in another folder."""
    folder = Path(os.environ["SPANFERRY_CACHE"]).with_name(name)
    return settings | {"run": settings["run"] | {"work_folder": str(folder)}}


def run(settings: Settings, **options: Any) -> BuildResult:
    return build(parse_config(settings), **options)


def store(url: str) -> Any:
    """The store as the tests see it, whatever the environment says by now, however busy the machine is."""
    patience = {"connect_timeout": 240, "read_timeout": 240}
    return fsspec.filesystem(url.partition(":")[0], use_listings_cache=False, config_kwargs=patience)


def names_in(url: str) -> dict[str, Any]:
    root = url.partition("://")[2]
    return {name[len(root) + 1 :]: info for name, info in store(url).find(root, detail=True).items()}


def downloaded(url: str, place: Path) -> Path:
    store(url).get(url, str(place), recursive=True)
    return place


def sent(server: Any, since: int = 0) -> list[str]:
    """What was written to the store, without claims and signs of life."""
    return [name for name in server.asked("PUT")[since:] if ".claim" not in name and "/workers/" not in name]


def computed(result: BuildResult) -> dict[str, int]:
    return {language: timing.rows for language, timing in result.timings.items()}


@pytest.fixture
def plain(settings: Settings, tmp_path: Path, published: Published) -> dict[str, bytes]:
    """The bytes of the same build in a folder."""
    return without_output(published(run(settings | {"output": str(tmp_path / "plain")}).folder))


def without_output(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a build, the name of its own place left out."""
    config = yaml.safe_load(files["config.yaml"])
    del config["output"]
    return files | {"config.yaml": yaml.safe_dump(config).encode()}


def test_a_whole_build_is_that_of_a_folder_and_loads(  # noqa: PLR0917  (fixtures)
    settings: Settings, url: str, plain: dict[str, bytes], tmp_path: Path, published: Published, s3: Any
) -> None:
    before = len(s3.asked("PUT"))
    first = run(settings)
    assert computed(first) == {"de": 60, "es": 60}
    written = [name.partition("/")[2] for name in sent(s3, before)]
    assert len(written) == len(set(written)), "nothing is sent twice"
    assert written.index(".spanferry/plan.json") < written.index(".spanferry/shards/de/train/00000.jsonl")
    assert written.index(".spanferry/shards/de/train/00000.jsonl") < written.index(
        ".spanferry/shards/de/train/00000.json"
    )
    assert written[-2:] == ["README.md", ".spanferry/runs.jsonl"]
    folder = downloaded(url, tmp_path / "download")
    assert without_output(published(folder)) == plain
    assert not [name for name in names_in(url) if ".claim" in name or "/workers/" in name]
    assert b"someone" not in b"".join(published(folder).values()) and b"secret" not in b"".join(plain.values())

    import datasets

    rows = datasets.load_dataset(str(folder), "de", cache_dir=str(tmp_path / "datasets"))["train"]
    assert len(rows) == first.report["languages"]["de"]["total"]["kept"]

    before = len(s3.asked("PUT"))
    assert computed(run(settings)) == {"de": 0, "es": 0}
    assert computed(run(on_another_machine(settings))) == {"de": 0, "es": 0}
    assert sent(s3, before) == []
    assert without_output(published(downloaded(url, tmp_path / "again"))) == plain


def test_what_changes_is_sent_and_what_is_gone_is_removed(
    settings: Settings, url: str, tmp_path: Path, published: Published, s3: Any
) -> None:
    run(settings)
    store(url).pipe_file(f"{url}/data/notes.txt", b"somebody's own")
    before = len(s3.asked("PUT"))
    fewer = on_another_machine(settings) | {"targets": ["de"], "limit": 40}
    assert computed(run(fewer)) == {"de": 0}, "the first two shards are as they were"
    found = names_in(url)
    assert not [name for name in found if "/es/" in name or "00002" in name]
    assert "data/notes.txt" in found
    again = [name.partition("/")[2] for name in sent(s3, before)]
    assert not [name for name in again if name.startswith(".spanferry/shards/")]
    assert "data/de/train-00000-of-00001.parquet" in again and again[-1] == "README.md"
    plain = published(run(fewer | {"output": str(tmp_path / "plain")}).folder)
    here = published(downloaded(url, tmp_path / "download"))
    assert here.pop("data/notes.txt") and without_output(here) == without_output(plain)


def until(what: Callable[[], Any], *processes: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 240
    while not what():
        for process in processes:
            assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process of the command line; each name is a machine of its own, with a work folder of its own."""
    settings |= {"run": settings["run"] | {"shard_rows": 5}}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    begun = []

    def begin(name: str, *arguments: str, halt_after: int = -1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, "build", "build.yaml", "--quiet", *arguments]
        command += ["--set", f"run.work_folder={tmp_path / name}"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"HALT_AFTER": str(halt_after)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_workers_share_a_build_and_one_that_is_killed_costs_its_own_shards(  # noqa: PLR0917  (fixtures)
    start: Callable[..., subprocess.Popen[str]],
    settings: Settings,
    url: str,
    plain: dict[str, bytes],
    tmp_path: Path,
    published: Published,
    s3: Any,
) -> None:
    written = tmp_path / "written"

    def by(process: subprocess.Popen[str]) -> list[str]:
        lines = written.read_text(encoding="utf-8").splitlines() if written.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == str(process.pid)]

    first = start("first")
    until(lambda: ".spanferry/plan.json" in names_in(url), first)
    victim, helper = start("victim", "--join", halt_after=2), start("helper", "--join")
    until(lambda: by(helper) and (tmp_path / "halted").exists(), first)
    seen = subprocess.run(
        [sys.executable, "-m", "spanferry.flows.cli", "status", url, "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    finished_by_victim = {name for name in names_in(url) if name.endswith(tuple(f"{each}"[:-1] for each in by(victim)))}
    for process in (first, helper):
        _, complaint = process.communicate()
        assert process.returncode == 0, complaint

    found = json.loads(seen.stdout)
    assert found["folder"] == url and found["state"] == "running"
    assert {each["shards"] for each in found["languages"].values()} == {12}
    assert 0 < sum(each["done"] for each in found["languages"].values()) < 24
    assert sum(each["running"] for each in found["languages"].values()) > 0

    assert by(first) and by(helper)
    shards = [line.split()[1] for line in written.read_text(encoding="utf-8").splitlines()]
    assert len(set(shards)) == 24
    twice = {shard for shard in shards if shards.count(shard) > 1}
    assert not {f".spanferry/shards/{shard.removesuffix('l')}" for shard in twice} & finished_by_victim
    assert twice <= set(by(victim)[-1:]), "the one that was being written, or sent, when its process was killed"
    assert [name for name in s3.asked("PUT") if ".claim-after-" in name and f".{victim.pid}." in name], "taken over"
    assert not [name for name in names_in(url) if ".claim" in name and "/shards/" in name]
    assert without_output(published(downloaded(url, tmp_path / "download"))) == plain
    last = status(url)
    assert last.state == "finished" and {each.running for each in last.languages.values()} == {0}


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_in_its_folder_at_once_and_elsewhere_after_a_while(  # noqa: PLR0917  (fixtures)
    start: Callable[..., subprocess.Popen[str]],
    settings: Settings,
    url: str,
    plain: dict[str, bytes],
    tmp_path: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = start("first")
    until(lambda: sum(name.endswith(".jsonl") and "/shards/" in name for name in names_in(url)) > 2, first)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    done = sum(name.endswith(".json") and "/shards/" in name for name in names_in(url))
    settings["run"]["shard_rows"] = 5
    with pytest.raises(BuildError, match=rf"another build is writing to it \(.*, process {first.pid}\); wait for it"):
        run(on_another_machine(settings))
    assert status(url).state == "running", "as far as anyone can tell"
    with monkeypatch.context() as patch:
        patch.setattr(leases, "EXPIRES", 0.5)
        stopped = status(url)
    assert stopped.state == "stopped" and sum(each.done for each in stopped.languages.values()) == done
    # The last one may have been written here, and not yet sent.
    here = sum("shards" in path.parts for path in (tmp_path / "first").rglob("0*.json"))
    assert done <= here <= done + 1
    result = run(on_another_machine(settings, "first"))
    assert sum(computed(result).values()) == 120 - 5 * here
    assert without_output(published(downloaded(url, tmp_path / "download"))) == plain


def test_two_builds_into_one_place(settings: Settings) -> None:
    elsewhere = on_another_machine(settings)
    with (
        places.locate(elsewhere["output"], elsewhere["run"]["work_folder"]).claimed(),
        pytest.raises(BuildError, match="another build is writing to it"),
    ):
        run(settings)
    assert computed(run(settings)) == {"de": 60, "es": 60}


def test_a_network_that_is_cut_during_the_build(  # noqa: PLR0917  (fixtures)
    settings: Settings,
    url: str,
    plain: dict[str, bytes],
    tmp_path: Path,
    published: Published,
    object_stores: ModuleType,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cable = object_stores.Cable(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{cable.port}")
    monkeypatch.setattr(storage, "PAUSES", (0.05, 0.1))
    write = build_module.write_shard

    def cutting(job: Job, outcomes: Any) -> Any:
        sidecar = write(job, outcomes)
        if job.output.endswith("de/train/00001.jsonl"):
            cable.cut()
        return sidecar

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "write_shard", cutting)
        with pytest.raises(BuildError) as error:
            run(settings)
    [line] = str(error.value).splitlines()
    assert line.startswith(f"{url}: cannot be written: Could not connect")
    assert line.endswith("(tried 3 times). What is finished is safe; mend this, and the same command goes on")
    cable.mend()
    assert len([name for name in names_in(url) if "/de/train/" in name and name.endswith(".json")]) == 1
    assert computed(run(settings)) == {"de": 20, "es": 60}, "one shard was sent, one was finished here"
    assert without_output(published(downloaded(url, tmp_path / "download"))) == plain
    cable.cut()


@pytest.mark.parametrize("what", ["00001.jsonl", "00001.json"])
def test_a_shard_that_is_damaged_or_gone_is_done_again(  # noqa: PLR0917  (fixtures)
    what: str, settings: Settings, url: str, plain: dict[str, bytes], tmp_path: Path, published: Published
) -> None:
    run(settings)
    files = store(url)
    files.pipe_file(f"{url}/.spanferry/shards/de/train/{what}", b'{"key": "half')
    files.rm_file(f"{url}/.spanferry/shards/es/train/{what}")
    assert computed(run(on_another_machine(settings))) == {"de": 20, "es": 20}
    files.rm_file(f"{url}/.spanferry/shards/de/train/{what}")
    assert computed(run(settings)) == {"de": 0, "es": 0}, "sent again from where it is whole"
    assert f".spanferry/shards/de/train/{what}" in names_in(url)
    assert without_output(published(downloaded(url, tmp_path / "download"))) == plain


def test_one_language_on_a_fresh_machine_leaves_the_others_whole(settings: Settings, url: str) -> None:
    run(settings, only=["es"])
    assert "data/de/train-00000-of-00001.parquet" not in names_in(url)
    result = run(on_another_machine(settings), only=["de"])
    assert computed(result) == {"de": 60} and list(result.report["languages"]) == ["de", "es"]
    assert {"data/de/train-00000-of-00001.parquet", "data/es/train-00000-of-00001.parquet"} <= set(names_in(url))
    assert [each.reused for each in rehearse(parse_config(on_another_machine(settings, "third"))).languages] == [60, 60]


def test_failed_shards_are_known_everywhere(settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = build_module.write_shard

    def failing(job: Job, outcomes: Any) -> Any:
        if job.output.endswith("es/train/00001.jsonl"):
            raise RuntimeError("the device is lost")
        return write(job, outcomes)

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "write_shard", failing)
        with pytest.raises(BuildError, match="the device is lost"):
            run(settings)
    [failure] = status(url).languages["es"].failures
    assert failure.shard == 1 and "the device is lost" in failure.reason
    assert computed(run(on_another_machine(settings), only_failed=True)) == {"de": 0, "es": 20}
    assert not status(url).languages["es"].failures and ".spanferry/shards/es/train/00001.failed" not in names_in(url)


def test_whoever_helps_must_compute_the_same(
    settings: Settings, build_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildError, match="found no build that has read its source"):
        help_build(parse_config(settings))
    source = tmp_path / "train.jsonl"
    source.write_bytes(Path(build_settings["source"]["path"]).read_bytes())
    settings["source"] = settings["source"] | {"path": str(source)}
    write = build_module.write_shard
    helped = []

    def helping(job: Job, outcomes: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(build_module, "write_shard", write)
            helped.append(help_build(parse_config(on_another_machine(settings)), only=["es"]))
        monkeypatch.setattr(build_module, "write_shard", write)
        return write(job, outcomes)

    monkeypatch.setattr(build_module, "write_shard", helping)
    assert computed(run(settings)) == {"de": 60, "es": 0}
    assert helped[0]["es"].rows == 60 and not (tmp_path / "elsewhere" / "data").exists()
    assert help_build(parse_config(on_another_machine(settings))) == {}
    with pytest.raises(BuildError, match="other settings or other models"):
        help_build(parse_config(on_another_machine(settings) | {"projection": {"aligner": "fake", "on_lost": "keep"}}))

    from spanferry.flows.claims import claim
    from spanferry.flows.jobs import noted_jobs

    [job, *_] = noted_jobs(places.locate(settings["output"], tmp_path / "third"))["de"]
    source.write_text("".join(source.read_text("utf-8").splitlines(keepends=True)[::-1]), encoding="utf-8")
    run(settings)
    files = places.stored_at(tmp_path / "third")
    assert files is not None
    files.storage.remove([".spanferry/shards/de/train/00000.json"])
    with pytest.raises(BuildError, match="the build reads another source by now"):
        claim(job)
    assert not [name for name in names_in(settings["output"]) if ".claim" in name]


def test_a_place_that_is_something_else(settings: Settings, url: str) -> None:
    files = store(url)
    files.pipe_file(f"{url}/thesis.tex", b"")
    with pytest.raises(BuildError, match=rf"output {url}: found thesis\.tex and no build of spanferry"):
        run(settings)
    files.pipe_file(f"{url}/.spanferry/build.json", b'{"format": 99}')
    with pytest.raises(BuildError, match="found a build of format 99, expected 1"):
        run(settings)
    assert sorted(names_in(url)) == [".spanferry/build.json", "thesis.tex"]


def test_readers_and_reviewers_of_a_build(settings: Settings, url: str, tmp_path: Path, s3: Any) -> None:
    run(settings)
    invoke = CliRunner().invoke

    def said(*arguments: str) -> str:
        result = invoke(app, list(arguments), env={"SPANFERRY_CACHE": str(tmp_path / "reader")})
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    assert "wrote" in said("report", url, "-o", str(tmp_path / "page.html"), "--no-links")
    assert "de/train" in said("inspect", url, "--n", "1", "--lang", "de")
    said("export", url, "-o", str(tmp_path / "rows"), "--format", "jsonl")
    assert (tmp_path / "rows" / "de" / "train.jsonl").exists() or list((tmp_path / "rows").rglob("*.jsonl"))
    assert "README.md" in said("publish", url, "--dry-run", "--license", "cc0-1.0")
    assert "finished" in said("status", url)

    sheet = tmp_path / "sheet.csv"
    said("review", "export", url, "-o", str(sheet), "--n", "3", "--by", "random", "--lang", "de")
    text = sheet.read_text(encoding="utf-8-sig")
    sheet.write_text(text.replace("Klara", "Clärchen").replace("Oporto", "Porto!"), encoding="utf-8-sig")
    before = len(s3.asked("PUT"))
    said("review", "import", url, str(sheet))
    if "Klara" in text or "Oporto" in text:
        assert [name for name in sent(s3, before) if "/corrections/de/" in name]
        assert run(on_another_machine(settings)).report["languages"]["de"]["total"]["post_edited"]


def test_a_mistake_is_one_line(url: str, tmp_path: Path, build_settings: Settings) -> None:
    build_settings |= {"output": url.replace("//bucket/", "//nobucket/")}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build_settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "spanferry.flows.cli", "build", "build.yaml", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "SPANFERRY_CACHE": "cache"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr == f"spanferry: {build_settings['output']}: found no bucket 'nobucket'; make it, or name another\n"
    )


def test_a_build_in_a_store_of_googles_kind(  # noqa: PLR0917  (fixtures)
    settings: Settings,
    plain: dict[str, bytes],
    object_stores: ModuleType,
    tmp_path: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an emulator that was taught ifGenerationMatch=0; Google Cloud Storage itself was not at hand."""
    pytest.importorskip("gcsfs")
    with object_stores.running("gcs", tmp_path / "log") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        settings["output"] = url = "gs://bucket/builds/demo"
        assert computed(run(settings)) == {"de": 60, "es": 60}
        assert computed(run(on_another_machine(settings))) == {"de": 0, "es": 0}
        assert status(url).state == "finished"
        assert without_output(published(downloaded(url, tmp_path / "download"))) == plain
