"""A method whose projections say how probably they are right, and which drops those that are not sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spanferry.data.errors import ConfigError
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText
from spanferry.projection.calibration import Calibration, load_calibration


class CalibratedProjector:
    """Gives every projection of a method its confidence.

    Args:
        projector: the method.
        calibration: one that was fitted for this very method with these settings.
        min_confidence: a span whose place is less sure has none, reason ``low_score``; 0..1. What to set it to, the
            curve says that `spanferry score --curve` draws.

    Raises:
        ConfigError: the calibration is for another method, or ``min_confidence`` is out of range.
    """

    def __init__(self, projector: Projector, calibration: Calibration, *, min_confidence: float = 0.0) -> None:
        if isinstance(min_confidence, bool | str) or not 0 <= min_confidence <= 1:
            raise ConfigError(f"min_confidence is {min_confidence!r}: expected a number from 0 to 1")
        if calibration.method != projector.fingerprint:
            raise ConfigError(
                f"the calibration was fitted for {calibration.method!r}, this method is {projector.fingerprint!r}: "
                "fit one for it (spanferry score ... --fit-calibration FILE)"
            )
        self.projector = projector
        self.calibration = calibration
        self.min_confidence = min_confidence

    @property
    def fingerprint(self) -> str:
        """Identity of the method, its calibration and the threshold."""
        used = f"min_confidence={self.min_confidence},calibration={self.calibration.digest}"
        return f"calibrated/1({used},method={self.projector.fingerprint})"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return the method's projections with their confidence, and without a place those that are not sure enough."""
        rows = self.projector.project(texts, source=source, target=target)
        return [
            tuple(self._judge(projection, text) for projection in row) for text, row in zip(texts, rows, strict=True)
        ]

    def _judge(self, projection: Projection, text: TranslatedText) -> Projection:
        confidence = self.calibration.confidence(projection, text)
        if confidence is None or confidence >= self.min_confidence:
            return replace(projection, confidence=confidence)
        detail = f"right with probability {confidence:.3f}, wanted {self.min_confidence:g}"
        return replace(projection, target=None, reason=Reason.LOW_SCORE, detail=detail, confidence=confidence)


def calibrated(
    projector: Projector, calibration: str | Path | None = None, min_confidence: float | None = None
) -> CalibratedProjector:
    """Wrap a projector, given the settings ``calibration`` and ``min_confidence`` as a configuration has them.

    Raises:
        ConfigError: a threshold without a calibration, or as `CalibratedProjector`.
        DataError: the file is no calibration.
    """
    if calibration is None:
        raise ConfigError(
            "min_confidence needs a calibration, a file that says how sure a score is "
            "(spanferry score ... --fit-calibration FILE makes one)"
        )
    if not isinstance(calibration, str | Path):
        raise ConfigError(f"calibration is {calibration!r}: expected the path of a file")
    try:
        return CalibratedProjector(projector, load_calibration(calibration), min_confidence=min_confidence or 0.0)
    except ConfigError as error:
        raise ConfigError(f"{calibration}: {error}") from error
