"""The aligner `lexical` and its priors: exact posteriors, files that come back as written, links that stay the same."""

from __future__ import annotations

import gzip
from collections import Counter
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from spanferry.alignment.base import WordAlignment
from spanferry.alignment.lexical import LexicalAligner
from spanferry.alignment.linking import Pair
from spanferry.alignment.priors import NULL, Priors, PriorsByLanguage, read_priors, write_priors
from spanferry.alignment.priors_training import count_links, make_priors
from spanferry.alignment.statistical import EflomalAligner
from spanferry.alignment.tokens import from_words, split_on_space, tokenize
from spanferry.alignment.word_order import posterior
from spanferry.data.errors import ConfigError, DataError
from spanferry.flows.cli import app

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}


def toy(checkpoints: ModuleType, number: int, seed: int = 7) -> list[Pair]:
    """Sentences of the toy language and their translations, word for word."""
    sides = [
        [split_on_space(text[:-1]) for text in checkpoints.sentences(number, language, seed=seed)]
        for language in ("eng_Latn", "deu_Latn")
    ]
    return list(zip(*sides, strict=True))


def links(alignment: WordAlignment) -> list[tuple[int, int]]:
    return [link[:2] for link in alignment.links]


# ---- the model of word order -------------------------------------------------------------------------------


def brute_force(emission: np.ndarray, nulls: np.ndarray, jumps: np.ndarray, null: float) -> np.ndarray:
    """Every path over the states (word, NULL or not) one by one."""
    size, length = emission.shape
    total, result = 0.0, np.zeros((size, length))
    first = np.array([jumps[place + 1 + size] for place in range(size)])
    for path in product(range(size), repeat=length):
        for silent in product((False, True), repeat=length):
            weight, last = 1.0, None
            for step, (place, is_null) in enumerate(zip(path, silent, strict=True)):
                if last is None:
                    move = first[place] / first.sum()
                elif is_null:
                    move = float(place == last)  # NULL remembers where one was
                else:
                    row = np.array([jumps[to - last + size] for to in range(size)])
                    move = row[place] / row.sum()
                weight *= move * (null * nulls[step] if is_null else (1 - null) * emission[place, step])
                last = place
            total += weight
            for step, (place, is_null) in enumerate(zip(path, silent, strict=True)):
                result[place, step] += 0.0 if is_null else weight
    return result / total


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_posteriors_are_those_of_every_path(size: int, length: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    emission, nulls = chance.uniform(0.01, 1, (size, length)), chance.uniform(0.01, 1, length)
    jumps = chance.uniform(0.1, 1, 2 * size + 1)
    padded = np.ones((2, size, length + 2))
    padded[0, :, :length] = emission
    padded_nulls = np.ones((2, length + 2))
    padded_nulls[0, :length] = nulls
    found = posterior(padded, padded_nulls, jumps, null=0.2)[0, :, :length]
    assert np.allclose(found, brute_force(emission, nulls, jumps, 0.2), atol=1e-12)


# ---- the aligner -------------------------------------------------------------------------------------------


def test_words_find_each_other_by_being_read_together(checkpoints: ModuleType) -> None:
    pairs = toy(checkpoints, 200)
    found = [link for a in LexicalAligner().align(pairs, **LANGUAGES) for link in links(a)]
    right = sum(i == j for i, j in found)
    assert right > 0.95 * len(found) and right > 0.95 * sum(len(pair[0].tokens) for pair in pairs)


def test_the_same_pairs_have_the_same_links_in_any_order(checkpoints: ModuleType) -> None:
    pairs = toy(checkpoints, 60)
    aligner = LexicalAligner(readings=3)
    first = aligner.align(pairs, **LANGUAGES)
    assert [links(a) for a in LexicalAligner(readings=3).align(pairs, **LANGUAGES)] == [links(a) for a in first]
    assert [links(a) for a in aligner.align(pairs[::-1], **LANGUAGES)][::-1] == [links(a) for a in first]


def test_with_one_reading_a_pair_stands_alone(checkpoints: ModuleType, tmp_path: Path) -> None:
    pairs = toy(checkpoints, 40)
    write_priors(word_for_word(pairs), tmp_path / "priors")
    aligner = LexicalAligner(priors=tmp_path / "priors", readings=1)
    together = [links(a) for a in aligner.align(pairs, **LANGUAGES)]
    assert together == [links(aligner.align([pair], **LANGUAGES)[0]) for pair in pairs]


def word_for_word(pairs: list[Pair]) -> Priors:
    """Priors of pairs whose words stand in the same order."""
    aligned = [
        ([w.lower() for w in a.words], [w.lower() for w in b.words], diagonal, diagonal)
        for a, b in pairs
        for diagonal in [[(i, i) for i in range(len(a.tokens))]]
    ]
    return count_links(aligned)


def test_priors_say_what_the_texts_do_not(tmp_path: Path) -> None:
    # One pair of unknown words in the other order: nothing but the priors can tell.
    pair = from_words(["green", "house", "stands"]), from_words(["steht", "haus", "grün"])
    counted = Priors(words=Counter({("green", "grün"): 9, ("house", "haus"): 9, ("stands", "steht"): 9}))
    write_priors(counted, tmp_path / "priors.gz")
    [found] = LexicalAligner(priors=tmp_path / "priors.gz").align([pair], **LANGUAGES)
    assert links(found) == [(0, 2), (1, 1), (2, 0)]
    assert all(0 < link.score <= 1 for link in found.links)


def test_priors_serve_both_directions(tmp_path: Path) -> None:
    record = {"source": "eng_Latn", "target": "deu_Latn"}
    write_priors(Priors(words=Counter({("big", "groß"): 5, ("dog", "hund"): 5}), record=record), tmp_path / "p")
    pair = from_words(["Hund", "groß"]), from_words(["big", "dog"])
    [found] = LexicalAligner(priors=[tmp_path / "p"]).align([pair], source="deu_Latn", target="eng_Latn")
    assert links(found) == [(0, 1), (1, 0)]
    with pytest.raises(ConfigError, match=r"no priors for eng_Latn-fra_Latn, only for eng_Latn-deu_Latn"):
        LexicalAligner(priors=tmp_path / "p").align([pair], source="eng_Latn", target="fra_Latn")


def test_a_long_text_is_read_to_the_400th_word() -> None:
    long = from_words([f"w{number}" for number in range(450)])
    [found] = LexicalAligner(readings=1).align([(long, long)], **LANGUAGES)
    assert links(found) == [(number, number) for number in range(400)]


def test_settings_out_of_range_are_refused() -> None:
    for setting, message in (({"readings": 0}, "readings 0"), ({"threshold": 1.0}, "threshold 1.0")):
        with pytest.raises(ConfigError, match=message):
            LexicalAligner(**setting)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="did you mean 'grow-diag'"):
        LexicalAligner(symmetrization="grow")


def test_what_can_change_the_links_is_in_the_fingerprint(tmp_path: Path) -> None:
    for name, count in (("a", 1), ("b", 2)):
        write_priors(Priors(words=Counter({("x", "y"): count})), tmp_path / name)
    prints = {
        LexicalAligner(**settings).fingerprint  # type: ignore[arg-type]
        for settings in (
            {},
            {"readings": 1},
            {"threshold": 0.1},
            {"priors": tmp_path / "a"},
            {"priors": tmp_path / "b"},
        )
    }
    assert len(prints) == 5


# ---- files of priors ---------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5)
COUNTS = st.integers(1, 10**5)


@given(
    st.dictionaries(st.tuples(WORDS, WORDS), COUNTS, min_size=1),
    st.dictionaries(st.integers(-20, 20), COUNTS),
    st.dictionaries(st.tuples(WORDS, st.integers(0, 5)), COUNTS),
    st.sampled_from(["priors.tsv", "priors.gz"]),
)
def test_a_file_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    words: dict[tuple[str, str], int],
    jumps: dict[int, int],
    fertility: dict[tuple[str, int], int],
    name: str,
) -> None:
    file = tmp_path_factory.mktemp("priors") / name
    record = {"source": "eng_Latn", "target": "deu_Latn", "pairs": 3}
    made = Priors(Counter(words), Counter(jumps), Counter(jumps), Counter(fertility), Counter(fertility), record)
    write_priors(made, file)
    read = read_priors(file)
    assert (read.words, read.jumps_forward, read.fertility_backward) == (made.words, Counter(jumps), Counter(fertility))
    assert read.record == record and len(read.checksum) == 64
    assert read.turned().turned() == read


def test_eflomals_own_file_is_read(tmp_path: Path) -> None:
    # As `eflomal-makepriors` writes it.
    file = tmp_path / "eflomal.priors"
    file.write_text(
        "LEX\tthe\tdas\t2\nLEX\tthe\tdie\t1.5\nFERF\tthe\t1\t3\nHMMF\t1\t7\nHMMR\t-1\t2\n", encoding="utf-8"
    )
    read = read_priors(file)
    assert read.words == {("the", "das"): 2, ("the", "die"): 1.5}
    assert (read.jumps_forward, read.jumps_backward) == ({1: 7}, {-1: 2})
    assert PriorsByLanguage(file).between("eng_Latn", "deu_Latn") == read


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("LEX\tthe\tdas", "LEX"),
        ("LEXX\ta\tb\t1", "LEXX"),
        ("HMMF\tone\t1", "HMMF"),
        ("LEX\ta\tb\tnan", "nan"),
        ("", "''"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str, found: str) -> None:
    file = tmp_path / "priors"
    file.write_text(f"LEX\ta\tb\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"priors.*line 2.*{found}|priors:2.*{found}"):
        read_priors(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="spanferry models priors"):
        read_priors(tmp_path / "nowhere")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(DataError, match="no LEX line"):
        read_priors(tmp_path / "empty")
    (tmp_path / "plain.gz").write_bytes(b"LEX\ta\tb\t1\n")
    with pytest.raises(DataError, match="cannot be read as priors"):
        read_priors(tmp_path / "plain.gz")
    (tmp_path / "latin").write_bytes(b"LEX\t\xe4\tb\t1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read_priors(tmp_path / "latin")
    (tmp_path / "header").write_text("# spanferry priors {\nLEX\ta\tb\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match="header is not JSON"):
        read_priors(tmp_path / "header")


def test_of_several_files_each_says_its_languages(tmp_path: Path) -> None:
    for name, record in (("none", {}), ("de", {"source": "eng_Latn", "target": "deu_Latn"})):
        write_priors(Priors(words=Counter({("a", "b"): 1}), record=record), tmp_path / name)
    with pytest.raises(ConfigError, match="does not say which languages"):
        PriorsByLanguage([tmp_path / "de", tmp_path / "none"])
    with pytest.raises(ConfigError, match="second file of priors"):
        PriorsByLanguage([tmp_path / "de", tmp_path / "de"])


# ---- making them -------------------------------------------------------------------------------------------


def test_priors_made_here_serve_eflomal_and_lexical(checkpoints: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("eflomal")
    text = [(a.text, b.text) for a, b in toy(checkpoints, 300)]
    steps: list[str] = []
    made = make_priors(text, **LANGUAGES, progress=lambda step, count: steps.append(f"{step} {count}"))
    assert steps[-2:] == ["align 300", "count 300"]
    assert made.words["cat", "katze"] > 0.8 * sum(n for (word, _), n in made.words.items() if word == "cat")
    assert any(NULL in pair for pair in made.words) or sum(made.words.values()) > 0
    file = tmp_path / "toy.gz"
    write_priors(made, file)
    # Few pairs, and words that eflomal could not learn from them alone.
    pairs = toy(checkpoints, 8, seed=99)
    for aligner in (LexicalAligner(priors=file), EflomalAligner(priors=file, symmetrization="intersection")):
        found = [link for a in aligner.align(pairs, **LANGUAGES) for link in links(a)]
        assert sum(i == j for i, j in found) > 0.8 * len(found) > 0


def test_the_command_counts_a_file(checkpoints: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("eflomal")
    lines = [f"{a.text}\t{b.text}\t{'toy' if n % 2 else 'other'}\n" for n, (a, b) in enumerate(toy(checkpoints, 120))]
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress("".join(lines).encode()))
    arguments = ["--source-language", "en", "--target-language", "de", "--data", str(tmp_path / "pairs.tsv.gz")]
    output = tmp_path / "made" / "en-de.gz"
    options = ["--corpora", "toy", "--limit", "50", "--output", str(output), "--quiet"]
    result = CliRunner().invoke(app, ["models", "priors", *arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert "from 50 pairs of sentences" in result.output
    record = read_priors(output).record
    assert (record["source"], record["target"], record["corpora"]) == ("eng_Latn", "deu_Latn", {"toy": 50})
    assert record["data"][0]["file"] == "pairs.tsv.gz" and len(record["data"][0]["sha256"]) == 64


def test_nothing_to_count_is_said() -> None:
    pytest.importorskip("eflomal")
    with pytest.raises(DataError, match="no pair has words on both sides"):
        make_priors([("", "x")], **LANGUAGES)


def test_older_spellings_and_capitals_are_known_to_the_priors() -> None:
    source = tokenize(["The committee writes a letter to the street"], "eng_Latn")[0]
    forms = [["Ausschuss", "Strasse"], ["Ausschuß", "Straße"], ["AUSSCHUSS", "STRASSE"]]
    targets = tokenize([f"Der {one} schreibt der {two} einen Brief" for one, two in forms], "deu_Latn")
    aligner = LexicalAligner(readings=1)
    matrices = aligner.probabilities([(source, target) for target in targets], source="eng_Latn", target="deu_Latn")
    for matrix in matrices:
        assert matrix == pytest.approx(matrices[0])
        assert matrix[1].argmax() == 1 and matrix[1, 1] > 0.5
