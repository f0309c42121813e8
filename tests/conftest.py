"""Fixtures that more than one area's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
