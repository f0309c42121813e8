"""Fixtures that more than one area's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Properties are about truth, not time: a busy machine must not fail one.
settings.register_profile("spanferry", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spanferry")

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
