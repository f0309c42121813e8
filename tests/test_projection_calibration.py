"""Confidence: the isotonic fit, what is held out, what a calibration refuses, and the dial that it turns."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.fake import FakeAligner
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText, Vote
from spanferry.projection.by_alignment import AlignmentProjector
from spanferry.projection.calibrated import CalibratedProjector
from spanferry.projection.calibration import (
    Calibration,
    Judged,
    cross_fit,
    fit_calibration,
    fit_curve,
    fit_model,
    load_calibration,
    pool_adjacent_violators,
)
from spanferry.projection.evidence import evidence
from spanferry.projection.registry import load_projector
from spanferry.projection.reliability import measure_reliability, trade_off, trade_off_lines

PLACE = Span(0, 4, "LOC")
METHOD = AlignmentProjector(FakeAligner({}))
TEXT = TranslatedText("Rome is old", "Roma antica", (PLACE,))

weighted = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=30)


@given(weighted)
def test_isotonic_values_rise_and_keep_the_mean(pairs: list[tuple[float, int]]) -> None:
    values, weights = zip(*pairs, strict=True)
    fitted = pool_adjacent_violators(values, weights)
    assert len(fitted) == len(values)
    assert (np.diff(fitted) >= 0).all()
    assert np.average(fitted, weights=weights) == pytest.approx(np.average(values, weights=weights))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=7))
def test_isotonic_values_are_the_closest_there_are(pairs: list[tuple[int, int]]) -> None:
    # Brute force: the best fit is constant on blocks and is each block's mean, so try every way to cut into blocks.
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))

    def loss(fitted: Sequence[float]) -> float:
        return float((weights * (np.asarray(fitted) - values) ** 2).sum())

    def fits() -> Any:
        for cuts in itertools.product([False, True], repeat=len(values) - 1):
            edges = [0, *(index + 1 for index, cut in enumerate(cuts) if cut), len(values)]
            blocks = [slice(*edge) for edge in itertools.pairwise(edges)]
            means = [np.average(values[block], weights=weights[block]) for block in blocks]
            if means == sorted(means):
                yield [mean for mean, block in zip(means, blocks, strict=True) for _ in range(block.stop - block.start)]

    assert loss(pool_adjacent_violators(values, weights)) == pytest.approx(min(map(loss, fits())))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200), st.integers(1, 30))
def test_a_curve_rises_over_bins_of_the_least_size(pairs: list[tuple[float, bool]], min_bin: int) -> None:
    scores, right = zip(*pairs, strict=True)
    curve = fit_curve(scores, right, min_bin=min_bin)
    assert sum(curve.spans) == len(pairs)
    assert len(curve.spans) == 1 or min(curve.spans) >= min_bin
    assert all(low <= high for low, high in itertools.pairwise(curve.rates))
    assert all(0 <= rate <= 1 for rate in curve.rates)
    confidences = [curve.confidence(score) for score in sorted(scores)]
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(confidences))


def test_one_bin_that_is_all_right_is_not_called_certain() -> None:
    curve = fit_curve([0.1] * 50 + [0.9] * 50, [0] * 25 + [1] * 75, min_bin=10)
    assert curve.rates[-1] == pytest.approx((50 + 0.75) / 51, abs=1e-6)


def made_up(count: int, truth: Callable[[float], float], seed: int) -> list[Judged]:
    """Projections whose score says one thing, and that are right by another."""
    chance = random.Random(seed)
    judged = []
    for number in range(count):
        score = chance.random()
        projection = Projection(PLACE, PLACE, "alignment", score)
        right = chance.random() < truth(score)
        judged.append(Judged(projection, right, f"text {number}", evidence(projection, TEXT)))
    return judged


def test_a_method_that_boasts_becomes_honest_on_data_that_was_held_out() -> None:
    def truth(score: float) -> float:
        return 0.2 + 0.5 * score**3  # far less than the score claims

    known, unseen = made_up(3000, truth, 1), made_up(3000, truth, 2)
    right = [each.right for each in unseen]
    boast = measure_reliability([each.projection.score or 0.0 for each in unseen], right).error
    model = fit_model(known)
    confidences = [model.confidence(each.evidence) for each in unseen]
    assert boast > 0.15
    assert measure_reliability(confidences, right).error < 0.03
    for confidence, each in zip(confidences, unseen, strict=True):
        assert abs(confidence - truth(each.projection.score or 0.0)) < 0.12
    assert measure_reliability(cross_fit(known), [each.right for each in known]).error < 0.03


def test_cross_fitting_does_not_see_what_it_judges() -> None:
    # What is right is a fair coin for each text, and a trait gives the text away. A model that saw the text would
    # know it (every text is there ten times); one that did not can only say about one half.
    chance = random.Random(3)
    judged = []
    for number in range(60):
        right = chance.random() < 0.5
        traits = {f"text {number}": 1.0}
        judged += [Judged(Projection(PLACE, PLACE, "m", 0.5), right, f"text {number}", traits)] * 10
    model = fit_model(judged)
    inside = [model.confidence(each.evidence) for each in judged]
    outside = cross_fit(judged)

    def brier(confidences: Sequence[float]) -> float:
        return float(np.mean([(c - each.right) ** 2 for c, each in zip(confidences, judged, strict=True)]))

    assert brier(inside) < 0.1
    assert brier(outside) > 0.24


def test_traits_that_tell_more_than_the_score_are_used() -> None:
    chance = random.Random(4)
    judged = []
    for number in range(600):
        agrees = chance.random() < 0.5
        other = Vote("b", PLACE if agrees else Span(5, 7, "LOC"), 0.5)
        projection = Projection(PLACE, PLACE, "cascade", 0.5, votes=(Vote("a", PLACE, 0.5), other))
        right = chance.random() < (0.95 if agrees else 0.4)
        judged.append(Judged(projection, right, str(number), evidence(projection, TEXT)))
    calibration = fit_calibration(judged, method="cascade/1()", data="")
    by_votes = {vote.target == PLACE: each for each in judged for vote in each.projection.votes[1:]}
    assert calibration.confidence(by_votes[True].projection, TEXT) == pytest.approx(0.95, abs=0.03)
    assert calibration.confidence(by_votes[False].projection, TEXT) == pytest.approx(0.4, abs=0.06)
    assert calibration.held_out.error < 0.05


@given(st.booleans(), st.integers(30, 60))
def test_outcomes_that_are_all_alike_can_be_fitted(right: bool, count: int) -> None:
    judged = [
        Judged(each.projection, right, each.unit, each.evidence) for each in made_up(count, lambda score: score, 5)
    ]
    model = fit_model(judged)
    confidences = [model.confidence(each.evidence) for each in judged]
    assert all(each >= 0.99 if right else each <= 0.01 for each in confidences)


def test_too_little_gold_is_refused() -> None:
    with pytest.raises(DataError, match="3 projections to fit a calibration to, expected at least 25"):
        fit_calibration(made_up(3, lambda score: score, 6), method="m", data="")
    same = [Judged(each.projection, each.right, "one text", each.evidence) for each in made_up(40, lambda s: s, 7)]
    with pytest.raises(DataError, match="expected more texts"):
        fit_calibration(same, method="m", data="")


# Files, and what is made of them.


@pytest.fixture
def calibration() -> Calibration:
    return fit_calibration(made_up(400, lambda score: score, 8), method=METHOD.fingerprint, data="task:ner")


def test_a_calibration_comes_back_from_its_file(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    calibration.save(path)
    assert load_calibration(path) == calibration
    assert load_calibration(path).digest == calibration.digest


def damage(values: dict[str, Any], what: str) -> None:
    curve = values["model"]["curve"]
    if what == "format":
        values["format"] = "other/1"
    elif what == "falling":
        curve["rates"].reverse()
    elif what == "short":
        curve["spans"].pop()
    elif what == "missing":
        del values["model"]
    elif what == "text":
        curve["rates"][0] = "x"
    elif what == "infinite":
        values["model"]["base"] = float("inf")


@pytest.mark.parametrize("what", ["format", "falling", "short", "missing", "text", "infinite"])
def test_a_damaged_file_is_refused(calibration: Calibration, tmp_path: Path, what: str) -> None:
    path = tmp_path / "calibration.json"
    calibration.save(path)
    values = json.loads(path.read_text())
    damage(values, what)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"calibration\.json.*(damaged calibration|expected a calibration)"):
        load_calibration(path)


def test_what_is_no_file_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--fit-calibration FILE makes one"):
        load_calibration(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("score 0.5")
    with pytest.raises(DataError, match="not JSON"):
        load_calibration(tmp_path / "text.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="format 'list', expected a calibration"):
        load_calibration(tmp_path / "list.json")


def test_another_method_is_refused(calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    calibration.save(path)
    with pytest.raises(ConfigError, match=r"calibration\.json: .*fitted for 'alignment/3\(form=auto.*gap_cost=0\.5"):
        load_projector("alignment", aligner=FakeAligner({}), gap_cost=0.5, calibration=str(path))


def test_a_threshold_needs_a_calibration_and_a_number(calibration: Calibration, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="min_confidence needs a calibration"):
        load_projector("alignment", aligner="fake", min_confidence=0.5)
    path = tmp_path / "calibration.json"
    calibration.save(path)
    for wrong in (50, "high"):
        with pytest.raises(ConfigError, match=f"min_confidence is {wrong!r}: expected a number from 0 to 1"):
            load_projector("alignment", aligner=FakeAligner({}), calibration=str(path), min_confidence=wrong)
    with pytest.raises(ConfigError, match="calibration is 3: expected the path of a file"):
        load_projector("alignment", aligner=FakeAligner({}), calibration=3)


def test_spans_get_their_confidence_and_those_below_the_threshold_no_place(calibration: Calibration) -> None:
    spans = (PLACE, Span(8, 11, "AGE"))
    text = TranslatedText("Rome is old", "Rome antica", spans)
    plain, judging = METHOD, CalibratedProjector(METHOD, calibration)
    assert judging.fingerprint != CalibratedProjector(METHOD, calibration, min_confidence=0.5).fingerprint
    assert plain.fingerprint in judging.fingerprint
    [[found, lost]] = judging.project([text], source="eng_Latn", target="ita_Latn")
    assert found.target == PLACE and found.confidence is not None and 0 <= found.confidence <= 1
    assert (lost.target, lost.confidence, lost.reason) == (None, None, Reason.UNALIGNED)
    exact = CalibratedProjector(METHOD, calibration, min_confidence=found.confidence)
    assert exact.project([text], source="eng_Latn", target="ita_Latn")[0][0] == found
    strict = CalibratedProjector(METHOD, calibration, min_confidence=1.0)
    [[refused, _]] = strict.project([text], source="eng_Latn", target="ita_Latn")
    assert (refused.target, refused.reason) == (None, Reason.LOW_SCORE)
    assert refused.confidence == found.confidence and "wanted 1" in refused.detail


# Reliability and the dial.


def test_reliability_by_hand() -> None:
    # Bins 0.2-0.3 (0.25, 0.25: one of two right) and 0.9-1.0 (0.95, 1.0: two of two): |0.5-0.25|*2/4 + |1-0.975|*2/4.
    table = measure_reliability([0.25, 0.95, 0.25, 1.0], [True, True, False, True])
    assert table.error == pytest.approx(0.1375)
    assert [(each.low, each.high, each.spans, each.right) for each in table.bins] == [
        (0.2, 0.3, 2, 1),
        (0.9, 1.0, 2, 2),
    ]
    assert table.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert "0.20-0.30        2  0.250  0.500" in "\n".join(table.lines())


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(0, 5))
def test_a_higher_threshold_never_finds_more(pairs: list[tuple[float, bool]], missed: int) -> None:
    confidences, right = zip(*pairs, strict=True)
    gold = sum(right) + missed
    curve = trade_off(confidences, right, gold, dial=(0.0, 0.25, 0.5, 0.75, 1.0))
    assert curve[0].counts.tp + curve[0].counts.fp == len(pairs)
    assert all(each.counts.tp + each.counts.fn == gold for each in curve)
    recalls = [each.counts.recall for each in curve]
    assert recalls == sorted(recalls, reverse=True)
    assert len(list(trade_off_lines(curve))) == 6
