"""Examples across translations: what is carried, what is dropped and why; nothing is lost without a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.fake import FakeAligner
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.projection.base import Reason
from spanferry.projection.by_alignment import AlignmentProjector
from spanferry.projection.carry import Carried, carry
from spanferry.projection.filters import load_filters
from spanferry.translation.base import Segment, Translation

WORDS = {"cologne": "köln", "cat": "katze", "sleeps": "schläft"}


def run(examples: list[Example], translated: Mapping[tuple[int, str], Translation], **settings: Any) -> list[Carried]:
    projector = AlignmentProjector(FakeAligner(WORDS))
    return carry(examples, translated, projector, source="eng_Latn", target="deu_Latn", **settings)


def test_everything_but_text_and_places_is_kept() -> None:
    example = Example(
        "id-7",
        {"text": "Zoë likes Cologne"},
        (Span(10, 17, "LOC"), Span(0, 3, "PER")),
        {"intent": "like"},
        meta={"split": "train", "n": 3},
    )
    [carried] = run([example], {(0, "text"): Translation("Zoë likes Cologne", "Köln gefällt Zoë")})
    assert carried.target == Example(
        "id-7",
        {"text": "Köln gefällt Zoë"},
        (Span(0, 4, "LOC"), Span(13, 16, "PER")),
        {"intent": "like"},
        meta={"split": "train", "n": 3},
    )
    assert [projection.source for projection in carried.projections] == list(example.spans)
    assert (carried.reasons, carried.flags, carried.verdicts, carried.lost) == ((), (), (), ())


def test_pairs_carry_the_label_and_the_spans_of_each_field() -> None:
    example = Example(
        "1",
        {"premise": "the cat sleeps", "hypothesis": "a cat"},
        (Span(2, 5, "ANIMAL", "hypothesis"), Span(4, 7, "ANIMAL", "premise")),
        {"label": "entailment"},
    )
    translated = {
        (0, "premise"): Translation("the cat sleeps", "die Katze schläft"),
        (0, "hypothesis"): Translation("a cat", "eine Katze"),
    }
    [carried] = run([example], translated)
    assert carried.target is not None
    assert carried.target.labels == {"label": "entailment"}
    assert [(span.field, carried.target.text_of(span)) for span in carried.target.spans] == [
        ("premise", "Katze"),
        ("hypothesis", "Katze"),
    ]
    assert [projection.source for projection in carried.projections] == list(example.spans)


LOSING = Example("1", {"text": "Zoë met uh Cologne"}, (Span(0, 3, "PER"), Span(8, 10, "NOISE")))
LOST = {(0, "text"): Translation("Zoë met uh Cologne", "Zoë traf Köln", flags=("split",))}


def test_an_example_that_lost_a_span_is_dropped_with_the_reason() -> None:
    [carried] = run([LOSING], LOST)
    assert carried.target is None
    assert carried.reasons == ("unaligned",)
    assert [projection.reason for projection in carried.lost] == [Reason.UNALIGNED]
    assert carried.flags == ("split",)


def test_or_kept_without_it_and_the_loss_is_still_on_record() -> None:
    [carried] = run([LOSING], LOST, on_lost="keep")
    assert carried.target is not None
    assert carried.target.spans == (Span(0, 3, "PER"),)
    assert carried.reasons == ()
    assert len(carried.lost) == 1


def test_an_empty_translation_drops_the_example_whatever_the_settings() -> None:
    example = Example("1", {"text": "Cologne"}, labels={"label": 1})
    [carried] = run([example], {(0, "text"): Translation("Cologne", " ")}, on_lost="keep")
    assert (carried.target, carried.reasons) == (None, ("empty",))


def test_an_empty_text_is_carried_as_it_is() -> None:
    example = Example("1", {"text": ""}, labels={"label": 1})
    [carried] = run([example], {(0, "text"): Translation("", "")})
    assert carried.target == example


def test_filters_flag_drop_spans_or_drop_examples() -> None:
    example = Example("1", {"text": "2 cats in Cologne"}, (Span(10, 17, "LOC"),))
    translated = {(0, "text"): Translation("2 cats in Cologne", "Zwei Katzen in Köln")}
    [flagged] = run([example], translated, filters=load_filters({"protected": None}))
    assert flagged.target is not None
    assert flagged.flags == ("protected",)
    [dropped] = run([example], translated, filters=load_filters({"protected": {"on_fail": "drop_example"}}))
    assert (dropped.target, dropped.reasons) == (None, ("filter:protected",))

    short = load_filters({"span_length": {"on_fail": "drop_span", "lowest": 0.9, "shortest": 1}})
    [lost] = run([example], translated, filters=short)
    assert lost.reasons == ("filtered",)
    [kept] = run([example], translated, filters=short, on_lost="keep")
    assert kept.target is not None and kept.target.spans == ()
    assert kept.projections[0].reason is Reason.FILTERED


def test_a_verdict_names_the_span_of_the_example_not_of_the_field() -> None:
    example = Example("1", {"a": "x Cologne", "b": "Cologne"}, (Span(2, 9, "L", "a"), Span(0, 7, "L", "b")))
    translated = {(0, "a"): Translation("x Cologne", "x Köln"), (0, "b"): Translation("Cologne", "Köln")}
    [carried] = run([example], translated, filters=load_filters({"span_length": {"lowest": 0.9, "shortest": 1}}))
    assert [(verdict.field, verdict.span) for verdict in carried.verdicts] == [("a", 0), ("b", 1)]


def test_target_tokens_follow_the_source_or_the_wish() -> None:
    text, translated = "Cologne.", {(0, "text"): Translation("Cologne.", "Köln.")}
    bare = Example("1", {"text": text}, (Span(0, 7, "LOC"),))
    with_tokens = Example("1", {"text": text}, (Span(0, 7, "LOC"),), tokens={"text": ((0, 7), (7, 8))})
    for example, wish, expected in (
        (bare, None, {}),
        (bare, True, {"text": ((0, 4), (4, 5))}),
        (with_tokens, None, {"text": ((0, 4), (4, 5))}),
        (with_tokens, False, {}),
    ):
        [carried] = run([example], translated, target_tokens=wish)
        assert carried.target is not None
        assert carried.target.tokens == expected


def test_segments_are_respected() -> None:
    source, target = "Cologne. Cologne.", "Ja, Köln. Köln."
    segments = (Segment(0, 8, 0, 9), Segment(9, 17, 10, 15))
    example = Example("1", {"text": source}, (Span(9, 16, "LOC"),))
    [carried] = run([example], {(0, "text"): Translation(source, target, segments)})
    assert carried.target is not None
    assert carried.target.spans == (Span(10, 14, "LOC"),)


def test_examples_keep_their_order_and_do_not_mix() -> None:
    texts = [("Cologne", "Köln"), ("the cat", "die Katze"), ("Zoë", "Zoë")]
    spans = [(Span(0, 7, "A"),), (), (Span(0, 3, "C"),)]
    examples = [Example(str(i), {"text": text}, spans[i]) for i, (text, _) in enumerate(texts)]
    translated = {(i, "text"): Translation(*pair) for i, pair in enumerate(texts)}
    carried = run(examples, translated)
    assert [result.target and result.target.id for result in carried] == ["0", "1", "2"]
    assert [result.target and len(result.target.spans) for result in carried] == [1, 0, 1]


def test_a_missing_or_foreign_translation_is_an_error() -> None:
    example = Example("e9", {"text": "Cologne"})
    with pytest.raises(DataError, match=r"'e9'.*no translation"):
        run([example], {})
    with pytest.raises(DataError, match=r"'e9'.*the translation of 'Rome'"):
        run([example], {(0, "text"): Translation("Rome", "Rom")})


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'keep'"):
        run([], {}, on_lost="keeep")


words = st.sampled_from(["Zoë", "cat", "Cologne", "sleeps", "uh", "7"])


@given(st.lists(st.lists(words, min_size=1, max_size=6), max_size=4), st.data())
def test_every_span_is_accounted_for(sentences: list[list[str]], data: st.DataObject) -> None:
    examples, translated = [], {}
    for number, sentence in enumerate(sentences):
        text = " ".join(sentence)
        starts = [len(" ".join(sentence[:i])) + (i > 0) for i in range(len(sentence))]
        chosen = data.draw(st.lists(st.integers(0, len(sentence) - 1), unique=True, max_size=3))
        spans = tuple(Span(starts[i], starts[i] + len(sentence[i]), "X") for i in chosen)
        examples.append(Example(str(number), {"text": text}, spans))
        kept = data.draw(st.permutations([WORDS.get(word.lower(), word) for word in sentence if word != "uh"]))
        translated[number, "text"] = Translation(text, " ".join(kept))
    for policy in ("drop_example", "keep"):
        results = run(examples, translated, on_lost=policy)
        assert [result.source for result in results] == examples
        for result in results:
            assert [projection.source for projection in result.projections] == list(result.source.spans)
            assert (result.target is None) == bool(result.reasons)
            if result.target is not None:
                assert len(result.target.spans) + len(result.lost) == len(result.source.spans)
            if policy == "drop_example" and result.lost:
                assert result.target is None
