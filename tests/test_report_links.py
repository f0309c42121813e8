"""The links between words on a report page: those that the build used, or a reason why there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.base import Link, Token
from spanferry.data.example import Span
from spanferry.flows.build import build
from spanferry.flows.build_outcomes import Row, languages_of, rows_of
from spanferry.flows.config import parse_config
from spanferry.flows.corrections import Correction, corrected
from spanferry.flows.members import Build, open_build
from spanferry.flows.outcomes import pack_segments, unpack_segments
from spanferry.flows.page_links import PageLinks, link_examples
from spanferry.flows.report_command import write_report
from spanferry.flows.shards import write_json
from spanferry.projection import by_alignment
from spanferry.projection.base import TranslatedText
from spanferry.projection.links import trusted_links
from spanferry.translation.base import Segment, Translation

Pairs = set[tuple[str, str, int, int, int, int]]
"""Source text, target text, and the offsets of the linked words."""


def everything(build: Build) -> list[tuple[str, Row]]:
    return [(language, row) for language in languages_of(build) for row in rows_of(build, language)]


def pairs_of(found: PageLinks, chosen: Iterable[tuple[str, Row]]) -> Pairs:
    rows = {(language, row.split, row.outcome["id"]): row.outcome for language, row in chosen}
    return {
        (rows[key]["source"][name], rows[key]["translations"][name]["text"], *here, *there)
        for key, fields in found.found.items()
        for name, links in fields.items()
        for here, there in links
    }


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Pairs:
    """The links that spans are carried along from now on."""
    seen: Pairs = set()
    carry = by_alignment.project_links

    def watched(
        text: TranslatedText, here: list[Token], there: list[Token], links: list[Link], stretches: Any, *, settings: Any
    ) -> tuple[Any, ...]:
        words = [text.source[slice(*token)] for token in here], [text.target[slice(*token)] for token in there]
        for i, j, _ in trusted_links(*words, links, identical=settings.identical):
            seen.add((text.source, text.target, *here[i], *there[j]))
        return carry(text, here, there, links, stretches, settings=settings)

    monkeypatch.setattr(by_alignment, "project_links", watched)
    return seen


def settings_of(tmp_path: Path, **others: Any) -> dict[str, Any]:
    """Settings of a build of long texts, whose sentences repeat words so that it matters where they were cut."""
    rows = [
        {"id": str(n), "text": f"The red fox {n} sleeps. The fox saw Anna. The red fox ran.\n\nBerlin is red.",
         "spans": [{"start": start, "end": start + len(word), "label": "X"}
                   for word in ("Anna", "Berlin")
                   for start in [f"The red fox {n} sleeps. The fox saw Anna. The red fox ran.\n\nBerlin".index(word)]]}
        for n in range(3)
    ]  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": "ner",
        "source": {"path": str(path), "language": "en"},
        "targets": ["de", "es"],
        "translation": {"model": "fake", "settings": {"dictionary": {"red": "rot", "saw": "sah"}}},
        "projection": {"aligner": "fake", "aligner_settings": {"dictionary": {"red": "rot", "saw": "sah"}}},
        "run": {"memory": False},
        "output": str(tmp_path / "out"),
        **others,
    }


def built(settings: dict[str, Any]) -> Build:
    return open_build(build(parse_config(settings)).folder)


def test_the_links_of_long_texts_are_those_that_were_used(tmp_path: Path, used: Pairs) -> None:
    made = built(settings_of(tmp_path))
    then, chosen = set(used), everything(made)
    assert chosen[0][1].outcome["translations"]["text"]["segments"][:4] == [0, 21, 0, 21]
    found = link_examples(made, chosen)
    assert pairs_of(found, chosen) == then and len(then) > 20
    assert "the aligner fake" in found.said
    text = chosen[0][1].outcome["source"]["text"]
    linked = {tuple(here): text[slice(*here)] for here, _ in found.found["de", "train", "0"]["text"]}
    assert {"Anna", "saw", "Berlin"} <= set(linked.values())
    assert (4, 7) not in linked and linked[text.rindex("red"), len(text) - 1] == "red"  # its sentence has no span


@given(st.lists(st.tuples(*[st.integers(0, 300)] * 4), max_size=6))
def test_segments_come_back_from_a_shard(lengths: list[tuple[int, int, int, int]]) -> None:
    segments, here, there = [], 0, 0
    for gap, length, other_gap, other_length in lengths:
        segments.append(Segment(here + gap, here + gap + length, there + other_gap, there + other_gap + other_length))
        here, there = segments[-1].source_end, segments[-1].target_end
    translation = Translation("x" * here, "y" * there, tuple(segments))
    packed = pack_segments(translation)
    # A single one from end to end says no more than none: the texts are aligned as they are.
    whole = tuple(segments) == (Segment(0, here, 0, there),)
    assert unpack_segments(json.loads(json.dumps(packed))) == (() if whole else tuple(segments))


def test_text_that_came_back_is_linked_with_its_source(tmp_path: Path, used: Pairs) -> None:
    made = built(settings_of(tmp_path, direction="back-translate"))
    then, chosen = set(used), everything(made)
    assert pairs_of(link_examples(made, chosen), chosen) == then and then


def test_the_data_own_tokens_are_linked(tmp_path: Path, used: Pairs) -> None:
    path = tmp_path / "train.conll"
    path.write_text("Anna-Lena B-PER\nsaw O\nthe O\nred O\nfox. O\n\nShe O\nsaw O\nBonn. B-LOC\n", encoding="utf-8")
    source = {"path": str(path), "language": "en"}
    made = built(settings_of(tmp_path, source=source))
    then, chosen = set(used), everything(made)
    found = link_examples(made, chosen)
    assert pairs_of(found, chosen) == then
    assert ("Anna-Lena saw the red fox.", 0, 9) in {(source, start, end) for source, _, start, end, _, _ in then}


def test_predictions_are_linked_from_the_translation_to_the_user_s_text(tmp_path: Path, used: Pairs) -> None:
    (tmp_path / "test.conll").write_text("Anna B-PER\nsah O\nrote O\nFüchse. O\n", encoding="utf-8")
    answer = {"id": "1", "text": "Anna saw rote Füchse.", "spans": [{"start": 0, "end": 4, "label": "PER"}]}
    (tmp_path / "predicted.jsonl").write_text(json.dumps(answer) + "\n", encoding="utf-8")
    settings = settings_of(
        tmp_path,
        direction="translate-test",
        source={"path": str(tmp_path / "test.conll"), "languages": ["de"]},
        pivot="en",
        predictor={"name": "file", "path": str(tmp_path / "predicted.jsonl")},
        translation={"model": "fake", "settings": {"dictionary": {"sah": "saw"}}},
        causes=False,  # they are found by projecting the gold spans too
    )
    del settings["targets"]
    made = built(settings)
    then, chosen = set(used), everything(made)
    found = link_examples(made, chosen)
    assert pairs_of(found, chosen) == then
    [links] = found.found["de", "test", chosen[0][1].outcome["id"]].values()
    assert (Token(5, 8), Token(5, 8)) in links  # saw, sah
    assert links[-1][1] == Token(14, 21)  # as the user's tokens are: with the full stop


def test_an_aligner_that_learns_from_a_shard_gets_the_whole_shard_again(tmp_path: Path, used: Pairs) -> None:
    projection = {"aligner": "lexical", "aligner_settings": {"readings": 3}}
    run = {"memory": False, "shard_rows": 2}
    made = built(settings_of(tmp_path, targets=["de"], projection=projection, run=run))
    then, chosen = set(used), everything(made)[1:]
    found = link_examples(made, chosen)
    assert pairs_of(found, chosen) == {pair for pair in then if not pair[0].startswith("The red fox 0 ")}
    assert "lexical learns from whole shards" in found.said


@pytest.mark.parametrize(
    ("projection", "said"),
    [
        ({"method": "match"}, "the method match carries spans without any"),
        (
            {"method": "cascade", "aligner": "lexical", "aligner_settings": {"readings": 3}},
            "lexical learned from what the steps before it left open",
        ),
    ],
)
def test_why_there_are_no_links_is_said(tmp_path: Path, projection: dict[str, Any], said: str) -> None:
    made = built(settings_of(tmp_path, projection=projection))
    found = link_examples(made, everything(made))
    assert said in found.said and not found.found
    assert found.said in write_report(made.folder.root).read_text(encoding="utf-8")


def test_the_first_step_of_a_cascade_that_has_links_shows_its_own(tmp_path: Path) -> None:
    steps = [
        {"method": "match", "accept": 0.9},
        {"method": "min-max", "name": "careful", "aligner": "fake", "aligner_settings": {"dictionary": {"saw": "sah"}}},
        {"method": "alignment", "aligner": "lexical"},
    ]
    made = built(settings_of(tmp_path, projection={"method": "cascade", "settings": {"steps": steps}}))
    found = link_examples(made, everything(made))
    assert "the aligner fake" in found.said and found.found


def test_links_of_another_aligner_are_not_drawn(tmp_path: Path) -> None:
    made = built(settings_of(tmp_path))
    settings = made.report["settings"]
    projection = {**settings["projection"], "aligner_settings": {"dictionary": {"red": "grün"}}}
    write_json(made.folder.report, {**made.report, "settings": {**settings, "projection": projection}})
    other = open_build(made.folder.root)
    found = link_examples(other, everything(other))
    assert "the aligner fake is not what it was when the build was made" in found.said and not found.found


def test_an_aligner_whose_model_is_gone_costs_a_page_its_links_alone(tmp_path: Path) -> None:
    made = built(settings_of(tmp_path))
    settings = made.report["settings"]
    projection = {**settings["projection"], "aligner": "mt-encoder"}
    projection["aligner_settings"] = {"model": str(tmp_path / "gone")}
    write_json(made.folder.report, {**made.report, "settings": {**settings, "projection": projection}})
    page = write_report(made.folder.root).read_text(encoding="utf-8")
    assert "No links between words are drawn: " in page and str(tmp_path / "gone") in page and '"links":[]' in page


def test_texts_without_spans_and_corrected_texts_have_no_links(looked_at: ModuleType, tmp_path: Path) -> None:
    made = open_build(looked_at.write(tmp_path / "build"))
    chosen = everything(made)
    outcome = chosen[0][1].outcome
    person = Correction("curie", outcome["source"], {"text": "In Warschau."}, (Span(3, 11, "LOC"),), "deu_Latn")
    chosen[0] = ("de", Row("train", corrected(outcome, person)))
    found = link_examples(made, chosen).found
    assert ("ar", "train", "curie") in found
    assert ("de", "train", "curie") not in found and ("de", "train", "quiet") not in found
    plain = Build(made.folder, {**made.report, "task": "text-classification"}, {})
    assert "no spans" in link_examples(plain, []).said


def test_a_page_may_do_without(looked_at: ModuleType, tmp_path: Path) -> None:
    page = write_report(looked_at.write(tmp_path / "build"), links=False).read_text(encoding="utf-8")
    assert "(--no-links)" in page and '"links":[[' not in page


WORDS = "els => els.map(e => e.textContent)"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_links_are_drawn_when_a_word_is_pointed_at(
    looked_at: ModuleType, tmp_path: Path, browser: Callable[..., Any], scheme: str
) -> None:
    page = write_report(looked_at.write(tmp_path / "build"))
    tab = browser(page, scheme)
    lines, marked = tab.locator("#links path"), tab.locator(".token.on")

    def choose(language: str) -> None:
        tab.fill("#search", "Curie")
        tab.select_option("#language", language)

    choose("de")
    tab.locator(".token", has_text="born").hover()
    assert marked.evaluate_all(WORDS) == ["born", "geboren"] and lines.count() == 1
    tab.locator("h1").hover()
    assert not marked.count() and not lines.count()

    # A word within a span: its own links, while the span's places are outlined.
    tab.locator(".side").nth(1).locator(".token", has_text="Warschau").hover()
    assert marked.evaluate_all(WORDS) == ["Warsaw", "Warschau"] and lines.count() == 1
    assert tab.locator(".span.on").count() == 2

    # Right to left: the line runs from below the one word to below the other.
    choose("ar")
    tab.locator(".token", has_text="Marie").hover()
    assert marked.evaluate_all(WORDS) == ["Marie", "ماري"]
    ends = tab.locator("#links circle").evaluate_all(
        "els => els.map(e => [+e.getAttribute('cx'), +e.getAttribute('cy')])"
    )
    for (x, y), box in zip(ends, [marked.nth(number).bounding_box() for number in range(2)], strict=True):
        assert box["x"] < x < box["x"] + box["width"] and abs(y - box["y"] - box["height"]) < 2

    # One word, several characters that stand for it.
    choose("zh-Hans")
    tab.locator(".token", has_text="Warsaw").hover()
    assert marked.evaluate_all(WORDS) == ["Warsaw", "华", "沙"] and lines.count() == 2
    line = lines.first.evaluate("e => getComputedStyle(e).stroke")
    assert line == ("rgb(138, 180, 255)" if scheme == "dark" else "rgb(26, 86, 196)")

    # By the keyboard: from the example to its words and back, in the order of reading.
    tab.locator("#search").blur()
    tab.keyboard.press("j")
    tab.keyboard.press("ArrowRight")
    assert marked.evaluate_all(WORDS) == ["Marie", "玛", "丽"]
    tab.keyboard.press("ArrowRight")
    assert marked.evaluate_all(WORDS)[0] == "Curie"
    assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == "Curie, linked with 居, 里"
    tab.keyboard.press("ArrowLeft")
    assert marked.evaluate_all(WORDS)[0] == "Marie"
    tab.keyboard.press("Tab")  # on to a span, and from there to the first word in it
    assert not marked.count() and lines.count() == 1
    tab.keyboard.press("ArrowRight")
    assert marked.evaluate_all(WORDS)[0] == "Warsaw"
    tab.evaluate("scrollBy(0, 40)")
    tab.wait_for_timeout(200)
    assert marked.evaluate_all(WORDS)[0] == "Warsaw" and lines.count() == 2
    assert tab.complaints == [page.as_uri()]
