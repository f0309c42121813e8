"""Tokens to text: what a reader of the language expects, and offsets that are right whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.detokenize import detokenize, locate
from spanferry.data.errors import DataError

MARKS = [*"\"'’“”„‚‘«»‹›()[]{}¿¡.,;:!?%$€-/", "``", "''", "...", "'s", "n't", "l'", "), ", " ", "s", "12"]
WORDS = ["Zoë", "e\u0301", "👩\u200d🔬", "北京", "です", "ไทย", "ປະ", "한국", "שלום", "مرحبا", "\u2028", "ſ", "ﬁ"]
tokens = st.lists(st.sampled_from([*MARKS, *WORDS]) | st.text(min_size=1, max_size=3), max_size=12)


@given(tokens)
def test_every_token_stands_unchanged_where_its_offsets_say(words: list[str]) -> None:
    text, offsets = detokenize(words)
    assert [text[start:end] for start, end in offsets] == words
    end = 0
    for start, stop in offsets:
        assert text[end:start] in ("", " ")
        end = stop
    assert end == len(text)
    assert not offsets or offsets[0][0] == 0


@given(st.lists(st.sampled_from([*MARKS, *WORDS]).filter(lambda word: word.strip() == word), max_size=12))
def test_tokens_are_found_again_in_their_text(words: list[str]) -> None:
    text, offsets = detokenize(words)
    assert locate(words, text) == offsets


# Written for this test; the usage of each language is that of its own newspapers.
@pytest.mark.parametrize(
    "text",
    [
        'He said , " No , it \' s not , " and left . | He said, "No, it\'s not," and left.',
        "I do n't think we 've met ( yet ) . | I don't think we've met (yet).",
        "the teachers ' union 's offer | the teachers' union's offer",
        "the ' special ' case of today ' s vote | the 'special' case of today's vote",
        "`` Quite so , '' she said . | ``Quite so,'' she said.",
        "“ Yes ? ” [ sic ] … | “Yes?” [sic]…",
        'A 6 " pipe costs $ 5 ; 25 % off ! | A 6" pipe costs $5; 25% off!',
        "Es kostet 5 € : „ billig “ , sagt sie . | Es kostet 5 €: „billig“, sagt sie.",
        "¿ Qué dices ? ¡ Nada ! | ¿Qué dices? ¡Nada!",
        "« L' eau d' ici , qu' il boit | «L'eau d'ici, qu'il boit",
        "L ’ onorevole dell ' Unione un po ' stanco | L’onorevole dell'Unione un po' stanco",
        "» Nein « , sagte er | »Nein«, sagte er",
        "他 住 在 北京 ， 2008 年 。 | 他住在北京，2008年。",
        "東京 で Hong Kong の 人 | 東京でHong Kongの人",
        "ผม รัก ไทย 2008 ABC | ผมรักไทย 2008 ABC",
        "나는 서울 에 산다 . | 나는 서울 에 산다.",
        "the 1990 's : a , b , ... , z | the 1990's: a, b, ..., z",
        "C' est « bon » ; n' est - ce pas ? | C'est «bon»; n'est - ce pas?",
        "a well - known / old dash | a well - known / old dash",
    ],
)
def test_spaces_go_where_a_reader_expects_them(text: str) -> None:
    words, expected = text.split(" | ")
    assert detokenize(words.split(" "))[0] == expected


def test_text_is_the_users_own_where_it_is_given() -> None:
    assert locate(["a", "b"], " a \u00a0\u2028b ") == ((1, 2), (5, 6))
    assert locate([], "anything") == ()
    with pytest.raises(DataError, match="token 1 is 'b', but the text goes on with 'x b'"):
        locate(["a", "b"], "a x b")
    with pytest.raises(DataError, match="token 1 is 'b', but the text goes on with ''"):
        locate(["a", "b"], "a ")
    for function in (detokenize, lambda words: locate(words, "a")):
        with pytest.raises(DataError, match="token 1 is empty"):
            function(["a", ""])
