"""SimAlign's methods, batched: link for link what the package says, on real tokenizers and small encoders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from spanferry.alignment.base import Token, TokenizedText
from spanferry.alignment.embeddings import EmbeddingAligner
from spanferry.alignment.encoder import windows
from spanferry.alignment.linking import Pair
from spanferry.alignment.simalign_package import SimAlignPackageAligner
from spanferry.alignment.tokens import from_words
from spanferry.data.errors import ConfigError, ModelError

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}


@pytest.fixture(scope="module")
def pairs(simalign_ratio: ModuleType) -> list[Pair]:
    """Pairs of the samples, odd ones among them; no text is empty, which the package cannot take."""
    words = ["Zoë", "'s", "東京", "タワー", "x", "😀", "\u200b", "ﬁn", "é", "12,5", "%", "a-b", "http://x.y"]
    odd = [(from_words(words), from_words(words[::-1])), (from_words(["a"]), from_words(["a", "a", "a"]))]
    # Words that the data brings may hold white space.
    spaced = TokenizedText("12\u00a0000 in New York", (Token(0, 6), Token(7, 9), Token(10, 18)))
    odd.append((spaced, from_words(["nach", "New", "York", "12.000"])))
    return [*simalign_ratio.sample_pairs()[::6], *odd]


@pytest.mark.parametrize("unit", ["bpe", "word"])
@pytest.mark.parametrize("kind", ["bert", "xlmr"])
@pytest.mark.parametrize("method", ["argmax", "itermax", "match"])
def test_links_are_the_packages(
    encoder_folder: Callable[[str], Path], pairs: list[Pair], kind: str, unit: str, method: str
) -> None:
    if unit == "word":  # the package fails on a word without subwords, which \u200b is to BERT
        pairs = [pair for pair in pairs if all("\u200b" not in text.text for text in pair)]
    settings = {"method": method, "layer": 3, "unit": unit}
    theirs = SimAlignPackageAligner(encoder_folder(kind), **settings).align(pairs, **LANGUAGES)
    ours = EmbeddingAligner(encoder_folder(kind), **settings).align(pairs, **LANGUAGES)
    assert sum(len(alignment.links) for alignment in theirs) > len(pairs)
    for pair, expected, found in zip(pairs, theirs, ours, strict=True):
        assert [link[:2] for link in found.links] == [link[:2] for link in expected.links], pair


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_every_layer_is_the_packages(encoder_folder: Callable[[str], Path], pairs: list[Pair], layer: int) -> None:
    settings = {"method": "itermax", "layer": layer, "distortion": 0.5}
    theirs = SimAlignPackageAligner(encoder_folder("bert"), **settings).align(pairs, **LANGUAGES)
    ours = EmbeddingAligner(encoder_folder("bert"), **settings).align(pairs, **LANGUAGES)
    assert [[link[:2] for link in a.links] for a in ours] == [[link[:2] for link in a.links] for a in theirs]


def test_layers_above_are_not_run(encoder_folder: Callable[[str], Path]) -> None:
    aligner = EmbeddingAligner(encoder_folder("bert"), layer=2)
    assert len(aligner._encoder._model.encoder.layer) == 2


def test_scores_are_similarities(encoder_folder: Callable[[str], Path], pairs: list[Pair]) -> None:
    aligner = EmbeddingAligner(encoder_folder("bert"), layer=3, method="match", unit="word")
    same = [(left, left) for left, _ in pairs]
    for pair, alignment in zip(same, aligner.align(same, **LANGUAGES), strict=True):
        # A text is most like itself, word for word: cosine 1. \u200b has no subword, and so no link.
        expected = [(i, i) for i, word in enumerate(pair[0].words) if word != "\u200b"]
        assert [link[:2] for link in alignment.links] == expected
        assert all(link.score == pytest.approx(1.0, abs=1e-5) for link in alignment.links)


def test_softmax_links_what_is_probable_both_ways(encoder_folder: Callable[[str], Path], pairs: list[Pair]) -> None:
    def links(threshold: float) -> list[set[tuple[int, int]]]:
        aligner = EmbeddingAligner(encoder_folder("bert"), layer=3, method="softmax", threshold=threshold)
        return [{link[:2] for link in alignment.links} for alignment in aligner.align(pairs, **LANGUAGES)]

    loose, strict = links(0.0001), links(0.2)
    assert all(few <= many for few, many in zip(strict, loose, strict=True))
    assert 0 < sum(map(len, strict)) < sum(map(len, loose))


@pytest.mark.parametrize("unit", ["bpe", "word"])
def test_a_text_over_the_limit_is_read_in_windows(encoder_folder: Callable[[str], Path], unit: str) -> None:
    words = [f"{word}{number}" for number in range(400) for word in ("street", "brücke")]
    long, short = from_words(words), from_words(words[:5])
    aligner = EmbeddingAligner(encoder_folder("bert"), layer=2, unit=unit)
    whole, part = aligner.align([(long, long), (short, long)], **LANGUAGES)
    assert {link[:2] for link in whole.links} == {(i, i) for i in range(len(words))}
    assert part.links


def test_simalign_refuses_a_text_over_the_limit(encoder_folder: Callable[[str], Path]) -> None:
    long = from_words(["street"] * 600)
    with pytest.raises(ModelError, match=r"more than the 512 .*'embeddings' reads such texts"):
        SimAlignPackageAligner(encoder_folder("bert"), layer=2).align([(long, long)], **LANGUAGES)


def test_sides_are_read_together_as_apart(encoder_folder: Callable[[str], Path], pairs: list[Pair]) -> None:
    encoder = EmbeddingAligner(encoder_folder("bert"), layer=2, batch_tokens=100)._encoder
    long, empty = from_words(["street"] * 600), from_words([])
    sides = [([empty, *(left for left, _ in pairs), long], "eng_Latn"), ([right for _, right in pairs], "deu_Latn")]
    for side, together in zip(sides, encoder.encode(*sides, ([], "eng_Latn")), strict=False):
        [apart] = encoder.encode(side)
        assert len(together.starts) == len(side[0]) + 1
        assert together.starts.tolist() == apart.starts.tolist()
        assert together.words.tolist() == apart.words.tolist()
        assert torch.allclose(together.vectors, apart.vectors, atol=1e-4)


@pytest.mark.parametrize(("length", "size"), [(0, 4), (4, 4), (5, 4), (100, 8), (101, 7), (9, 1), (1000, 510)])
def test_windows_cover_a_text_once(length: int, size: int) -> None:
    cut = windows(length, size)
    used = [place for _, _, first, last in cut for place in range(first, last)]
    assert used == list(range(length))
    assert all(start <= first and last <= end and end - start <= size for start, end, first, last in cut)


def test_what_can_change_the_links_is_in_the_fingerprint(encoder_folder: Callable[[str], Path]) -> None:
    folder = encoder_folder("bert")

    def fingerprint(**settings: object) -> str:
        return EmbeddingAligner(folder, **{"layer": 2, **settings}).fingerprint  # type: ignore[arg-type]

    assert fingerprint() == fingerprint(batch_tokens=7)
    others = {fingerprint(**change) for change in ({}, {"layer": 1}, {"method": "match"}, {"unit": "word"})}
    assert len(others) == 4


def test_a_layer_that_is_not_there(encoder_folder: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=r"layer 8 of a model with 4 layers, expected 0\.\.4"):
        EmbeddingAligner(encoder_folder("bert"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        EmbeddingAligner(tmp_path / "nowhere")


def test_a_broken_checkpoint_is_named(encoder_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(encoder_folder("bert"), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-type"}), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded as an encoder"):
        EmbeddingAligner(folder, layer=2)


def test_an_encoders_random_state_is_left_alone(encoder_folder: Callable[[str], Path], pairs: list[Pair]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    EmbeddingAligner(encoder_folder("bert"), layer=2).align(pairs[:2], **LANGUAGES)
    assert torch.rand(1) == expected
