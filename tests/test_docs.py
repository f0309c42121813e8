"""What the documents show is run, and what they list is whole: commands, settings and their defaults."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import typer

from spanferry.alignment.registry import ALIGNERS, DEFAULT_ALIGNER
from spanferry.data.example import Span
from spanferry.data.registry import LazyTable
from spanferry.flows.cli import app
from spanferry.flows.config import RunSettings, TranslationSettings
from spanferry.projection.base import Projector, Reason, TranslatedText
from spanferry.projection.filters import SPAN_CHECKS, TEXT_CHECKS, OnFail, filter_settings
from spanferry.projection.registry import PROJECTORS
from spanferry.translation.convert import ensure_converted
from spanferry.translation.decoding import Decoding, Placement
from spanferry.translation.protect import KINDS


def code_blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_contributing_projector_meets_the_protocol(root: Path) -> None:
    (code,) = code_blocks(root / "CONTRIBUTING.md", "python")
    names: dict[str, Any] = {"__name__": "contributed"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    projector = names["VerbatimProjector"]()
    assert isinstance(projector, Projector)
    text = TranslatedText("Zoë lives in Köln.", "Zoë wohnt in Köln.", (Span(0, 3, "PER"), Span(4, 9, "VERB")))
    [(found, lost)] = projector.project([text], source="eng_Latn", target="deu_Latn")
    assert found.target == Span(0, 3, "PER")
    assert lost.reason is Reason.NO_CANDIDATE


def setting_tables(path: Path) -> dict[str, dict[str, str]]:
    """The tables of settings: each has a column of defaults for every method, which is empty where it has no such."""
    found: dict[str, dict[str, str]] = {}
    for table in re.findall(r"^\| setting \|.*\n(?:\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
        header, _, *rows = (
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
        )
        for column, name in enumerate(header):
            if name.startswith("`"):
                found[name.strip("`")] = {row[0].strip("`"): row[column] for row in rows if row[column]}
    return found


def shown(default: Any) -> str | None:
    """A default as a table has it; None for what it says in words."""
    if default is inspect.Parameter.empty:
        return "required"
    if default is None or isinstance(default, bool):
        return str({None: "null", True: "true", False: "false"}[default])
    if isinstance(default, str):
        return f"`{default}`"
    return str(default) if isinstance(default, int | float) else None


def assert_told(documented: Mapping[str, str], defaults: Mapping[str, Any]) -> None:
    assert documented.keys() == defaults.keys()
    wrong = {name: told for name, told in documented.items() if shown(defaults[name]) not in (None, told)}
    assert wrong == {}


@pytest.mark.parametrize(("table", "document"), [(PROJECTORS, "projection.md"), (ALIGNERS, "alignment.md")])
def test_every_setting_is_documented_with_its_default(root: Path, table: LazyTable, document: str) -> None:
    documented = setting_tables(root / "docs" / document)
    assert documented.keys() == table.builtin.keys() - {"fake"}
    for name, settings in documented.items():
        parameters = inspect.signature(table.load(name)).parameters
        defaults = {each: parameter.default for each, parameter in parameters.items()}
        if "aligner" in defaults:
            defaults["aligner"] = DEFAULT_ALIGNER  # what a build and `score` give it
        assert_told(settings, defaults)


def test_further_settings_of_the_translator_are_documented_with_their_defaults(root: Path) -> None:
    defaults = {
        "max_tokens": None,
        **{each.name: each.default for kind in (Decoding, Placement) for each in fields(kind)},
    }
    defaults |= {name: each.default for name, each in inspect.signature(ensure_converted).parameters.items()}
    elsewhere = {*TranslationSettings.model_fields, *RunSettings.model_fields}
    documented = setting_tables(root / "docs" / "translation.md")
    assert_told(documented["ctranslate2"], {name: each for name, each in defaults.items() if name not in elsewhere})


def test_every_filter_is_documented_with_its_settings_and_defaults(root: Path) -> None:
    section = (root / "docs" / "projection.md").read_text(encoding="utf-8").partition("\n## Filters\n")[2]
    [table] = re.findall(r"^\| filter \|.*\n(?:\|.*\n)+", section.partition("\n## ")[0], re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [name.strip("`") for name, *_ in rows] == [*sorted(SPAN_CHECKS), *sorted(TEXT_CHECKS)]
    for cell, judged, _, settings in rows:
        name = cell.strip("`")
        assert judged == ("spans" if name in SPAN_CHECKS else "texts")
        documented = dict(re.findall(r"`(\w+)` ([\w./]+)", settings))
        assert {
            setting: KINDS if default == "all" else pytest.approx(float(Fraction(default)))
            for setting, default in documented.items()
        } == filter_settings(name)
    assert all(f"`{kind}`" in table for kind in KINDS)
    assert all(f"| `{each}`" in section for each in get_args(OnFail))


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_the_readme_lists_every_command(root: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    table = (root / "README.md").read_text(encoding="utf-8").partition("## All commands")[2].partition("\n## ")[0]
    listed = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall("`(.*?)`", row)]
    assert sorted(listed) == sorted(commands(group))


@pytest.mark.slow
def test_readme_commands_run(root: Path, tmp_path: Path, hub_server: ModuleType) -> None:
    """Every ``$ spanferry`` line of the README, in order, in one folder, as a reader would type them.

    Where it starts a hub on this machine, one on a free port stands in for it.
    """
    lines = [
        line.removeprefix("$ ")
        for block in code_blocks(root / "README.md", "console")
        for line in block.splitlines()
        if line.startswith(("$ spanferry", "$ export", "$ python -c"))
    ]
    assert len(lines) >= 4
    shutil.copytree(root / "data" / "samples", tmp_path / "data" / "samples")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_CACHE", None)
    with hub_server.running({"hf_rehearsal": hub_server.token("me")}) as hub:
        for line in lines:
            program, *arguments = shlex.split(line, comments=True)
            if program == "export":
                environment |= dict(each.split("=", 1) for each in arguments) | {"HF_ENDPOINT": hub.url}
                continue
            # -P keeps the working folder, whose `data` is only the samples, off the module path.
            module = ["-m", "spanferry.flows.cli"] if program == "spanferry" else []
            command = [sys.executable, "-P", *module, *arguments]
            result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
        assert hub.repos["me/ner"].tags == {"v1": hub.repos["me/ner"].head}
