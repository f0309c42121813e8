"""The way from parallel text to training examples: what is chosen, how words are linked, where markers go."""

from __future__ import annotations

import gzip
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from spanferry.data.errors import DataError
from spanferry.flows.cli import app
from spanferry.translation.corpus import (
    Quota,
    SentencePair,
    align_words,
    choose,
    common_names,
    exchange_names,
    grow_diag,
    pivot_pairs,
    read_pairs,
    without_final_mark,
    words,
)
from spanferry.translation.marking import (
    choose_phrases,
    from_inline_marks,
    insert_markers,
    marker_style,
    phrase_pairs,
)


def pair(source: str, target: str, links: str = "", origin: str = "toy") -> SentencePair:
    """A pair with word links as `i-j` numbers."""
    left, right = words(source), words(target)
    numbers = [tuple(map(int, link.split("-"))) for link in links.split()]
    return SentencePair("eng_Latn", "deu_Latn", source, target, origin, tuple((left[i], right[j]) for i, j in numbers))


RED_HOUSE = pair("I saw the red house in Rome.", "In Rom sah ich das rote Haus.", "0-3 1-2 2-4 3-5 4-6 5-0 6-1 7-7")


def test_reads_plain_and_packed_files(tmp_path: Path) -> None:
    text = "Yes.\tJa.\ttatoeba\nNo.\tNein.\tnews\n"
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    with gzip.open(tmp_path / "a.tsv.gz", "wt", encoding="utf-8") as packed:
        packed.write(text)
    plain = list(read_pairs(tmp_path / "a.tsv", "eng_Latn", "deu_Latn"))
    assert [(one.source, one.target, one.origin) for one in plain] == [
        ("Yes.", "Ja.", "tatoeba"),
        ("No.", "Nein.", "news"),
    ]
    assert list(read_pairs(tmp_path / "a.tsv.gz", "eng_Latn", "deu_Latn")) == plain


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("Yes.\tJa.\ttatoeba\nNo.\tNein.\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.tsv:2: found 2 tab-separated columns"):
        list(read_pairs(file, "eng_Latn", "deu_Latn"))
    with pytest.raises(DataError, match=r"no such file of sentence pairs\. Hint: check `data` in the recipe"):
        list(read_pairs(tmp_path / "b.tsv", "eng_Latn", "deu_Latn"))
    languages = ["--source-language", "en", "--target-language", "de"]
    files = ["--data", str(tmp_path / "b.tsv"), "--output", str(tmp_path / "priors.tsv")]
    done = CliRunner().invoke(app, ["models", "priors", *languages, *files])
    assert isinstance(done.exception, DataError)
    assert str(done.exception).endswith("b.tsv: no such file of sentence pairs. Hint: check --data")


def test_quotas_count_each_pair_once() -> None:
    pairs = [pair(" ".join("w" * length), "x") for length in (1, 2, 3, 4, 5, 6)]
    quotas = {"toy": [Quota(2, max_words=3), Quota(1, max_words=5)]}
    assert [one.source.count("w") for one in choose(pairs, quotas)] == [1, 2, 3]
    assert list(choose(pairs, {"other": [Quota(5)]})) == []


def test_a_pivot_sentence_is_used_once() -> None:
    german = [pair("Yes.", "Ja."), pair("Yes.", "Doch."), pair("No.", "Nein.")]
    spanish = [SentencePair("eng_Latn", "spa_Latn", "Yes.", text, "toy") for text in ("Sí.", "Claro.", "Así es.")]
    joined = pivot_pairs(german, spanish)
    assert len(joined) == 2
    assert {one.source for one in joined} == {"Ja.", "Doch."}
    assert {(one.source_language, one.target_language) for one in joined} == {("deu_Latn", "spa_Latn")}


links_strategy = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)))


@given(links_strategy, links_strategy)
def test_grow_diag_lies_between_intersection_and_union(
    forward: set[tuple[int, int]], backward: set[tuple[int, int]]
) -> None:
    grown = grow_diag(forward, backward)
    assert forward & backward <= grown <= forward | backward
    swapped = grow_diag({(j, i) for i, j in forward}, {(j, i) for i, j in backward})
    if grown == forward & backward:
        assert swapped == {(j, i) for i, j in grown}


def test_eflomal_links_a_toy_language() -> None:
    pytest.importorskip("eflomal")
    lexicon = {"cat": "Katze", "dog": "Hund", "red": "rote", "big": "große", "sees": "sieht", "the": "das"}
    chance = random.Random(0)
    lines = [chance.sample(sorted(lexicon), 4) for _ in range(300)]
    pairs = [pair(" ".join(line), " ".join(lexicon[word] for word in line)) for line in lines]
    aligned = align_words([*pairs, pair("", "leer")])
    right = sum(
        lexicon[one.source[slice(*source)]] == one.target[slice(*target)]
        for one in aligned
        for source, target in one.links
    )
    assert right > 0.95 * 4 * 300
    assert aligned[-1].links == ()


def test_phrases_agree_with_the_alignment() -> None:
    texts = {
        (RED_HOUSE.source[slice(*source)], RED_HOUSE.target[slice(*target)])
        for source, target in phrase_pairs(RED_HOUSE, longest=3)
    }
    assert ("red house", "rote Haus") in texts
    assert ("in Rome", "In Rom") in texts
    assert ("I", "ich") in texts
    assert ("house in", "In Rom sah ich das rote Haus") not in texts  # "das", "rote", ... are linked to the outside
    assert not any("." in source or "." in target for source, target in texts)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14), st.randoms(use_true_random=False))
def test_no_link_leaves_a_phrase_and_markers_come_off_again(
    numbers: list[tuple[int, int]], chance: random.Random
) -> None:
    links = " ".join(f"{i}-{j}" for i, j in numbers)
    made = pair(RED_HOUSE.source, RED_HOUSE.target, links)
    phrases = phrase_pairs(made)
    for source, target in phrases:
        for one, other in made.links:
            assert (source[0] <= one[0] < source[1]) == (target[0] <= other[0] < target[1])
    if not phrases:
        return
    chosen = choose_phrases(phrases, chance)
    markers = marker_style(len(chosen), chance)
    marked = insert_markers(made, chosen, markers)
    for side, text, plain in ((0, marked.source, made.source), (1, marked.target, made.target)):
        for phrase, (opening, closing) in zip(chosen, markers, strict=True):
            assert f"{opening}{plain[slice(*phrase[side])]}{closing}" in text
        bare = text
        for opening, closing in markers:
            bare = bare.replace(opening, "", 1).replace(closing, "", 1)
        assert bare == plain
    before = Counter((made.source[slice(*one)], made.target[slice(*other)]) for one, other in made.links)
    after = Counter((marked.source[slice(*one)], marked.target[slice(*other)]) for one, other in marked.links)
    added = after - before
    assert after >= before
    assert sum(added.values()) == 2 * len(chosen)
    assert all(one == other for one, other in added)


def test_inline_marks_that_do_not_pair_are_refused() -> None:
    good = from_inline_marks(pair("A <1>b</1> <2>c</2>", "<2>C</2> a <1>B</1>"))
    assert good is not None
    plain, phrases = good
    assert (plain.source, plain.target) == ("A b c", "C a B")
    assert [(plain.source[slice(*one)], plain.target[slice(*two)]) for one, two in phrases] == [("b", "B"), ("c", "C")]
    nine = " ".join(f"<{number}>x</{number}>" for number in range(1, 10))
    for bad in ("no marks", "<1>a", "a</1>", "<1></1>", "<1>a<2>b</2></1>", "<1>a</1> <1>b</1>", nine):
        assert from_inline_marks(pair(bad, bad)) is None
    assert from_inline_marks(pair("<1>a</1>", "<2>a</2>")) is None


def test_names_are_exchanged_on_both_sides_at_once() -> None:
    tom = pair("Yesterday Tom met him.", "Gestern traf Tom ihn.", "0-0 1-2 2-1 3-3")
    changed = exchange_names(tom, ["Ana Lovrić"], random.Random(0))
    assert (changed.source, changed.target) == ("Yesterday Ana Lovrić met him.", "Gestern traf Ana Lovrić ihn.")
    texts = [(changed.source[slice(*one)], changed.target[slice(*two)]) for one, two in changed.links]
    assert ("met", "traf") in texts
    assert ("Ana Lovrić", "Ana Lovrić") in texts
    twice = pair("Tom and Tom ran.", "Tom und Tom liefen.", "0-0 2-2")
    assert exchange_names(twice, ["Ana"], random.Random(0)) is twice
    assert common_names([changed]) == ["Ana Lovrić"]


def test_lower_case_keeps_links_in_their_places() -> None:
    typed = without_final_mark(RED_HOUSE)
    assert (typed.source, typed.target) == ("i saw the red house in rome", "In Rom sah ich das rote Haus")
    assert typed.links == RED_HOUSE.links[:-1]
    turkish = pair("İt rained.", "Es regnete.")
    assert without_final_mark(turkish) is turkish  # lower-casing would make it longer


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"a\tb\tc\n\xff\tb\tc\n", "found the byte 0xff, expected UTF-8"),
        ("a.tsv.gz", b"plain", r"cannot be read \(Not a gzipped file .*expected a whole \.gz file"),
        ("a.tsv.gz", gzip.compress(b"a\tb\tc\n" * 9000, mtime=0)[:40], r"cannot be read .*expected a whole \.gz file"),
        ("a.tsv.zst", b"plain", r"cannot be read .*expected a whole \.zst file"),
    ],
)
def test_a_file_that_is_damaged_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if name.endswith(".zst"):
        pytest.importorskip("zstandard")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{re.escape(name)}: {message}"):
        list(read_pairs(tmp_path / name, "eng_Latn", "deu_Latn"))
