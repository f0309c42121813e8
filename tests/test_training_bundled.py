"""The bundled model is what its card and its recipe say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from spanferry.translation.base import Translator
from spanferry.translation.checkpoints import BUNDLED
from spanferry.translation.families import load_tokenizer
from spanferry.translation.recipe import TrainRecipe
from spanferry.translation.registry import load_translator

GPL_ALONE = {"darktable-docs", "shattered-pixel-dungeon", "manpages-l10n"}


@pytest.fixture(scope="module")
def card() -> str:
    return (BUNDLED / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recipe() -> TrainRecipe:
    return TrainRecipe.read(BUNDLED / "recipe.yaml")


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Translator]:
    yield load_translator("bundled", cache_dir=tmp_path_factory.mktemp("cache"), device="cpu")


def test_weights_are_small_half_precision_and_readable_by_all() -> None:
    weights = BUNDLED / "model.safetensors"
    assert weights.stat().st_size < 40_000_000
    assert weights.stat().st_mode & 0o444 == 0o444
    with safe_open(weights, framework="np") as opened:
        kinds = {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
        assert kinds == {"F16"}
    assert not [file for file in BUNDLED.iterdir() if file.suffix in (".bin", ".pt", ".pkl", ".py")]


def test_configuration_follows_the_recipe(recipe: TrainRecipe) -> None:
    config = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))
    assert recipe.model is not None
    assert config["model_type"] == "m2m_100"
    assert (config["d_model"], config["encoder_ffn_dim"]) == (recipe.model.width, recipe.model.feed_forward)
    assert (config["encoder_layers"], config["decoder_layers"]) == (
        recipe.model.encoder_layers,
        recipe.model.decoder_layers,
    )
    assert config["spanferry"]["languages"] == ["deu_Latn", "eng_Latn", "spa_Latn"]
    tokenizer = load_tokenizer(BUNDLED)
    assert tokenizer.family == "nllb"
    assert tokenizer.sources == set(recipe.model.languages)
    assert len(tokenizer.subwords.vocabulary) == config["vocab_size"] <= recipe.model.vocabulary


def test_the_second_run_trains_the_decoder_alone_on_the_same_sources(recipe: TrainRecipe) -> None:
    second = TrainRecipe.read(BUNDLED / "recipe_second.yaml")
    assert (BUNDLED / str(second.start_from)).resolve() == recipe.output.resolve() / "model"
    assert [(file.path, file.quotas) for file in second.data] == [(file.path, file.quotas) for file in recipe.data]
    with safe_open(BUNDLED / "model.safetensors", framework="np") as weights:
        names = {name for name in weights.keys() if any(re.search(one, name) for one in second.train_only)}  # noqa: SIM118
    assert names and not {name for name in names if "encoder" in name.split(".")}


def test_the_card_names_licence_languages_and_every_source(card: str, recipe: TrainRecipe) -> None:
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "cc-by-sa-4.0"
    assert header["language"] == ["en", "de", "es"]
    named = set(re.findall(r"^\| ([a-z0-9-]+) \|", card, flags=re.MULTILINE))
    used = {corpus for file in recipe.data for corpus in file.quotas}
    assert used <= named
    assert not used & GPL_ALONE
    assert {language for file in recipe.data for language in (file.source_language, file.target_language)} == {
        "eng_Latn",
        "deu_Latn",
        "spa_Latn",
    }


def test_the_card_names_the_head_that_aligns(card: str) -> None:
    ours = json.loads((BUNDLED / "config.json").read_text(encoding="utf-8"))["spanferry"]
    found = re.search(r"decoder layer (\d), head (\d) \(counted from 0\).*\*(reads|writes)\*", card, flags=re.DOTALL)
    assert found is not None
    assert (int(found[1]), [int(found[2])], found[3]) == (
        ours["alignment_layer"],
        ours["alignment_heads"],
        ours["alignment_state"],
    )


def test_the_card_gives_figures_with_signatures_and_commands(card: str) -> None:
    for direction in ("en-de", "de-en", "en-es", "es-en"):
        assert re.search(rf"^\| tatoeba \| {direction} \| \d+\.\d \| \d+\.\d \|", card, flags=re.MULTILINE)
        assert re.search(rf"^\| NTREX \| {direction} \| \d+\.\d \| \d+\.\d \|", card, flags=re.MULTILINE)
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in card
    assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in card
    assert "spanferry models evaluate bundled" in card
    assert "spanferry models train" in card


def test_no_ordinary_character_is_unknown() -> None:
    texts = ["„Größe“: 3,50 € [a] (b) <1>c</1> {d} 50 % #1 @x_y & co – «ñandú» ¿qué? ¡Ay! L’été è già 👍"]
    [tokens] = load_tokenizer(BUNDLED).encode(texts)
    assert "<unk>" not in tokens
    assert load_tokenizer(BUNDLED).decode([tokens]) == texts


def test_it_translates(translator: Translator) -> None:
    sentences = {"Where is the house?": ("haus", "casa"), "Tom is very tired.": ("müde", "cansado")}
    for number, target in enumerate(("deu_Latn", "spa_Latn")):
        answers = translator.translate(list(sentences), source="eng_Latn", target=target)
        for answer, wanted in zip(answers, sentences.values(), strict=True):
            assert wanted[number] in answer.text.lower()
            assert answer.finished
    [english] = translator.translate(["Ich habe einen Hund."], source="deu_Latn", target="eng_Latn")
    assert "dog" in english.text


def test_it_carries_markers(translator: Translator) -> None:
    marked = ["I saw [ Tom ] in Boston.", "I saw <a>Tom</a> in Boston."]
    for target in ("deu_Latn", "spa_Latn"):
        brackets, tags = translator.translate(marked, source="eng_Latn", target=target)
        assert re.search(r"\[ ?Tom ?\]", brackets.text)
        assert re.search(r"<a>\s*Tom\s*</a>", tags.text)


def test_scores_do_not_fall_below_the_card(card: str, translator: Translator, eval_dir: Path) -> None:
    from spanferry.translation.evaluate import read_lines, score_translator

    pairs = eval_dir / "tatoeba"
    sources, references = (read_lines(pairs / f"tatoeba.deu-eng.{name}", 200) for name in ("eng", "deu"))
    result = score_translator(translator, sources, references, source="en", target="de")
    found = re.search(r"^\| tatoeba \| en-de \| \d+\.\d \| (\d+\.\d) \|", card, flags=re.MULTILINE)
    assert found is not None
    assert result["chrf"] > float(found[1]) - 5  # 200 of the 1000 sentences
