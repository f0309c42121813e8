"""Fixtures that more than one area's tests use."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Properties are about truth, not time: a busy machine must not fail one.
settings.register_profile("spanferry", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spanferry")

ROOT = Path(__file__).resolve().parent.parent

# Prefect makes its home when it is imported; the suite leaves the user's alone, and needs none to be there.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-home-")


def _module(path: Path) -> ModuleType:
    """Import a file that is not part of the package."""
    spec = importlib.util.spec_from_file_location(f"spanferry_test_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def eval_dir() -> Path:
    """Gold data for measuring: not part of the project, so tests that need it skip without it."""
    folder = Path(os.environ.get("SPANFERRY_EVAL", ROOT.parent / "shared" / "eval"))
    if not folder.is_dir():
        pytest.skip(f"no gold data at {folder}; set SPANFERRY_EVAL")
    return folder


# Translation models: small checkpoints of the real classes, built once a session.


@pytest.fixture(scope="session")
def checkpoints() -> ModuleType:
    """The module that builds them (`tests/checkpoints.py`): toy sentences, and what transformers calls things."""
    return _module(ROOT / "tests" / "checkpoints.py")


@pytest.fixture(scope="session")
def tiny_checkpoint(checkpoints: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a family's checkpoint: `nllb`, `m2m100`, `mbart50`, `marian` or `t5`."""
    base = tmp_path_factory.mktemp("checkpoints")

    @cache
    def folder(family: str) -> Path:
        built: Path = checkpoints.build(family, base / family)
        return built

    return folder


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for converted models that no other run sees."""
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture
def build_settings(tmp_path: Path) -> dict[str, Any]:
    """Settings of a small build that needs no model: most words are copied, and some that the aligner cannot link."""
    return {
        "task": "ner",
        "source": {"path": str(ROOT / "data" / "samples" / "entities.en.jsonl"), "language": "en"},
        "targets": ["de", "es"],
        "translation": {
            "model": "fake",
            "settings": {"dictionary": {"the": "le", "Porto": "Oporto", "Clara": "Klara"}},
        },
        "projection": {"aligner": "fake", "aligner_settings": {"dictionary": {"the": "le"}}},
        "run": {"memory": str(tmp_path / "memory.sqlite"), "shard_rows": 50},
        "limit": 120,
        "output": str(tmp_path / "out"),
    }


@pytest.fixture
def published() -> Callable[[Path], dict[str, bytes]]:
    """Read what a build's folder holds for its readers: every file beside the state in `.spanferry`."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        names = {path.relative_to(folder).as_posix(): path for path in files}
        return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".spanferry/")}

    return read


# Alignment: encoders with real tokenizers and random weights, built once a session.


@pytest.fixture(scope="session")
def simalign_ratio() -> ModuleType:
    """The benchmark `benchmarks/simalign_ratio.py`: it builds encoders, and has sentence pairs of the samples."""
    return _module(ROOT / "benchmarks" / "simalign_ratio.py")


@pytest.fixture(scope="session")
def encoder_folder(simalign_ratio: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a small encoder of four layers: `bert` (WordPiece) or `xlmr` (Unigram)."""
    base = tmp_path_factory.mktemp("encoders")

    @cache
    def folder(kind: str) -> Path:
        built: Path = simalign_ratio.build_encoder(kind, base / kind, layers=4, width=64)
        return built

    return folder


# Publishing, and flows.


@pytest.fixture(scope="session")
def hub_server() -> ModuleType:
    """The module that serves a dataset hub on loopback (`tests/hub_server.py`)."""
    return _module(ROOT / "tests" / "hub_server.py")


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    """A real Prefect server of the module's own, with an empty database."""
    from spanferry.flows import translate_train  # noqa: F401  (sets what Prefect reads when it is imported)

    from prefect.testing.utilities import prefect_test_harness  # isort: skip

    with prefect_test_harness(server_startup_timeout=600):
        yield


# Predictors: classifiers of the real classes, trained once a session on a toy language.


@pytest.fixture(scope="session")
def classifiers() -> ModuleType:
    """The module that builds them (`tests/classifiers.py`): its toy language, and its names of people and places."""
    return _module(ROOT / "tests" / "classifiers.py")


@pytest.fixture(scope="session")
def classifier(classifiers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the folder of a classifier: a kind of `tests/classifiers.py`, of the family `bert` or `roberta`."""
    base = tmp_path_factory.mktemp("classifiers")

    @cache
    def folder(kind: str, family: str = "bert") -> Path:
        built: Path = classifiers.build(kind, base / f"{kind}-{family}", family)
        return built

    return folder


# Looking at builds.


@pytest.fixture(scope="session")
def looked_at() -> ModuleType:
    """The module that writes a small finished build in Arabic, Chinese and German (`tests/looked_at.py`)."""
    return _module(ROOT / "tests" / "looked_at.py")


@pytest.fixture(scope="module")
def browser() -> Iterator[Callable[..., Any]]:
    """Open a page in Chromium, ``"light"`` or ``"dark"``; what it logs, asks of the network or throws is kept."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on this machine")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no playwright to drive the browser: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=program, args=["--no-sandbox"])

        def open_page(path: Path, scheme: str = "light") -> Any:
            tab = opened.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
            tab.set_default_timeout(60_000)
            complaints: list[str] = []
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("request", lambda request: complaints.append(request.url))
            tab.goto(path.as_uri())
            tab.complaints = complaints
            return tab

        yield open_page
        opened.close()


# Object stores.


@pytest.fixture(scope="session")
def object_stores() -> ModuleType:
    """The module that runs object stores on loopback (`tests/object_stores.py`)."""
    return _module(ROOT / "tests" / "object_stores.py")


@pytest.fixture(scope="module")
def s3(object_stores: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An S3 server of the module's own with one bucket; the environment says where it is, as it would of a real one."""
    import fsspec

    log = tmp_path_factory.mktemp("s3") / "log"
    with object_stores.running("s3", log) as server, pytest.MonkeyPatch.context() as at:
        at.setenv("AWS_ACCESS_KEY_ID", "someone")
        at.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        at.setenv("AWS_DEFAULT_REGION", "us-east-1")
        at.setenv("AWS_ENDPOINT_URL", server.url)
        at.setenv("AWS_EC2_METADATA_DISABLED", "true")
        at.setenv("AWS_CONFIG_FILE", os.devnull)
        at.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        at.setenv("AWS_MAX_ATTEMPTS", "1")
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(object_stores.BUCKET)
        yield server
