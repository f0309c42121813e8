"""What every aligner must do, run over every built-in one: a new aligner adds one row to `SETTINGS`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spanferry.alignment.base import Aligner, Token, TokenizedText, WordAlignment
from spanferry.alignment.given import GivenAligner
from spanferry.alignment.linking import Pair
from spanferry.alignment.registry import ALIGNERS, load_aligner
from spanferry.alignment.tokens import from_words, tokenize
from spanferry.data.errors import ConfigError
from spanferry.translation.ct2 import load_ctranslate2

Folders = Callable[[str], Path]
# Name -> the settings that make it run here, given the folders of small encoders and translation models, and a cache.
SETTINGS: dict[str, Callable[[Folders, Folders, Path], dict[str, Any]]] = {
    "accalign": lambda encoder, translation, cache: {"model": encoder("bert"), "layer": 3},
    "attention": lambda encoder, translation, cache: {
        "model": load_ctranslate2(translation("nllb"), device="cpu", quantization="float32", cache_dir=cache)
    },
    "awesome": lambda encoder, translation, cache: {"model": encoder("bert"), "layer": 3, "method": "entmax"},
    "eflomal": lambda encoder, translation, cache: {},
    "embeddings": lambda encoder, translation, cache: {"model": encoder("bert"), "layer": 3},
    "fake": lambda encoder, translation, cache: {"dictionary": {"the": "die", "cat": "Katze", "red": "rote"}},
    "joint": lambda encoder, translation, cache: {"model": translation("nllb")},
    "lexical": lambda encoder, translation, cache: {},
    "mt-encoder": lambda encoder, translation, cache: {"model": translation("nllb")},
    "simalign": lambda encoder, translation, cache: {"model": encoder("bert"), "layer": 3},
}
# Their links depend on the pairs that are aligned together, by statement.
CORPUS_WISE = {"eflomal", "lexical"}


@pytest.fixture(scope="module", params=[*sorted(ALIGNERS.builtin), "given"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "eflomal":
        pytest.importorskip("eflomal")
    return str(request.param)


@pytest.fixture(scope="module")
def pairs(checkpoints: ModuleType) -> list[Pair]:
    sides = [tokenize(checkpoints.sentences(20, language, seed=11), language) for language in ("eng_Latn", "deu_Latn")]
    empty, word = from_words([]), from_words(["cat"])
    odd = [
        (empty, word),
        (word, empty),
        (empty, empty),
        (from_words(["the", "東京", "😀"]), from_words(["die", "die"])),
        # Words that the data brings may hold white space, or be nothing else.
        (words_of("the|New York|12\u00a0000|cat"), words_of("die|Katze|12\u202f000|New\u2028York")),
        (words_of("the| |cat"), words_of("die|\u3000\t|Katze")),
    ]
    return [*zip(*sides, strict=True), *odd]


def words_of(text: str) -> TokenizedText:
    """The words between bars."""
    return TokenizedText(text, tuple(Token(*found.span()) for found in re.finditer(r"[^|]+", text)))


@pytest.fixture(scope="module")
def aligner(
    name: str, pairs: list[Pair], encoder_folder: Folders, tiny_checkpoint: Folders, model_cache: Path
) -> Aligner:
    if name == "given":
        return GivenAligner(pairs, ["0-0 1-0:0.5" if all(len(s.tokens) > 1 for s in pair) else "" for pair in pairs])
    return load_aligner(name, **SETTINGS[name](encoder_folder, tiny_checkpoint, model_cache))


def align(aligner: Aligner, pairs: list[Pair]) -> list[WordAlignment]:
    alignments = aligner.align(pairs, source="eng_Latn", target="deu_Latn")
    assert len(alignments) == len(pairs)
    return alignments


def links(alignment: WordAlignment) -> list[tuple[int, int]]:
    return [link[:2] for link in alignment.links]


def test_links_are_sorted_unique_and_in_range(aligner: Aligner, pairs: list[Pair]) -> None:
    alignments = align(aligner, pairs)
    assert any(alignment.links for alignment in alignments)
    for (source, target), alignment in zip(pairs, alignments, strict=True):
        assert links(alignment) == sorted(set(links(alignment)))
        assert all(0 <= i < len(source.tokens) and 0 <= j < len(target.tokens) for i, j in links(alignment))
        assert all(0.0 <= link.score <= 1.0 for link in alignment.links)
        assert all(type(value) in (int, float) for link in alignment.links for value in link)


def test_witnesses_speak_of_every_two_words_or_there_are_none(aligner: Aligner, pairs: list[Pair]) -> None:
    for (source, target), alignment in zip(pairs, align(aligner, pairs), strict=True):
        for witness in alignment.witnesses:
            assert witness.shape == (len(source.tokens), len(target.tokens))
            assert ((witness >= 0.0) & (witness <= 1.0 + 1e-6)).all()


def test_a_pair_with_an_empty_side_has_no_links(aligner: Aligner, pairs: list[Pair]) -> None:
    empty = [pair for pair in pairs if not (pair[0].tokens and pair[1].tokens)]
    assert len(empty) == 3
    assert [alignment.links for alignment in align(aligner, empty)] == [(), (), ()]
    assert align(aligner, []) == []


def test_a_pair_keeps_its_links_whatever_stands_beside_it(name: str, aligner: Aligner, pairs: list[Pair]) -> None:
    if name in CORPUS_WISE:
        pytest.skip("aligns the corpus as a whole")
    together = [links(alignment) for alignment in align(aligner, pairs)]
    backwards = [links(alignment) for alignment in align(aligner, pairs[::-1])]
    assert backwards[::-1] == together
    assert [links(align(aligner, [pair])[0]) for pair in pairs[::4]] == together[::4]


def test_the_same_settings_have_the_same_fingerprint(
    name: str, aligner: Aligner, encoder_folder: Folders, tiny_checkpoint: Folders, model_cache: Path
) -> None:
    assert aligner.fingerprint
    if name == "given":
        pytest.skip("made from a corpus, not from settings")
    again = load_aligner(name, **SETTINGS[name](encoder_folder, tiny_checkpoint, model_cache))
    assert again.fingerprint == aligner.fingerprint


def test_an_unknown_setting_is_told_the_nearest(name: str) -> None:
    if name == "given":
        pytest.skip("made from a corpus, not from settings")
    with pytest.raises(ConfigError, match=f"aligner '{name}' has no setting 'metod'"):
        load_aligner(name, metod="argmax")


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="aligner 'embeddings' needs the setting 'model'"):
        load_aligner("embeddings")
