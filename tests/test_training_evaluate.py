"""Scoring models: BLEU and chrF as sacreBLEU has them, markers counted, files checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import sacrebleu

from spanferry.data.errors import ConfigError, DataError
from spanferry.translation.base import Hypothesis
from spanferry.translation.corpus import SentencePair
from spanferry.translation.evaluate import evaluate, read_lines, score_translator
from spanferry.translation.evaluate_markers import evaluate_markers, score_markers


class Canned:
    """A translator that gives the answers it was made with."""

    fingerprint, languages, max_tokens = "canned", None, 100

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers

    def count_tokens(self, texts: list[str], language: str) -> list[int]:
        return [len(text.split()) for text in texts]

    def translate(self, texts: list[str], *, source: str, target: str) -> list[Hypothesis]:
        return [Hypothesis(answer) for answer in self.answers]


def test_scores_and_signatures_are_those_of_sacrebleu() -> None:
    answers = ["Die alte Katze schläft auf dem Bett.", "Wir gehen heute nach Hause.", "Das Haus ist rot."]
    references = ["Die alte Katze schläft im Bett.", "Heute gehen wir nach Hause.", "Das Haus ist rot."]
    result = score_translator(Canned(answers), ["a", "b", "c"], references, source="en", target="de")
    assert result["bleu"] == round(sacrebleu.corpus_bleu(answers, [references]).score, 1)
    assert result["chrf"] == round(sacrebleu.corpus_chrf(answers, [references]).score, 1)
    assert result["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert result["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert (result["source"], result["target"], result["sentences"]) == ("eng_Latn", "deu_Latn", 3)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source, reference = tmp_path / "a.en", tmp_path / "a.de"
    source.write_text("One.\nTwo.\n", encoding="utf-8")
    reference.write_text("Eins.\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.de: found 1 lines, expected 2 as in .*a\.en"):
        evaluate("fake", source, reference, source="en", target="de", dictionary={})
    assert evaluate("fake", source, reference, source="en", target="de", limit=1, dictionary={"One.": "Eins."})
    source.write_text("", encoding="utf-8")
    reference.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="found no line"):
        evaluate("fake", source, reference, source="en", target="de", dictionary={})
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path / "none.txt")
    (tmp_path / "latin").write_bytes("Straße".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 at byte 4"):
        read_lines(tmp_path / "latin")


def test_lines_end_only_where_lines_end(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("one\u2028still one\r\n\ntwo\x0bstill two".encode())
    assert read_lines(file) == ["one\u2028still one", "", "two\x0bstill two"]
    assert read_lines(file, 1) == ["one\u2028still one"]


def marked(
    *phrases: tuple[tuple[int, int], tuple[int, int]],
) -> tuple[SentencePair, list[tuple[tuple[int, int], tuple[int, int]]]]:
    return SentencePair("eng_Latn", "deu_Latn", "Press Esc or Tab.", "Esc oder Tab drücken.", "gnome"), list(phrases)


ESC, TAB = ((6, 9), (0, 3)), ((13, 16), (9, 12))


@pytest.mark.parametrize(
    ("answer", "style", "kept", "same"),
    [
        ("[ Esc ] oder [ Tab ] drücken.", "brackets", 1, 1),
        ("[Tab] oder [Esc] drücken.", "brackets", 1, 1),
        ("[ Esc ] oder Tab drücken.", "brackets", 0, 0),
        ("[ Esc ] oder ] Tab [ drücken.", "brackets", 0, 0),
        ("[ Esc ] oder [ ] drücken.", "brackets", 0, 0),
        ("<b>Tab</b> oder <a>Esc</a> drücken.", "tags", 1, 1),
        ("<a>Tab</a> oder <b>Esc</b> drücken.", "tags", 1, 0),
        ("<a>Esc</a> oder <b>Tab</b> <b>Tab</b> drücken.", "tags", 0, 0),
        ("Esc oder Tab drücken.", "tags", 0, 0),
    ],
)
def test_markers_count_only_when_whole(answer: str, style: str, kept: float, same: float) -> None:
    result = score_markers(Canned([answer]), [marked(ESC, TAB)], style)  # type: ignore[arg-type]
    assert (result["kept"], result["same"]) == (kept, same)


def test_marker_files_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "marks.tsv"
    file.write_text("No marks\tKeine\tgui\n", encoding="utf-8")
    with pytest.raises(DataError, match="no sentence with the same"):
        evaluate_markers("fake", file, source="en", target="de")
    with pytest.raises(ConfigError, match="brackets or tags"):
        evaluate_markers("fake", file, source="en", target="de", style="stars")  # type: ignore[arg-type]
