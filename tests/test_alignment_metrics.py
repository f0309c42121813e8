"""AER, precision and recall, and the readers of gold links."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanferry.alignment.base import Link, WordAlignment
from spanferry.alignment.metrics import (
    GoldLinks,
    aer,
    parse_gold_links,
    read_naacl_gold,
    read_tsv_gold,
    score_alignments,
)
from spanferry.data.errors import DataError


def alignment(*links: tuple[int, int]) -> WordAlignment:
    return WordAlignment(tuple(Link(*link) for link in links))


# Worked by hand on the definition of Och and Ney (2003), over two pairs: |A| = 3 + 1, |S| = 2 + 2,
# |A and S| = 1 + 1, |A and P| = 2 + 1.
FOUND = [alignment((0, 0), (1, 2), (2, 2)), alignment((0, 1))]
GOLD = [
    GoldLinks(sure=frozenset({(0, 0), (1, 1)}), possible=frozenset({(1, 2)})),
    GoldLinks(sure=frozenset({(0, 1), (1, 0)})),
]


def test_rates_by_hand() -> None:
    score = score_alignments(FOUND, GOLD)
    assert (score.found, score.sure, score.found_sure, score.found_possible) == (4, 4, 2, 3)
    assert score.precision == 3 / 4
    assert score.recall == 2 / 4
    assert score.f1 == pytest.approx(0.6)
    assert score.aer == pytest.approx(1 - 5 / 8)
    assert aer(FOUND, GOLD) == score.aer


def test_nothing_found_and_nothing_to_find() -> None:
    nothing = score_alignments([alignment()], [GoldLinks(frozenset())])
    assert (nothing.precision, nothing.recall, nothing.f1, nothing.aer) == (1.0, 1.0, 1.0, 0.0)
    missed = score_alignments([alignment()], [GOLD[0]])
    assert (missed.precision, missed.recall, missed.f1, missed.aer) == (1.0, 0.0, 0.0, 1.0)


def test_another_number_of_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="2 alignments for 1 gold"):
        score_alignments(FOUND, GOLD[:1])


def test_gold_files(tmp_path: Path) -> None:
    texts, links, table = (tmp_path / name for name in ("texts", "links", "table.tsv"))
    texts.write_text("a b   ||| c  d \nx ||| y\n", encoding="utf-8")
    links.write_text("1-1 2p2\n\n", encoding="utf-8")
    first, second = read_naacl_gold(texts, links)
    assert (first.source.words, first.target.words) == (["a", "b"], ["c", "d"])
    assert (first.links.sure, first.links.possible) == ({(0, 0)}, {(0, 0), (1, 1)})
    assert second.links == GoldLinks(frozenset())
    table.write_text("a b\tc d\t0-0 1-1\n", encoding="utf-8")
    assert read_tsv_gold(table)[0].links.sure == {(0, 0), (1, 1)}


@pytest.mark.parametrize(
    ("texts", "links", "message"),
    [
        ("a ||| b\n", "1-1\n1-1\n", "2 lines of links, expected 1"),
        ("a ||| b\nc d\n", "1-1\n1-1\n", r"texts:2: 0 separators"),
        ("a ||| b\n", "1-2\n", r"links:1: link 1-2 points past a pair of 1 and 1"),
        ("a ||| b\n", "1:1\n", r"links:1: link '1:1', expected 'i-j'"),
        ("a ||| b\n", "0-1\n", "counts from 1"),
    ],
)
def test_a_broken_gold_file_is_told_where(tmp_path: Path, texts: str, links: str, message: str) -> None:
    (tmp_path / "texts").write_text(texts, encoding="utf-8")
    (tmp_path / "links").write_text(links, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_naacl_gold(tmp_path / "texts", tmp_path / "links")


def test_a_table_needs_three_columns_and_a_file_that_can_be_read(tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("a\tb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"table.tsv:1: 2 columns"):
        read_tsv_gold(table)
    table.write_bytes(b"\xff\t\t")
    with pytest.raises(DataError, match="byte 0 is not UTF-8"):
        read_tsv_gold(table)
    with pytest.raises(DataError, match=r"missing.*cannot be read"):
        read_tsv_gold(tmp_path / "missing")


def test_a_link_of_neither_kind_is_refused() -> None:
    with pytest.raises(DataError, match="'1x1'"):
        parse_gold_links("0-0 1x1")


def test_the_gold_sets_read_as_their_manifest_says(eval_dir: Path) -> None:
    # Counts of the published files: 447 and 248 pairs; 4,038 sure of 17,438 links for English-French.
    folder = eval_dir / "word-alignment"
    french = read_naacl_gold(folder / "enfr.src-tgt", folder / "enfr.gold")
    assert len(french) == 447
    assert sum(len(pair.links.sure) for pair in french) == 4038
    assert sum(len(pair.links.possible) for pair in french) == 17438
    assert len(read_naacl_gold(folder / "roen.src-tgt", folder / "roen.gold")) == 248
    assert len(read_tsv_gold(eval_dir / "xl-wa" / "es" / "test.tsv")) == 245
