"""Training runs on a toy language: recipes, vocabularies, batches, guided alignment, stopping and going on, tuning."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from spanferry.data.errors import ConfigError, LanguageError, ModelError
from spanferry.translation import train as training
from spanferry.translation.corpus import SentencePair
from spanferry.translation.families import load_tokenizer
from spanferry.translation.recipe import AlignmentSettings, OptimizerSettings, TrainRecipe
from spanferry.translation.tokenizer_training import train_tokenizer
from spanferry.translation.training_data import Collate, PreparedPairs, TokenBatches, prepare
from spanferry.translation.training_loop import GuidedAlignment, TimeBudget, TranslationTrainer

LEXICON = {
    "the": "die", "old": "alte", "red": "rote", "cat": "Katze", "bridge": "Brücke", "lamp": "Lampe", "sees": "sieht",
    "finds": "findet", "loves": "liebt", "today": "heute", "never": "nie", "flower": "Blume",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 sentence pairs of a toy language."""
    chance = random.Random(1)
    lines = []
    for _ in range(400):
        words = [chance.choice(sorted(LEXICON)) for _ in range(chance.randint(3, 9))]
        lines.append(f"{' '.join(words)}.\t{' '.join(LEXICON[word] for word in words)}.\ttoy\n")
    file = tmp_path_factory.mktemp("corpus") / "toy.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def settings(corpus: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a small run, for YAML."""
    return {
        "name": "toy",
        "output": "run",
        "data": [
            {
                "path": str(corpus),
                "source_language": "eng_Latn",
                "target_language": "deu_Latn",
                "quotas": {"toy": [{"pairs": 400}]},
            }
        ],
        "model": {
            "vocabulary": 700,
            "languages": ["eng_Latn", "deu_Latn"],
            "width": 32,
            "feed_forward": 64,
            "heads": 4,
            "encoder_layers": 1,
            "decoder_layers": 1,
        },
        "markers": {"share": 0.2},
        "guided_alignment": {"weight": 0.1},
        "optimizer": {"learning_rate": 0.005, "warmup_steps": 10, "max_steps": 40, "batch_tokens": 400},
        "report_steps": 5,
        **changes,
    }


def read(folder: Path, values: dict[str, Any]) -> TrainRecipe:
    """Read settings back as the command does."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return TrainRecipe.read(file)


def helper() -> ModuleType:
    """The small checkpoints of other families that the backend's tests use."""
    spec = importlib.util.spec_from_file_location("toy_checkpoints", Path(__file__).with_name("checkpoints.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_paths_are_relative_to_the_recipe(tmp_path: Path, corpus: Path) -> None:
    recipe = read(tmp_path, settings(Path("pairs.tsv")))
    assert recipe.output == tmp_path / "run"
    assert recipe.data[0].path == tmp_path / "pairs.tsv"
    assert read(tmp_path, settings(corpus)).data[0].path == corpus
    (tmp_path / "earlier" / "model").mkdir(parents=True)
    for start, found in (("earlier/model", str(tmp_path / "earlier/model")), ("some/model", "some/model")):
        assert read(tmp_path, settings(corpus, model=None, start_from=start)).start_from == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guided_allignment": {}}, "guided_allignment: unknown setting; did you mean 'guided_alignment'"),
        ({"optimizer": {"learning_rate": -1, "max_steps": 5}}, r"optimizer.learning_rate: .* \(found -1\)"),
        ({"start_from": "some/model"}, "either `model` .* or `start_from`"),
        ({"model": None}, "either `model` .* or `start_from`"),
        ({"data": []}, "data: "),
        ({"pivot": True}, "`pivot` needs two corpora"),
    ],
)
def test_a_wrong_recipe_says_where(tmp_path: Path, corpus: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, settings(corpus, **change))


def test_a_corpus_that_does_not_fit_is_named(tmp_path: Path, corpus: Path) -> None:
    good = settings(corpus)["data"][0]
    for change, message in (
        ({"target_language": "Klingon"}, r"data\.0\.target_language: .*Klingon"),
        ({"target_language": "fra_Latn"}, "`model.languages` lacks fra_Latn"),
        ({"quotas": {"toy": [{"pairs": 1, "min_words": 9, "max_words": 3}]}}, r"data\.0\.quotas\.toy\.0: .*more than"),
        ({"quotas": {"toy": [{"pair": 1}]}}, "did you mean 'pairs'"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(tmp_path, settings(corpus, data=[{**good, **change}]))
    assert (
        read(tmp_path, settings(corpus, data=[{**good, "target_language": "de"}])).data[0].target_language == "deu_Latn"
    )


def test_a_recipe_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        TrainRecipe.read(tmp_path / "none.yaml")
    for content, message in (
        (b"a: [", "bad.yaml:1: not valid YAML"),
        (b"- a", "found list"),
        (b"a: \xff", "bad.yaml: not UTF-8 at byte 3"),
        (b"a: \0", "bad.yaml: not valid YAML: the character 0x0 at position 3"),
        (b"[" * 5000, "bad.yaml: a value stands a thousand deep"),
    ):
        (tmp_path / "bad.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=message) as caught:
            TrainRecipe.read(tmp_path / "bad.yaml")
        assert "\n" not in str(caught.value)


def test_an_export_replaces_a_model_and_nothing_else(tmp_path: Path, corpus: Path) -> None:
    recipe = read(tmp_path, settings(corpus))
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("README.md", "thesis.tex"):
        (folder / name).touch()
    with pytest.raises(ConfigError, match=r"home: found thesis\.tex and no model, expected an empty folder"):
        training.export_checkpoint(recipe, tmp_path / "none", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "thesis.tex"]


def test_the_vocabulary_keeps_signs_apart_and_loses_no_character(tmp_path: Path) -> None:
    texts = ["Die Brücke kostet [viel] Geld.", "¿Dónde está el niño?", "<a>x</a> in 1999!"] * 50
    train_tokenizer(texts, vocabulary=900, languages=["eng_Latn", "deu_Latn"]).save_pretrained(str(tmp_path))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.family == "nllb"
    assert tokenizer.sources == {"eng_Latn", "deu_Latn"}
    tricky = ["„Größe“: 3,50 € [a] (b) <1>c</1> {d} 50 % #1 @x_y & co – «ñandú» ¿qué? 👍", "x[y]z<b>1999</b>"]
    for tokens in tokenizer.encode(tricky):
        assert "<unk>" not in tokens
        for token in tokens:
            bare = token.removeprefix("▁")
            assert len(bare) <= 1 or bare.isalpha(), f"{token} joins signs, digits or letters"
    assert tokenizer.decode(tokenizer.encode(tricky)) == tricky
    assert tokenizer.encode(["[ ] <1> 2019"]) == [["▁[", "▁]", "▁<", "1", ">", "▁2", "0", "1", "9"]]
    assert "<unk>" in tokenizer.encode(["漢"])[0]


def test_prepared_pairs_come_back_with_their_links(tmp_path: Path) -> None:
    text = "Good day Rome"
    train_tokenizer([text, "Guten Tag Rom"] * 9, vocabulary=700, languages=["eng_Latn", "deu_Latn"]).save_pretrained(
        str(tmp_path)
    )
    tokenizer = load_tokenizer(tmp_path)
    links = (((0, 4), (0, 5)), ((9, 13), (10, 13)))
    pairs = [
        SentencePair("eng_Latn", "deu_Latn", text, "Guten Tag Rom", "x", links),
        SentencePair("deu_Latn", "eng_Latn", "Tag " * 40, "day", "x"),
    ]
    counts = prepare(pairs, tokenizer, tmp_path / "data", max_tokens=40, with_links=True)
    assert (counts["pairs"], counts["too_long"]) == (1, 1)
    [item] = [PreparedPairs(tmp_path / "data")[number] for number in range(1)]
    vocabulary = tokenizer.subwords.vocabulary
    source, target = ([vocabulary[number] for number in item[side]] for side in ("source", "target"))
    assert source == tokenizer.encode_source([text], "eng_Latn", "deu_Latn")[0]
    assert target == [*tokenizer.encode_target(["Guten Tag Rom"], "deu_Latn")[0], "</s>"]
    linked = {(source[i].strip("▁"), target[j].strip("▁")) for i, j in item["links"]}
    assert linked and all(text[0:4].find(one) >= 0 or text[9:].find(one) >= 0 for one, _ in linked)
    with pytest.raises(LanguageError, match="deu_Latn"):
        prepare(
            [SentencePair("eng_Latn", "fin_Latn", "a", "b", "x")],
            tokenizer,
            tmp_path / "no",
            max_tokens=40,
            with_links=False,
        )


def test_batches_are_bounded_complete_and_repeatable() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=500)
    batches = list(TokenBatches(lengths, batch_tokens=300, steps=400, seed=7, pool=200))
    assert len(batches) == 400
    assert all(max(lengths[batch]) * len(batch) <= 300 for batch in batches)
    seen: list[int] = []
    for batch in batches:
        seen += batch
        if len(seen) >= 500:
            break
    assert sorted(seen) == list(range(500))
    assert batches == list(TokenBatches(lengths, batch_tokens=300, steps=400, seed=7, pool=200))
    assert batches[:50] != list(TokenBatches(lengths, batch_tokens=300, steps=50, seed=8, pool=200))


def test_a_batch_shifts_the_target_and_spreads_the_links() -> None:
    items = [
        {"source": np.array([5, 6, 2]), "target": np.array([7, 8, 2]), "links": np.array([[0, 1], [1, 1]])},
        {"source": np.array([5, 2]), "target": np.array([9, 2]), "links": np.empty((0, 2), dtype=int)},
    ]
    batch = Collate(pad=1, decoder_start=2, with_links=True)(items)
    assert batch["input_ids"].tolist() == [[5, 6, 2], [5, 2, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["decoder_input_ids"].tolist() == [[2, 7, 8], [2, 9, 1]]
    assert batch["labels"].tolist() == [[7, 8, 2], [9, 2, -100]]
    assert batch["alignment"][0].tolist() == [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]
    assert batch["alignment"][1].sum() == 0


def test_the_clock_decays_to_zero_by_steps_or_by_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("spanferry.translation.training_loop.time.monotonic", lambda: now)
    by_steps = TimeBudget(OptimizerSettings(learning_rate=1, warmup_steps=10, max_steps=100), save_minutes=5)
    assert by_steps.rate(0) == pytest.approx(0.1)
    assert by_steps.rate(50) == pytest.approx(0.5)
    assert by_steps.rate(100) == 0
    by_time = TimeBudget(
        OptimizerSettings(learning_rate=1, warmup_steps=10, max_steps=10**6, max_minutes=10), save_minutes=5
    )
    now += 300
    assert by_time.rate(500) == pytest.approx(0.5)
    now += 400
    assert by_time.rate(500) == 0


def test_guided_alignment_is_the_cross_entropy_of_that_head(tmp_path: Path, corpus: Path) -> None:
    recipe = read(tmp_path, settings(corpus))
    assert recipe.model is not None
    model = training.M2M100ForConditionalGeneration(
        training.model_config(recipe.model, ["<s>", "<pad>", "</s>", "<unk>", *"abcdefgh"])
    ).eval()
    model.set_attn_implementation("eager")
    guided = GuidedAlignment(model, AlignmentSettings(weight=1.0, layer=0, heads=[2]))
    source = torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1]])
    mask = source.ne(1).long()
    alignment = torch.zeros(2, 3, 4)
    alignment[0, 1, 0], alignment[0, 2, 1], alignment[1, 0, 0] = 1.0, 1.0, 1.0
    decoder = torch.tensor([[2, 9, 10], [2, 9, 10]])
    outputs = model(input_ids=source, attention_mask=mask, decoder_input_ids=decoder, output_attentions=True)
    attention = outputs.cross_attentions[0][:, 2]
    expected = -(alignment * attention.clamp(min=1e-30).log()).sum() / 3
    assert guided.loss(alignment, mask).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ModelError, match="layer 3"):
        GuidedAlignment(model, AlignmentSettings(weight=1.0, layer=3))
    with pytest.raises(ModelError, match="heads 0 to 3"):
        GuidedAlignment(model, AlignmentSettings(weight=1.0, heads=[4]))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("eflomal")
    whole = training.train(read(tmp_path, settings(corpus, output="whole")))
    reported = [line for line in capfd.readouterr().err.splitlines() if line.startswith("training:")]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in reported]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]

    recipe = read(tmp_path, settings(corpus, output="stopped", save_minutes=1e-9))
    real_loss = TranslationTrainer.compute_loss

    def stop(self: Any, *args: Any, **others: Any) -> Any:
        if self.state.global_step == 12:
            raise KeyboardInterrupt
        return real_loss(self, *args, **others)

    monkeypatch.setattr(TranslationTrainer, "compute_loss", stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe)
    monkeypatch.setattr(TranslationTrainer, "compute_loss", real_loss)
    last = training.last_checkpoint(recipe)
    assert last is not None and last.name == "checkpoint-12"
    (recipe.output / "checkpoints" / "checkpoint-13").mkdir()  # a crash while saving: no clock in it
    assert training.last_checkpoint(recipe) == last
    resumed = training.train(recipe)

    one, other = weights(whole), weights(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    state = json.loads((recipe.output / "checkpoints/checkpoint-40/trainer_state.json").read_text())
    assert state["global_step"] == 40

    config = json.loads((resumed / "config.json").read_text())
    assert config["spanferry"] == {
        "languages": ["deu_Latn", "eng_Latn"],
        "alignment_layer": 0,
        "alignment_heads": [0],
        "alignment_state": "writes",
    }
    assert config["dtype"] == "float16"
    (resumed / "README.md").write_text("card")
    (resumed / "pytorch_model.bin").write_bytes(b"old weights")
    training.export_checkpoint(recipe, recipe.output / "checkpoints/checkpoint-40", resumed)
    assert (resumed / "README.md").read_text() == "card"
    assert not (resumed / "pytorch_model.bin").exists()
    assert all(torch.equal(one[name], value) for name, value in weights(resumed).items())
    changed = read(tmp_path, settings(corpus, output="stopped", seed=5))
    with pytest.raises(ConfigError, match="made with other settings"):
        training.train(changed)


@pytest.mark.parametrize("family", ["marian", "m2m100"])
def test_fine_tuning_any_checkpoint_for_markers(tmp_path: Path, corpus: Path, family: str) -> None:
    pytest.importorskip("eflomal")
    start = helper().build(family, tmp_path / family)
    config = json.loads((start / "config.json").read_text())
    ours = {"alignment_layer": 0, "alignment_heads": [1], "alignment_state": "reads", "languages": ["fra_Latn"]}
    (start / "config.json").write_text(json.dumps(config | {"spanferry": ours}))
    tuned_part = r"decoder\.layers\.1\."
    values = settings(
        corpus,
        model=None,
        start_from=str(start),
        train_only=[tuned_part],
        both_directions=False,
        guided_alignment={"weight": 0.0},
        optimizer={"learning_rate": 0.01, "warmup_steps": 1, "max_steps": 4, "batch_tokens": 200, "accumulate": 2},
    )
    folder = training.train(read(tmp_path, values))
    before, after = weights(start), weights(folder)
    changed = {name for name in after if not torch.allclose(before[name], after[name].float(), atol=2e-3)}
    assert changed
    assert all("decoder.layers.1." in name for name in changed)
    assert load_tokenizer(folder).family == family
    languages = ["deu_Latn", "eng_Latn", "fra_Latn"]
    assert json.loads((folder / "config.json").read_text())["spanferry"] == ours | {"languages": languages}
    counts = json.loads((folder.parent / "examples.json").read_text())
    assert counts["kind: marked by alignment"] > 20
    with pytest.raises(ConfigError, match="matches no parameter"):
        training.train(read(tmp_path, {**values, "train_only": ["nothing"]}))
