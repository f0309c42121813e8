"""Links from a file: the form, the range, and which pair they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.base import Link, WordAlignment
from spanferry.alignment.given import GivenAligner, format_links, parse_links
from spanferry.alignment.tokens import from_words
from spanferry.data.errors import DataError

LANGUAGES = {"source": "eng_Latn", "target": "spa_Latn"}
PAIRS = [
    (from_words(["good", "wine"]), from_words(["vino", "bueno"])),
    (from_words(["yes"]), from_words(["sí"])),
    (from_words(["good", "wine"]), from_words(["vino", "bueno"])),
]


@given(
    st.dictionaries(st.tuples(st.integers(0, 99), st.integers(0, 99)), st.floats(0, 1).map(lambda x: float(f"{x:.6g}")))
)
def test_written_links_read_back(scores: dict[tuple[int, int], float]) -> None:
    alignment = WordAlignment(tuple(Link(*pair, score) for pair, score in sorted(scores.items())))
    assert parse_links(format_links(alignment, scores=True)) == alignment
    assert [link[:2] for link in parse_links(format_links(alignment)).links] == sorted(scores)


def test_links_are_sorted_and_a_repeated_one_keeps_its_best_score() -> None:
    assert parse_links("1-0:0.2 0-1 1-0:0.7").links == (Link(0, 1, 1.0), Link(1, 0, 0.7))


def test_a_pair_is_found_by_its_words_not_its_place() -> None:
    aligner = GivenAligner(PAIRS, ["0-1 1-0", "0-0", "0-1"])
    whole = aligner.align(PAIRS, **LANGUAGES)
    assert [format_links(alignment) for alignment in whole] == ["0-1 1-0", "0-0", "0-1"]
    [alone] = aligner.align(PAIRS[1:2], **LANGUAGES)
    assert alone == whole[1]
    assert aligner.align(PAIRS[::-1], **LANGUAGES)[1] == whole[1]


def test_an_empty_line_is_a_pair_without_links(tmp_path: Path) -> None:
    file = tmp_path / "links.talp"
    file.write_text("0-1\n\n0-1\n", encoding="utf-8")
    assert GivenAligner.from_file(file, PAIRS).align(PAIRS, **LANGUAGES)[1].links == ()


def test_the_fingerprint_is_that_of_corpus_and_links() -> None:
    lines = ["0-1 1-0", "0-0", ""]
    same = GivenAligner(PAIRS, lines, path="elsewhere").fingerprint
    assert GivenAligner(PAIRS, lines).fingerprint == same
    assert GivenAligner(PAIRS, ["0-1 1-0", "", ""]).fingerprint != same


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0-0"], "1 lines of links, expected 3"),
        (["0-0", "0-0 1", "0-0"], r"f.talp:2: '1' is no link"),
        (["0-0", "0-1", "0-0"], r"f.talp:2: link 0-1 points past a pair of 1 source and 1 target words.*count from 0"),
        (["0-0:1.5", "", ""], r"f.talp:1: '0-0:1.5' has the score '1.5', expected a number in 0..1"),
        (["0-0:1e", "", ""], "score '1e'"),
    ],
)
def test_a_broken_line_is_told_where(lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        GivenAligner(PAIRS, lines, path="f.talp")


def test_a_pair_without_given_links_is_refused() -> None:
    aligner = GivenAligner(PAIRS[:1], ["0-0"])
    with pytest.raises(DataError, match=r"no links were given for the pair 'yes' / 'sí'.*tokenise as"):
        aligner.align(PAIRS, **LANGUAGES)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        GivenAligner.from_file(tmp_path / "none.talp", PAIRS)
    (tmp_path / "bad.talp").write_bytes(b"\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        GivenAligner.from_file(tmp_path / "bad.talp", PAIRS)


def test_the_shipped_alignments_of_the_evaluation_read(eval_dir: Path) -> None:
    def sentences(name: str) -> list[list[str]]:
        blocks = (eval_dir / "absa" / name).read_text(encoding="utf-8").strip("\n").split("\n\n")
        return [[line.split()[0] for line in block.split("\n")] for block in blocks]

    sides = [[from_words(words) for words in sentences(name)] for name in ("en.test.tsv", "es.gold.test.tsv")]
    pairs = list(zip(*sides, strict=True))
    aligner = GivenAligner.from_file(eval_dir / "absa" / "en-es.awesome.test.talp", pairs)
    assert len(aligner.align(pairs, **LANGUAGES)) == 676  # pairs of the published test set
