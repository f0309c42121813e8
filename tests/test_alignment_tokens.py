"""Tokens: every visible character in exactly one, for every script, with and without the optional segmenters."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment import tokens as module
from spanferry.alignment.base import Token
from spanferry.alignment.tokens import from_words, split_on_space, tokenize, tokenizer_name
from spanferry.data.errors import DataError, LanguageError

# Languages with rules of their own, without any, without spaces, with special cases that hold a space (es, ru).
LANGUAGES = [
    *("eng_Latn", "deu_Latn", "spa_Latn", "fra_Latn", "rus_Cyrl", "arb_Arab", "hin_Deva", "amh_Ethi", "kor_Hang"),
    *("vie_Latn", "swh_Latn", "ibo_Latn", "zho_Hans", "zho_Hant", "jpn_Jpan", "tha_Thai", "khm_Khmr", "lao_Laoo"),
    *("mya_Mymr", "bod_Tibt"),
]
SNIPPETS = [
    *("EE. UU. ", "Don't", "и др.", "l'homme", "3,5%", "http://a.b/c?d=e", "…", "«", "x", "e\u0301", "👩\u200d👧"),
    *("東京タワー", "ประเทศไทย", "។", "ជំរាបសួរ", "ሰላም፡ዓለም።", "학교에서", "နေကောင်း", "ສະບາຍດີ"),
    *(" ", "\u00a0", "\u3000", "\u200b", "\t\r\n", "\x1c"),
]


@pytest.fixture
def without_segmenters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._load.cache_clear()
    yield
    module._load.cache_clear()


@pytest.mark.parametrize("language", LANGUAGES)
@given(
    text=st.lists(st.sampled_from(SNIPPETS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)).map(
        "".join
    )
)
def test_every_visible_character_is_in_exactly_one_token(language: str, text: str) -> None:
    [tokenized] = tokenize([text], language)
    assert tokenized.text == text
    covered = [place for start, end in tokenized.tokens for place in range(start, end)]
    assert covered == [place for place, character in enumerate(text) if not character.isspace()]
    assert all(start < end for start, end in tokenized.tokens)


# Expected by reading: spaCy's English and French rules split contractions and elisions, Spanish keeps EE.UU. whole.
@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("eng_Latn", "Zoë's dog doesn't bark (much).", "Zoë 's dog does n't bark ( much ) ."),
        ("fra_Latn", "L'homme qu'il a vu.", "L' homme qu' il a vu ."),
        ("spa_Latn", "los EE. UU. y EE.UU.", "los EE . UU . y EE.UU."),
        ("deu_Latn", "z. B. „Köln“, 3,5 km", "z. B. „ Köln “ , 3,5 km"),
        ("kor_Hang", "학교에서 친구를 만났다.", "학교에서 친구를 만났다 ."),
        ("vie_Latn", "Tôi là học sinh.", "Tôi là học sinh ."),
        ("swh_Latn", "Habari, rafiki yangu!", "Habari , rafiki yangu !"),
        ("amh_Ethi", "ሰላም፡ዓለም።", "ሰላም ፡ ዓለም ።"),
        ("mya_Mymr", "မြန်မာ", "မြ န်မ ာ"),
        ("eng_Latn", "He flew to 北京 today", "He flew to 北 京 today"),
    ],
)
def test_words_of_a_language(language: str, text: str, words: str) -> None:
    found = tokenize([text], language)[0].words
    if language == "mya_Mymr":  # which marks join a cluster is Unicode's affair, and changes with its versions
        assert len(found) > 1
    else:
        assert found == words.split()


@pytest.mark.usefixtures("without_segmenters")
@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("zho_Hans", "我来到北京。ICU 3", "我 来 到 北 京 。 ICU 3"),
        ("yue_Hant", "你好", "你 好"),
        ("jpn_Jpan", "東京タワーは高い", "東 京 タワー は 高 い"),
        ("tha_Thai", "ที่นี่ ok", "ที่ นี่ ok"),
    ],
)
def test_without_a_segmenter_an_unspaced_script_is_cut_into_characters(language: str, text: str, words: str) -> None:
    assert tokenize([text], language)[0].words == words.split()
    assert "+" not in tokenizer_name(language)


@pytest.mark.parametrize(
    ("language", "package", "text", "word"),
    [
        ("zho_Hans", "jieba", "我来到北京清华大学", "清华大学"),
        ("jpn_Jpan", "sudachidict_core", "東京タワーは高い", "高い"),
        ("tha_Thai", "pythainlp", "ประเทศไทยสวย", "ประเทศ"),
    ],
)
def test_with_a_segmenter_there_are_words(language: str, package: str, text: str, word: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'spanferry[asian]'")
    assert word in tokenize([text], language)[0].words
    assert f"+{package}-{version(package)}" in tokenizer_name(language)


def test_a_codes_short_forms_mean_the_same() -> None:
    assert tokenizer_name("deu_Latn") == tokenizer_name("de") == tokenizer_name("deu")


def test_an_unreadable_code_is_named() -> None:
    with pytest.raises(LanguageError, match=r"'german language'.*eng_Latn"):
        tokenize(["x"], "german language")


def test_a_lone_surrogate_is_no_character() -> None:
    with pytest.raises(DataError, match=r"lone surrogate.*UTF-8"):
        tokenize(["ok", "bad \ud83d"], "eng_Latn")


def test_pipelines_are_built_anew_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = module._load("en")
    monkeypatch.setattr(module, "_MOST_STRINGS", 0)
    assert tokenize(["Some words"], "eng_Latn")[0].words == ["Some", "words"]
    assert module._load("en") is not before


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda word: word.split() == [word]))
)
def test_ready_made_words_are_kept(words: list[str]) -> None:
    assert from_words(words).words == words
    assert split_on_space(" ".join(words)) == from_words(words)


@pytest.mark.parametrize("word", ["", " ", "a b", "a "])
def test_a_word_without_characters_or_with_a_space_is_refused(word: str) -> None:
    with pytest.raises(DataError, match="word 1"):
        from_words(["ok", word])


def test_offsets_are_half_open_and_count_code_points() -> None:
    assert tokenize(["👍 e\u0301a"], "eng_Latn")[0].tokens == (Token(0, 1), Token(2, 5))
