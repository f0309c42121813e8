"""The encoder and the counts, heard together; and the priors that are shipped."""

from __future__ import annotations

import re

import numpy as np
import pytest

from spanferry.alignment.base import CORPUS_WISE
from spanferry.alignment.joint import JointAligner
from spanferry.alignment.lexical import LexicalAligner
from spanferry.alignment.mt_encoder import MTEncoderAligner
from spanferry.alignment.priors import BUNDLED, BUNDLED_FILES, PriorsByLanguage, read_priors, write_priors
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import ConfigError

NOT_TO_BE_SHIPPED = {"darktable-docs", "shattered-pixel-dungeon", "manpages-l10n", "debian-www"}
ENGLISH = "The Commission has proposed a new law, and Mrs Vandersteen left the Parliament in Strasbourg."
GERMAN = (
    "Die Kommission hat ein neues Gesetz vorgeschlagen, und Frau Vandersteen hat das Parlament in Straßburg verlassen."
)


@pytest.fixture(scope="module")
def joint() -> JointAligner:
    return JointAligner()


@pytest.fixture(scope="module")
def pair() -> tuple:  # type: ignore[type-arg]
    return tokenize([ENGLISH], "eng_Latn")[0], tokenize([GERMAN], "deu_Latn")[0]


def test_a_link_is_the_mean_of_what_both_say(joint: JointAligner, pair: tuple) -> None:  # type: ignore[type-arg]
    languages = {"source": "eng_Latn", "target": "deu_Latn"}
    [seen] = MTEncoderAligner().probabilities([pair], **languages)
    [counted] = LexicalAligner(readings=1).probabilities([pair], **languages)
    assert seen.shape == counted.shape == (len(pair[0].tokens), len(pair[1].tokens))
    [alignment] = joint.align([pair], **languages)
    for link in alignment.links:
        mean = (seen[link.source, link.target] + counted[link.source, link.target]) / 2
        assert link.score == pytest.approx(mean, abs=1e-4) and mean > 0.1
    words = {(pair[0].words[link.source], pair[1].words[link.target]) for link in alignment.links}
    names = {("Commission", "Kommission"), ("Vandersteen", "Vandersteen"), ("Strasbourg", "Straßburg")}
    assert {*names, ("law", "Gesetz")} <= words


def test_both_directions_of_a_pair_of_languages_have_priors(joint: JointAligner, pair: tuple) -> None:  # type: ignore[type-arg]
    [there] = joint.align([pair], source="eng_Latn", target="deu_Latn")
    [back] = joint.align([pair[::-1]], source="deu_Latn", target="eng_Latn")
    shared = {link[:2] for link in there.links} & {(link.target, link.source) for link in back.links}
    assert len(shared) > 0.85 * len(there.links)


def test_without_priors_the_encoder_is_heard_alone(pair: tuple) -> None:  # type: ignore[type-arg]
    languages = {"source": "eng_Latn", "target": "deu_Latn"}
    [alone] = JointAligner(priors=None).align([pair], **languages)
    [encoder] = MTEncoderAligner().align([pair], **languages)
    assert {link[:2] for link in alone.links} == {link[:2] for link in encoder.links}


def test_a_text_longer_than_the_counts_are_read_keeps_what_the_encoder_sees(joint: JointAligner) -> None:
    [text] = tokenize(["wine and bread " * 140], "eng_Latn")
    assert len(text.tokens) == 420
    [matrix] = LexicalAligner(readings=1).probabilities([(text, text)], source="eng_Latn", target="deu_Latn")
    assert matrix.shape == (420, 420) and matrix[:400].any() and not matrix[400:].any()


def test_what_can_change_the_links_is_in_the_fingerprint(joint: JointAligner) -> None:
    prints = [JointAligner(**each).fingerprint for each in ({"threshold": 0.2}, {"priors": None}, {"readings": 3})]  # type: ignore[arg-type]
    assert len({joint.fingerprint, *prints}) == 4
    assert [CORPUS_WISE in each for each in (joint.fingerprint, *prints)] == [False, False, False, True]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"threshold 1\.5"):
        JointAligner(threshold=1.5)
    with pytest.raises(ConfigError, match="readings 0"):
        JointAligner(readings=0)


# ---- the priors that are shipped ---------------------------------------------------------------------------


@pytest.mark.parametrize("languages", BUNDLED_FILES)
def test_shipped_priors_say_what_they_are_of(
    languages: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = BUNDLED / BUNDLED_FILES[languages]
    assert file.stat().st_size < 1_050_000
    assert file.stat().st_mode & 0o444 == 0o444
    priors = read_priors(file)
    assert (priors.record["source"], priors.record["target"]) == languages
    assert not priors.record["corpora"].keys() & NOT_TO_BE_SHIPPED
    again = tmp_path_factory.mktemp("priors") / file.name
    write_priors(priors, again)
    assert again.read_bytes() == file.read_bytes()


def test_the_card_names_every_source_and_count() -> None:
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([a-z0-9-]+) \| \w", card, flags=re.MULTILINE))
    for file in BUNDLED_FILES.values():
        record = read_priors(BUNDLED / file).record
        assert record["corpora"].keys() <= named
        assert f"{record['pairs']:,}" in card
    assert {file.name for file in BUNDLED.iterdir()} == {*BUNDLED_FILES.values(), "README.md"}


def test_other_languages_have_none_and_are_aligned_all_the_same() -> None:
    assert PriorsByLanguage("bundled").between("eng_Latn", "nld_Latn") is None
    assert PriorsByLanguage("bundled").between("deu_Latn", "spa_Latn") is None
    lexical = LexicalAligner(readings=1)
    texts = tokenize(["Ana visits Utrecht"], "eng_Latn"), tokenize(["Ana bezoekt Utrecht"], "nld_Latn")
    pair = texts[0][0], texts[1][0]
    [alignment] = lexical.align([pair], source="eng_Latn", target="nld_Latn")
    assert {(0, 0), (2, 2)} <= {link[:2] for link in alignment.links}
    assert lexical.knows("deu_Latn", "eng_Latn") and not lexical.knows("eng_Latn", "nld_Latn")


def test_with_one_reading_a_pair_stands_alone_with_and_without_priors() -> None:
    sources = tokenize([ENGLISH, "The wine is red.", "Ana lives in Rome."], "eng_Latn")
    targets = tokenize([GERMAN, "Der Wein ist rot.", "Ana wohnt in Rom."], "deu_Latn")
    pairs = list(zip(sources, targets, strict=True))
    for priors in ("bundled", None):
        aligner = LexicalAligner(priors=priors, readings=1)
        together = aligner.probabilities(pairs, source="eng_Latn", target="deu_Latn")
        for pair, matrix in zip(pairs, together, strict=True):
            [alone] = aligner.probabilities([pair], source="eng_Latn", target="deu_Latn")
            assert np.allclose(alone, matrix, rtol=1e-9, atol=1e-12)
