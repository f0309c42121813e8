"""What is installed is what stands in the tree: checked on the wheel that users would get."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest


def test_package_list_names_every_folder(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests"}
    assert set(settings["packages"]) == {f"spanferry.{folder}" for folder in folders}
    assert settings["package-dir"] == {f"spanferry.{folder}": folder for folder in folders}


def test_there_are_no_sub_packages(root: Path) -> None:
    # An unlisted sub-package imports fine from an editable install and is missing from the wheel.
    assert [path for path in root.glob("*/*/__init__.py") if ".venv" not in path.parts] == []


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy: setuptools leaves a build folder, whose stale files would end up in the next wheel.
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    copy = tmp_path_factory.mktemp("source")
    for name in listing.stdout.splitlines():
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_every_module_and_data_file(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("alignment", "data", "flows", "projection", "translation"):
        missing = {f"spanferry/{folder}/{path.name}" for path in (root / folder).glob("*.py")} - names
        assert not missing
        assert f"spanferry/{folder}/py.typed" in names
    bundled = ("translation/bundled", "alignment/bundled", "alignment/bundled/priors")
    for folder in ("data/samples", "flows/page", *bundled):
        for data_file in filter(Path.is_file, (root / folder).iterdir()):
            assert f"spanferry/{data_file.relative_to(root).as_posix()}" in names


@pytest.mark.slow
def test_wheel_translates_outside_the_tree(wheel: Path, tmp_path: Path) -> None:
    """The installed files alone, first on the path and away from the tree, run the bundled model."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # -S with explicit paths would lose the dependencies; the editable finder only answers for names not on the path.
    code = (
        "import spanferry.translation.base as base\n"
        "from spanferry.translation.registry import load_translator\n"
        "print(base.__file__)\n"
        "translator = load_translator('bundled')\n"
        "print(len(translator.translate(['Hello.'], source='eng_Latn', target='deu_Latn')))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n" + code],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SPANFERRY_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "site/spanferry/translation/base.py"), "1"]
