"""The language table against the sources it was made from, and the ways to name a language."""

from __future__ import annotations

import subprocess
import sys

import langcodes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import LanguageError
from spanferry.translation.languages import Language, all_languages, get_language, require_language

LANGUAGES = list(all_languages().values())


def test_every_column_leads_back_to_its_row() -> None:
    for language in LANGUAGES:
        names = [language.flores, language.bcp47, language.iso639_1, language.name, language.autonym]
        names += [language.nllb, language.m2m100, language.mbart50, language.opus, language.madlad, *language.aliases]
        assert {get_language(name).flores for name in names if name} == {language.flores}


def test_iso_codes_and_tags_agree_with_langcodes() -> None:
    """langcodes reads FLORES-200 codes; it leads some members to their macrolanguage, which we name by its default."""
    other_tags, other_codes = {}, {}
    for language in LANGUAGES:
        assert language.flores == f"{language.iso639_3}_{language.script}"
        own = langcodes.standardize_tag(language.flores).split("-")[0]
        macro = langcodes.standardize_tag(language.flores, macro=True).split("-")[0]
        if language.bcp47.split("-")[0] not in (own, macro):
            other_tags[language.flores] = (language.bcp47, own)
        if language.iso639_1 and language.iso639_1 not in (own, macro):
            other_codes[language.flores] = (language.iso639_1, own)
    # langcodes 3.5.1: it leaves these three members alone, and `fa-AF` would not lead back to Dari.
    members = {"fuv_Latn": ("ff", "fuv"), "pbt_Arab": ("ps", "pbt"), "quy_Latn": ("qu", "quy")}
    assert other_tags == {**members, "prs_Arab": ("prs", "fa")}
    assert other_codes == {**members, "nob_Latn": ("no", "nb"), "tgl_Latn": ("tl", "fil")}


def test_nllb_codes_are_those_of_its_tokenizer() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert {language.nllb for language in LANGUAGES if language.nllb} == set(FAIRSEQ_LANGUAGE_CODES)
    # The two that FLORES-200 has and NLLB-200 was not trained on.
    assert [language.flores for language in LANGUAGES if not language.nllb] == ["arb_Latn", "min_Arab"]


def test_m2m100_codes_are_those_of_its_tokenizer() -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    ours = {language.m2m100 for language in LANGUAGES if language.m2m100}
    assert set(FAIRSEQ_LANGUAGE_CODES["m2m100"]) - ours == {"br", "fy"}  # Breton, West Frisian: not in FLORES-200


def test_mbart50_codes_are_those_of_its_tokenizer() -> None:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    from spanferry.translation.families import _MBART50_ORDER

    assert {language.mbart50 for language in LANGUAGES if language.mbart50} == set(FAIRSEQ_LANGUAGE_CODES)
    assert list(_MBART50_ORDER) == FAIRSEQ_LANGUAGE_CODES


@pytest.mark.parametrize(
    ("code", "flores"),
    [
        ("zh", "zho_Hans"),
        ("cmn", "zho_Hans"),
        ("zh-Hant-HK", "zho_Hant"),
        ("zh_TW", "zho_Hant"),
        ("yue", "yue_Hant"),
        ("ar", "arb_Arab"),
        ("ara", "arb_Arab"),
        ("no", "nob_Latn"),
        ("nb", "nob_Latn"),
        ("nor", "nob_Latn"),
        ("sr", "srp_Cyrl"),
        ("fa", "pes_Arab"),
        ("fa-AF", "prs_Arab"),
        ("ku", "kmr_Latn"),
        ("ckb", "ckb_Arab"),
        ("mn", "khk_Cyrl"),
        ("sw-KE", "swh_Latn"),
        ("et", "est_Latn"),
        ("lv", "lvs_Latn"),
        ("sq", "als_Latn"),
        ("ms", "zsm_Latn"),
        ("iw", "heb_Hebr"),
        ("fil", "tgl_Latn"),
        ("ns", "nso_Latn"),
        ("kas", "kas_Arab"),
        ("sat_Beng", "sat_Olck"),
        ("en-US", "eng_Latn"),
        ("es-419", "spa_Latn"),
        ("PT_br", "por_Latn"),
        (" Chinese  (traditional) ", "zho_Hant"),
        ("Tamasheq", "taq_Latn"),
        ("français", "fra_Latn"),
        ("日本語", "jpn_Jpan"),
    ],
)
def test_a_short_code_has_its_stated_default(code: str, flores: str) -> None:
    assert get_language(code).flores == flores


@given(st.sampled_from(LANGUAGES), st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from("_- "))
def test_case_and_separator_make_no_difference(language: Language, case: object, separator: str) -> None:
    assert callable(case)
    assert get_language(case(language.flores).replace("_", separator)) is language


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Germn", "did you mean German (deu_Latn)?"),
        ("deu_Latm", "FLORES-200 has German as deu_Latn"),
        ("sr-Latn", "FLORES-200 has Serbian as srp_Cyrl"),
        ("xx", "FLORES-200 has no such language"),
        ("", "FLORES-200 has no such language"),
        ("de-DE-1996-x", "FLORES-200 has German as deu_Latn"),
    ],
)
def test_an_unknown_language_names_the_nearest(code: str, said: str) -> None:
    with pytest.raises(LanguageError) as error:
        get_language(code)
    assert said in str(error.value)
    assert repr(code) in str(error.value)


def test_an_unsupported_language_lists_what_the_model_speaks() -> None:
    with pytest.raises(LanguageError, match=r"Chinese .Traditional. .zho_Hant.; nearest: zho_Hans"):
        require_language("zh-TW", ["zho_Hans", "eng_Latn"], model="tiny")
    with pytest.raises(LanguageError, match=r"as its source language Danish .* It speaks: deu_Latn, eng_Latn"):
        require_language("da", ["eng_Latn", "deu_Latn"], model="tiny", side="source language")
    assert require_language("da", None, model="tiny").flores == "dan_Latn"


def test_looking_up_a_language_needs_no_library() -> None:
    code = (
        "import sys; from spanferry.translation.languages import get_language; get_language('Deutsch');"
        "print(sorted({'langcodes', 'language_data', 'transformers', 'ctranslate2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
