"""The bundled adapter is what its card and its recipe say."""

from __future__ import annotations

import re

import pytest
import yaml

from spanferry.alignment.adapter import BUNDLED, RECORD, WEIGHTS, AdapterRecord, base_checksum, load_adapter
from spanferry.alignment.adapter_recipe import AdapterRecipe
from spanferry.alignment.mt_encoder import MTEncoderAligner
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import LanguageError
from spanferry.translation.checkpoints import find_checkpoint

NOT_TO_BE_SHIPPED = {"darktable-docs", "shattered-pixel-dungeon", "manpages-l10n", "debian-www"}


@pytest.fixture(scope="module")
def card() -> str:
    return (BUNDLED / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recipe() -> AdapterRecipe:
    return AdapterRecipe.read(BUNDLED / "recipe.yaml")


@pytest.fixture(scope="module")
def record() -> AdapterRecord:
    return load_adapter(BUNDLED)[0]


def test_it_belongs_to_the_bundled_model(record: AdapterRecord) -> None:
    assert record.base == base_checksum(find_checkpoint("bundled"))
    assert record.model == "bundled"


def test_the_weights_are_small_half_precision_and_readable_by_all() -> None:
    from safetensors import safe_open

    weights = BUNDLED / WEIGHTS
    assert weights.stat().st_size < 4_000_000
    assert weights.stat().st_mode & 0o444 == 0o444
    with safe_open(weights, framework="np") as opened:
        assert {opened.get_slice(name).get_dtype() for name in opened.keys()} == {"F16"}  # noqa: SIM118
    assert {file.name for file in BUNDLED.iterdir()} == {RECORD, WEIGHTS, "README.md", "recipe.yaml", "priors"}


def test_the_record_follows_the_recipe(record: AdapterRecord, recipe: AdapterRecipe) -> None:
    assert (record.rank, record.embedding_rank, record.temperature) == (
        recipe.rank,
        recipe.embedding_rank,
        recipe.temperature,
    )
    assert list(record.targets) == recipe.targets
    assert set(record.languages) == {
        language for file in recipe.data for language in (file.source_language, file.target_language)
    }


def test_the_card_names_licence_and_every_source(card: str, recipe: AdapterRecipe) -> None:
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "cc-by-sa-4.0"
    named = set(re.findall(r"^\| ([a-z0-9-]+) \| \w", card, flags=re.MULTILINE))
    used = {corpus for file in recipe.data for corpus in file.quotas}
    assert used <= named
    assert not used & NOT_TO_BE_SHIPPED


@pytest.mark.parametrize(
    ("language", "text", "parliament", "city"),
    [
        ("deu_Latn", "Gestern hat Frau Vandersteen das Parlament in Straßburg verlassen.", "Parlament", "Straßburg"),
        ("spa_Latn", "Ayer la señora Vandersteen salió del Parlamento en Estrasburgo.", "Parlamento", "Estrasburgo"),
        ("fra_Latn", "Hier, Mme Vandersteen a quitté le Parlement à Strasbourg.", "Parlement", "Strasbourg"),
        ("ita_Latn", "Ieri la signora Vandersteen ha lasciato il Parlamento a Strasburgo.", "Parlamento", "Strasburgo"),
    ],
)
def test_names_are_linked_in_every_language(language: str, text: str, parliament: str, city: str) -> None:
    names = {"Vandersteen": "Vandersteen", "Parliament": parliament, "Strasbourg": city}
    [source] = tokenize(["Yesterday Mrs Vandersteen left the Parliament in Strasbourg."], "eng_Latn")
    [target] = tokenize([text], language)
    [alignment] = MTEncoderAligner().align([(source, target)], source="eng_Latn", target=language)
    links = {(source.words[link.source], target.words[link.target]) for link in alignment.links}
    for name, rendering in names.items():
        assert {target for start, target in links if start == name} == {rendering}


def test_it_is_used_with_the_bundled_model_and_can_be_left_out() -> None:
    default, without, named = (MTEncoderAligner(**each) for each in ({}, {"adapter": None}, {"adapter": "bundled"}))
    assert default.fingerprint == named.fingerprint != without.fingerprint


def test_without_it_the_model_aligns_what_it_translates_alone() -> None:
    texts = tokenize(["Rome"], "eng_Latn") + tokenize(["Roma"], "ita_Latn")
    with pytest.raises(LanguageError, match="does not speak Italian"):
        MTEncoderAligner(adapter=None).align([(texts[0], texts[1])], source="eng_Latn", target="ita_Latn")
