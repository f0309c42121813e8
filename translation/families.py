"""What each model family wants around the words: language tokens, their places, special tokens.

==========  =============================  ================  ============  ==========================================
family      source                         decoder prefix    start token   from
==========  =============================  ================  ============  ==========================================
nllb        ``deu_Latn`` X ``</s>``        ``eng_Latn``      ``</s>``      NLLB Team 2022
m2m100      ``__de__`` X ``</s>``          ``__en__``        ``</s>``      Fan et al. 2020
mbart50     ``de_DE`` X ``</s>``           ``en_XX``         ``</s>``      Tang et al. 2020
marian      (``>>deu<<``) X ``</s>``       none              zero vector   Tiedemann and Thottingal 2020 (OPUS-MT)
t5          ``<2de>`` X ``</s>``           none              ``<pad>``     Kudugunta et al. 2023 (MADLAD-400)
==========  =============================  ================  ============  ==========================================

NLLB checkpoints with `legacy_behaviour` in their tokenizer configuration want X ``</s>`` ``deu_Latn`` instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spanferry.data.errors import LanguageError, ModelError
from spanferry.translation.languages import all_languages, get_language, require_language
from spanferry.translation.subwords import FastSubwords, SentencePieceSubwords, Subwords, read_json

FAMILIES = ("nllb", "m2m100", "mbart50", "marian", "t5")

_TOKENIZER_CLASSES = {
    "NllbTokenizer": "nllb",
    "M2M100Tokenizer": "m2m100",
    "MBart50Tokenizer": "mbart50",
    "MarianTokenizer": "marian",
    "T5Tokenizer": "t5",
}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "source.spm",
    "target.spm",
    "vocab.json",
)
"""Every file that a tokenizer of these families may be made of."""

# Order matters: the language tokens' ids count on from the vocabulary's end (fairseq, wmt21.dense).
_WMT21 = ("en", "ha", "is", "ja", "cs", "ru", "zh", "de")
# M2M-100 speaks these two as well, but FLORES-200 has no code for them: they keep the other ids in place.
_M2M100_WITHOUT_FLORES = ("br", "fy")


@dataclass(frozen=True)
class ModelTokenizer:
    """A model's tokenizer with its language tokens, as the engine wants it: texts in, token strings out.

    Attributes:
        family: one of `FAMILIES`.
        subwords: the words' part of it.
        language_tokens: FLORES-200 code -> token; empty where a model has none (bilingual OPUS-MT).
        sources: languages it reads, None when the files do not tell.
        targets: languages it writes, None when the files do not tell.
        length_limit: longest sequence by the tokenizer's own configuration, special tokens included; None without.
        legacy: the source's language token stands at the end (early NLLB).
    """

    family: str
    subwords: Subwords
    language_tokens: Mapping[str, str]
    sources: frozenset[str] | None
    targets: frozenset[str] | None
    length_limit: int | None = None
    legacy: bool = False

    eos = "</s>"
    unk = "<unk>"
    pad = "<pad>"

    @property
    def bos(self) -> str:
        """The token that the family's files name as beginning of a sequence."""
        return {"marian": self.eos, "t5": self.pad}.get(self.family, "<s>")

    @property
    def start(self) -> str:
        """The decoder's first input."""
        return self.pad if self.family == "t5" else self.eos

    def around_source(self, source: str, target: str) -> tuple[list[str], list[str]]:
        """Return the tokens before and after the words of a source text."""
        if self.family in ("marian", "t5"):
            return ([self.language_tokens[target]] if self.language_tokens else []), [self.eos]
        language = self.language_tokens[source]
        return ([], [self.eos, language]) if self.legacy else ([language], [self.eos])

    def target_prefix(self, target: str) -> list[str]:
        """Return the tokens that decoding is made to begin with."""
        return [] if self.family in ("marian", "t5") else [self.language_tokens[target]]

    def check_pair(self, source: str, target: str, *, model: str) -> tuple[str, str]:
        """Return both FLORES-200 codes.

        Raises:
            LanguageError: the model does not translate from the one or into the other.
        """
        both = None if self.sources is None or self.targets is None else self.sources | self.targets
        for code in (source, target):
            require_language(code, both, model=model)
        return (
            require_language(source, self.sources, model=model, side="source language").flores,
            require_language(target, self.targets, model=model, side="target language").flores,
        )

    def within(self, languages: Collection[str]) -> ModelTokenizer:
        """Return the tokenizer of a model that was trained on some of the languages that its vocabulary has tokens for.

        Args:
            languages: FLORES-200 codes; none if nothing is known of it.
        """
        return replace(self, sources=frozenset(languages), targets=frozenset(languages)) if languages else self

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words' tokens of each text, without anything around them."""
        return self.subwords.encode(texts)

    def encode_source(self, texts: Sequence[str], source: str, target: str) -> list[list[str]]:
        """Return each source text as the encoder reads it.

        Args:
            texts: sentences.
            source: FLORES-200 code of their language.
            target: FLORES-200 code of the language to translate into.
        """
        before, after = self.around_source(source, target)
        return [[*before, *words, *after] for words in self.encode(texts)]

    def encode_target(self, texts: Sequence[str], target: str) -> list[list[str]]:
        """Return each target text as the decoder writes it, the language token first, without the end token."""
        prefix = self.target_prefix(target)
        return [[*prefix, *words] for words in self.subwords.encode_target(texts)]

    def decode(self, tokens: Sequence[Sequence[str]]) -> list[str]:
        """Return the text of each sequence of target tokens."""
        return self.subwords.decode(tokens)


def load_tokenizer(folder: Path, family: str | None = None) -> ModelTokenizer:
    """Load the tokenizer that lies in a checkpoint's (or a converted model's) folder.

    Args:
        folder: where the files lie.
        family: one of `FAMILIES`; by default read off the files.

    Raises:
        ModelError: files are missing, the family is not known, or the tokenizer has no language tokens (an NLLB
            tokenizer made from a bare SentencePiece file).
    """
    config_file = folder / "tokenizer_config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    family = family or detect_family(folder, config)
    build = {"nllb": _nllb, "m2m100": _m2m100, "mbart50": _mbart50, "marian": _marian, "t5": _t5}[family]
    return build(folder, config)


def detect_family(folder: Path, config: Mapping[str, Any] | None = None) -> str:
    """Tell a tokenizer's family by the class that its configuration names, else by the files that are there.

    Raises:
        ModelError: no family fits.
    """
    if config is None:
        config_file = folder / "tokenizer_config.json"
        config = read_json(config_file) if config_file.is_file() else {}
    named = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    if named in _TOKENIZER_CLASSES:
        return _TOKENIZER_CLASSES[named]
    if (folder / "source.spm").is_file():
        return "marian"
    if (folder / "vocab.json").is_file() and (folder / "sentencepiece.bpe.model").is_file():
        return "m2m100"
    if (folder / "tokenizer.json").is_file():
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        for sign, family in (('"eng_Latn"', "nllb"), ('"en_XX"', "mbart50"), ("<2en>", "t5")):
            if sign in text:
                return family
    if (folder / "spiece.model").is_file():
        return "t5"
    raise ModelError(
        f"{folder}: no tokenizer of a family that is known here ({', '.join(FAMILIES)}). "
        f"Found tokenizer_class {named or 'nowhere'}; expected tokenizer.json, or the SentencePiece files"
    )


def _need(folder: Path, *names: str) -> list[Path]:
    files = [folder / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"{folder}: the tokenizer needs {', '.join(missing)}. Copy the tokenizer files of the original checkpoint "
            "into the folder"
        )
    return files


def _nllb(folder: Path, config: Mapping[str, Any]) -> ModelTokenizer:
    (file,) = _need(folder, "tokenizer.json")
    subwords = FastSubwords(file)
    tokens = _parse_languages(token for token in subwords.vocabulary if re.fullmatch("[a-z]{3}_[A-Z][a-z]{3}", token))
    if not tokens:
        raise ModelError(
            f"{file}: an NLLB tokenizer without language codes: every language would silently become <unk>. "
            "Use the tokenizer files of the original checkpoint (a bare SentencePiece file does not hold the codes)"
        )
    return _multilingual("nllb", subwords, tokens, config)


def _mbart50(folder: Path, config: Mapping[str, Any]) -> ModelTokenizer:
    codes = [language.mbart50 for language in all_languages().values() if language.mbart50]
    if (folder / "tokenizer.json").is_file():
        subwords: Subwords = FastSubwords(folder / "tokenizer.json")
    else:
        (file,) = _need(folder, "sentencepiece.bpe.model")
        subwords = SentencePieceSubwords(file, ids=_mbart50_ids, special=lambda token: token in {*codes, *_SPECIAL})
    vocabulary = set(subwords.vocabulary)
    tokens = _parse_languages(code for code in codes if code in vocabulary)
    if not tokens:
        raise ModelError(f"{folder}: an mBART-50 tokenizer without language codes (en_XX, ...)")
    return _multilingual("mbart50", subwords, tokens, config)


_SPECIAL = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
# The order of mBART-50's language tokens, and with it their ids (fairseq, multilingual translation: the 25 languages
# of mBART first).
_MBART50_ORDER = (  # noqa: SIM905
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX "
    "ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN "
    "pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
).split()


def _mbart50_ids(pieces: list[str]) -> dict[str, int]:
    """fairseq's special tokens, then SentencePiece's pieces without its own three, the languages, the mask."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:], *_MBART50_ORDER, "<mask>"]
    return {token: number for number, token in enumerate(tokens)}


def _multilingual(family: str, subwords: Subwords, tokens: dict[str, str], config: Mapping[str, Any]) -> ModelTokenizer:
    spoken = frozenset(tokens)
    legacy = family == "nllb" and bool(config.get("legacy_behaviour", False))
    return ModelTokenizer(family, subwords, tokens, spoken, spoken, _length_limit(config), legacy)


def _m2m100(folder: Path, config: Mapping[str, Any]) -> ModelTokenizer:
    model, vocabulary = _need(folder, "sentencepiece.bpe.model", "vocab.json")
    if config.get("language_codes") == "wmt21":
        codes = list(_WMT21)
    else:
        spoken = (language.m2m100 for language in all_languages().values() if language.m2m100)
        codes = sorted([*spoken, *_M2M100_WITHOUT_FLORES])
    words = read_json(vocabulary)
    languages = {f"__{code}__": len(words) + number for number, code in enumerate(codes)}
    subwords = SentencePieceSubwords(
        model,
        ids=lambda pieces: {**words, **languages},
        special=lambda token: token in languages or token in _SPECIAL or token.startswith("madeupword"),
    )
    return _multilingual("m2m100", subwords, _parse_languages(languages), config)


def _marian(folder: Path, config: Mapping[str, Any]) -> ModelTokenizer:
    if config.get("separate_vocabs"):
        raise ModelError(f"{folder}: OPUS-MT models with separate source and target vocabularies are not supported")
    source, target, vocabulary = _need(folder, "source.spm", "target.spm", "vocab.json")
    words = read_json(vocabulary)
    subwords = SentencePieceSubwords(
        source,
        target=target,
        ids=lambda pieces: words,
        special=lambda token: token in _SPECIAL or bool(re.fullmatch(">>.*<<", token)),
    )
    own = {f">>{language.opus}<<" for language in all_languages().values()}
    codes = [token for token in words if re.fullmatch(">>.*<<", token)]
    # `>>cmn_Hans<<` before `>>zho<<`, where a model has both.
    tokens = _parse_languages(sorted(codes, key=lambda token: token not in own))
    targets = frozenset(tokens) or _one_language(config.get("target_lang"))
    sources = _one_language(config.get("source_lang"))
    return ModelTokenizer("marian", subwords, tokens, sources, targets, _length_limit(config))


def _t5(folder: Path, config: Mapping[str, Any]) -> ModelTokenizer:
    if (folder / "tokenizer.json").is_file():
        subwords: Subwords = FastSubwords(folder / "tokenizer.json")
    else:
        (file,) = _need(folder, "spiece.model")
        subwords = SentencePieceSubwords(
            file,
            ids=lambda pieces: {piece: number for number, piece in enumerate(pieces)},
            special=lambda token: token in _SPECIAL or bool(re.fullmatch("▁?<2.*>|<extra_id_.*>", token)),
        )
    tokens = _parse_languages(token for token in subwords.vocabulary if re.fullmatch("▁?<2.+>", token))
    if not tokens:
        raise ModelError(
            f"{folder}: a T5 tokenizer without target languages (<2de>, ...), as MADLAD-400 has them: "
            "this model cannot be told what to translate into"
        )
    spoken = frozenset(tokens)
    return ModelTokenizer("t5", subwords, tokens, spoken, spoken, _length_limit(config))


def _parse_languages(tokens: Any) -> dict[str, str]:
    """Map FLORES-200 codes to the model's language tokens; the first token of a language is the one."""
    languages: dict[str, str] = {}
    for token in tokens:
        try:
            language = get_language(re.sub("^▁?(<2|>>|__)|(>|<<|__)$", "", token))
        except LanguageError:  # ``<2translate>``, ``<2dv>``: not a language of FLORES-200, so nobody can ask for it
            continue
        languages.setdefault(language.flores, token)
    return languages


def _one_language(code: object) -> frozenset[str] | None:
    """The language of a bilingual model's side; None for a group (``roa``, ``mul``) and where nothing is said."""
    try:
        return frozenset([get_language(str(code)).flores]) if code else None
    except LanguageError:
        return None


def _length_limit(config: Mapping[str, Any]) -> int | None:
    # transformers writes 1e30 where it knows no limit.
    limit = config.get("model_max_length")
    return int(limit) if limit and limit < 1_000_000 else None
