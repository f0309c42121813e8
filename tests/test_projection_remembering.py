"""Projections that are remembered: what comes back is what was put in, and nobody is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.alignment.base import CORPUS_WISE, Token
from spanferry.alignment.registry import load_aligner
from spanferry.data.example import Span
from spanferry.data.shared_file import CorruptMemoryWarning
from spanferry.projection.base import Projection, Reason, TranslatedText, Vote
from spanferry.projection.registry import load_projector
from spanferry.projection.remembering import ProjectionMemory, ProjectionStats, RememberingProjector
from spanferry.translation.base import Segment

SIDES = {"source": "eng_Latn", "target": "deu_Latn"}
TEXT = TranslatedText(
    "In Köln we met.",
    "Wir trafen uns in Köln.",
    (Span(3, 7, "LOC"),),
    (Segment(0, 15, 0, 23),),
    (Token(0, 2), Token(3, 7)),
    (Token(18, 22),),
)


@dataclass
class Asked:
    """A projector that answers as it is told, and notes what it is asked."""

    answer: Callable[[TranslatedText], tuple[Projection, ...]]
    fingerprint: str = "asked/1"
    texts: list[TranslatedText] = field(default_factory=list)

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        self.texts += texts
        return [self.answer(text) for text in texts]


def lost(text: TranslatedText) -> tuple[Projection, ...]:
    return tuple(Projection(span, None, "asked", reason=Reason.UNALIGNED) for span in text.spans)


@pytest.fixture
def memory(tmp_path: Path) -> ProjectionMemory:
    return ProjectionMemory(tmp_path / "memory.projections.sqlite")


unit = st.none() | st.floats(0, 1)
words = st.text(st.characters(exclude_categories=()), max_size=8)
places = st.none() | st.builds(
    lambda start, length, label, name: Span(start, start + length, label, name),
    st.integers(0, 9),
    st.integers(1, 9),
    st.sampled_from(["LOC", "PER"]),
    st.sampled_from(["text", "context"]),
)


@st.composite
def answers(draw: st.DrawFn) -> Projection:
    target = draw(places)
    votes = draw(st.lists(st.builds(Vote, words, places, unit), max_size=3))
    reason = draw(st.sampled_from(Reason)) if target is None else None
    return Projection(
        TEXT.spans[0], target, draw(words), draw(unit), reason, draw(words), draw(unit), draw(unit), draw(unit),
        tuple(votes),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(answer=answers())
def test_an_answer_comes_back_as_it_was(answer: Projection, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("memory") / "projections.sqlite"
    asked = Asked(lambda _: (answer,))
    with ProjectionMemory(path) as memory:
        first = RememberingProjector(asked, memory).project([TEXT], **SIDES)
        again = RememberingProjector(asked, memory).project([TEXT], **SIDES)
    assert first == again == [(answer,)]
    assert type(again[0][0].reason) is type(answer.reason)
    assert len(asked.texts) == 1


OTHERS = {
    "the source text": replace(TEXT, source="In Köln I met."),
    "the translation": replace(TEXT, target="Wir trafen uns in Köln!"),
    "a label": replace(TEXT, spans=(Span(3, 7, "PER"),)),
    "a field": replace(TEXT, spans=(Span(3, 7, "LOC", "context"),)),
    "a span": replace(TEXT, spans=(Span(3, 7, "LOC"), Span(8, 10, "LOC"))),
    "the segments": replace(TEXT, segments=()),
    "tokens of the source": replace(TEXT, source_tokens=None),
    "tokens of the target": replace(TEXT, target_tokens=(Token(18, 23),)),
    "places of marks": replace(TEXT, placed=((18, 22),)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_differs_is_asked_anew(other: str, memory: ProjectionMemory) -> None:
    asked = Asked(lost)
    RememberingProjector(asked, memory).project([TEXT], **SIDES)
    RememberingProjector(asked, memory).project([TEXT, OTHERS[other]], **SIDES)
    assert asked.texts == [TEXT, OTHERS[other]]


def test_another_method_or_language_is_asked_anew(memory: ProjectionMemory) -> None:
    asked = Asked(lost)
    RememberingProjector(asked, memory).project([TEXT], **SIDES)
    RememberingProjector(replace(asked, fingerprint="asked/2"), memory).project([TEXT], **SIDES)
    RememberingProjector(asked, memory).project([TEXT], source="eng_Latn", target="spa_Latn")
    RememberingProjector(asked, memory).project([TEXT], source="deu_Latn", target="eng_Latn")
    assert len(asked.texts) == 4


def test_texts_without_spans_ask_nothing_and_twins_ask_once(memory: ProjectionMemory) -> None:
    asked, bare = Asked(lost), TranslatedText("Yes.", "Ja.", ())
    projector = RememberingProjector(asked, memory)
    assert projector.project([bare, TEXT, bare, TEXT], **SIDES) == [(), lost(TEXT), (), lost(TEXT)]
    assert asked.texts == [TEXT]
    assert projector.known([bare, TEXT, OTHERS["a label"]], **SIDES) == [True, True, False]
    assert projector.project([], **SIDES) == []
    projector.project([TEXT], **SIDES)
    assert projector.stats == ProjectionStats(projected=1, remembered=1)


def test_a_method_that_reads_the_whole_corpus_is_asked_every_time(memory: ProjectionMemory) -> None:
    asked = Asked(lost, f"asked({CORPUS_WISE})")
    projector = RememberingProjector(asked, memory)
    for _ in range(2):
        projector.project([TEXT, TEXT], **SIDES)
    assert asked.texts == [TEXT] * 4 and len(memory) == 0
    assert projector.known([TEXT], **SIDES) == [False]


@pytest.mark.parametrize(
    ("aligner", "wise"), [({}, True), ({"readings": 1}, False)], ids=["three readings", "one reading"]
)
def test_methods_say_whether_they_read_the_whole_corpus(aligner: dict[str, int], wise: bool) -> None:
    projector = load_projector("alignment", aligner="lexical", aligner_settings=aligner)
    steps = [{"method": "match"}, {"method": "alignment", "aligner": "lexical", "aligner_settings": aligner}]
    for method in (projector, load_projector("cascade", steps=steps)):
        assert (CORPUS_WISE in method.fingerprint) is wise


def test_eflomal_says_that_it_reads_the_whole_corpus() -> None:
    pytest.importorskip("eflomal")
    assert CORPUS_WISE in load_aligner("eflomal").fingerprint


def test_a_damaged_memory_is_moved_aside_and_asked_again(tmp_path: Path) -> None:
    path, asked = tmp_path / "memory.projections.sqlite", Asked(lost)
    with ProjectionMemory(path) as memory:
        RememberingProjector(asked, memory).project([TEXT], **SIDES)
    path.write_bytes(path.read_bytes()[:100] + b"no database" * 1000)
    with pytest.warns(CorruptMemoryWarning, match="memory of projections is damaged .* will be projected again"):
        memory = ProjectionMemory(path)
    with memory:
        for _ in range(2):
            assert RememberingProjector(asked, memory).project([TEXT], **SIDES) == [lost(TEXT)]
    assert len(asked.texts) == 2


def test_old_entries_can_be_thrown_away(memory: ProjectionMemory) -> None:
    memory.put({bytes([number] * 16): "[]" for number in range(200)})
    assert memory.prune(before=1_000_000_000) == 0 and len(memory) == 200
    assert memory.prune(before=5_000_000_000) == 200 and len(memory) == 0
