"""The layers hold: imports run one way, and heavy libraries stay in their leaf files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A folder may import itself and what stands below it.
BELOW = {
    "data": set[str](),
    "translation": {"data"},
    "alignment": {"data", "translation"},
    "projection": {"data", "translation", "alignment"},
    "flows": {"data", "translation", "alignment", "projection"},
}
# In translation and alignment nothing knows what a labelled example is: of `data` they see these alone.
LABEL_FREE = {f"spanferry.data.{name}" for name in ("errors", "registry", "settings", "shared_file", "signature")}
# Library -> the files that may import it. A folder name allows the whole folder.
HEAVY = {
    "prefect": {"flows"},
    "ctranslate2": {
        "translation/ct2.py",
        "translation/convert.py",
        "translation/convert_spec.py",
        "alignment/attention.py",
    },
    "datasets": {"data"},
    "fsspec": {"flows/storage.py"},
    "huggingface_hub": {"data", "translation/checkpoints.py"},
}


def modules(root: Path) -> Iterator[Path]:
    for folder in BELOW:
        yield from sorted((root / folder).glob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield every module that ``path`` names in an import, inside functions and type-checking blocks too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write spanferry.…"
            assert node.module is not None
            yield node.module


def test_imports_run_one_way(root: Path) -> None:
    wrong = []
    for path in modules(root):
        folder = path.parent.name
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "spanferry" and len(parts) > 1 and parts[1] not in BELOW[folder] | {folder}:
                wrong.append(f"{folder}/{path.name} imports {name}")
    assert not wrong


def test_translation_and_alignment_know_nothing_of_labels(root: Path) -> None:
    wrong = [
        f"{path.parent.name}/{path.name} imports {name}"
        for path in modules(root)
        if path.parent.name in {"translation", "alignment"}
        for name in imported(path)
        if name.startswith("spanferry.data.") and name not in LABEL_FREE
    ]
    assert not wrong


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_live_in_leaf_files(root: Path, library: str) -> None:
    users = {
        f"{path.parent.name}/{path.name}"
        for path in modules(root)
        if any(name.split(".")[0] == library for name in imported(path))
    }
    allowed = HEAVY[library]
    assert {user for user in users if user not in allowed and user.split("/")[0] not in allowed} == set()


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from spanferry.flows.cli import main\n"
        "sys.argv = ['spanferry', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'prefect', 'datasets', 'ctranslate2', 'spacy', 'pyarrow', 'pandas'}\n"
        "heavy |= {'fsspec', 's3fs', 'gcsfs'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "LOADED []"
