"""Confidence from end to end: fitted by `spanferry score`, used by it and by a build, on record and in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.report import print_summary
from spanferry.flows.score_command import score_command
from spanferry.flows.shards import read_records
from spanferry.projection.base import Projection, TranslatedText
from spanferry.projection.calibration import Judged, fit_calibration
from spanferry.projection.evidence import evidence
from spanferry.projection.registry import Aligners, load_projector

Score = Callable[..., str]

STEPS: list[dict[str, Any]] = [
    {"method": "match", "accept": 0.95},
    {"method": "alignment", "aligner": "fake", "aligner_settings": {"dictionary": {"the": "le"}}},
]


@pytest.fixture
def score(root: Path) -> Score:
    """Score German samples against Spanish ones with what every word has in common, and return what is printed."""

    def run(*options: str, method: str = "alignment") -> str:
        files = [
            f"--{side}={root}/data/samples/entities.{code}.jsonl" for side, code in (("source", "de"), ("target", "es"))
        ]
        languages = [
            "--lang-source",
            "de",
            "--lang-target",
            "es",
            "--aligner",
            "fake",
            "--set",
            "aligner.dictionary={}",
        ]
        cli = typer.Typer()
        cli.command()(score_command)
        arguments = [*files, *languages, "--method", method, *options]
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    return run


def test_a_calibration_is_fitted_used_and_turned(score: Score, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    printed = score("--fit-calibration", str(file), "--curve")
    assert "confidence held out: each of 5 folds by the other 4" in printed
    assert "expected calibration error" in printed and "min_confidence" in printed

    fitted = json.loads(score("--calibration", str(file), "--curve", "--json"))
    assert "was fitted on these data" in fitted["confidence"]["origin"]
    assert sum(each["spans"] for each in fitted["confidence"]["reliability"]["bins"]) == fitted["projected"]
    # The dial says in advance what each threshold keeps.
    chosen = next(each for each in reversed(fitted["confidence"]["curve"]) if each["tp"])
    kept = json.loads(score("--calibration", str(file), "--min-confidence", str(chosen["min_confidence"]), "--json"))
    assert {name: kept["exact"][name] for name in ("tp", "fp", "fn")} == {n: chosen[n] for n in ("tp", "fp", "fn")}
    assert kept["reasons"].get("low_score", 0) == fitted["projected"] - kept["projected"]
    assert "confidence" in kept and "curve" not in kept["confidence"]


def test_the_curve_needs_no_calibration_and_then_holds_out(score: Score) -> None:
    found = json.loads(score("--curve", "--json"))["confidence"]
    assert found["origin"].startswith("held out")
    assert found["curve"][0]["min_confidence"] == 0
    assert "confidence" not in json.loads(score("--json"))


def test_options_that_contradict_each_other_are_refused(score: Score, tmp_path: Path) -> None:
    file = str(tmp_path / "calibration.json")
    with pytest.raises(ConfigError, match="leave out --calibration"):
        score("--fit-calibration", file, "--calibration", file)
    with pytest.raises(ConfigError, match="min_confidence needs a calibration"):
        score("--min-confidence", "0.5")
    score("--fit-calibration", file)
    with pytest.raises(ConfigError, match="fitted for"):
        score("--calibration", file, "--set", "projection.gap_cost=0.7")


def test_a_cascade_is_scored_by_its_steps(score: Score) -> None:
    found = json.loads(score("--set", f"projection.steps={json.dumps(STEPS)}", "--json", method="cascade"))
    assert "method:cascade/1(agree=2,combine=weighted,steps=[match:accept=0.95:match/" in found["signature"]
    assert found["projected"] > 50


@pytest.fixture
def cascade_settings(build_settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A build by a cascade with a calibration that was fitted to made-up outcomes."""
    cascade = {"steps": STEPS}
    fingerprint = load_projector("cascade", Aligners(), **cascade).fingerprint
    judged = []
    for number in range(200):
        span = Span(0, 4 + number % 9, "X")
        text = TranslatedText("x" * 20, "x" * 20, (span,))
        projection = Projection(span, span, "match", 1.0)
        judged.append(Judged(projection, number % 9 < 5, str(number), evidence(projection, text)))
    fit_calibration(judged, method=fingerprint, data="").save(tmp_path / "calibration.json")
    projection = {"method": "cascade", "settings": cascade, "calibration": str(tmp_path / "calibration.json")}
    return {**build_settings, "targets": ["de"], "projection": projection}


def test_a_build_keeps_votes_and_confidence_on_record(
    cascade_settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = build(parse_config(cascade_settings))
    total = result.report["languages"]["de"]["total"]
    assert set(total["methods"]) >= {"match"}
    assert sum(total["methods"].values()) == sum(total["confidence"].values()) >= total["carried"]
    assert result.report["calibration"]["spans"] == 200

    shards = sorted((tmp_path / "out" / ".spanferry" / "shards" / "de").rglob("*.jsonl"))
    spans = [each for shard in shards for outcome in read_records(shard) for each in outcome["projections"]]
    assert len(spans) == total["spans"]
    for each in spans:
        assert (each["confidence"] is None) == (each["start"] is None)
        assert each["votes"][0]["method"] == "match"

    print_summary(result)
    printed = " ".join(capsys.readouterr().out.split())
    assert "de: decided by" in printed and "de: confidence " in printed
    assert "the confidence was fitted to 200 spans of gold; on gold that was held out:" in printed


def test_a_build_turns_the_dial(cascade_settings: dict[str, Any], tmp_path: Path) -> None:
    everything = build(parse_config(cascade_settings)).report["languages"]["de"]["total"]
    strict = {**cascade_settings["projection"], "min_confidence": 0.9, "on_lost": "keep"}
    report = build(parse_config({**cascade_settings, "projection": strict})).report
    sure = report["languages"]["de"]["total"]
    assert sure["lost_by_reason"]["low_score"] == sum(everything["confidence"].values()) - sure["carried"] > 0
    assert set(sure["confidence"]) == {"0.9-1.0"}
    assert "min_confidence=0.9" in report["signature"]
    [file] = (tmp_path / "out" / "dropped" / "de").glob("*.jsonl")
    lost = [span for line in read_records(file) for span in line["spans"]]
    assert len(lost) == sure["lost"]
    assert all(span["votes"] and span["confidence"] < 0.9 for span in lost if span["reason"] == "low_score")


def test_a_threshold_out_of_range_says_where(cascade_settings: dict[str, Any]) -> None:
    wrong = {**cascade_settings["projection"], "min_confidence": 90}
    with pytest.raises(ConfigError, match=r"projection\.min_confidence: found 90, expected less than or equal to 1"):
        parse_config({**cascade_settings, "projection": wrong})
