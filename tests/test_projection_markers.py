"""Labels carried by marks: the two ways of work, what broken marks do, and what a build makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from spanferry.alignment.fake import FakeAligner
from spanferry.data.errors import ConfigError
from spanferry.data.example import Example, Span
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.report import print_summary
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.marked_translation import translate_marked
from spanferry.projection.markers import MarkersProjector
from spanferry.projection.prediction import Prediction
from spanferry.projection.registry import load_projector
from spanferry.translation.base import Hypothesis, Segment
from spanferry.translation.fake import FakeTranslator


class Scripted:
    """A translator that says what it was told to say, and gives anything else back, or ``otherwise``."""

    fingerprint = "scripted"
    languages = None
    max_tokens = 100

    def __init__(self, script: Mapping[str, str], otherwise: str | None = None) -> None:
        self.script = script
        self.otherwise = otherwise
        self.asked: list[str] = []

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        self.asked += texts
        return [Hypothesis(self.script.get(text, self.otherwise or text), -0.5) for text in texts]


def spans_of(text: str, *labelled: tuple[str, str]) -> tuple[Span, ...]:
    return tuple(Span(text.index(words), text.index(words) + len(words), label) for words, label in labelled)


def project(projector: MarkersProjector, text: TranslatedText) -> tuple[Projection, ...]:
    [row] = projector.project([text], source="eng_Latn", target="deu_Latn")
    return row


def found(text: TranslatedText, row: Sequence[Projection]) -> list[str | None]:
    return [None if p.target is None else text.target[p.target.start : p.target.end] for p in row]


ANA = "Ana met Bo in Rome."
ANA_SPANS = spans_of(ANA, ("Ana", "PER"), ("Bo", "PER"), ("Rome", "LOC"))
ALIGNER = FakeAligner({"met": "traf", "rome": "rom"})


def test_where_marked_and_plain_translation_are_the_same_the_place_is_exact() -> None:
    model = Scripted({"[ Ana ] met [ Bo ] in [ Rome ].": "In [ Rom ] traf [ Ana ] [ Bo ].", "Rome": "Rom"})
    text = TranslatedText(ANA, "In Rom traf Ana Bo.", ANA_SPANS)
    row = project(MarkersProjector(model, fallback=None), text)
    assert found(text, row) == ["Ana", "Bo", "Rom"]
    assert [(p.method, p.score) for p in row] == [("markers", 1.0)] * 3


def test_where_they_differ_pieces_are_found_by_likeness_and_mentions_in_order() -> None:
    source = "Rome is not Rome without Romans."
    spans = (Span(0, 4, "LOC"), Span(12, 16, "LOC"), Span(25, 31, "PER"))
    model = Scripted({"[ Rome ] is not [ Rome ] without [ Romans ].": "[ Rom ] ist nicht [ Rom ] ohne [ Römern ]."})
    text = TranslatedText(source, "Ohne die Römer wäre Rom gar nicht mehr Rom.", spans)
    row = project(MarkersProjector(model, fallback=None), text)
    assert found(text, row) == ["Rom", "Rom", "Römer"]
    assert [p.target.start for p in row if p.target] == [20, 39, 9]
    assert row[0].score == 1.0 and row[2].score is not None and 0.7 <= row[2].score < 1


def test_broken_marks_leave_the_spans_to_the_fallback_and_say_so() -> None:
    model = Scripted({"[ Ana ] met [ Bo ] in [ Rome ].": "[ Ana traf [ Bo ] in [ Rom ]."})
    text = TranslatedText(ANA, "Ana traf Bo in Rom.", ANA_SPANS)
    row = project(MarkersProjector(model, aligner=ALIGNER), text)
    assert found(text, row) == ["Ana", "Bo", "Rom"]
    assert {p.method for p in row} == {"alignment"}
    assert all(p.detail.startswith("markers: the marks came back broken") for p in row)
    lost = project(MarkersProjector(model, fallback=None), text)
    assert {(p.target, p.reason, p.method) for p in lost} == {(None, Reason.NO_CANDIDATE, "markers")}


def test_of_broken_tags_those_that_came_back_count() -> None:
    marked = "<a>Ana</a> met <b>Bo</b> in <c>Rome</c>."
    model = Scripted({marked: "<a>Ana</a> traf Bo</b> in <c>Rom</c>."}, "?")  # tags that are lost are tried again
    text = TranslatedText(ANA, "Ana traf Bo in Rom.", ANA_SPANS)
    row = project(MarkersProjector(model, style="tags", aligner=ALIGNER), text)
    assert found(text, row) == ["Ana", "Bo", "Rom"]
    assert [p.method for p in row] == ["markers", "alignment", "markers"]


def test_the_fallback_may_not_take_the_place_of_another_span() -> None:
    model = Scripted({"<a>Ana</a> met <b>Bo</b>.": "<a>Ana</a> traf Bo."}, "?")
    text = TranslatedText("Ana met Bo.", "Ana traf ihn.", spans_of("Ana met Bo.", ("Ana", "PER"), ("Bo", "PER")))
    aligner = FakeAligner({"ana": "x", "bo": "ana"})
    projector = MarkersProjector(model, style="tags", aligner=aligner, fallback_settings={"identical": False})
    row = project(projector, text)
    assert found(text, row) == ["Ana", None]
    assert row[1].reason is Reason.OVERLAP


def test_marks_that_are_placed_need_no_model_and_snap_to_words() -> None:
    text = TranslatedText(ANA, "Ana traf Bo in Rom.", ANA_SPANS, placed=((0, 2), None, (15, 19)))
    row = project(MarkersProjector(None, fallback=None), text)
    assert found(text, row) == ["Ana", None, "Rom"]
    assert [p.score for p in row] == [1.0, None, 1.0]
    with pytest.raises(ConfigError, match="no model"):
        project(MarkersProjector(None, fallback=None), TranslatedText(ANA, "Ana.", ANA_SPANS))


def test_brackets_of_several_types_are_told_apart_by_their_translations() -> None:
    source = "The cat saw the dog."
    spans = spans_of(source, ("cat", "CAT"), ("dog", "DOG"))
    model = Scripted({"The [ cat ] saw the [ dog ].": "Den [ Hund ] sah die [ Katze ].", "cat": "Katze", "dog": "Hund"})
    [read] = translate_marked([source], [spans], model, source="en", target="de")
    assert [read.translation.text[slice(*place)] for place in read.places if place] == ["Katze", "Hund"]
    assert "cat" in model.asked
    alike = Scripted({"The [ cat ] saw the [ dog ].": "Die [ Katze ] sah den [ Hund ]."})
    translate_marked([source], [[Span(4, 7, "PET"), Span(16, 19, "PET")]], alike, source="en", target="de")
    assert alike.asked == ["The [ cat ] saw the [ dog ]."]  # types that are all the same need no telling apart


def test_a_sentence_is_read_in_the_same_way_whatever_stands_beside_it() -> None:
    """The second text asks what its words are by themselves; that is none of the first one's business."""
    texts = ["gg hh wins.", "gg met hh."]
    spans = [spans_of(texts[0], ("gg", "X"), ("hh", "X")), spans_of(texts[1], ("gg", "X"), ("hh", "Y"))]
    script = {
        "[ gg ] [ hh ] wins.": "[ mm ] [ kk ] gana.",
        "[ gg ] met [ hh ].": "[ kk ] vio [ mm ].",
        "gg": "kk",
        "hh": "mm",
    }
    model = Scripted(script)
    alone = translate_marked(texts[:1], spans[:1], model, source="en", target="de")
    beside = translate_marked(texts, spans, model, source="en", target="de")
    assert "gg" in model.asked
    assert alone[0].places == beside[0].places and None not in alone[0].places


def test_only_the_sentence_whose_marks_broke_is_translated_plain() -> None:
    source = "Ana came. Nobody saw. Bo left."
    spans = spans_of(source, ("Ana", "PER"), ("Bo", "PER"))
    model = Scripted({"[ Ana ] came.": "[ Ana ] kam.", "[ Bo ] left.": "[ Bo ging.", "Bo left.": "Bo ging weg."})
    [read] = translate_marked([source], [spans], model, source="en", target="de", whole_texts=True)
    assert read.translation.text == "Ana kam. Nobody saw. Bo ging weg."
    assert read.translation.source == source
    assert read.places == ((0, 3), None)
    assert read.broken == ((22, 30),) and read.sentences == (((0, 9), (0, 8)),)
    assert read.translation.segments == (Segment(0, 9, 0, 8), Segment(10, 21, 9, 20), Segment(22, 30, 21, 33))


def test_sentences_are_cut_as_without_marks_and_spans_are_not() -> None:
    source = "He plays for St. Gallen. [Really!] They lost.\n- Rome\n- [x] 2 < 3 Ana"
    spans = spans_of(source, ("St. Gallen", "ORG"), ("Really", "X"), ("They", "Y"), ("Rome", "LOC"), ("Ana", "PER"))
    model = FakeTranslator()
    [read] = translate_marked([source], [spans], model, source="en", target="de", whole_texts=True)
    assert read.translation.text == source and not read.broken
    assert read.places == tuple((span.start, span.end) for span in spans)
    for segment in read.translation.segments:
        assert (segment.source_start, segment.source_end) == (segment.target_start, segment.target_end)


def test_addresses_and_numbers_are_protected_inside_marks() -> None:
    source = "See https://a.org/x on 1,024 pages."
    spans = spans_of(source, ("https://a.org/x", "URL"), ("1,024", "NUM"))
    for style in ("brackets", "tags"):
        [read] = translate_marked([source], [spans], FakeTranslator(), source="en", target="de", style=style)  # type: ignore[arg-type]
        assert read.places == tuple((span.start, span.end) for span in spans)


def test_a_span_over_a_line_break_has_no_marks_and_a_reason() -> None:
    source = "one\ntwo"
    [read] = translate_marked([source], [[Span(0, 7, "X")]], FakeTranslator(), source="en", target="de")
    assert read.places == (None,) and "sentence" in read.reasons[0]


def test_a_model_that_cannot_spell_brackets_gets_tags() -> None:
    class Speller(Scripted):
        def can_spell(self, texts: Sequence[str]) -> list[bool]:
            return [not set("[]") & set(text) for text in texts]

    model = Speller({})
    translate_marked(["Rome"], [[Span(0, 4, "LOC")]], model, source="en", target="de")
    assert model.asked == ["<a>Rome</a>"]


@pytest.mark.parametrize(
    "settings", [{"style": "stars"}, {"text": "both"}, {"min_similarity": 2}, {"compare": "all"}, {"snap": "word"}]
)
def test_mistakes_in_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        load_projector("markers", model=FakeTranslator(), aligner=ALIGNER, **settings)


def test_the_fingerprint_names_the_model_and_the_fallback() -> None:
    one = MarkersProjector(FakeTranslator({"a": "b"}), fallback=None)
    other = MarkersProjector(FakeTranslator({"a": "b"}), aligner=ALIGNER)
    assert one.fingerprint != other.fingerprint
    assert "fake:" in one.fingerprint and "alignment/" in other.fingerprint


# In a build.


@pytest.fixture
def marked_settings(build_settings: dict[str, Any]) -> dict[str, Any]:
    build_settings["projection"]["method"] = "markers"
    build_settings["targets"] = ["de"]
    return build_settings


@pytest.mark.parametrize("mode", ["plain", "marked"])
def test_a_build_by_markers(
    mode: str, marked_settings: dict[str, Any], published: Callable[[Path], dict[str, bytes]]
) -> None:
    marked_settings["projection"]["settings"] = {"text": mode, "compare": 1.0}
    result = build(parse_config(marked_settings))
    total = result.report["languages"]["de"]["total"]
    # A dictionary translates marked text as it does plain text, so that nothing breaks and nothing differs.
    assert total["rows"] == total["kept"] == 120 and total["carried"] == total["spans"] > 100
    assert total["methods"] == {"markers": total["spans"]}
    marks = total["marks"]
    assert marks["sentences"] == marks["compared"] > 90 and marks["broken"] == marks["different"] == 0
    again = build(parse_config(marked_settings))
    assert again.timings["de"].reused == 120


def test_plain_and_marked_text_are_the_same_where_marks_change_nothing(
    marked_settings: dict[str, Any], published: Callable[[Path], dict[str, bytes]]
) -> None:
    build(parse_config(marked_settings))
    plain = published(Path(marked_settings["output"]))
    marked_settings["projection"]["settings"] = {"text": "marked"}
    build(parse_config(marked_settings))
    marked = published(Path(marked_settings["output"]))
    [name] = [name for name in plain if name.endswith(".parquet")]
    assert plain[name] == marked[name]


def test_a_build_counts_broken_marks_and_flags_the_rows(
    marked_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = FakeTranslator.translate

    def clumsy(self: FakeTranslator, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        hypotheses = honest(self, texts, source=source, target=target)
        return [
            Hypothesis(each.text.replace("]", "", 1).replace(" in ", " at "), each.score)
            if "Porto" in text and "[" in text
            else each
            for text, each in zip(texts, hypotheses, strict=True)
        ]

    monkeypatch.setattr(FakeTranslator, "translate", clumsy)
    marked_settings["projection"]["settings"] = {"text": "marked", "compare": 1.0}
    result = build(parse_config(marked_settings))
    total = result.report["languages"]["de"]["total"]
    assert total["marks"]["broken"] == total["flags"]["marks_broken"] > 0
    assert total["marks"]["sentences"] == total["marks"]["compared"] + total["marks"]["broken"]
    assert 0 < total["methods"]["alignment"] < total["methods"]["markers"]
    assert total["rows"] == total["kept"] + total["dropped"]
    print_summary(result)
    assert f"{total['marks']['sentences']} sentences were marked, marks came back broken in" in capsys.readouterr().out


def test_a_build_refuses_a_model_of_its_own_for_marks(marked_settings: dict[str, Any]) -> None:
    marked_settings["projection"]["settings"] = {"model": "bundled"}
    with pytest.raises(ConfigError, match=r"translation\.model"):
        build(parse_config(marked_settings))


class Cologne:
    """Finds Cologne, and nothing else."""

    fingerprint = "cologne"

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        texts = [example.fields["text"] for example in examples]
        places = [text.index("Cologne") for text in texts]
        return [Prediction((Span(start, start + 7, "LOC"),), (0.5,)) for start in places]


def test_predictions_come_home_by_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "load_predictor", lambda name, **settings: Cologne())
    monkeypatch.setattr(parts, "_loaded", None)
    source = tmp_path / "de.jsonl"
    source.write_text('{"id": "1", "text": "Anna wohnt in Köln.", "spans": []}', encoding="utf-8")
    dictionary = {"wohnt": "lives", "lives": "wohnt", "Köln": "Cologne", "Cologne": "Köln"}
    settings: dict[str, Any] = {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": str(source), "languages": ["de"]},
        "pivot": "en",
        "predictor": {"name": "file", "path": str(tmp_path / "none.jsonl")},
        "translation": {"model": "fake", "settings": {"dictionary": dictionary}},
        "projection": {"method": "markers", "aligner": "fake"},
        "run": {"memory": False},
        "output": str(tmp_path / "out"),
    }
    total = build(parse_config(settings)).report["languages"]["de"]["total"]
    assert (total["carried"], total["methods"]) == (1, {"markers": 1})
    settings["projection"]["settings"] = {"text": "marked"}
    with pytest.raises(ConfigError, match="predictions come after"):
        build(parse_config(settings))


def test_the_bundled_model_carries_marks() -> None:
    sources = ["Marie Curie was born in Warsaw in 1867.", "Where is the house?", "Peter lives in Berlin."]
    spans = [
        spans_of(sources[0], ("Marie Curie", "PER"), ("Warsaw", "LOC")),
        (),
        spans_of(sources[2], ("Berlin", "LOC")),
    ]
    from spanferry.translation.registry import load_translator

    read = translate_marked(sources, spans, load_translator("bundled"), source="en", target="de", whole_texts=True)
    pieces = [[each.translation.text[slice(*place)] for place in each.places if place] for each in read]
    assert pieces == [["Marie Curie", "Warsaw"], [], ["Berlin"]]
    assert not any("[" in each.translation.text for each in read)
