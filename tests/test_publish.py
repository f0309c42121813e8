"""Publishing: the real client of the hub, against a hub on loopback (`tests/hub_server.py`)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from spanferry.data.errors import BuildError, ConfigError, SpanferryError
from spanferry.data.hub import Changes, Published
from spanferry.data.hub import Hub as Client
from spanferry.flows.build import build
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.edition import make_edition, split_card
from spanferry.flows.publish import Choices, check_license, publish, rehearse

# The client's own way of sending bytes, which its HTTP library means to change.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SECRET = "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"
WORDS = {"Zoë": "Zoë", "lives": "wohnt", "in": "in", "Cologne": "Köln", "Köln": "Köln"}


@pytest.fixture
def hub(hub_server: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A hub that knows one token, with the client of this process pointed at it."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    # The client waits between tries of its own.
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None, time=time.time))
    tokens = {
        SECRET: hub_server.token("zoe", team="write", others="read"),
        "hf_reader": hub_server.token("zoe", role="read"),
    }
    with hub_server.running(tokens) as running:
        template = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_TOKEN", SECRET)
        yield running


@pytest.fixture
def client() -> Client:
    return Client(wait=lambda seconds: None)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of two splits into two languages, with a lost example."""
    folder = tmp_path_factory.mktemp("publish")
    rows = [
        {"id": "1", "text": "Zoë lives in Cologne", "spans": [{"start": 13, "end": 20, "label": "LOC"}]},
        {"id": "2", "text": "lives in Cologne", "spans": [{"start": 0, "end": 5, "label": "ODD"}]},
    ]
    for split in ("train", "test"):
        lines = [json.dumps(row) + "\n" for row in rows[: 2 if split == "train" else 1]]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    config = parse_config(
        {
            "task": "ner",
            "source": {
                "path": {split: str(folder / f"{split}.jsonl") for split in ("train", "test")},
                "language": "en",
                "license": "cc-by-4.0",
            },
            "targets": ["de", "es"],
            "translation": {"model": "fake", "settings": {"dictionary": WORDS}},
            "projection": {"aligner": "fake", "aligner_settings": {"dictionary": {"Cologne": "Köln"}}},
            "run": {"memory": False},
            "output": str(folder / "out"),
        }
    )
    build(config)
    return folder / "out"


def quiet(line: str) -> None:
    """Where a test does not look at what is said."""


def files(folder: Path, **contents: str) -> dict[str, Path]:
    """Write small files, a card with our mark among them; return them by their path in the repository."""
    contents = {"README.md": "---\ntags: [spanferry]\n---\n"} | contents
    found = {}
    for name, text in contents.items():
        path = folder / name.replace("/", "_")
        path.write_text(text, encoding="utf-8")
        found[name] = path
    return found


def test_a_build_is_published_and_loaded_as_it_was(hub: Any, built: Path, tmp_path: Path) -> None:
    """The whole road by the command, in processes of their own: publish, then load by id, config and tag."""
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "home"), "HF_TOKEN": SECRET,
    }  # fmt: skip
    command = [sys.executable, "-m", "spanferry.flows.cli", "publish", str(built), "--repo", "zoe/places"]
    done = subprocess.run(
        [*command, "--tag", "v1", "--pairs", "--source"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.url}/datasets/zoe/places\n")
    assert SECRET not in done.stdout + done.stderr
    repo = hub.repos["zoe/places"]
    assert repo.tags == {"v1": repo.head}
    assert len(repo.commits) == 2, "the hub's own first commit, and one of ours"
    loading = (
        "import json; from datasets import load_dataset, get_dataset_config_names as names\n"
        "found = {c: load_dataset('zoe/places', c, revision='v1') for c in names('zoe/places')}\n"
        "print(json.dumps({c: {s: [list(map(str, d.features.items())), d.to_list()] for s, d in splits.items()} "
        "for c, splits in found.items()}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", loading], env=environment, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    assert set(found) == {"de", "es", "en", "en-de", "en-es"}
    assert found["de"] == _local(built, "de")
    assert [row["id"] for row in found["en"]["train"][1]] == ["1", "2"]
    assert found["en-de"]["train"][1][0] == {
        "id": "1",
        "field": "text",
        "translation": {"en": "Zoë lives in Cologne", "de": "Zoë wohnt in Köln"},
    }


def _local(folder: Path, config: str) -> dict[str, Any]:
    from datasets import load_dataset

    found = load_dataset(str(folder), config)
    return {split: [list(map(str, rows.features.items())), rows.to_list()] for split, rows in found.items()}


def test_publishing_again_sends_only_what_changed(hub: Any, client: Client, tmp_path: Path) -> None:
    first = files(tmp_path, **{"data/de/a.parquet": "A", "data/de/b.parquet": "B", "report.json": "{}"})
    client.publish("zoe/x", first, message="one")
    head, sent = hub.repos["zoe/x"].head, hub.seen.count("put")
    again = client.publish("zoe/x", first, message="two")
    assert (again.commit, again.changes.upload, hub.seen.count("put")) == (head, (), sent)
    second = files(tmp_path, **{"data/de/a.parquet": "A!", "report.json": "{}"})
    changed = client.publish("zoe/x", second, message="three").changes
    assert changed == Changes(head, ("data/de/a.parquet",), ("data/de/b.parquet",), ("README.md", "report.json"))
    assert hub.repos["zoe/x"].tree("main")[1]["data/de/a.parquet"] == b"A!"


@pytest.mark.parametrize("fault", [503, 429, "cut"])
@pytest.mark.parametrize("route", ["whoami", "info", "valid", "create", "preupload", "put", "commit", "tag"])
def test_a_fault_that_passes_is_tried_again(
    hub: Any, client: Client, tmp_path: Path, route: str, fault: int | str
) -> None:
    # The first answer of all must come: a hub that was never reached is not waited for.
    hub.fail[route] = [503, fault] if route == "whoami" else [fault, fault]
    client.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "A"}), message="one", tag="v1")
    assert hub.repos["zoe/x"].tree("v1")[1]["data/de/a.parquet"] == b"A"
    assert not hub.fail[route]


def test_a_commit_whose_answer_is_lost_is_not_done_twice(hub: Any, client: Client, tmp_path: Path) -> None:
    hub.fail["commit"] = ["cut after"]
    done = client.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "A"}), message="one", tag="v1")
    assert not hub.fail["commit"]
    assert len(hub.repos["zoe/x"].commits) == 2, "the hub's own first commit, and one of ours"
    assert (done.commit, hub.repos["zoe/x"].tags) == (hub.repos["zoe/x"].head, {"v1": done.commit})


def test_a_hub_that_is_not_there_is_one_line(
    hub: Any, client: Client, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BuildError, match=r"the hub cannot be reached: .* goes on from here") as caught:
        publish(built, "zoe/x", Choices(), say=quiet)
    assert "\n" not in str(caught.value)


def test_a_publisher_that_is_always_overtaken_gives_up(hub: Any, client: Client, tmp_path: Path) -> None:
    client.publish("zoe/x", files(tmp_path, **{"report.json": "1"}), message="one")
    repo = hub.repos["zoe/x"]
    hub.before_commit = lambda: repo.commit({**repo.commits[-1][1], "more": b"%d" % len(repo.commits)}, "theirs")
    with pytest.raises(BuildError, match="zoe/x: the hub answered 412: a commit has happened since"):
        client.publish("zoe/x", files(tmp_path, **{"report.json": "2"}), message="two")
    assert repo.tree("main")[1]["report.json"] == b"1"


def test_a_card_that_the_hub_refuses_is_found_before_anything_is_made(hub: Any, client: Client, tmp_path: Path) -> None:
    card = "---\nlicense: my-own\nlanguage: [german]\ntags: [spanferry]\n---\n"
    with pytest.raises(ConfigError, match=r"refuses the card: language: 'german' is not.*; license: 'my-own' is not"):
        client.publish("zoe/x", files(tmp_path, **{"README.md": card}), message="one")
    assert not hub.repos


@pytest.mark.parametrize("route", ["create", "preupload", "put", "commit"])
def test_a_fault_that_stays_leaves_the_old_version(hub: Any, client: Client, tmp_path: Path, route: str) -> None:
    client.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "A"}), message="one", tag="v1")
    before = hub.repos["zoe/x"].head
    hub.fail[route] = [500] * 100
    with pytest.raises(BuildError, match="zoe/x: the hub answered 500"):
        client.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "B"}), message="two", tag="v2")
    assert (hub.repos["zoe/x"].head, hub.repos["zoe/x"].tags) == (before, {"v1": before})


def test_two_publishers_do_not_mix(hub: Any, client: Client, tmp_path: Path) -> None:
    """Another commit comes between the upload and the commit: the later publisher plans anew on top of it."""
    client.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "A"}), message="one")

    def other() -> None:
        hub.before_commit = lambda: None
        repo = hub.repos["zoe/x"]
        repo.commit({**repo.commits[-1][1], "data/fr/theirs.parquet": b"T"}, "theirs")

    hub.before_commit = other
    said: list[str] = []
    again = Client(wait=lambda seconds: None, say=said.append)
    done = again.publish("zoe/x", files(tmp_path, **{"data/de/a.parquet": "B"}), message="two")
    assert done.changes.remove == ("data/fr/theirs.parquet",), "one publication is whole, never half of two"
    assert set(hub.repos["zoe/x"].tree("main")[1]) == {".gitattributes", "README.md", "data/de/a.parquet"}
    assert said == ["somebody else published meanwhile; looking again in 1 s"]


@pytest.mark.parametrize(
    ("repo", "secret", "message"),
    [
        ("zoe/x", None, "no token for the hub: set HF_TOKEN"),
        ("zoe/x", "hf_wrong", "the hub does not accept the token"),
        ("zoe/x", "hf_reader", "the token of zoe may only read"),
        ("others/x", SECRET, "cannot write there, but to: zoe, team"),
        ("nobody/x", SECRET, "cannot write there, but to: zoe, team"),
        ("x", SECRET, "expected namespace/name, for example zoe/x"),
        ("zoe/a b", SECRET, "--repo zoe/a b: "),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(  # noqa: PLR0917
    hub: Any, built: Path, monkeypatch: pytest.MonkeyPatch, repo: str, secret: str | None, message: str, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setenv("HF_TOKEN", secret or "")
    with pytest.raises(SpanferryError, match=message) as caught:
        publish(built, repo, Choices(), say=quiet)
    assert "\n" not in str(caught.value)
    assert not hub.repos
    if secret is not None:
        assert secret not in str(caught.value)


def test_a_repository_of_somebody_elses_work_is_left_alone(
    hub: Any, hub_server: ModuleType, client: Client, tmp_path: Path
) -> None:
    foreign = files(tmp_path, **{"README.md": "# By hand\n", "data.csv": "a"})
    hub.repos["zoe/hand"] = hub_server.Repo(private=False)
    hub.repos["zoe/hand"].commit({path: file.read_bytes() for path, file in foreign.items()}, "by hand")
    with pytest.raises(ConfigError, match="holds 2 files that spanferry did not publish"):
        client.publish("zoe/hand", files(tmp_path), message="one")


def test_a_tag_is_not_moved(hub: Any, client: Client, tmp_path: Path) -> None:
    client.publish("zoe/x", files(tmp_path, **{"report.json": "1"}), message="one", tag="v1")
    client.publish("zoe/x", files(tmp_path, **{"report.json": "2"}), message="two")
    with pytest.raises(ConfigError, match="--tag v1: zoe/x has this tag on another commit"):
        client.publish("zoe/x", files(tmp_path, **{"report.json": "3"}), message="three", tag="v1")


def test_a_tag_on_the_newest_commit_stays_there_and_nothing_is_sent_over_it(
    hub: Any, client: Client, tmp_path: Path
) -> None:
    same = files(tmp_path, **{"report.json": "1"})
    first = client.publish("zoe/x", same, message="one", tag="v1")
    assert client.publish("zoe/x", same, message="again", tag="v1").commit == first.commit
    with pytest.raises(ConfigError, match="--tag v1: zoe/x has this tag on another commit already"):
        client.publish("zoe/x", files(tmp_path, **{"report.json": "2"}), message="two", tag="v1")
    assert client.changes("zoe/x", {}).head == first.commit
    second = client.publish("zoe/x", files(tmp_path, **{"report.json": "2"}), message="two", tag="v2")
    assert client._tags("zoe/x") == {"v1": first.commit, "v2": second.commit}


def test_a_tag_that_somebody_else_puts_meanwhile_is_told(
    hub: Any, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.publish("zoe/x", files(tmp_path, **{"report.json": "1"}), message="one")
    put = client._put_tag

    def late(repo: str, tag: str, commit: str) -> None:
        put(repo, tag, first.commit)
        put(repo, tag, commit)

    monkeypatch.setattr(client, "_put_tag", late)
    with pytest.raises(BuildError, match=f"was published, but somebody else put the tag v1 on {first.commit[:8]}"):
        client.publish("zoe/x", files(tmp_path, **{"report.json": "2"}), message="two", tag="v1")


def test_a_dry_run_needs_no_hub_and_names_every_file_and_its_size(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    arguments = ["publish", str(built), "--dry-run", "--pairs", "--source", "--repo", "zoe/places"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    root = Path(last.rpartition(": ")[2])
    there = {path.relative_to(root).as_posix(): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    listed = [line.split() for line in lines if not line.startswith("config ")]
    assert {name: int(size.replace(",", "")) for name, size, _ in listed} == there
    assert {
        "data/de/train-00000-of-00001.parquet",
        "dropped/de/train.jsonl",
        "data/en-es/test-00000-of-00001.parquet",
    } <= (there.keys())
    assert "config en-es: train 1 rows, test 1 rows" in lines and "config en: train 2 rows, test 1 rows" in lines
    assert 'load_dataset("zoe/places", "de")' in (root / "README.md").read_text(encoding="utf-8")


def test_a_build_is_published_twice_and_what_changed_is_sent(
    hub: Any, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    import yaml

    root = tmp_path / "out"
    shutil.copytree(built, root)
    choices = Choices(source=True, pairs=True)
    first = publish(root, "zoe/places", choices, say=quiet)
    sent = hub.seen.count("put")
    again = publish(root, "zoe/places", choices, say=quiet)
    assert (again.changes.upload, again.changes.remove, again.commit) == ((), (), first.commit)
    assert hub.seen.count("put") == sent and len(hub.repos["zoe/places"].commits) == 2

    # One language goes: its files are removed, those of the other are not sent again.
    settings = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    build(parse_config({**settings, "targets": ["de"], "run": {"memory": False}, "output": str(root)}))
    third = publish(root, "zoe/places", choices, say=quiet)
    assert {path for path in third.changes.remove if path.endswith(".parquet")} == {
        f"data/{config}/{split}-00000-of-00001.parquet" for config in ("es", "en-es") for split in ("train", "test")
    }
    assert set(third.changes.upload) == {"README.md", "config.yaml", "report.json"}


def test_places_of_this_machine_stay_here(built: Path) -> None:
    edition = make_edition(built)
    for name in ("config.yaml", "report.json", "README.md"):
        assert str(built.parent) not in edition.files[name].read_text(encoding="utf-8"), name


def test_a_damaged_file_is_not_published(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    victim = copy / "data" / "de" / "test-00000-of-00001.parquet"
    victim.write_bytes(victim.read_bytes()[:-4])
    with pytest.raises(BuildError, match="is not what the build wrote"):
        rehearse(copy, Choices())


def test_no_build(built: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no finished build"):
        rehearse(tmp_path, Choices())
    copy = shutil.copytree(built, tmp_path / "copy")
    (copy / "report.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BuildError, match="no finished build"):
        rehearse(copy, Choices())


def test_a_folder_that_could_not_be_loaded_is_not_published(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "out [2]")
    with pytest.raises(BuildError, match=r"out \[2\].* has brackets in it.* rename the folder"):
        rehearse(copy, Choices())


@pytest.mark.parametrize(
    ("license_", "private", "message"),
    [
        ("cc-by-nd-4.0", False, "does not allow a changed version"),
        ("unknown", False, "the license of the data is not known"),
    ],
)
def test_licenses_are_held_against_each_other(built: Path, license_: str, private: bool, message: str) -> None:
    edition = make_edition(built, license_=license_)
    assert split_card(edition.files["README.md"].read_text(encoding="utf-8"))[0]["license"] == license_
    with pytest.raises(ConfigError, match=message):
        check_license(edition, private=private)


def test_a_private_repository_needs_no_license(built: Path) -> None:
    check_license(make_edition(built, license_="unknown"), private=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--license", "cc-by-nd-4.0"], "cannot be published: cc-by-nd-4.0 does not allow a changed version"),
        (["--license", "my-own"], "the hub refuses the card: license: 'my-own' is not allowed"),
    ],
)
def test_a_license_that_cannot_be_is_one_line_before_any_upload(
    hub: Any, built: Path, arguments: list[str], message: str
) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": SECRET}
    command = [sys.executable, "-m", "spanferry.flows.cli", "publish", str(built), "--repo", "zoe/x", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and message in done.stderr
    assert "Traceback" not in done.stderr and SECRET not in done.stdout + done.stderr
    assert not hub.repos and "put" not in hub.seen


def test_a_published_dataset_is_streamed(hub: Any, built: Path, tmp_path: Path) -> None:
    publish(built, "zoe/places", Choices(), say=quiet)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_CACHE", None)
    loading = (
        "import json; from datasets import load_dataset\n"
        "rows = load_dataset('zoe/places', 'de', streaming=True)\n"
        "print(json.dumps({s: [list(map(str, each.features.items())), list(each)] for s, each in rows.items()}))"
    )
    done = subprocess.run([sys.executable, "-c", loading], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == _local(built, "de")
    assert not list((tmp_path / "home").rglob("*.parquet")), "nothing was downloaded"


def test_the_hub_of_the_tests_is_one_command(built: Path, root: Path, tmp_path: Path) -> None:
    """What the README tells a person who rehearses publishing, with what the command prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(root / "tests" / "hub_server.py"), "--port", str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        said = (line.strip() for line in iter(server.stdout.readline, ""))
        exports = next(line for line in said if line.startswith("export "))
        given = dict(each.split("=", 1) for each in exports.split()[1:])
        assert given["HF_ENDPOINT"] == f"http://127.0.0.1:{port}"
        environment = {**os.environ, **given, "HF_HOME": str(tmp_path / "home")}
        environment.pop("HF_HUB_CACHE", None)
        command = [sys.executable, "-m", "spanferry.flows.cli", "publish", str(built), "--repo", "me/places"]
        for expected in (" files sent, 0 removed, 0 as they were", "0 files sent, 0 removed, "):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert expected in done.stdout
    finally:
        server.terminate()
        server.communicate()


def test_publishing_as_a_flow_keeps_the_token_out_of_everything(
    hub: Any, built: Path, prefect_server: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import (
        PREFECT_API_DATABASE_CONNECTION_URL,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_RESULTS_PERSIST_BY_DEFAULT,
        temporary_settings,
    )

    from spanferry.flows.publish_flow import run_as_flow

    hub.fail["put"] = [503]
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        published = run_as_flow(str(built), "team/places", Choices(private=True))
    assert isinstance(published, Published)
    assert published.commit == hub.repos["team/places"].head
    assert hub.repos["team/places"].private
    shown = capfd.readouterr()
    assert SECRET not in shown.out + shown.err + caplog.text + repr(published)
    [result] = [path for path in PREFECT_LOCAL_STORAGE_PATH.value().rglob("*") if path.is_file()]
    kept = base64.b64decode(result.read_bytes())  # a pickle
    assert published.commit.encode() in kept and SECRET.encode() not in kept
    database = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().partition("///")[2])
    assert database.is_file()
    in_build = [path for path in built.rglob("*") if path.is_file()]
    looked_at = [*database.parent.glob(f"{database.name}*"), *in_build]
    assert not [path for path in looked_at if SECRET.encode() in path.read_bytes()]
    sent = [content for _, tree in hub.repos["team/places"].commits for content in tree.values()]
    assert not [content for content in sent if SECRET.encode() in content]
