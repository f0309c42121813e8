"""A method made of methods: who is asked, whose answer is taken, and how votes decide what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.fake import FakeAligner
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText, Vote
from spanferry.projection.cascade import DEFAULT_STEPS, CascadeProjector, EnsembleProjector, Step
from spanferry.projection.registry import Aligners, load_projector
from spanferry.translation.fake_scorer import FakePrefixScorer

Place = tuple[int, int] | None
SOURCE, TARGET = "one two three four", "eins zwei drei vier"
ONE, TWO, THREE, FOUR = (Span(0, 3, "N"), Span(4, 7, "N"), Span(8, 13, "N"), Span(14, 18, "N"))
EINS, ZWEI, DREI, VIER = (0, 4), (5, 9), (10, 14), (15, 19)
TEXT = TranslatedText(SOURCE, TARGET, (ONE, TWO, THREE, FOUR))


class Scripted:
    """Answers from a table, span -> (place, score), and keeps what it was asked."""

    def __init__(self, table: Mapping[Span, tuple[Place, float | None]], confidence: float | None = None) -> None:
        self.table = table
        self.confidence = confidence
        self.asked: list[list[TranslatedText]] = []
        self.fingerprint = f"scripted:{sorted(table.items(), key=repr)}"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        self.asked.append(list(texts))
        return [tuple(self._answer(span) for span in text.spans) for text in texts]

    def _answer(self, span: Span) -> Projection:
        place, score = self.table.get(span, (None, None))
        if place is None:
            return Projection(span, None, "scripted", score, Reason.UNALIGNED)
        goal = Span(*place, span.label, span.field)
        return Projection(span, goal, "scripted", score, confidence=self.confidence, source_coverage=0.5)


def run(projector: Projector, *texts: TranslatedText) -> list[tuple[Projection, ...]]:
    return projector.project(texts or [TEXT], source="eng_Latn", target="deu_Latn")


def places(projections: Sequence[Projection]) -> list[Place]:
    return [None if each.target is None else (each.target.start, each.target.end) for each in projections]


def test_a_dear_method_only_sees_what_is_undecided() -> None:
    cheap = Scripted({ONE: (EINS, 1.0), TWO: (ZWEI, 0.5), FOUR: (VIER, 0.95)})
    dear = Scripted({TWO: (ZWEI, 0.4), THREE: (DREI, 0.4)})
    decided = TranslatedText(SOURCE, TARGET, (ONE,))
    empty = TranslatedText("no label", "kein Etikett", ())
    rows = run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]), decided, empty, TEXT)
    assert [[text.spans for text in call] for call in dear.asked] == [[(TWO, THREE)]]
    assert [places(row) for row in rows] == [[EINS], [], [EINS, ZWEI, DREI, VIER]]
    assert [each.method for each in rows[2]] == ["cheap", "dear", "cascade", "cheap"]


def test_a_method_is_not_asked_at_all_when_nothing_is_undecided() -> None:
    cheap, dear = Scripted({ONE: (EINS, 1.0)}), Scripted({})
    run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]), TranslatedText(SOURCE, TARGET, (ONE,)))
    assert dear.asked == []


def test_every_result_carries_the_votes_of_those_that_were_asked() -> None:
    cheap, dear = Scripted({ONE: (EINS, 1.0), TWO: (EINS, 0.2)}), Scripted({TWO: (ZWEI, 0.6)})
    [row] = run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]))
    assert row[0].votes == (Vote("cheap", Span(*EINS, "N"), 1.0),)
    assert row[1].votes == (Vote("cheap", Span(*EINS, "N"), 0.2), Vote("dear", Span(*ZWEI, "N"), 0.6))
    assert row[2].votes == (Vote("cheap", None), Vote("dear", None))


def test_agreement_is_taken_without_asking_further() -> None:
    first, second, third = Scripted({ONE: (EINS, 0.1)}), Scripted({ONE: (EINS, 0.2)}), Scripted({ONE: (VIER, 1.0)})
    steps = [Step(first, "first"), Step(second, "second"), Step(third, "third")]
    text = TranslatedText(SOURCE, TARGET, (ONE,))
    [[agreed]] = run(CascadeProjector(steps), text)
    assert (places([agreed]), agreed.method, agreed.detail) == ([EINS], "second", "agreed by first, second")
    assert third.asked == []
    [[asked_on]] = run(CascadeProjector(steps, agree=3), text)
    assert places([asked_on]) == [VIER] and len(asked_on.votes) == 3


def test_a_calibrated_confidence_goes_before_the_score() -> None:
    sure_of_itself, dear = Scripted({ONE: (EINS, 0.99)}, confidence=0.3), Scripted({ONE: (ZWEI, 0.5)})
    [[one, *_]] = run(CascadeProjector([Step(sure_of_itself, "a", 0.9), Step(dear, "b")]))
    assert places([one]) == [ZWEI]


def test_an_answer_without_score_is_only_taken_where_anything_is() -> None:
    unscored, dear = Scripted({ONE: (EINS, None)}), Scripted({ONE: (ZWEI, 0.9)})
    for accept, expected in ((0.1, ZWEI), (0.0, EINS)):
        [[one, *_]] = run(CascadeProjector([Step(unscored, "a", accept), Step(dear, "b")]))
        assert places([one]) == [expected]


@pytest.mark.parametrize(
    ("combine", "expected", "score"),
    [("first", EINS, 1.0), ("agreement", ZWEI, 2 / 4), ("weighted", DREI, 0.9 / 4)],
)
def test_votes_decide_what_no_method_was_sure_of(combine: Any, expected: Place, score: float) -> None:
    said = [(EINS, 0.5), (ZWEI, 0.1), (ZWEI, 0.2), (DREI, 0.9)]
    steps = [Step(Scripted({ONE: answer}), f"m{number}") for number, answer in enumerate(said)]
    [[one, *_]] = run(EnsembleProjector(steps, combine=combine))
    assert places([one]) == [expected]
    assert one.method == "ensemble" and one.score == pytest.approx(score)
    assert one.source_coverage == 0.5 and one.confidence is None


def test_a_tie_goes_to_the_method_that_was_asked_first() -> None:
    steps = [Step(Scripted({ONE: (place, 0.5)}), f"{place}") for place in (ZWEI, EINS)]
    for combine in ("agreement", "weighted"):
        [[one, *_]] = run(EnsembleProjector(steps, combine=combine))
        assert places([one]) == [ZWEI]


def test_spans_that_stood_apart_do_not_meet_even_if_it_costs_a_better_vote() -> None:
    first = Scripted({ONE: (EINS, 0.9), TWO: (EINS, 0.8)})
    second = Scripted({ONE: (EINS, 0.9), TWO: (ZWEI, 0.3)})
    [row] = run(EnsembleProjector([Step(first, "first"), Step(second, "second")]))
    assert places(row)[:2] == [EINS, ZWEI]


def test_what_was_taken_is_not_moved_by_later_votes() -> None:
    cheap = Scripted({ONE: (EINS, 0.9)})
    dear = Scripted({TWO: (EINS, 1.0), THREE: (EINS, 1.0), FOUR: (EINS, 1.0)})
    [row] = run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]))
    assert places(row) == [EINS, None, None, None]
    assert [each.reason for each in row[1:]] == [Reason.OVERLAP] * 3


def test_of_two_sure_answers_in_one_place_the_surer_is_taken_and_the_other_span_asks_on() -> None:
    cheap = Scripted({ONE: (EINS, 0.91), TWO: (EINS, 0.95)})
    dear = Scripted({ONE: (DREI, 0.2)})
    [row] = run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]))
    assert places(row)[:2] == [DREI, EINS]
    assert dear.asked[0][0].spans == (ONE, THREE, FOUR)


def test_nested_spans_may_share_their_place() -> None:
    outer, inner = Span(0, 7, "A"), Span(4, 7, "B")
    method = Scripted({outer: ((0, 9), 1.0), inner: (ZWEI, 1.0)})
    [row] = run(CascadeProjector([Step(method, "m", 0.9)]), TranslatedText(SOURCE, TARGET, (outer, inner)))
    assert places(row) == [(0, 9), ZWEI]


def test_a_lost_span_has_the_reason_of_the_last_and_a_record_of_all() -> None:
    [row] = run(CascadeProjector([Step(Scripted({}), "a"), Step(Scripted({}), "b")]))
    assert row[0].reason is Reason.UNALIGNED
    assert row[0].detail == "a: unaligned; b: unaligned"


def test_places_of_marks_go_with_their_spans() -> None:
    cheap, dear = Scripted({ONE: (EINS, 1.0), THREE: (DREI, 1.0)}), Scripted({})
    text = TranslatedText(SOURCE, TARGET, TEXT.spans, placed=(EINS, None, DREI, VIER))
    run(CascadeProjector([Step(cheap, "cheap", 0.9), Step(dear, "dear")]), text)
    assert dear.asked[0][0].placed == (None, VIER)


answers = st.dictionaries(
    st.sampled_from([ONE, TWO, THREE, FOUR]),
    st.tuples(st.sampled_from([EINS, ZWEI, DREI, VIER, (0, 9), (5, 14)]), st.floats(0, 1) | st.none()),
)


@given(
    tables=st.lists(answers, min_size=1, max_size=4),
    accept=st.floats(0, 1) | st.none(),
    agree=st.sampled_from([None, 2, 3]),
    combine=st.sampled_from(["first", "agreement", "weighted"]),
)
def test_whatever_the_methods_say(tables: list[Any], accept: float | None, agree: int | None, combine: Any) -> None:
    methods = [Scripted(table) for table in tables]
    steps = [Step(method, f"m{number}", accept) for number, method in enumerate(methods)]
    [row] = run(CascadeProjector(steps, agree=agree, combine=combine))
    assert [each.source for each in row] == list(TEXT.spans)
    taken = sorted(place for place in places(row) if place is not None)
    assert all(left[1] <= right[0] for left, right in pairwise(taken))
    for span, each in zip(TEXT.spans, row, strict=True):
        assert each.target is None or any(vote.target == each.target for vote in each.votes)
        asked = [method for method in methods if any(span in text.spans for call in method.asked for text in call)]
        assert len(each.votes) == len(asked) >= 1
        if each.method != "cascade":  # taken at a step: nobody was asked after it
            assert each.votes[-1].method == each.method


# Settings, as a configuration has them.


def test_steps_load_from_plain_settings() -> None:
    projector = load_projector(
        "cascade",
        steps=[
            {"method": "alignment", "aligner": "fake", "aligner_settings": {"dictionary": {"a": "b"}}, "accept": 0.9},
            {"method": "min-max", "aligner": "fake", "max_gap": 1, "name": "fallback"},
            {"method": "ensemble", "steps": [{"method": "constrained", "model": FakePrefixScorer({})}]},
        ],
        agree=None,
        combine="first",
    )
    assert isinstance(projector, CascadeProjector)
    assert [(step.name, step.accept) for step in projector.steps] == [
        ("alignment(fake)", 0.9),
        ("fallback", None),
        ("ensemble", None),
    ]
    for part in ("agree=None", "combine=first", "fallback:accept=None", "max_gap=1", "ensemble/1(", "constrained/1("):
        assert part in projector.fingerprint


def test_aligners_are_loaded_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **settings: Any) -> FakeAligner:
        loaded.append((name, settings))
        return FakeAligner({})

    monkeypatch.setattr("spanferry.alignment.registry.load_aligner", load)
    steps = [
        {"method": "alignment", "aligner": "fake"},
        {"method": "min-max", "aligner": "fake"},
        {"method": "min-max", "name": "by default"},
        {"method": "min-max", "aligner": "fake", "aligner_settings": {"x": 1}, "name": "other settings"},
    ]
    load_projector("cascade", Aligners("fake", given=lambda name: {"device": f"{name}'s"}), steps=steps)
    assert loaded == [("fake", {"device": "fake's"}), ("fake", {"device": "fake's", "x": 1})]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no list": ({"steps": "match"}, "steps is 'match': expected a list"),
    "no step": ({"steps": []}, r"steps is \[\]: expected a list"),
    "no method": ({"steps": [{"aligner": "fake"}]}, "step 1 is .*expected a mapping with a method"),
    "unknown method": ({"steps": [{"method": "alignmnt"}]}, r"step 1 \(alignmnt\): .*did you mean 'alignment'"),
    "unknown setting": (
        {"steps": [{"method": "min-max", "aligner": "fake", "maxgap": 1}]},
        r"step 1 \(min-max\): .*no setting 'maxgap': did you mean 'max_gap'",
    ),
    "no aligner": (
        {"steps": [{"method": "constrained", "model": FakePrefixScorer({})}, {"method": "alignment"}]},
        r"step 2 \(alignment\): .*needs the setting 'aligner'",
    ),
    "unknown aligner": ({"steps": [{"method": "alignment", "aligner": "efloml"}]}, "did you mean 'eflomal'"),
    "aligner settings": (
        {"steps": [{"method": "alignment", "aligner": "fake", "aligner_settings": {"dictionry": {}}}]},
        "aligner 'fake' has no setting 'dictionry'",
    ),
    "aligner settings no mapping": (
        {"steps": [{"method": "alignment", "aligner": "fake", "aligner_settings": 3}]},
        "aligner_settings are 3: expected a mapping",
    ),
    "accept as text": (
        {"steps": [{"method": "alignment", "aligner": "fake", "accept": "high"}]},
        "accept is 'high', expected a number from 0 to 1",
    ),
    "accept too high": ({"steps": [{"method": "alignment", "aligner": "fake", "accept": 90}]}, "accept is 90"),
    "one name twice": (
        {"steps": [{"method": "alignment", "aligner": "fake"}] * 2},
        r"2 steps are called 'alignment\(fake\)': give each a `name`",
    ),
    "agree": ({"steps": [{"method": "alignment", "aligner": "fake"}], "agree": 1}, "agree is 1: expected"),
    "combine": (
        {"steps": [{"method": "alignment", "aligner": "fake"}], "combine": "weigted"},
        "combine is 'weigted': did you mean 'weighted'",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_in_settings_say_where_and_what(case: str) -> None:
    settings, message = MISTAKES[case]
    with pytest.raises(ConfigError, match=message):
        load_projector("cascade", **settings)


def test_an_ensemble_takes_no_accept() -> None:
    with pytest.raises(ConfigError, match="an ensemble asks every method"):
        load_projector("ensemble", steps=[{"method": "alignment", "aligner": "fake", "accept": 0.5}])


@pytest.mark.parametrize("change", ["accept", "name", "agree", "combine", "order"])
def test_the_fingerprint_changes_with_every_rule(change: str) -> None:
    def make(**changed: Any) -> str:
        first = {"method": "alignment", "aligner": "fake", "accept": changed.get("accept", 0.9)}
        second = {"method": "min-max", "aligner": "fake", "name": changed.get("name", "second")}
        steps = [second, first] if changed.get("order") else [first, second]
        rules = {name: changed[name] for name in ("agree", "combine") if name in changed}
        return load_projector("cascade", steps=steps, **rules).fingerprint

    different: Mapping[str, Any] = {"accept": 0.8, "name": "x", "agree": 3, "combine": "first", "order": True}
    assert make(**{change: different[change]}) != make()


def test_an_ensemble_works_with_its_own_steps() -> None:
    made = load_projector("ensemble", Aligners("fake"))
    assert isinstance(made, EnsembleProjector)
    assert [(step.name, step.accept) for step in made.steps] == [(step["method"], None) for step in DEFAULT_STEPS]
