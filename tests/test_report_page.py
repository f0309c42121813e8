"""The report page: what it says, how large it is, and how it behaves in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.alignment.base import Token
from spanferry.data.errors import ModelError
from spanferry.data.example import Span
from spanferry.flows.build_outcomes import Row
from spanferry.flows.corrections import Correction, corrected
from spanferry.flows.figures import LanguageFigures, collect
from spanferry.flows.members import open_build
from spanferry.flows.page import (
    EXAMPLES_BYTES,
    PAGE_BYTES,
    as_script_data,
    example_record,
    example_records,
    pick_examples,
    render,
)
from spanferry.flows.page_links import PageLinks
from spanferry.flows.report_command import write_report
from spanferry.translation.languages import all_languages, get_language


@pytest.fixture(scope="module")
def page(looked_at: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = looked_at.write(tmp_path_factory.mktemp("build"))
    return write_report(folder, tokenizer="bundled")


def data_of(page: Path) -> list[dict[str, Any]]:
    return examples_in(page.read_text(encoding="utf-8"))


def examples_in(text: str) -> list[dict[str, Any]]:
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    examples: list[dict[str, Any]] = json.loads(data)["examples"]
    return examples


def test_a_page_needs_nothing_else_and_is_the_same_again(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text.split('id="data"')[0])
    assert write_report(page.parent, page.parent / "again.html", tokenizer="bundled").read_text("utf-8") == text


def test_figures_are_those_of_the_outcomes(page: Path, looked_at: ModuleType) -> None:
    build = open_build(page.parent)
    found = collect(build, "de", tokenize=lambda texts: [(len(text), text.count("Köln")) for text in texts])
    # By hand: 10 spans, of the dropped example `cairo` 1 unaligned and 4 lost with it.
    assert found.fates.total() == 10
    assert sum(number for (_, fate), number in found.fates.items() if fate == "carried") == 5
    assert found.fates["LOC", "unaligned"] == 1 and found.fates["ORG", "example_dropped"] == 2
    # In each example with spans the methods name another place for the second span.
    assert (found.voted, found.disagreed) == (10, 3)
    assert found.votes == {("alignment", "candidates"): [10, 7]}
    assert found.scores.total == 9 and found.lengths.total == 4 and found.duplicate_targets == 0
    assert found.tokens is not None and (found.tokens.sentences, found.tokens.unknown) == (4, 1)
    texts = looked_at.outcomes("de")
    assert found.tokens.source == sum(len(each["source"]["text"]) for each in texts)
    assert {"lost: unaligned", "kept", "disagreement", "label: PER"} <= set(found.examples)


def test_a_tokenizer_without_a_script_is_seen_by_its_unknown_tokens(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    section = text[text.index('id="tokens-per-sentence"') : text.index('id="duplicates"')]
    unknown = dict(re.findall(r'<th scope="row">([^<]+)</th>.*?<td>([\d.]+)%</td></tr>', section))
    # The bundled model has Latin letters alone.
    assert float(unknown["de"]) < 5
    assert min(float(unknown["ar"]), float(unknown["zh-Hans"])) > 10


def test_the_page_says_them_with_axes_and_reasons(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for said in (
        "share of the spans",
        "length in ar / length in en, as factor",
        ">rows</text>",
        ">spans</text>",
        "mean natural-log probability of a token",
        "example_dropped",
        "by the tokenizer of bundled",
        "unknown in target",
    ):
        assert said in text


def test_lost_examples_are_there_however_rare(page: Path, looked_at: ModuleType) -> None:
    examples = data_of(page)
    assert len(examples) == 12
    lost = {(each["language"], each["id"]) for each in examples if each["reasons"]}
    assert lost == {("de", "cairo"), ("ar", "script"), ("zh-Hans", "script")}
    assert any(looked_at.SCRIPT in source for each in examples for _, source, _ in each["fields"])


def test_a_corrected_row_shows_what_the_person_labelled(looked_at: ModuleType) -> None:
    outcome = looked_at.outcomes("de")[0]
    person = Correction("curie", outcome["source"], {"text": "In Warschau."}, (Span(3, 11, "LOC"),), "deu_Latn")
    record = example_record("de", Row("train", corrected(outcome, person)), LanguageFigures("en", "de"))
    assert record["fields"] == [["text", outcome["source"]["text"], "In Warschau."]]
    assert record["flags"] == ["post-edited"]
    assert [(span["source"], span["target"]) for span in record["spans"]] == [
        ([0, 11], None),
        ([24, 30], None),
        (None, [3, 11]),
    ]
    assert record["spans"][1]["votes"] == [("alignment", "Warschau"), ("candidates", "Ma")]  # on the machine's text


def test_a_page_stays_small_and_shows_every_language_and_group(looked_at: ModuleType) -> None:
    outcome = looked_at.outcomes("de")[0]
    figures = {}
    for language in ("de", "ar", "zh-Hans"):
        rows = {}
        for group in ("lost: unaligned", *(f"label: L{number}" for number in range(40))):
            text = {"text": f"{language} {group} " + "x" * 3000}
            rows[group] = [
                Row("train", {**outcome, "id": f"{group}-{number}", "source": text, "projections": []})
                for number in range(12)
            ]
        figures[language] = LanguageFigures("en", language, examples=rows)
    chosen = pick_examples(figures)
    records = example_records(chosen, PageLinks(""), figures)
    assert 0.9 * EXAMPLES_BYTES < len(as_script_data(records)) < 1.1 * EXAMPLES_BYTES
    assert {(each["language"], each["id"].split("-")[0]) for each in records} == {
        (language, group) for language in figures for group in figures[language].examples
    }
    # Links take room too; what is left out for them is what was chosen last.
    word = Token(0, 4)
    links = {(language, "train", row.outcome["id"]): {"text": [(word, word)] * 200} for language, row in chosen}
    fewer = example_records(chosen, PageLinks("", links), figures)
    assert len(as_script_data(fewer)) < 1.1 * EXAMPLES_BYTES and len(fewer) < len(records)
    kept = {(each["language"], each["id"]) for each in fewer}
    assert kept == {(language, row.outcome["id"]) for language, row in chosen[: len(fewer)]}


def test_a_page_of_two_hundred_languages_and_hundreds_of_labels_stays_under_two_megabytes(
    page: Path, looked_at: ModuleType
) -> None:
    build = open_build(page.parent)
    outcome = looked_at.outcomes("de")[0]
    names = [get_language(code).bcp47 for code in list(all_languages())[:200]]
    reasons = ["carried", *(f"filter:reason_{number}" for number in range(10))]
    figures = {}
    for name in names:
        figures[name] = found = LanguageFigures("en", name, rows=1000)
        for number in range(300):
            found.fates.update({(f"LABEL-{number:03}", reason): 1234 for reason in reasons})
        for histogram in (found.lengths, found.scores, found.confidence, found.translations):
            histogram.counts = [12_345] * len(histogram.counts)
        text = {"text": f"{name} " + "x" * 3000}
        rows = [Row("train", {**outcome, "id": str(number), "source": text}) for number in range(12)]
        found.examples = {"kept": rows}
    total = build.report["languages"]["de"]
    report = {**build.report, "languages": dict.fromkeys(names, total)}
    written = render(replace(build, report=report), figures, pick_examples(figures), PageLinks(""), tokenizer=None)
    assert len(names) == 200 and 1_500_000 < len(written.encode()) <= PAGE_BYTES
    assert {each["language"] for each in examples_in(written)} == set(names)


def test_the_page_says_what_a_thousand_examples_cost(looked_at: ModuleType, tmp_path: Path) -> None:
    folder = looked_at.write(tmp_path / "build")
    assert 'id="cost"' not in write_report(folder).read_text(encoding="utf-8"), "nothing where no run is on record"
    timing = {"rows": 500, "seconds": 10.0, "model_seconds": 8.0, "translated": 600, "characters": 40_000}
    runs = {"peak_bytes": 3 * 2**30, "languages": {"de": timing | {"predicted": 500, "predictions_remembered": 25}}}
    (folder / ".spanferry" / "runs.jsonl").write_text(json.dumps(runs) + "\n", encoding="utf-8")
    text = write_report(folder).read_text(encoding="utf-8")
    [row] = re.findall(r'<tr><th scope="row">de</th>(.*?)</tr>', text.split('id="cost"')[1])
    # 500 examples: everything twice but the peak.
    assert re.findall("<td>(.*?)</td>", row) == ["500", "20.0", "16.0", "80,000", "2,200", "50", "3,072"]


def test_a_tokenizer_that_is_not_there_is_said(page: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--tokenizer .*: found no tokenizer.json there"):
        write_report(page.parent, tokenizer=str(tmp_path))
    (tmp_path / "notes.txt").write_text("no tokenizer", encoding="utf-8")
    with pytest.raises(ModelError, match=r"notes\.txt: found no tokenizer in it .*expected a tokenizer\.json"):
        write_report(page.parent, tokenizer=str(tmp_path / "notes.txt"))
    without = write_report(page.parent, tmp_path / "page.html")
    assert "no tokenizer is at hand" in without.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_browser_of_examples(page: Path, browser: Callable[[Path], Any]) -> None:
    tab = browser(page)
    shown = tab.locator(".example")
    assert shown.count() == 12
    assert tab.title().endswith("what was kept and what was lost")  # and not what the script in the data wants

    tab.locator("#lost").click()
    assert shown.count() == 3 and tab.locator("#found").inner_text() == "3 of 12 sampled examples."
    tab.keyboard.press("Escape")
    assert shown.count() == 12
    tab.keyboard.press("l")
    tab.select_option("#language", "ar")
    assert shown.count() == 1 and "dropped: unaligned" in shown.inner_text()
    tab.locator("#language").blur()
    tab.keyboard.press("Escape")

    tab.keyboard.press("j")
    tab.keyboard.press("j")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("k")
    assert tab.evaluate("[...document.querySelectorAll('.example')].indexOf(document.activeElement)") == 1
    tab.keyboard.press("Tab")  # the first span of that example
    assert tab.evaluate("document.activeElement.className").startswith("span")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.locator("#links path").count() == 1 and tab.locator(".span.on").count() == 2

    tab.keyboard.press("/")
    tab.keyboard.type("柏林")
    assert shown.count() == 1
    name, tag = tab.evaluate("(s => [s.textContent, s.closest('.text').lang])(document.querySelectorAll('.side')[1]"
                             ".querySelectorAll('.span')[1])")  # fmt: skip
    assert (name, tag) == ("柏林LOC", "zh-Hans")

    tab.fill("#search", "Layla")
    tab.select_option("#language", "ar")
    target = tab.locator(".side").nth(1)
    assert tab.evaluate("getComputedStyle(document.querySelectorAll('.text')[1]).direction") == "rtl"
    # After an emoji, which JavaScript counts as two, a span still covers its own characters; one lies in another.
    assert target.locator(".span").all_inner_texts()[-1].replace("\n", "") == "النيلLOC"
    assert target.locator(".span .span").inner_text().replace("\n", "") == "كولونياLOC"
    target.locator(".span").last.hover()
    assert tab.locator("#links path").count() == 1
    assert tab.complaints == [page.as_uri()]
