"""A build rehearsed: everything that it would do, counted by the code that does it, with the model left out.

The texts go through the same pipeline as in a build, to a translator that only counts and a memory that only
remembers in passing; so the count of sentences is exact. The time is an estimate from a sample that is really done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from spanferry.flows.build import choose_languages, require_languages
from spanferry.flows.claims import unfinished
from spanferry.flows.config import AnyConfig
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import BuildPlan, Direction, Job
from spanferry.flows.parts import Parts, load_parts
from spanferry.flows.places import locate
from spanferry.flows.predict_work import in_pivot
from spanferry.flows.progress import Progress, Silent, duration
from spanferry.flows.source import stage
from spanferry.flows.work import Translated, carry_examples, read_shard, translate_examples
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.predict_file import FilePredictor
from spanferry.projection.predict_remembered import RememberingPredictor
from spanferry.projection.prediction import PredictionsMissing
from spanferry.projection.remembering import RememberingProjector
from spanferry.translation.base import Hypothesis, Translator
from spanferry.translation.languages import Language
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.remembering import TranslationStats

_SAMPLE_SECONDS = 2.0
_SAMPLE_ROWS = (16, 200)


@dataclass(frozen=True)
class LanguagePlan:
    """What one language would take.

    Attributes:
        language: its name in the build.
        rows: rows of the source.
        reused: rows whose shards are done.
        sentences: different sentences in the other rows that need a model.
        remembered: those of them that the translation memory has.
        translate: those that the model would translate.
        characters: their length.
        spans_texts: texts with spans in the rows that are not reused; 0 in translate-test, where nobody knows yet.
        projections_remembered: those of them whose projection is remembered.
        texts: different texts to predict on in the rows that are not reused; 0 in translate-train, and where
            predictions come from a file.
        predictions_remembered: those of them whose prediction is remembered.
        seconds: expected time; None if there is nothing to measure, or predictions made elsewhere are not there yet.
    """

    language: str
    rows: int
    reused: int
    sentences: int
    remembered: int
    translate: int
    characters: int
    spans_texts: int
    projections_remembered: int
    texts: int
    predictions_remembered: int
    seconds: float | None


@dataclass(frozen=True)
class Rehearsal:
    """What a build would do: rows by split, and each language."""

    splits: Mapping[str, int]
    languages: tuple[LanguagePlan, ...]


def rehearse(config: AnyConfig, *, only: Sequence[str] | None = None, progress: Progress | None = None) -> Rehearsal:
    """Find out what `spanferry.flows.build.build` would do, without writing to its folder.

    Raises:
        SpanferryError: what the build would refuse, this refuses.
    """
    progress = progress or Silent()
    languages = choose_languages(config, only)
    folder = locate(config.output, config.run.work_folder)
    folder.check()
    parts = load_parts(config)
    require_languages(config, languages, parts)
    with TemporaryDirectory(prefix="spanferry-") as scratch:
        sources = stage(config, BuildFolder(Path(scratch)), progress)
        plan = BuildPlan(config, folder, sources, parts.fingerprint())
        found = tuple(_language(plan, language, parts, progress) for language in languages)
    return Rehearsal({split.place: split.rows for split in plan.splits}, found)


def _language(plan: BuildPlan, language: Language, parts: Parts, progress: Progress) -> LanguagePlan:
    jobs = [job for split in plan.jobs(language).values() for job in split]
    open_jobs = unfinished(jobs)
    memory = None if parts.memory is None else _PassingMemory(parts.memory)
    counting = replace(parts, translator=_Counting(parts.translator), memory=memory)
    stats = TranslationStats()
    stage_name = f"{language.bcp47}: counting"
    progress.start(stage_name, sum(job.rows for job in open_jobs))
    texts = remembered = 0
    predictions: dict[bytes, bool] = {}
    for job in open_jobs:
        translated = translate_examples(read_shard(job), counting, job.direction, stats=stats)
        asked, known = _projections(translated, parts, job.direction)
        texts, remembered = texts + asked, remembered + known
        predictions |= _predictions(translated, parts, job.direction)
        progress.advance(stage_name, job.rows)
    progress.finish(stage_name)
    predicted = sum(predictions.values())
    new = 1.0 - (remembered + predicted) / max(1, texts + len(predictions))
    return LanguagePlan(
        language=language.bcp47,
        rows=sum(job.rows for job in jobs),
        reused=sum(job.rows for job in jobs) - sum(job.rows for job in open_jobs),
        sentences=stats.sentences,
        remembered=stats.remembered,
        translate=stats.translated,
        characters=stats.characters,
        spans_texts=texts,
        projections_remembered=remembered,
        texts=len(predictions),
        predictions_remembered=predicted,
        seconds=_estimate(open_jobs, parts, stats.characters, new) if open_jobs else 0.0,
    )


def _projections(translated: Translated, parts: Parts, direction: Direction) -> tuple[int, int]:
    """Return how many texts have spans, and how many of their projections are remembered.

    A text whose translation is not known yet stands here untranslated, and has no projection that is remembered.
    """
    if parts.predictor is not None or not isinstance(parts.projector, RememberingProjector):
        return 0, 0
    looking_up = _LookingUp(parts.projector)
    carry_examples(translated, replace(parts, projector=looking_up, filters=()), direction)
    return looking_up.asked, looking_up.known


def _predictions(translated: Translated, parts: Parts, direction: Direction) -> dict[bytes, bool]:
    """Return the different texts to predict on, and whether their prediction is remembered; none for a file of them.

    A text whose translation is not known yet stands here untranslated, so that there may be fewer different ones.
    """
    remembering = parts.predictor
    if not isinstance(remembering, RememberingPredictor) or isinstance(remembering.predictor, FilePredictor):
        return {}
    return remembering.known(in_pivot(translated), language=direction.target)


def _estimate(jobs: Sequence[Job], parts: Parts, characters: int, new: float) -> float | None:
    """Do a few rows for real, and more where a few were too quick to tell, and scale.

    Args:
        jobs: the shards to do.
        parts: what they are worked with.
        characters: to translate; the time of translating goes by them.
        new: part of the texts to be predicted on or projected, 0..1; the rest of the time goes by it and by the rows.
    """
    forgetful, examples = _forgetful(parts), read_shard(jobs[0])

    def measure(rows: int) -> tuple[float, float, TranslationStats]:
        stats = TranslationStats()
        began = time.monotonic()
        translated = translate_examples(examples[:rows], forgetful, jobs[0].direction, stats=stats)
        between = time.monotonic()
        carry_examples(translated, forgetful, jobs[0].direction)
        return between - began, time.monotonic() - between, stats

    try:
        measure(1)  # what is loaded on first use is not to be counted
        for rows in _SAMPLE_ROWS:
            translating, carrying, stats = measure(rows)
            if translating + carrying > _SAMPLE_SECONDS:
                break
    except PredictionsMissing:  # the build would stop there and ask for them
        return None
    if not stats.characters:
        return None
    all_rows = sum(job.rows for job in jobs)
    return translating * characters / stats.characters + new * carrying * all_rows / min(rows, len(examples))


def _forgetful(parts: Parts) -> Parts:
    """Return the parts without any memory."""
    projector, predictor = parts.projector, parts.predictor
    if isinstance(projector, RememberingProjector):
        projector = projector.projector
    if isinstance(predictor, RememberingPredictor):
        predictor = predictor.predictor
    return replace(parts, memory=None, projector=projector, predictor=predictor)


class _Counting:
    """A translator that gives every sentence back as it is; `TranslationStats` does the counting."""

    def __init__(self, translator: Translator) -> None:
        self.fingerprint, self.languages, self.max_tokens = (
            translator.fingerprint,
            translator.languages,
            translator.max_tokens,
        )
        self.count_tokens = translator.count_tokens

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        return [Hypothesis(text) for text in texts]


class _LookingUp:
    """A projector that finds no place for any span, and counts for how many texts the answer is known."""

    def __init__(self, projector: RememberingProjector) -> None:
        self.fingerprint, self._projector = projector.fingerprint, projector
        self.asked = self.known = 0

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        known = self._projector.known(texts, source=source, target=target)
        self.asked += sum(1 for text in texts if text.spans)
        self.known += sum(1 for text, found in zip(texts, known, strict=True) if text.spans and found)
        return [tuple(Projection(span, None, "none", reason=Reason.UNALIGNED) for span in text.spans) for text in texts]


class _PassingMemory(TranslationMemory):
    """Knows what a memory knows, and what a build would have added; writes nothing."""

    def __init__(self, memory: TranslationMemory) -> None:
        self._memory, self._added = memory, set[bytes]()

    def get(self, fingerprint: str, source: str, target: str, texts: Sequence[str]) -> dict[str, Hypothesis]:
        added = {text: Hypothesis(text) for text in texts if _digest(text) in self._added}
        return self._memory.get(fingerprint, source, target, [text for text in texts if text not in added]) | added

    def put(self, fingerprint: str, source: str, target: str, translations: Mapping[str, Hypothesis]) -> None:
        self._added.update(map(_digest, translations))


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def print_rehearsal(rehearsal: Rehearsal, *, as_json: bool = False) -> None:
    """Print what a build would do, for people or for programs."""
    if as_json:
        import json

        print(json.dumps(asdict(rehearsal), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    rows_of = ", ".join(f"{split} {rows:,} rows" for split, rows in rehearsal.splits.items())
    console.print(f"source: {rows_of}", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    predicting = any(each.texts for each in rehearsal.languages)
    headers = ("language", "rows", "reused", "sentences", "known", "new", "characters", "texts")
    for header in (*headers, "recall" if predicting else "carried", "time"):
        table.add_column(header, justify="left" if header == "language" else "right", no_wrap=True)
    for each in rehearsal.languages:
        numbers = (
            each.rows, each.reused, each.sentences, each.remembered, each.translate, each.characters,
            each.texts + each.spans_texts, each.predictions_remembered + each.projections_remembered,
        )  # fmt: skip
        table.add_row(each.language, *(f"{number:,}" for number in numbers), _expected(each))
    console.print(table)
    console.print("sentences: different ones that need a model; known: in the translation memory; new: for the model")
    if predicting:
        console.print("texts: different ones to predict on; recall: predictions that are remembered")
    else:
        console.print("texts: those with spans, of rows not reused; carried: those whose projection is remembered")
    console.print(_conclusion(rehearsal.languages))


def _expected(plan: LanguagePlan) -> str:
    if plan.rows == plan.reused:
        return "done"
    if plan.seconds is None:
        return "?"
    return duration(plan.seconds) if plan.seconds else "no model"


def _conclusion(languages: Sequence[LanguagePlan]) -> str:
    """Say how long all of it takes; plainly, where it takes nothing."""
    if (left := sum(each.rows - each.reused for each in languages)) == 0:
        return "nothing to do: every row is done, and the build would only look whether the dataset is whole"
    known = [each.seconds for each in languages if each.seconds is not None]
    if len(known) < len(languages):
        return (
            "expected time: not known where it is ?: predictions are not there yet, or there is no text to measure with"
        )
    if not any(known):
        return f"nothing for a model to do: all is remembered, and the build would only put {left:,} rows together"
    return f"expected time: {duration(sum(known))} on this machine, by a sample that was done for real"
