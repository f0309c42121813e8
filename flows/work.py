"""The work on one shard: translate its texts, carry its labels, write what became of each example.

A shard is done in steps, so that the texts of the next one can be translated while this one is carried. Each step is a
plain function of what it works on and the parts it works with; a Prefect task calls the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spanferry.data.errors import BuildError
from spanferry.data.example import Example
from spanferry.flows.claims import claim, done
from spanferry.flows.config import AnyConfig
from spanferry.flows.failures import forget_failure
from spanferry.flows.jobs import Direction, Job
from spanferry.flows.marked import Marks, translate_with_marks
from spanferry.flows.outcomes import Outcome, count, outcome, unpack
from spanferry.flows.parts import Parts, load_parts, markers_of
from spanferry.flows.places import locate, stored_at
from spanferry.flows.predict_work import predict_and_carry
from spanferry.flows.report import check_balance
from spanferry.flows.shards import Sidecar, file_digest, finish, read_records, write_records
from spanferry.projection.carry import carry
from spanferry.translation.base import Translation
from spanferry.translation.jointly import translate_jointly
from spanferry.translation.pipeline import translate_texts
from spanferry.translation.remembering import TranslationStats
from spanferry.translation.round_trip import compose


@dataclass(frozen=True)
class Translated:
    """Examples with their translations: (index of the example, field) -> translation.

    ``marks`` is what the marks told, where labels are carried by marks.
    """

    examples: list[Example]
    translations: dict[tuple[int, str], Translation]
    marks: Marks | None = None


def read_shard(job: Job) -> list[Example]:
    """Return the source examples of a shard.

    Raises:
        BuildError: they are not those that the shard was planned for: another build reads its source there now.
    """
    examples = [unpack(record) for record in read_records(Path(job.source))]
    if job.checksum and file_digest(job.source) != job.checksum:
        raise BuildError(f"{job.source}: not the rows that were planned for; the build was begun anew, so help it anew")
    return examples


def translate_examples(
    examples: Sequence[Example],
    parts: Parts,
    direction: Direction,
    *,
    progress: Callable[[int, int], None] | None = None,
    stats: TranslationStats | None = None,
) -> Translated:
    """Translate the texts of all fields of all examples in one go; no sentence ends within a span of the example.

    What comes of an example depends on nothing but the example. A text that several share (the context of many
    questions) is translated once, but for the sentences that a span of one of them joins.
    """
    if parts.predictor is None and markers_of(parts.projector) is not None:
        with_marks, marks = translate_with_marks(examples, parts, direction, progress=progress, stats=stats)
        return Translated(list(examples), with_marks, marks)
    places = [(index, field) for index, example in enumerate(examples) for field in example.fields]
    if parts.fields == "jointly":
        return _translate_jointly(examples, parts, direction, progress=progress, stats=stats)
    # What is to be predicted on is translated as if it had no labels.
    spans = [
        sorted({(span.start, span.end) for span in examples[index].spans if span.field == field})
        if parts.predictor is None
        else []
        for index, field in places
    ]
    translations = translate_texts(
        [examples[index].fields[field] for index, field in places],
        parts.translator,
        source=direction.source,
        target=direction.target,
        memory=parts.memory,
        whole=spans,
        settings=parts.text,
        progress=progress,
        stats=stats,
    )
    if parts.back:
        translations = _and_back(translations, parts, direction, stats)
    return Translated(list(examples), dict(zip(places, translations, strict=True)))


def _translate_jointly(
    examples: Sequence[Example],
    parts: Parts,
    direction: Direction,
    *,
    progress: Callable[[int, int], None] | None,
    stats: TranslationStats | None,
) -> Translated:
    """Translate the texts of each example as one."""
    groups = translate_jointly(
        [list(example.fields.values()) for example in examples],
        parts.translator,
        source=direction.source,
        target=direction.target,
        memory=parts.memory,
        settings=parts.text,
        progress=progress,
        stats=stats,
    )
    translations = [translation for group in groups for translation in group]
    if parts.back:
        translations = _and_back(translations, parts, direction, stats)
    places = [(index, field) for index, example in enumerate(examples) for field in example.fields]
    return Translated(list(examples), dict(zip(places, translations, strict=True)))


def _and_back(
    translations: Sequence[Translation], parts: Parts, direction: Direction, stats: TranslationStats | None
) -> list[Translation]:
    """Translate translations back into the language that they came from."""
    returned = translate_texts(
        [translation.text for translation in translations],
        parts.translator,
        source=direction.target,
        target=direction.source,
        memory=parts.memory,
        settings=parts.text,
        stats=stats,
    )
    return [compose(there, back) for there, back in zip(translations, returned, strict=True)]


def carry_examples(translated: Translated, parts: Parts, direction: Direction) -> list[Outcome]:
    """Carry the labels of translated examples; return what became of each.

    In translate-test these are the labels that the predictor finds on the translation, and they are carried back.
    """
    if parts.predictor is not None:
        return predict_and_carry(translated, parts, direction)
    marks = translated.marks
    carried = carry(
        translated.examples,
        translated.translations,
        parts.projector if marks is None else marks.projector,
        source=direction.source,
        target=direction.source if parts.back else direction.target,
        filters=parts.filters,
        on_lost=parts.on_lost,
        placed=None if marks is None else marks.placed,
    )
    return [
        outcome(
            each,
            {field: translated.translations[index, field] for field in each.source.fields},
            marks=None if marks is None else marks.counts[index],
        )
        for index, each in enumerate(carried)
    ]


def write_shard(job: Job, outcomes: Sequence[Outcome]) -> Sidecar:
    """Write the outcomes of a shard, and declare it done."""
    counts = count(outcomes)
    check_balance(counts, job.output)
    path = Path(job.output)
    write_records(path, outcomes)
    sidecar = finish(path, job.key, counts)
    forget_failure(path)
    return sidecar


def run_shard(job: Job, config: AnyConfig, *, stats: TranslationStats | None = None) -> Sidecar:
    """Do one shard from beginning to end, unless it is done: what a task of a flow calls.

    Where another process works on it, this one waits, and does it only if the other does not.
    """
    if (stored := stored_at(locate(config.output, config.run.work_folder).root)) is not None:
        job = stored.moved_here(job)
    while (own := claim(job, wait=-1)) is None:
        if (sidecar := done(job)) is not None:
            return sidecar
    try:
        parts = load_parts(config)
        translated = translate_examples(read_shard(own.job), parts, job.direction, stats=stats)
        sidecar = write_shard(job, carry_examples(translated, parts, job.direction))
        own.share()
        return sidecar
    finally:
        own.release()
