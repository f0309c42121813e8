"""The work on one shard: translate its texts, carry its labels, write what became of each example.

A shard is done in two steps, so that the texts of the next one can be translated while this one is carried. Each step
is a plain function of a job and the parts it is worked with; a Prefect task calls the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spanferry.data.example import Example
from spanferry.flows.config import BuildConfig
from spanferry.flows.jobs import Job
from spanferry.flows.outcomes import count, outcome, unpack
from spanferry.flows.parts import Parts, load_parts
from spanferry.flows.report import check_balance
from spanferry.flows.shards import Sidecar, finish, read_records, write_records
from spanferry.projection.carry import OnLost, carry
from spanferry.translation.base import Translation
from spanferry.translation.languages import get_language
from spanferry.translation.pipeline import translate_texts
from spanferry.translation.remembering import TranslationStats


@dataclass(frozen=True)
class Translated:
    """The rows of a shard with their translations: (index of the example, field) -> translation."""

    examples: list[Example]
    translations: dict[tuple[int, str], Translation]


def translate_shard(
    job: Job,
    parts: Parts,
    source: str,
    *,
    progress: Callable[[int, int], None] | None = None,
    stats: TranslationStats | None = None,
) -> Translated:
    """Read a shard and translate its texts, all fields of all rows in one go."""
    examples = [unpack(record) for record in read_records(Path(job.source))]
    places = [(index, field) for index, example in enumerate(examples) for field in example.fields]
    texts = [examples[index].fields[field] for index, field in places]
    translations = translate_texts(
        texts,
        parts.translator,
        source=source,
        target=job.language,
        memory=parts.memory,
        settings=parts.text,
        progress=progress,
        stats=stats,
    )
    return Translated(examples, dict(zip(places, translations, strict=True)))


def carry_shard(job: Job, translated: Translated, parts: Parts, source: str, on_lost: OnLost) -> Sidecar:
    """Carry the labels of a translated shard, write the outcomes, and declare it done."""
    carried = carry(
        translated.examples,
        translated.translations,
        parts.projector,
        source=source,
        target=job.language,
        filters=parts.filters,
        on_lost=on_lost,
    )
    outcomes = [
        outcome(each, {field: translated.translations[index, field] for field in each.source.fields})
        for index, each in enumerate(carried)
    ]
    counts = count(outcomes)
    check_balance(counts, job.output)
    path = Path(job.output)
    write_records(path, outcomes)
    return finish(path, job.key, counts)


def run_shard(job: Job, config: BuildConfig) -> Sidecar:
    """Do one shard from beginning to end, unless it is done: what a task of a flow calls."""
    if (sidecar := job.done()) is not None:
        return sidecar
    parts = load_parts(config)
    source = get_language(config.source.language).flores
    return carry_shard(job, translate_shard(job, parts, source), parts, source, config.projection.on_lost)
