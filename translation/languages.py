"""Language codes: a FLORES-200 code is the key, everything else is looked up in one table.

FLORES-200 (NLLB Team 2022, table 1) names a language by its ISO 639-3 code and its ISO 15924 script: ``deu_Latn``.
`languages.tsv` beside this file has one row a code, with the names that other standards and model families use.
Models disagree: ``deu_Latn`` is ``de`` to M2M-100, ``de_DE`` to mBART-50, ``>>deu<<`` to OPUS-MT, ``<2de>`` to MADLAD.

Where a shorter code means several rows, one is the stated default: ``zh`` is zho_Hans, ``ar`` is arb_Arab, ``no`` is
nob_Latn, ``sr`` is srp_Cyrl, ``fa`` is pes_Arab, ``ku`` is kmr_Latn, and a language written in several scripts is
meant in the script that its BCP-47 tag leaves out (``ks`` is kas_Arab).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spanferry.data.errors import LanguageError

_TABLE = Path(__file__).with_name("languages.tsv")
_SEPARATORS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class Language:
    """One row of the table. A name that a standard or model family does not have is the empty string.

    Attributes:
        flores: FLORES-200 code, the key (``"deu_Latn"``).
        name: English name, unique in the table (``"German"``).
        autonym: the language's own name for itself (``"Deutsch"``), from CLDR.
        iso639_3: ISO 639-3 code (``"deu"``).
        iso639_1: ISO 639-1 code of the language or of the macrolanguage it is the default member of (``"de"``).
        script: ISO 15924 code (``"Latn"``).
        bcp47: shortest BCP-47 tag that leads back to this row (``"de"``, ``"zh-Hans"``, ``"arb-Latn"``).
        nllb, m2m100, mbart50, opus, madlad: code in the models of that family, without their brackets.
        aliases: further codes and names that are understood.
    """

    flores: str
    name: str
    autonym: str
    iso639_3: str
    iso639_1: str
    script: str
    bcp47: str
    nllb: str
    m2m100: str
    mbart50: str
    opus: str
    madlad: str
    aliases: tuple[str, ...]


@cache
def all_languages() -> dict[str, Language]:
    """Return every FLORES-200 language by its code, in code order.

    >>> len(all_languages())
    204
    """
    header, *rows = _TABLE.read_text(encoding="utf-8").splitlines()
    names = header.split("\t")
    languages = (_from_cells(dict(zip(names, row.split("\t"), strict=True))) for row in rows)
    return {language.flores: language for language in languages}


def _from_cells(cells: dict[str, str]) -> Language:
    aliases = cells.pop("aliases")
    return Language(**cells, aliases=tuple(aliases.split("|")) if aliases else ())


def get_language(code: str) -> Language:
    """Find a language by any of its codes or names; case, ``-`` and ``_`` make no difference.

    Understood are FLORES-200, BCP-47 (a region is ignored, but tells the script of Chinese), ISO 639-1, -2 and -3,
    the codes of the model families, English names and autonyms. Defaults: see the module.

    Raises:
        LanguageError: nothing in FLORES-200 has this code; the message names the nearest.

    >>> [get_language(code).flores for code in ("de", "deu", "ger", "de_DE", "German", "Deutsch", "deu-Latn")]
    ['deu_Latn', 'deu_Latn', 'deu_Latn', 'deu_Latn', 'deu_Latn', 'deu_Latn', 'deu_Latn']
    >>> [get_language(code).flores for code in ("zh", "zh-TW", "sr", "ar", "arz", "pt-BR")]
    ['zho_Hans', 'zho_Hant', 'srp_Cyrl', 'arb_Arab', 'arz_Arab', 'por_Latn']
    >>> get_language("Germn")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.LanguageError: unknown language 'Germn': did you mean German (deu_Latn)? Give a FLORES-200, BCP-47 or ISO 639 code, or an English name
    """  # noqa: E501
    key = _key(code)
    found = _index().get(key) or _by_subtags(key)
    if found is None:
        raise LanguageError(f"unknown language {code!r}: {_nearest(key)}")
    return found


def _key(code: str) -> str:
    return _SEPARATORS.sub("_", code.strip()).casefold()


@cache
def _index() -> dict[str, Language]:
    """Every code and name of every language; where two rows want the same key, the more exact kind of code wins."""
    languages = list(all_languages().values())
    index: dict[str, Language] = {}
    kinds: list[list[tuple[str, Language]]] = [
        [(language.flores, language) for language in languages],
        [(language.bcp47, language) for language in languages],
        [(language.iso639_1, language) for language in languages],
        [(language.iso639_3, language) for language in languages if "-" not in language.bcp47],
        [(language.iso639_3, language) for language in languages],
        [(language.name, language) for language in languages],
        [(alias, language) for language in languages for alias in language.aliases],
        [(language.autonym, language) for language in languages],
        [(language.name.partition(" (")[0], language) for language in languages if "-" not in language.bcp47],
    ]
    for kind in kinds:
        for text, language in kind:
            if text:
                index.setdefault(_key(text), language)
    return index


def _by_subtags(key: str) -> Language | None:
    """Read ``language[_script][_region]``: the script must fit, the region must look like one."""
    head, *rest = key.split("_")
    script = rest.pop(0) if rest and re.fullmatch("[a-z]{4}", rest[0]) else ""
    if len(rest) > 1 or (rest and not re.fullmatch("[a-z]{2}|[0-9]{3}", rest[0])):
        return None
    language = _index().get(head) if re.fullmatch("[a-z]{2,3}", head) else None
    if language is None or not script:
        return language if rest else None
    return all_languages().get(f"{language.iso639_3}_{script.capitalize()}")


def _nearest(key: str) -> str:
    head = key.partition("_")[0]
    of_head = _index().get(head)
    if of_head is not None:
        scripts = [code for code in all_languages() if code.startswith(of_head.iso639_3 + "_")]
        return f"FLORES-200 has {of_head.name.partition(' (')[0]} as {', '.join(scripts)}"
    near = difflib.get_close_matches(key, _index(), n=1, cutoff=0.6)
    hint = "Give a FLORES-200, BCP-47 or ISO 639 code, or an English name"
    if not near:
        return f"FLORES-200 has no such language. {hint}"
    language = _index()[near[0]]
    return f"did you mean {language.name} ({language.flores})? {hint}"


def require_language(code: str, spoken: Iterable[str] | None, *, model: str, side: str = "language") -> Language:
    """Look up a language and check that a model speaks it.

    Args:
        code: any code or name, see :func:`get_language`.
        spoken: FLORES-200 codes that the model speaks; None when it cannot tell, which lets every language pass.
        model: the model's name, for the message.
        side: what the language is to the model, for the message (``"source language"``).

    Raises:
        LanguageError: the code is unknown, or the model does not speak the language; the message lists what it speaks.

    >>> require_language("de", ["eng_Latn", "deu_Latn"], model="tiny").flores
    'deu_Latn'
    >>> require_language("Danish", ["eng_Latn", "deu_Latn"], model="tiny")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.LanguageError: tiny does not speak Danish (dan_Latn). It speaks: deu_Latn, eng_Latn
    """
    language = get_language(code)
    if spoken is None:
        return language
    known = sorted(spoken)
    if language.flores in known:
        return language
    same = [other for other in known if other.startswith(language.iso639_3 + "_")]
    near = f"; nearest: {', '.join(same)}" if same else ""
    verb = "does not speak" if side == "language" else f"does not take as its {side}"
    raise LanguageError(f"{model} {verb} {language.name} ({language.flores}){near}. It speaks: {', '.join(known)}")
