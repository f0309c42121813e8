"""Aligners on a translation model: where a subword belongs, what the attention is, and what a model is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.attention import STATES, AttentionAligner, forced_attention
from spanferry.alignment.base import Token
from spanferry.alignment.linking import Pair
from spanferry.alignment.mt_encoder import MTEncoderAligner
from spanferry.alignment.placement import words_of_subwords
from spanferry.alignment.tokens import from_words, split_on_space, tokenize
from spanferry.data.errors import ConfigError, LanguageError, ModelError
from spanferry.translation.ct2 import CTranslate2Translator, load_ctranslate2
from spanferry.translation.families import load_tokenizer
from spanferry.translation.subwords import Subwords

FAMILIES = ["nllb", "m2m100", "mbart50", "marian"]
ENCODERS = [*FAMILIES, "t5"]
LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}
LAYER, HEADS = 0, [1]  # neither is what CTranslate2 takes by itself


@pytest.fixture(scope="module")
def pairs(checkpoints: ModuleType) -> list[Pair]:
    sides = [tokenize(checkpoints.sentences(12, language, seed=4), language) for language in ("eng_Latn", "deu_Latn")]
    return [*zip(*sides, strict=True), (from_words(["the", "東京"]), from_words(["die", "東京", "!"]))]


@pytest.fixture(scope="module", params=FAMILIES)
def guided(
    request: pytest.FixtureRequest,
    tiny_checkpoint: Callable[[str], Path],
    model_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> CTranslate2Translator:
    """A converted model whose config.json names the layer and head to read."""
    folder = tmp_path_factory.mktemp("guided") / str(request.param)
    shutil.copytree(tiny_checkpoint(request.param), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["spanferry"] = {"alignment_layer": LAYER, "alignment_heads": HEADS}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return load_ctranslate2(folder, device="cpu", quantization="float32", cache_dir=model_cache)


def cross_attention(translator: CTranslate2Translator, source: list[str], target: list[str]) -> Any:
    """(target tokens, source tokens): the named head, by transformers, one teacher-forced pass."""
    from transformers import AutoModelForSeq2SeqLM

    folder = Path(translator.model.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = {token: number for number, token in enumerate(translator.tokenizer.subwords.vocabulary)}
    start = model.config.decoder_start_token_id
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([[ids[token] for token in source]]),
            decoder_input_ids=torch.tensor([[start, *(ids[token] for token in target[:-1])]]),
            output_attentions=True,
        )
    return output.cross_attentions[LAYER][0, HEADS].mean(0).numpy()


@pytest.mark.parametrize("state", STATES)
def test_attention_is_that_of_transformers_summed_by_word(
    guided: CTranslate2Translator, pairs: list[Pair], state: str
) -> None:
    matrices = forced_attention(guided, pairs, **LANGUAGES, state=state)
    later = STATES.index(state)
    tokenizer = guided.tokenizer
    before, after = tokenizer.around_source("eng_Latn", "deu_Latn")
    prefix = tokenizer.target_prefix("deu_Latn")
    for (left, right), matrix in list(zip(pairs, matrices, strict=True))[::5]:
        assert matrix.shape == (len(left.tokens), len(right.tokens))
        sides = [tokenizer.subwords.encode_with_offsets([text.text], target=text is right)[0] for text in (left, right)]
        (source, source_places), (target, target_places) = sides
        # The helper leaves the last token out of what the decoder reads: one more keeps it in.
        attention = cross_attention(guided, [*before, *source, *after], [*prefix, *target, *target[:1]])
        attention = attention[len(prefix) + later :][: len(target), len(before) : len(before) + len(source)]
        expected = np.zeros_like(matrix)
        shares = np.bincount(words_of_subwords(right.tokens, target_places)[1], minlength=matrix.shape[1])
        for row, word in zip(*words_of_subwords(right.tokens, target_places), strict=True):
            for column, source_word in zip(*words_of_subwords(left.tokens, source_places), strict=True):
                expected[source_word, word] += attention[row, column] / shares[word]
        assert np.allclose(matrix, expected, atol=1e-4)


def test_a_checkpoint_names_the_state_that_aligns(
    tiny_checkpoint: Callable[[str], Path], model_cache: Path, tmp_path: Path, pairs: list[Pair]
) -> None:
    folder = tmp_path / "reads"
    shutil.copytree(tiny_checkpoint("nllb"), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["spanferry"] = {"alignment_layer": LAYER, "alignment_heads": HEADS, "alignment_state": "reads"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = load_ctranslate2(folder, device="cpu", quantization="float32", cache_dir=model_cache)
    named, told, other = (AttentionAligner(model, state=state) for state in (None, "reads", "writes"))
    assert named.fingerprint == told.fingerprint != other.fingerprint
    links = [aligner.align(pairs, **LANGUAGES) for aligner in (named, told, other)]
    assert links[0] == links[1] != links[2]


@cache
def subwords_of(folder: Path) -> Subwords:
    return load_tokenizer(folder).subwords


@pytest.mark.parametrize("family", ENCODERS)
@given(text=st.text("abc東e\u0301ﬁ😀 .\u3000-'", max_size=12))
def test_every_token_has_its_subwords_whatever_the_text(
    tiny_checkpoint: Callable[[str], Path], family: str, text: str
) -> None:
    subwords = subwords_of(tiny_checkpoint(family))
    tokens = split_on_space(text).tokens
    [(pieces, offsets)] = subwords.encode_with_offsets([text])
    assert pieces == subwords.encode([text])[0]
    rows, words = words_of_subwords(tokens, offsets)
    assert sorted(zip(words, rows, strict=True)) == list(zip(words, rows, strict=True))
    assert set(words) == set(range(len(tokens)))
    for row, word in zip(rows, words, strict=True):
        start, end = offsets[row]
        shared = range(max(start, tokens[word].start), min(end, tokens[word].end))
        assert shared or not text[start:end].strip()


def test_a_subword_of_two_words_belongs_to_both_and_a_lone_space_to_the_next() -> None:
    tokens = [Token(0, 3), Token(3, 6), Token(8, 9)]
    assert words_of_subwords(tokens, [(0, 2), (2, 4), (4, 6), (7, 8), (8, 9)]) == (
        [0, 1, 1, 2, 3, 4],
        [0, 0, 1, 1, 2, 2],
    )


def test_both_directions_agree_whichever_side_is_the_source(guided: CTranslate2Translator, pairs: list[Pair]) -> None:
    if guided.tokenizer.targets is not None and "eng_Latn" not in guided.tokenizer.targets:
        pytest.skip("the toy OPUS-MT model does not write English")
    for method in ("intersection", "union", "threshold"):
        aligner = AttentionAligner(guided, method=method)
        there = aligner.align(pairs, source="eng_Latn", target="deu_Latn")
        back = aligner.align([(b, a) for a, b in pairs], source="deu_Latn", target="eng_Latn")
        assert [{link[:2] for link in a.links} for a in there] == [{link[1::-1] for link in a.links} for a in back]


def test_the_forward_method_links_each_target_word_once_at_most(
    guided: CTranslate2Translator, pairs: list[Pair]
) -> None:
    for pair, alignment in zip(
        pairs, AttentionAligner(guided, method="forward", threshold=0.0).align(pairs, **LANGUAGES), strict=True
    ):
        assert sorted(link.target for link in alignment.links) == list(range(len(pair[1].tokens)))


@pytest.mark.parametrize("family", ENCODERS)
def test_the_encoder_finds_the_same_words(tiny_checkpoint: Callable[[str], Path], family: str) -> None:
    texts = tokenize(["the old cat sees the red bridge", "big lamp"], "eng_Latn")
    aligner = MTEncoderAligner(tiny_checkpoint(family), method="argmax")
    target = "deu_Latn" if family == "marian" else "eng_Latn"  # the toy OPUS-MT model does not write English
    for text, alignment in zip(
        texts, aligner.align([(text, text) for text in texts], source="eng_Latn", target=target), strict=True
    ):
        assert {link[:2] for link in alignment.links} >= {(i, i) for i in range(len(text.tokens))}


def test_a_converted_model_has_no_encoder_to_read(tiny_checkpoint: Callable[[str], Path], model_cache: Path) -> None:
    converted = load_ctranslate2(tiny_checkpoint("nllb"), device="cpu", cache_dir=model_cache).model.path
    with pytest.raises(ModelError, match=r"converted CTranslate2 model.*take the aligner 'attention'"):
        MTEncoderAligner(converted)


def test_a_language_that_the_model_does_not_speak(tiny_checkpoint: Callable[[str], Path], pairs: list[Pair]) -> None:
    aligner = MTEncoderAligner(tiny_checkpoint("nllb"))
    with pytest.raises(LanguageError):
        aligner.align(pairs, source="eng_Latn", target="jpn_Jpan")


def test_a_text_over_the_models_limit_is_read_to_the_limit_or_in_windows(
    tiny_checkpoint: Callable[[str], Path], model_cache: Path
) -> None:
    folder = tiny_checkpoint("nllb")
    translator = load_ctranslate2(folder, device="cpu", quantization="float32", cache_dir=model_cache)
    # A translation that went round in circles must not stop a build: its beginning is aligned, its rest is not.
    long = from_words(["bridge"] * (translator.max_tokens + 1))
    [alignment] = AttentionAligner(translator, method="forward").align([(from_words(["bridge"]), long)], **LANGUAGES)
    assert 0 < len(alignment.links) <= translator.max_tokens
    assert MTEncoderAligner(folder).align([(long, long)], **LANGUAGES)[0].links


def test_settings_are_checked_and_in_the_fingerprint(guided: CTranslate2Translator) -> None:
    with pytest.raises(ConfigError, match="did you mean 'forward'"):
        AttentionAligner(guided, method="foward")
    with pytest.raises(ConfigError, match=r"threshold 1.0"):
        AttentionAligner(guided, threshold=1.0)
    with pytest.raises(ConfigError, match="state 'read': did you mean 'reads'"):
        AttentionAligner(guided, state="read")
    prints = {
        AttentionAligner(guided, **settings).fingerprint  # type: ignore[arg-type]
        for settings in ({}, {"method": "forward"}, {"threshold": 0.3}, {"state": "reads"}, {"batch_tokens": 9})
    }
    assert len(prints) == 4
