"""How good a model translates: BLEU and chrF against references, with the signatures that make them comparable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from spanferry.data.errors import DataError
from spanferry.translation.base import Translator
from spanferry.translation.languages import get_language
from spanferry.translation.registry import load_translator


def evaluate(
    model: str | Path,
    source_file: Path,
    reference_file: Path,
    *,
    source: str,
    target: str,
    limit: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Translate a file and score it against its reference.

    Args:
        model: what `load_translator` takes: ``"bundled"``, a folder, a hub id.
        source_file: UTF-8 text, one sentence a line.
        reference_file: the same sentences in the target language, line by line.
        source: language of the source, in any form that `get_language` knows.
        target: language of the reference, likewise.
        limit: score the first lines only.
        settings: what the translator takes (``beam_size``, ``device``, ...).

    Returns:
        `bleu` and `chrf` (0 to 100) with `bleu_signature` and `chrf_signature` (sacreBLEU, Post 2018; chrF: Popović
        2015), `sentences`, `seconds` of translating, `model` (the translator's fingerprint), `source`, `target`.

    Raises:
        DataError: the files are empty, or differ in their number of lines.
        ModelError: the model cannot be loaded.
        LanguageError: the model does not speak a language.
    """
    translator = load_translator(model, **settings)
    sources, references = read_lines(source_file, limit), read_lines(reference_file, limit)
    if len(sources) != len(references):
        raise DataError(
            f"found {len(references)} lines, expected {len(sources)} as in {source_file}",
            path=reference_file,
            hint="both files need one sentence a line, in the same order",
        )
    if not sources:
        raise DataError("found no line, expected one sentence a line", path=source_file)
    return score_translator(translator, sources, references, source=source, target=target)


def score_translator(
    translator: Translator, sources: list[str], references: list[str], *, source: str, target: str
) -> dict[str, Any]:
    """Score a translator on sentences in memory; see :func:`evaluate`.

    >>> from spanferry.translation.fake import FakeTranslator
    >>> fake = FakeTranslator(dictionary={"cat": "Katze", "the": "die", "sleeps": "schläft"})
    >>> result = score_translator(fake, ["the cat sleeps"] * 2, ["die Katze schläft"] * 2, source="en", target="de")
    >>> result["chrf"], result["sentences"], result["target"]
    (100.0, 2, 'deu_Latn')
    """
    from sacrebleu.metrics import BLEU, CHRF

    codes = get_language(source).flores, get_language(target).flores
    started = time.perf_counter()
    hypotheses = translator.translate(sources, source=codes[0], target=codes[1])
    seconds = time.perf_counter() - started
    texts = [hypothesis.text for hypothesis in hypotheses]
    bleu, chrf = BLEU(), CHRF()
    scores = bleu.corpus_score(texts, [references]), chrf.corpus_score(texts, [references])
    return {
        "source": codes[0],
        "target": codes[1],
        "bleu": round(scores[0].score, 1),
        "chrf": round(scores[1].score, 1),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
        "sentences": len(sources),
        "seconds": round(seconds, 2),
        "model": translator.fingerprint,
    }


def read_lines(file: Path, limit: int | None = None) -> list[str]:
    """Read the (first `limit`) lines of a text file.

    Raises:
        DataError: the file cannot be read as UTF-8.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=file) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}", path=file, hint="convert the file to UTF-8") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.rstrip("\r") for line in lines[:limit]]
