"""What the documents show is run: the README's commands, and the projector of CONTRIBUTING."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.data.example import Span
from spanferry.projection.base import Projector, Reason, TranslatedText


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
