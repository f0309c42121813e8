"""The torch engine gives the probabilities of transformers' own forward pass, however sequences branch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from spanferry.data.errors import LanguageError, ModelError
from spanferry.projection.marked_template import MarkedTemplate, PieceEncoder
from spanferry.projection.marker_choice import Markers
from spanferry.projection.placement_search import Problem, SearchSettings, search_all
from spanferry.translation.families import ModelTokenizer
from spanferry.translation.prefix_scorer import Opened, Outcome, PrefixScorer, Step
from spanferry.translation.torch_decoder import take_apart
from spanferry.translation.torch_scorer import TorchScorer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn", "deu_Latn"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz[]")


class Letters:
    """A vocabulary in which every letter is a token."""

    vocabulary = SPECIAL + LETTERS

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        return [[letter for letter in text if letter != " "] for text in texts]

    encode_target = encode

    def decode(self, tokens: Sequence[Sequence[str]]) -> list[str]:
        return ["".join(sequence) for sequence in tokens]


def tokenizer(family: str) -> ModelTokenizer:
    languages = {code: code for code in ("eng_Latn", "deu_Latn")} if family in ("nllb", "mbart50") else {}
    spoken = frozenset(("eng_Latn", "deu_Latn"))
    return ModelTokenizer(family, Letters(), languages, spoken, spoken)


def build(family: str) -> Any:
    common: dict[str, Any] = {
        "vocab_size": len(Letters.vocabulary),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
        "init_std": 0.5,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    torch.manual_seed(1)
    if family == "nllb":
        return M2M100ForConditionalGeneration(M2M100Config(**common, scale_embedding=True))
    if family == "mbart50":
        return MBartForConditionalGeneration(MBartConfig(**common, scale_embedding=True))
    if family == "marian":
        return MarianMTModel(MarianConfig(**common, scale_embedding=True, forced_eos_token_id=2))
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(Letters.vocabulary),
            d_model=16,
            d_kv=6,
            d_ff=32,
            num_layers=1,
            num_decoder_layers=2,
            num_heads=2,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=12,
            feed_forward_proj="gated-gelu",
            initializer_factor=3.0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )


def scorer(family: str, **settings: Any) -> TorchScorer:
    return TorchScorer(build(family), tokenizer(family), fingerprint=f"tiny {family}", **settings)


def reference(engine: TorchScorer, source: str, sequence: Sequence[int]) -> list[list[float]]:
    """log P of every token after every beginning of ``sequence``, by one whole forward pass."""
    ids = [Letters.vocabulary.index(t) for t in engine.tokenizer.encode_source([source], "eng_Latn", "deu_Latn")[0]]
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([list(sequence)])).logits
    without_padding(engine, logits)
    found: list[list[float]] = logits[0].log_softmax(-1).tolist()
    return found


@torch.inference_mode()
def without_padding(engine: TorchScorer, logits: torch.Tensor) -> None:
    """Marian has no padding token (CTranslate2 removes it too); transformers' forward pass gives it a share."""
    if engine.model.config.model_type == "marian":
        logits[..., 1] = float("-inf")


FAMILIES = ("nllb", "mbart50", "marian", "t5")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 7, 1000])
def test_scores_equal_a_whole_forward_pass(family: str, batch_tokens: int) -> None:
    engine = scorer(family, batch_tokens=batch_tokens)
    assert isinstance(engine, PrefixScorer)
    chance = random.Random(5)
    words = len(Letters.vocabulary)
    sources = ["abc", "the cat [sat] here", "x", "somewhat longer than the others"]
    opened = engine.open(sources, source="eng_Latn", target="deu_Latn")

    # A trunk a sentence, then branches of it at random places, then branches of the branches.
    lines = [(number, first.state, 0, list(first.prompt), 9) for number, first in enumerate(opened)]
    for _ in range(3):
        steps, whole = [], []
        for number, state, length, known, new in lines:
            feed = (known if not length else []) + [chance.randrange(6, words) for _ in range(new)]
            questions = [(offset, chance.randrange(2, words)) for offset in range(len(feed)) for _ in range(2)]
            chance.shuffle(questions)
            steps.append(Step(state, length, feed, questions))
            whole.append((number, known[:length] + feed))
        lines = []
        for step, outcome, (number, sequence) in zip(steps, engine.run(steps), whole, strict=True):
            expected = reference(engine, sources[number], sequence)
            for (offset, token), answer in zip(step.ask, outcome.answers, strict=True):
                assert answer == pytest.approx(expected[step.length + offset][token], rel=1e-5, abs=1e-4)
            for _ in range(2):
                length = chance.randrange(1, len(sequence) + 1)
                lines.append((number, outcome.state, length, sequence, chance.randrange(1, 6)))


@pytest.mark.parametrize("family", FAMILIES)
def test_many_new_tokens_of_one_sentence_beside_few_of_another(family: str) -> None:
    engine = scorer(family)
    sources = ["abc", "de"]
    opened = engine.open(sources, source="eng_Latn", target="deu_Latn")
    fed = [[*opened[0].prompt, *[6 + number % 20 for number in range(45)]], [*opened[1].prompt, 7]]
    steps = [
        Step(each.state, 0, tokens, [(at, 9) for at in range(len(tokens))])
        for each, tokens in zip(opened, fed, strict=True)
    ]
    for source, tokens, outcome in zip(sources, fed, engine.run(steps), strict=True):
        expected = [log_probs[9] for log_probs in reference(engine, source, tokens)]
        assert outcome.answers == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_stays_near_float32_and_below_its_bounds(family: str) -> None:
    model, rounded = build(family), build(family).bfloat16()
    with torch.no_grad():
        for weight, other in zip(model.parameters(), rounded.parameters(), strict=True):
            other.copy_(weight)
    engines = [TorchScorer(each, tokenizer(family), fingerprint="tiny") for each in (model, rounded)]
    assert [engine.precision for engine in engines] == ["float32", "bfloat16"]
    answers = []
    for engine in engines:
        [opened] = engine.open(["the cat"], source="eng_Latn", target="deu_Latn")
        [trunk] = engine.run([Step(opened.state, 0, [*opened.prompt, 7, 8, 9], [(1, 9)])])
        before = len(opened.prompt) + 3
        ask = [(at, token) for at in range(4) for token in range(6, len(Letters.vocabulary))]
        step = Step(trunk.state, before, [10, 11, 12, 13], ask)
        [bounds], [true] = engine.run([replace(step, rough=True)]), engine.run([step])
        assert all(bound >= answer for bound, answer in zip(bounds.answers, true.answers, strict=True))
        answers.append(true.answers)
    differences = [abs(one - other) for one, other in zip(*answers, strict=True)]
    assert 0 < sum(differences) / len(differences) < 0.3  # random weights, ten times as large as trained ones


def to_letters(texts: Sequence[str]) -> list[list[int]]:
    return [[Letters.vocabulary.index(letter) for letter in text if letter != " "] for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_best", [1, 3])
def test_the_search_on_a_real_model_equals_brute_force(family: str, n_best: int) -> None:
    """30 problems a family and n; every marked variant scored by a whole forward pass."""
    engine = scorer(family)
    chance = random.Random(11)
    problems, expected = [], []
    for number in range(30):
        words = ["".join(chance.choices("abcdefgh", k=chance.randint(1, 3))) for _ in range(chance.randint(1, 6))]
        text, markers = " ".join(words), Markers("[ ", " ]")
        starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
        ends = [start + len(word) for start, word in zip(starts, words, strict=True)]
        template = MarkedTemplate(text, starts, ends, markers, encoder=PieceEncoder(to_letters), end=2)
        source = f"source [ {number} ]".translate(str.maketrans("0123456789", "abcdefghij"))
        problems.append(Problem(source, template))
        pairs = [(start, end) for start in starts for end in ends if start < end]
        scores = whole_scores(engine, source, [markers.around(text, *pair) for pair in pairs])
        expected.append(sorted(zip(scores, pairs, strict=True), reverse=True)[:n_best])
    engine.open_tokens = 60
    found = search_all(problems, engine, source="eng_Latn", target="deu_Latn", settings=SearchSettings(n_best))
    for result, best in zip(found, expected, strict=True):
        assert [(place.start, place.end) for place in result.places] == [pair for _, pair in best]
        assert [place.log_prob for place in result.places] == pytest.approx([score for score, _ in best], abs=1e-3)
    assert (engine._pool.used, engine._source_pool.used) == (0, 0)


def whole_scores(engine: TorchScorer, source: str, texts: Sequence[str]) -> list[float]:
    """log P(text, end | source) of each text, in one padded forward pass."""
    ids = [Letters.vocabulary.index(t) for t in engine.tokenizer.encode_source([source], "eng_Latn", "deu_Latn")[0]]
    [opened] = engine.open([source], source="eng_Latn", target="deu_Latn")
    engine.close(opened)
    sequences = [[*opened.prompt, *tokens, 2] for tokens in to_letters(texts)]
    longest = max(map(len, sequences))
    batch = torch.tensor([sequence + [2] * (longest - len(sequence)) for sequence in sequences])
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([ids] * len(batch)), decoder_input_ids=batch).logits
    without_padding(engine, logits)
    chosen = logits.log_softmax(-1)[:, :-1].gather(-1, batch[:, 1:, None])[..., 0]
    first = len(opened.prompt) - 1
    return [chosen[row, first : len(sequence) - 1].sum().item() for row, sequence in enumerate(sequences)]


@pytest.mark.parametrize("family", FAMILIES)
def test_rough_answers_are_bounds_from_above(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanferry.translation.torch_softmax._LIKELY", 0.3)
    engine = scorer(family)
    chance = random.Random(3)
    words = len(Letters.vocabulary)
    opened = engine.open(["abc", "some other text"], source="eng_Latn", target="deu_Latn")
    trunks = engine.run([Step(each.state, 0, [*each.prompt, 7, 8, 9], [(1, 9)]) for each in opened])
    steps = []
    for trunk in trunks * 5:
        feed = [chance.randrange(6, words) for _ in range(4)]
        ask = [(offset, chance.randrange(2, words)) for offset in (0, 1, 1, 3)]
        steps.append(Step(trunk.state, chance.randrange(1, 4), feed, ask))
    true = [answer for outcome in engine.run(steps) for answer in outcome.answers]
    outcomes = engine.run([replace(step, rough=True) for step in steps])
    assert all(outcome.rough for outcome in outcomes)
    rough = [answer for outcome in outcomes for answer in outcome.answers]
    assert all(bound >= answer for bound, answer in zip(rough, true, strict=True))
    assert all(bound <= 0 for bound in rough)
    assert sum(bound > answer + 0.01 for bound, answer in zip(rough, true, strict=True)) > len(true) / 2
    # The true ones can be had afterwards without feeding anything again.
    used = engine._pool.used
    sure = engine.run(
        [
            Step(outcome.state, step.length + 4, (), [(offset - 4, token) for offset, token in step.ask])
            for step, outcome in zip(steps, outcomes, strict=True)
        ]
    )
    assert [answer for outcome in sure for answer in outcome.answers] == pytest.approx(true, abs=1e-4)
    assert not any(outcome.rough for outcome in sure)
    assert engine._pool.used == used


def test_a_step_without_questions_changes_nothing() -> None:
    engine = scorer("nllb")
    [first] = engine.open(["abc"], source="eng_Latn", target="deu_Latn")
    silent, asked = engine.run(
        [Step(first.state, 0, [*first.prompt, 7], ()), Step(first.state, 0, [*first.prompt, 7], [(2, 8)])]
    )
    assert silent.answers == []
    [after] = engine.run([Step(silent.state, 3, [9], [(0, 2)])])
    assert after.answers[0] == pytest.approx(reference(engine, "abc", [2, 5, 7, 9])[3][2], rel=1e-5, abs=1e-4)
    assert asked.answers[0] == pytest.approx(reference(engine, "abc", [2, 5, 7])[2][8], rel=1e-5, abs=1e-4)


def test_states_are_free_when_nobody_has_them_and_no_others_are() -> None:
    engine = scorer("nllb")
    one, other = engine.open(["abc", "defg"], source="eng_Latn", target="deu_Latn")
    assert engine._source_pool.used == 5 + 6

    def go_on(opened: Opened) -> Outcome:
        [outcome] = engine.run([Step(opened.state, 0, [*opened.prompt, 7, 8], [(3, 9)])])
        return outcome

    before = go_on(other)
    trunk = go_on(one)
    go_on(one)
    assert engine._pool.used == 8
    [branch] = engine.run([Step(trunk.state, 3, [9, 10], [(1, 9)])])
    del trunk
    assert engine._pool.used == 10, "a branch keeps the states that it continues"
    del branch
    assert engine._pool.used == 4
    engine.close(one)
    assert engine._source_pool.used == 6
    again = go_on(other)
    assert again.answers == pytest.approx(before.answers, abs=1e-5)
    del before, again
    engine.close(other)
    assert (engine._pool.used, engine._source_pool.used) == (0, 0)


def test_the_pool_grows_and_keeps_what_it_holds() -> None:
    engine = scorer("nllb")
    sources = ["abcdefghijklmnopqrst" * 2] * 300
    opened = engine.open(sources, source="eng_Latn", target="deu_Latn")
    outcomes = engine.run([Step(o.state, 0, [*o.prompt, *range(6, 26)], [(21, 7)]) for o in opened])
    assert engine._pool.used == 300 * 22
    assert len({round(outcome.answers[0], 4) for outcome in outcomes}) == 1


def test_wrong_input_is_refused() -> None:
    engine = scorer("nllb")
    with pytest.raises(LanguageError, match="does not speak French"):
        engine.open(["abc"], source="fra_Latn", target="deu_Latn")
    with pytest.raises(ModelError, match="more than the 56 that the model takes"):
        engine.open(["a" * 70], source="eng_Latn", target="deu_Latn")
    with pytest.raises(ModelError, match="Supported: M2M100"):
        take_apart(torch.nn.Module.__new__(_Other))


class _Other(torch.nn.Module):
    class config:
        model_type = "whisper"
