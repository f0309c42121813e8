"""Files in object stores, and the claims that rest on them: on servers that run, S3's and Google's.

Google's is an emulator that was taught the one condition that claims need, see `tests/object_stores.py`; nothing here
was run on Google Cloud Storage itself.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.data.errors import BuildError, ConfigError
from spanferry.flows import leases, storage
from spanferry.flows.leases import WORKERS, Worker, holder
from spanferry.flows.places import locate, stored_at
from spanferry.flows.storage import Storage


@pytest.fixture(scope="module")
def gcs(object_stores: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("gcsfs")
    with (
        object_stores.running("gcs", tmp_path_factory.mktemp("gcs") / "log") as server,
        pytest.MonkeyPatch.context() as at,
    ):
        at.setenv("STORAGE_EMULATOR_HOST", server.url)
        at.setenv("NO_GCE_CHECK", "true")
        yield server


@pytest.fixture(params=["s3", "gs"])
def url(request: pytest.FixtureRequest) -> str:
    """A place of its own in each kind of store."""
    request.getfixturevalue({"s3": "s3", "gs": "gcs"}[request.param])
    return f"{request.param}://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def place(s3: Any) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSES", (0.01, 0.02))


def test_files_are_written_read_listed_and_removed(url: str, tmp_path: Path) -> None:
    files = Storage(url + "/")
    files.check()
    assert files.read("a/b.json") is None and files.modified("a/b.json") is None and files.entries() == {}
    began = time.time()
    files.write("a/b.json", b"one")
    files.write("a/b.json", "zwölf".encode())
    (tmp_path / "large").write_bytes(bytes(range(256)) * 2000)
    files.upload(tmp_path / "large", "a/c.bin")
    assert files.read("a/b.json") == "zwölf".encode()
    found = files.entries()
    assert {name: entry.size for name, entry in found.items()} == {"a/b.json": 6, "a/c.bin": 512_000}
    assert found["a/b.json"].md5 == hashlib.md5("zwölf".encode()).hexdigest()
    assert all(abs(entry.modified - began) < 60 for entry in found.values())
    assert found["a/b.json"].modified == pytest.approx(files.modified("a/b.json"), abs=1.1)
    assert list(files.entries("a")) == ["a/b.json", "a/c.bin"] and files.entries("a/b") == {}

    checksum = hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest()
    assert files.download("a/c.bin", tmp_path / "down" / "c.bin", checksum)
    assert (tmp_path / "down" / "c.bin").read_bytes() == (tmp_path / "large").read_bytes()
    assert not files.download("a/b.json", tmp_path / "down" / "c.bin", checksum), "another checksum"
    assert not files.download("a/nothing", tmp_path / "down" / "c.bin")
    assert (tmp_path / "down" / "c.bin").stat().st_size == 512_000, "as it was"
    assert [path.name for path in (tmp_path / "down").iterdir()] == ["c.bin"]

    files.remove(["a/b.json", "a/c.bin", "a/nothing"])
    assert files.entries() == {}


def test_of_many_that_make_a_file_one_does(url: str) -> None:
    files, names = Storage(url), [f"worker {number}".encode() for number in range(12)]
    with ThreadPoolExecutor(len(names)) as threads:
        found = list(threads.map(lambda name: files.create("claim", name), names))
    assert len(set(found)) == 1 and found[0] in names
    assert files.create("claim", found[0]) == found[0], "one whose answer was lost knows its own"


def test_claims_are_of_one_until_it_lets_go_or_dies(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EXPIRES", 4.0)
    monkeypatch.setattr(leases, "BEAT", 0.3)
    files = Storage(url)
    one, two, three = (Worker(files, home) for home in ("one", "two", "three"))
    lease = one.take("shard")
    assert lease is not None and two.take("shard") is None
    assert holder(files, "shard", time.time()) == one.name
    lease.release()
    lease.release()
    again = two.take("shard")
    assert again is not None and one.take("shard") is None

    monkeypatch.setattr(two, "_once", _Deaf())  # no sign of life comes through, as of a process that was killed
    began = time.monotonic()
    while (taken := three.take("shard")) is None:
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    assert time.monotonic() - began > 2.0
    assert one.take("shard") is None and taken.places == ["shard.claim", f"shard.claim-after-{two.name}"]
    assert holder(files, "shard", time.time()) == three.name
    taken.release()
    assert [name for name in files.entries() if not name.startswith(WORKERS)] == []
    for worker in (one, three):
        worker.stop()
    assert list(files.entries()) == [f"{WORKERS}/{two.name}"]
    time.sleep(4.5)
    assert one.take("other") is not None and one.dead(files.entries()) == [f"{WORKERS}/{two.name}"]
    one.stop()
    two._stopping.set()


class _Deaf:
    def write(self, *_: Any) -> None:
        raise BuildError("no network")

    def modified(self, *_: Any) -> None:
        raise BuildError("no network")


def test_a_claim_of_the_dead_is_taken_over_by_one_of_many(place: str) -> None:
    files = Storage(place)
    dead = [b"machine.home.1.aa", b"machine.home.2.bb"]
    files.write("shard.claim", dead[0])
    files.write(f"shard.claim-after-{dead[0].decode()}", dead[1])  # it died too
    workers = [Worker(files, f"home{number}") for number in range(8)]
    with ThreadPoolExecutor(len(workers)) as threads:
        found = [lease for lease in threads.map(lambda worker: worker.take("shard"), workers) if lease]
    assert len(found) == 1 and len(found[0].places) == 3
    found[0].release()
    for worker in workers:
        worker.stop()
    assert files.entries() == {}


def test_a_claim_that_was_let_go_of_meanwhile_is_not_taken_over(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a dead claim and the attempt, another took it over, finished, and let go."""
    worker = Worker(files := Storage(place), "home")
    files.write("shard.claim", b"machine.other.1.aa")
    is_alive = Worker._is_alive

    def slow(self: Worker, name: str) -> bool:
        alive = is_alive(self, name)
        files.remove(["shard.claim"])
        return alive

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_is_alive", slow)
        assert worker.take("shard") is None
    assert list(files.entries()) == [f"{WORKERS}/{worker.name}"], "nothing of it stays"
    assert worker.take("shard") is not None
    worker.stop()


def test_what_a_process_of_the_same_folder_left_is_void_at_once(place: str) -> None:
    files = Storage(place)
    killed, other, next_one = Worker(files, "home"), Worker(files, "elsewhere"), Worker(files, "home")
    assert killed.take("shard") is not None
    assert other.take("shard") is None and next_one.take("shard") is not None
    for worker in (killed, other, next_one):
        worker.stop()


def test_storage_that_knows_no_conditions_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Storage(place)
    pipe_file = files._fs.pipe_file
    monkeypatch.setattr(files._fs, "pipe_file", lambda path, data, **_: pipe_file(path, data))
    with pytest.raises(BuildError, match="writes a file that is there already, though asked not to"):
        Worker(files, "home").take("shard")


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # it keeps what it has loaded
    with pytest.raises(ConfigError, match=r"found no driver for s3:// storage; pip install 'spanferry\[s3\]'"):
        Storage("s3://bucket/demo")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("abcd://bucket/demo", "Protocol not known: abcd; expected a folder, s3://BUCKET/PATH or gs://BUCKET/PATH"),
        ("s3://", "found no bucket, expected s3://BUCKET/PATH"),
        ("s3://key:secret@bucket/demo", "found credentials in a URL"),
    ],
)
def test_urls_that_are_none(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Storage(url)
    assert said in str(error.value) and "secret" not in str(error.value)


def test_a_bucket_that_is_not_there(url: str, hasty: None) -> None:
    elsewhere = Storage(url.replace("://bucket/", "://nobucket/"))
    for attempt in (elsewhere.check, elsewhere.entries, lambda: elsewhere.write("a", b"")):
        with pytest.raises(BuildError, match=r"://nobucket/\w+: found no bucket 'nobucket'; make it"):
            attempt()


def test_credentials_that_are_missing_or_wrong(s3: Any, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(BuildError, match=r"Unable to locate credentials\. Expected credentials that may read and"):
            Storage(place).check()

    def reset(number: bytes) -> None:  # moto: after so many requests it asks for a key that it knows
        request = urllib.request.Request(f"{s3.url}/moto-api/reset-auth", number, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()

    reset(b"0")
    try:
        with pytest.raises(BuildError, match=r"cannot be listed: .*Expected credentials"):
            Storage(place).entries()
    finally:
        reset(b"inf")
    assert Storage(place).entries() == {}


def test_a_network_that_comes_back_is_waited_for(
    s3: Any, place: str, object_stores: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cable = object_stores.Cable(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{cable.port}")
    monkeypatch.setattr(storage, "PAUSES", (0.1,))
    files = Storage(place)
    files.write("a", b"1")
    cable.cut()
    with pytest.raises(BuildError, match=r"cannot be read: Could not connect .*\(tried 2 times\)\. What is finished"):
        files.read("a")
    monkeypatch.setattr(files, "_pauses", (0.1,) * 100)
    threading.Timer(0.5, cable.mend).start()
    assert files.read("a") == b"1"
    cable.cut()


def test_a_work_folder_is_of_one_build(place: str, tmp_path: Path) -> None:
    folder = locate(place, tmp_path / "work")
    assert stored_at(folder.root) is not None and stored_at(tmp_path) is None
    with pytest.raises(ConfigError, match="is the work folder of s3://bucket/"):
        locate(place + "-2", tmp_path / "work")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"found thesis\.tex, expected an empty folder"):
        locate(place, tmp_path / "other")
    assert locate("file:///somewhere/demo").root == Path("/somewhere/demo")
