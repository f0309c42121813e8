"""eflomal: finds the words of a toy corpus, and says what it cannot do."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from spanferry.alignment.base import TokenizedText
from spanferry.alignment.statistical import EflomalAligner
from spanferry.alignment.tokens import from_words, split_on_space
from spanferry.data.errors import ConfigError, DataError

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}


def test_words_of_a_word_for_word_corpus_find_each_other(checkpoints: ModuleType) -> None:
    pytest.importorskip("eflomal")
    english = [split_on_space(text[:-1]) for text in checkpoints.sentences(400, "eng_Latn", seed=7)]
    german = [split_on_space(text[:-1]) for text in checkpoints.sentences(400, "deu_Latn", seed=7)]
    pairs = [*zip(english, german, strict=True), (split_on_space(""), german[0])]
    alignments = EflomalAligner(symmetrization="intersection").align(pairs, **LANGUAGES)
    assert len(alignments) == 401
    assert alignments[400].links == ()
    links = [link for alignment in alignments for link in alignment.links]
    # Sampling makes a few errors, other ones in every run: it never came below 95 % in ten runs.
    assert sum(link.source == link.target for link in links) > 0.8 * len(links)
    assert len(links) > 0.8 * sum(len(text.tokens) for text in english)
    assert all(0 < link.score <= 1 for link in links)


def test_a_word_that_holds_white_space_is_one_word(checkpoints: ModuleType) -> None:
    pytest.importorskip("eflomal")

    def spaced(text: str) -> TokenizedText:
        """The words of a text, a space in the middle of the first."""
        words = split_on_space(text[:-1])
        return TokenizedText(f"{text[0]}\u00a0{text[2:-1]}", words.tokens)

    english = [spaced(text) for text in checkpoints.sentences(400, "eng_Latn", seed=7)]
    german = [split_on_space(text[:-1]) for text in checkpoints.sentences(400, "deu_Latn", seed=7)]
    pairs = list(zip(english, german, strict=True))
    alignments = EflomalAligner(symmetrization="intersection").align(pairs, **LANGUAGES)
    links = [link for alignment in alignments for link in alignment.links]
    assert english[0].words[0] == "t\u00a0e"
    assert sum(link.source == link.target for link in links) > 0.8 * len(links)
    assert len(links) > 0.8 * sum(len(text.tokens) for text in english)


def test_a_text_over_the_limit_is_refused() -> None:
    pytest.importorskip("eflomal")
    long = from_words(["a"] * 1001)
    with pytest.raises(DataError, match="pair 0 has 1001 words, eflomal takes 1000"):
        EflomalAligner().align([(long, long)], **LANGUAGES)


def test_without_the_extra_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eflomal", None)
    with pytest.raises(ConfigError, match=r"pip install 'spanferry\[eflomal\]'"):
        EflomalAligner()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 4}, "depth 4"),
        ({"effort": 0.0}, "effort"),
        ({"null_prior": 1.0}, "null_prior"),
        ({"symmetrization": "grow"}, "did you mean 'grow-diag'"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EflomalAligner(**setting)  # type: ignore[arg-type]
