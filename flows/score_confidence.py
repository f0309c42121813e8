"""What `spanferry score` says of confidence: how reliable it is on the data at hand, and what a threshold buys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError
from spanferry.data.signature import parse_signature
from spanferry.projection.calibration import FOLDS, cross_fit, fit_calibration, load_calibration
from spanferry.projection.reliability import Reliability, Setting, measure_reliability, trade_off, trade_off_lines
from spanferry.projection.score import ScoreResult


@dataclass(frozen=True)
class ConfidenceReport:
    """Confidence against gold.

    Attributes:
        origin: where the confidences come from, in words: what was held out, and what was not.
        reliability: of these confidences on these data.
        curve: what each threshold keeps; empty when it was not asked for.
    """

    origin: str
    reliability: Reliability
    curve: tuple[Setting, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data; percentages are 0..100."""
        found = {"origin": self.origin, "reliability": self.reliability.to_json()}
        if self.curve:
            points = [{"min_confidence": each.min_confidence} | each.counts.to_json() for each in self.curve]
            return found | {"curve": points}
        return found

    def lines(self) -> Iterator[str]:
        """Yield what is to be read on a terminal."""
        yield f"confidence {self.origin}"
        yield from self.reliability.lines()
        if self.curve:
            yield ""
            yield from trade_off_lines(self.curve)


def check_options(fit: Path | None, calibration: Path | None, min_confidence: float | None) -> None:
    """Refuse options that contradict each other, before anything is computed.

    Raises:
        ConfigError: says which two.
    """
    if fit is not None and (calibration is not None or min_confidence is not None):
        raise ConfigError("--fit-calibration fits the plain method: leave out --calibration and --min-confidence")


def report_confidence(
    result: ScoreResult, *, fit: Path | None = None, calibration: Path | None = None, curve: bool = False
) -> ConfidenceReport | None:
    """Measure the confidences of a scoring run; with ``fit``, write a calibration that is fitted to it.

    Without a calibration, confidences are cross-fitted on the data at hand, so what is reported is held out either way.

    Returns:
        None where neither was asked for.

    Raises:
        ConfigError: there is no single method to fit for.
        DataError: there are too few spans, or a file cannot be read or written.
    """
    if fit is None and calibration is None and not curve:
        return None
    right = [each.right for each in result.judged]
    if calibration is not None:
        origin = f"by {calibration}" + _seen(load_calibration(calibration).data, result.signature)
        confidences = [each.projection.confidence or 0.0 for each in result.judged]
        reliability = measure_reliability(confidences, right)
    else:
        fitted = fit_calibration(result.judged, method=_single(result), data=result.signature)
        origin = f"held out: each of {FOLDS} folds by the other {FOLDS - 1}"
        confidences = cross_fit(result.judged)
        reliability = fitted.held_out
        if fit is not None:
            fitted.save(fit)
    gold = result.scores.exact.tp + result.scores.exact.fn
    return ConfidenceReport(origin, reliability, tuple(trade_off(confidences, right, gold)) if curve else ())


def _single(result: ScoreResult) -> str:
    if not result.method:
        raise ConfigError("each file of links makes a method of its own: fit a calibration to one of them at a time")
    return result.method


def _seen(fitted_on: str, scored_on: str) -> str:
    """Say whether a calibration has seen the data that it is judged on."""
    targets = [set(parse_signature(line).get("target", ())) for line in (fitted_on, scored_on)]
    if targets[0] & targets[1]:
        return ", which was fitted on these data (some or all): not held out, it looks better here than it is"
    return ", which was fitted on other data"
