"""Where sentences end, language by language."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.translation.sentences import abbreviations, sentence_starts

# Written for this test; "|" marks where a sentence must begin.
SENTENCES = {
    "eng_Latn": [
        "Dr. Smith met J. R. R. Tolkien at 5 p.m. yesterday. |They talked.",
        "The U.S. Senate voted. |It was close! |Was it?",
        '"Where to?" asked Ann. |"Home." |Nobody laughed.',
        "It costs $3.50 at example.com. |See Fig. 3 for more.",
        "Visit https://a.org/b. |Then go home.",
        "She works for Yahoo! Inc. in Texas.",
        "He said (it was late. Very late.) that he was tired. |We left.",
        "Prices rose in 1999. |They fell in 2000.",
        "We won!!! |Did you see that?! |Amazing. 😀",
        "Use `a. B` and {x. Y} here. |Done.",
        "wake me up at 5 a.m. tomorrow",
        "It is here... or is it? |Yes.",
    ],
    "deu_Latn": [
        "Am 3. Mai kam Dr. Müller z. B. nach Berlin. |Er blieb bis 1990. |Dann ging er.",
        "Der 1. FC Köln gewann. |Die 2. Bundesliga auch.",
        "„Komm!“, rief sie. |Er kam nicht.",
        "Das gilt u. a. für Hunde, Katzen usw. und Vögel. |Alle lachten.",
    ],
    "spa_Latn": [
        "¿Dónde estás? |¡Ven aquí! |La Sra. García te espera.",
        "El Sr. López llegó a las 5 p. m. ayer. |«¿Quién es?», preguntó.",
    ],
    "fra_Latn": ["Bonjour ! |M. Dupont est là. |« Où ça ? » demanda-t-elle."],
    "ces_Latn": ["Pan Dr. Novák bydlí v Praze. |Přijde tzv. zítra."],  # spaCy's abbreviations: pysbd lacks Czech
    "tur_Latn": ["Bu 2. Dünya Savaşı filmi. |Çok güzel."],
    "ell_Grek": ["Πού είσαι; |Εδώ είμαι."],
    "rus_Cyrl": ["Это г. Москва. |А. С. Пушкин жил здесь."],
    "zho_Hans": ["你好。|今天天气很好！|你呢？", "他说：“我不去。你去吧。”然后走了。|大家都笑了。"],
    "jpn_Jpan": ["「行く。」と彼は言った。|そうか。|本当？"],
    "hin_Deva": ["यह एक घर है। |वह कहाँ है? |राम घर गया॥ |सब ठीक।"],
    "arb_Arab": ["أين أنت؟ |أنا هنا. |تعال!"],
    "urd_Arab": ["یہ گھر ہے۔ |وہ کہاں ہے؟"],
    "amh_Ethi": ["ሰላም ነው። |እንዴት ነህ፧ |ደህና።"],
    "hye_Armn": ["Սա տուն է։ |Նա այստեղ է։"],
    "mya_Mymr": ["သူ သွားသည်။ |ငါ လာသည်။"],
    "khm_Khmr": ["ខ្ញុំទៅផ្ទះ។ |គាត់មក។"],
    "tha_Thai": ["วันนี้อากาศดี ฉันไปตลาด"],  # spaces in Thai part phrases as often as sentences
    "kor_Hang": ["저는 학생입니다. |당신은요? |네!"],
}


@pytest.mark.parametrize(
    ("language", "marked"), [(language, marked) for language, lines in SENTENCES.items() for marked in lines]
)
def test_sentences_begin_where_a_reader_says(language: str, marked: str) -> None:
    line = marked.replace("|", "")
    found = [line[a:b] for a, b in _pairs(line, sentence_starts(line, language))]
    assert found == marked.split("|")


def test_a_library_is_asked_only_about_doubtful_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "spanferry.translation.sentences._library_says", lambda window, start, subtag: bool(asked.append(window))
    )
    sentence_starts("The house is old. The garden is new! Is it? Yes.", "eng_Latn")
    assert asked == []
    sentence_starts("The house is old. See Fig. A there.", "eng_Latn")
    assert asked == ["See Fig. A there."]


def test_a_doubtful_stop_far_into_a_line_is_judged_by_its_surroundings() -> None:
    line = "word " * 3000 + "said Dr. Brown. " + "Word " * 3000
    assert [line[at : at + 4] for at in sentence_starts(line, "eng_Latn")] == ["Word"]


def test_a_language_no_library_knows_has_no_abbreviations_but_has_sentences() -> None:
    assert abbreviations("ewe_Latn") == frozenset()
    assert sentence_starts("Woezɔ. Aleke? B. Doe le afi sia.", "ewe_Latn") == [7, 14]


@pytest.mark.parametrize("unit", [".", "!?", "...", "(", '"', "`", "a.b.", "。", "a-", "\u3000。"])
def test_a_long_run_of_anything_takes_no_time(unit: str) -> None:
    # Quadratic expressions would run for minutes on this, and the suite would not end.
    line = (unit * 100_000)[:100_000] + " End."
    assert all(0 < at < len(line) for at in sentence_starts(line, "eng_Latn"))


ALPHABET = " \u3000.!?…。！।;:,\"'“”„«»「」()[]{}`*_aAbB1é中の한😀\u0301"


@settings(deadline=None)
@given(st.text(ALPHABET, max_size=60), st.sampled_from(sorted(SENTENCES)))
def test_offsets_are_sorted_and_inside(line: str, language: str) -> None:
    line = line.strip()
    starts = sentence_starts(line, language)
    assert starts == sorted(set(starts))
    assert all(0 < at < len(line) and not line[at].isspace() for at in starts)


def _pairs(line: str, starts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise([0, *starts, len(line)]))
