"""What a projection method is worth: gold spans of the source, projected onto the target, against the target's gold."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from spanferry.alignment.base import Token, TokenizedText
from spanferry.alignment.given import GivenAligner
from spanferry.alignment.registry import DEFAULT_ALIGNER
from spanferry.alignment.tokens import split_on_space
from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Example
from spanferry.data.formats import read_examples
from spanferry.data.signature import signature
from spanferry.data.tasks import content_id
from spanferry.projection.base import Projector, TranslatedText
from spanferry.projection.calibration import Judged
from spanferry.projection.evidence import evidence
from spanferry.projection.metrics import SpanScores, span_scores
from spanferry.projection.registry import Aligners, load_projector, projector_settings
from spanferry.translation.languages import get_language

PairBy = Literal["auto", "order", "id"]

_TAG = re.compile(r"O|[BIESLU]-\S+")


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """How well gold source spans came out on the gold target.

    Attributes:
        scores: precision, recall and F1 against the target's gold, exact, partial and per label, in percent.
        examples: pairs of examples.
        spans: source spans; ``projected`` of them found a place.
        projected: see ``spans``.
        reasons: why the others did not: reason -> how often.
        signature: method, settings, data and version in one line.
        method: fingerprint of the projector; ``""`` where each file had one of its own (files of links).
        judged: every projection that found a place, with whether gold has it.
        cpu_seconds: processor time that the projection took, loading the method and reading the files excluded.
    """

    scores: SpanScores
    examples: int
    spans: int
    projected: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    signature: str = ""
    method: str = ""
    judged: tuple[Judged, ...] = field(default=(), repr=False)
    cpu_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; percentages are 0..100, rounded to two decimals."""
        counts = {"examples": self.examples, "spans": self.spans, "projected": self.projected}
        return self.scores.to_json() | counts | {"reasons": dict(self.reasons), "signature": self.signature}


def score_files(
    sources: Sequence[str | Path],
    targets: Sequence[str | Path],
    *,
    alignments: Sequence[str | Path] = (),
    method: str = "alignment",
    settings: Mapping[str, Any] | None = None,
    aligner: str = DEFAULT_ALIGNER,
    aligner_settings: Mapping[str, Any] | None = None,
    task: str = "ner",
    format: str | None = None,
    lang_source: str = "en",
    lang_target: str | None = None,
    pair_by: PairBy = "auto",
) -> ScoreResult:
    """Project the gold spans of each source file onto its target file, and compare with the target's gold spans.

    Several files are scored as one corpus: the first source goes with the first target, and so on.

    Args:
        sources, targets: files in any format of `spanferry.data.formats`, examples parallel.
        alignments: a file of links for each pair of files, a line an example of the source file, in place of an
            aligner; links count the data's own tokens, or words between white space where it has none.
        method, settings: projector and its settings, see `spanferry.projection.registry`.
        aligner, aligner_settings: where links come from without ``alignments``, for methods that need them.
        task, format: how to read the files; without a format the suffix tells, and for ``.tsv`` the first line.
        lang_source, lang_target: any code that `spanferry.translation.languages` understands; the target's may be left
            out with ``alignments``.
        pair_by: ``"order"``, ``"id"``, or ``"auto"``: by id where both files bring ids of their own, else by order.

    Raises:
        ConfigError: a setting is unknown, or files do not go together.
        DataError: a file cannot be read, or two files are not parallel.
    """
    _check_lists(sources, targets, alignments)
    if pair_by not in get_args(PairBy):
        raise ConfigError(f"pair_by is {pair_by!r}: {did_you_mean(str(pair_by), get_args(PairBy))}")
    if lang_target is None and not alignments:
        raise ConfigError("the target language is not known: give it (--lang-target), or give the alignments")
    languages = get_language(lang_source).flores, get_language(lang_target).flores if lang_target else "und"
    aligners = Aligners(aligner, aligner_settings)
    projector: Projector | None = None
    total, reasons, examples, spans = SpanScores(), Counter[str](), 0, 0
    judged: list[Judged] = []
    cpu_seconds = 0.0
    fingerprints: dict[str, None] = {}  # a set in order: with given links, each file of links has its own
    for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
        pairs = _read_pairs(source, target, task, format, pair_by)
        texts = [_text(here, there, name, bool(alignments)) for here, there in pairs for name in here.fields]
        chosen = dict(settings or {})
        if alignments:
            aligners = Aligners(GivenAligner.from_file(alignments[number], [_tokenized(text) for text in texts]))
            if "snap" in projector_settings(method) and not any(there.tokens for _, there in pairs):
                chosen.setdefault("snap", "character")
        if projector is None or alignments:
            projector = load_projector(method, aligners, **chosen)
        fingerprints[projector.fingerprint] = None
        began = _cpu_seconds()
        projections = projector.project(texts, source=languages[0], target=languages[1])
        cpu_seconds += _cpu_seconds() - began
        found = [projection for row in projections for projection in row]
        predicted = {str(index): [p.target for p in row if p.target] for index, row in enumerate(projections)}
        gold = [[span for span in there.spans if span.field == name] for here, there in pairs for name in here.fields]
        total += span_scores({str(index): row for index, row in enumerate(gold)}, predicted)
        judged += [
            Judged(projection, projection.target in right, text.source, evidence(projection, text))
            for text, row, right in zip(texts, projections, gold, strict=True)
            for projection in row
            if projection.target is not None
        ]
        reasons.update(str(projection.reason) for projection in found if projection.reason is not None)
        examples += len(pairs)
        spans += len(found)
    used = {
        "task": task,
        "src": languages[0],
        "tgt": languages[1],
        "method": next(iter(fingerprints)) if len(fingerprints) == 1 else list(fingerprints),
        "pair_by": pair_by,
        "source": [_named(path) for path in sources],
        "target": [_named(path) for path in targets],
        "version": version("spanferry"),
    }
    return ScoreResult(
        total,
        examples,
        spans,
        projected=len(judged),
        reasons=dict(sorted(reasons.items())),
        signature=signature(used),
        method=next(iter(fingerprints)) if len(fingerprints) == 1 else "",
        judged=tuple(judged),
        cpu_seconds=cpu_seconds,
    )


def _cpu_seconds() -> float:
    """Processor time of this process and of the programs that it has run (eflomal)."""
    return sum(os.times()[:4])


def _check_lists(sources: Sequence[Any], targets: Sequence[Any], alignments: Sequence[Any]) -> None:
    if not sources:
        raise ConfigError("no source file was given")
    if len(sources) != len(targets) or (alignments and len(alignments) != len(sources)):
        found = f"{len(sources)} source, {len(targets)} target and {len(alignments)} alignment files"
        raise ConfigError(f"{found}: expected one target (and one alignment file, or none at all) for each source")


def _read_pairs(
    source: str | Path, target: str | Path, task: str, format: str | None, pair_by: PairBy
) -> list[tuple[Example, Example]]:
    here = list(read_examples(source, task, format=format or _guess_format(source)))
    there = list(read_examples(target, task, format=format or _guess_format(target)))
    if pair_by == "id" or (pair_by == "auto" and here and there and _own_ids(here) and _own_ids(there)):
        by_id = {example.id: example for example in there}
        only = [example.id for example in here if example.id not in by_id]
        extra = by_id.keys() - {example.id for example in here}
        if only or extra:
            raise DataError(
                f"{len(only)} ids of {source} are not here, {len(extra)} ids are only here "
                f"(for example {(only or sorted(extra))[0]!r}): expected the same ids in both files",
                path=target,
                hint="pair the files by order if their ids have nothing to do with each other (--pair-by order)",
            )
        return [(example, by_id[example.id]) for example in here]
    if len(here) != len(there):
        raise DataError(
            f"{len(there)} examples, expected {len(here)} as in {source}: files that pair by order are parallel",
            path=target,
        )
    return list(zip(here, there, strict=True))


def _guess_format(path: str | Path) -> str | None:
    """Tell CoNLL columns in a ``.tsv`` or ``.txt`` file, as gold data often has them, from a table with a header."""
    path = Path(path)
    if path.suffix.lower() not in {".tsv", ".txt"} or not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = lines.readline()
    cells = first.rstrip("\n").split("\t" if "\t" in first else None)
    return "conll" if any(_TAG.fullmatch(cell) for cell in cells[1:]) else None


def _own_ids(examples: Sequence[Example]) -> bool:
    """Tell whether the ids came with the data: made ones begin with the digest of their content."""
    first = examples[0]
    return not first.id.startswith(content_id(first.fields, first.labels))


def _text(source: Example, target: Example, name: str, always_tokens: bool) -> TranslatedText:
    return TranslatedText(
        source.fields[name],
        target.fields[name],
        tuple(span for span in source.spans if span.field == name),
        (),
        _tokens(source, name, always_tokens),
        _tokens(target, name, always_tokens),
    )


def _tokens(example: Example, name: str, always: bool) -> tuple[Token, ...] | None:
    own = example.tokens.get(name)
    if own is not None:
        return tuple(Token(*offsets) for offsets in own)
    return split_on_space(example.fields[name]).tokens if always else None


def _tokenized(text: TranslatedText) -> tuple[TokenizedText, TokenizedText]:
    return TokenizedText(text.source, text.source_tokens or ()), TokenizedText(text.target, text.target_tokens or ())


def _named(path: str | Path) -> str:
    """Name a file and its content; a folder or a dataset on the hub by its name alone."""
    path = Path(path)
    if not path.is_file():
        return path.name
    with path.open("rb") as stream:
        return f"{path.name}@{hashlib.file_digest(stream, 'sha256').hexdigest()[:12]}"
