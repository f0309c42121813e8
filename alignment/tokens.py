"""Text -> tokens with character offsets, for every script.

The rules are spaCy's, one blank pipeline a language, tokenizer only: no model, no download. Where spaCy has none, or
its tokenizer needs a package that is not installed, these stand in:

=====================  ==========================================================================================
language               tokens
=====================  ==========================================================================================
Chinese                jieba's words when it is installed, else single characters
Japanese               SudachiPy's words when it is installed, else characters, runs of katakana kept whole
Thai                   PyThaiNLP's words when it is installed, else grapheme clusters
Khmer, Lao, Burmese,   grapheme clusters: the scripts put no space between words, and a whole phrase as one token
Tibetan, Dzongkha      would make every span a phrase
Korean                 spaCy's rules on white space (mecab-ko is not needed): particles stay on their word
Vietnamese             spaCy's rules: syllables. pyvi's words hold white space, which a token must not
unknown to spaCy       spaCy's language-neutral rules (``xx``): Swahili, Hausa, Igbo, ...
=====================  ==========================================================================================

A run of an unspaced script inside any other language's text is cut into characters too (a Chinese name in English).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import langcodes
import regex

from spanferry.alignment.base import Token, TokenizedText
from spanferry.data.errors import DataError, LanguageError

# Scripts without spaces between words, and the punctuation that stands in text without spaces: East Asian, Ethiopic.
_UNSPACED = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
    r"\u3001-\u3004\u3008-\u3020\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65\u1360-\u1368"
)
_HAS_UNSPACED = regex.compile(f"[{_UNSPACED}]")
# U+001C..1F are white space to str.isspace and to spaCy, but not to Unicode, hence not to the regex module.
_PIECE = regex.compile(
    rf"\p{{Katakana}}[\p{{Katakana}}\u30FC\p{{M}}]*|(?=[{_UNSPACED}])\X|[^\s\x1c-\x1f{_UNSPACED}]+", regex.VERSION1
)
# SudachiPy refuses more than 49,149 bytes at once; a character of Japanese has three, at most four.
_LONGEST_RUN = 12_000

# spaCy keeps every word that it ever saw; past this many, its pipelines are built anew (some 20 MB, 0.2 s).
_MOST_STRINGS = 50_000

_RULES: dict[str, Any] = {"nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}}
_JIEBA: dict[str, Any] = {
    "nlp": {"tokenizer": {"@tokenizers": "spacy.zh.ChineseTokenizer", "segmenter": "jieba"}},
}
# Languages whose spaCy tokenizer needs packages: these, and the configuration to use when they are there.
_SEGMENTERS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "zh": (("jieba",), _JIEBA),
    "ja": (("sudachipy", "sudachidict_core"), {}),
    "th": (("pythainlp",), {}),
}
_VARIETIES = {"yue": "zh"}
_RULES_ONLY = frozenset({"ko", "vi"})  # their default tokenizers need mecab-ko and pyvi


class _Tokenizer(NamedTuple):
    """A spaCy pipeline's tokenizer, and whether it finds words in an unspaced script itself."""

    nlp: Any
    segments: bool


def tokenize(texts: Sequence[str], language: str) -> list[TokenizedText]:
    """Split each text into tokens, in order; every character that is not white space lies in exactly one.

    Args:
        texts: any text; nothing is normalised, so offsets count its own code points.
        language: FLORES-200 code, or any code that langcodes reads (``eng_Latn``, ``eng``, ``en``).

    Raises:
        LanguageError: the code cannot be read as a language code.
        DataError: a text holds a lone surrogate, which is no character.

    >>> [text.words for text in tokenize(["Don't panic, Zoë!", ""], "eng_Latn")]
    [['Do', "n't", 'panic', ',', 'Zoë', '!'], []]
    >>> tokenize(["Il l'a vue."], "fra_Latn")[0].tokens[1]
    Token(start=3, end=5)
    >>> tokenize(["ជំរាបសួរ abc"], "khm_Khmr")[0].words
    ['ជំ', 'រា', 'ប', 'សួ', 'រ', 'abc']
    """
    tokenizer = _load(_subtag(language))
    if len(tokenizer.nlp.vocab.strings) > _MOST_STRINGS:
        _load.cache_clear()
        tokenizer = _load(_subtag(language))
    return [TokenizedText(text, tuple(_tokens(text, tokenizer))) for text in texts]


def tokenizer_name(language: str) -> str:
    """Name what `tokenize` uses here for ``language``: part of the fingerprint of whatever depends on its tokens.

    It has spaCy's version, the language, and the packages that find words where there are no spaces. Nothing is loaded.

    >>> tokenizer_name("deu_Latn").startswith("spacy-3"), tokenizer_name("deu_Latn").endswith(":de")
    (True, True)
    """
    subtag = _subtag(language)
    code = _VARIETIES.get(subtag, subtag)
    return "+".join([f"spacy-{version('spacy')}:{code}", *(f"{name}-{version(name)}" for name in _segmenters(code))])


def _segmenters(code: str) -> tuple[str, ...]:
    """Return the packages that find words in a language without spaces; none if one is missing."""
    packages, _ = _SEGMENTERS.get(code, ((), {}))
    return packages if all(map(find_spec, packages)) else ()


def from_words(words: Sequence[str]) -> TokenizedText:
    """Join ready-made words by single spaces; the tokens are the words.

    Raises:
        DataError: a word is empty or holds white space.

    >>> from_words(["Don't", "panic"])
    TokenizedText(text="Don't panic", tokens=(Token(start=0, end=5), Token(start=6, end=11)))
    """
    tokens, start = [], 0
    for index, word in enumerate(words):
        if not word or word.split() != [word]:
            raise DataError(f"word {index} is {word!r}, expected characters without white space")
        tokens.append(Token(start, start + len(word)))
        start += len(word) + 1
    return TokenizedText(" ".join(words), tuple(tokens))


def split_on_space(text: str) -> TokenizedText:
    """Tokens are what white space separates: for corpora that are tokenised already.

    >>> split_on_space(" It 's  late ").words
    ['It', "'s", 'late']
    """
    return TokenizedText(text, tuple(Token(*match.span()) for match in re.finditer(r"\S+", text)))


@lru_cache(maxsize=1024)
def _subtag(language: str) -> str:
    try:
        return langcodes.standardize_tag(language, macro=True).partition("-")[0]
    except ValueError as error:
        raise LanguageError(
            f"cannot read {language!r} as a language code, expected a FLORES-200 code such as 'eng_Latn'"
        ) from error


@lru_cache(maxsize=256)
def _load(subtag: str) -> _Tokenizer:
    import spacy

    code, config = _VARIETIES.get(subtag, subtag), _RULES if subtag in _RULES_ONLY else {}
    segments = bool(_segmenters(code))
    if code in _SEGMENTERS:
        code, config = (code, _SEGMENTERS[code][1]) if segments else ("xx", {})
    if code == "zh":
        _quieten_jieba()
    try:
        nlp: Any = spacy.blank(code, config=config)
    except ImportError:  # spaCy's way to say that it has no such language
        nlp = spacy.blank("xx")
    nlp.vocab.lex_attr_getters = {}  # shape, prefix, is it a URL, ...: a third of the time, and no use here
    if not segments:  # "EE. UU." is one token in Spanish by such a rule, but a token must not hold white space
        rules = nlp.tokenizer.rules.items()
        nlp.tokenizer.rules = {text: parts for text, parts in rules if not re.search(r"\S\s|\s\S", text)}
    return _Tokenizer(nlp, segments)


def _quieten_jieba() -> None:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)  # it announces its dictionary on standard error


def _tokens(text: str, tokenizer: _Tokenizer) -> Iterator[Token]:
    """Yield spaCy's tokens, cut where they hold characters of an unspaced script."""
    if tokenizer.segments:
        yield from _segmented(text, tokenizer)
    elif _HAS_UNSPACED.search(text):
        for start, end in _spacy_tokens(text, tokenizer):
            for piece in _PIECE.finditer(text, start, end):
                yield Token(*piece.span())
    else:
        yield from map(Token._make, _spacy_tokens(text, tokenizer))


def _segmented(text: str, tokenizer: _Tokenizer) -> Iterator[Token]:
    """Yield the tokens of a tokenizer that finds words by itself, a bounded run of text at a time."""
    for begin in range(0, len(text), _LONGEST_RUN):
        for start, end in _spacy_tokens(text[begin : begin + _LONGEST_RUN], tokenizer):
            for piece in re.finditer(r"\S+", text[begin + start : begin + end]):
                yield Token(begin + start + piece.start(), begin + start + piece.end())


def _spacy_tokens(text: str, tokenizer: _Tokenizer) -> list[tuple[int, int]]:
    try:
        doc = tokenizer.nlp.tokenizer(text)
    except UnicodeEncodeError as error:
        raise DataError(
            f"character {error.start} of {text[:40]!r} is a lone surrogate, expected a Unicode character",
            hint="read the file as UTF-8, and repair escapes such as \\ud83d in its source",
        ) from error
    if tokenizer.segments and doc.text != text:  # a segmenter that normalised: its words have no place in the text
        return [match.span() for match in _PIECE.finditer(text)]
    # A token of white space holds nothing else.
    return [(start, start + len(token)) for token in doc if not text[start := token.idx].isspace()]
