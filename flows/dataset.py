"""From finished shards to the dataset that people load: Parquet, what was lost, the report and the card.

Everything here is derived from the shards and can be made again from them at any time; the same shards give the same
bytes, however often the build was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from spanferry.data.errors import BuildError
from spanferry.data.formats import replacing
from spanferry.data.parquet import write_parquet
from spanferry.data.signature import fingerprint, signature
from spanferry.data.tasks import get_task
from spanferry.flows.card import card
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.corrections import (
    apply_corrections,
    count_corrections,
    has_corrections,
    read_corrections,
    with_corrections,
)
from spanferry.flows.dataset_rows import writer_of
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import BuildPlan
from spanferry.flows.leftovers import remove_files, remove_old_data, remove_old_shards
from spanferry.flows.outcomes import losses
from spanferry.flows.predict_report import worth
from spanferry.flows.progress import Progress
from spanferry.flows.report import Counts, add_counts
from spanferry.flows.shards import (
    Sidecar,
    file_digest,
    read_records,
    write_json,
    write_records,
    writing_text,
)
from spanferry.flows.source import Split, merged_schema
from spanferry.translation.languages import get_language

ROWS_A_FILE = 500_000


class NothingFinished(BuildError):
    """No language of a build has all its shards."""


def finish_build(plan: BuildPlan, progress: Progress) -> dict[str, Any]:
    """Write the dataset of every language whose shards are all done, and the report and card of all of them.

    A language that this run did not work on stays if its shards fit the settings as they are now; if they do not, its
    files are removed, so that a folder never mixes two builds.

    Raises:
        NothingFinished: there is no such language.
    """
    config, folder = plan.config, plan.folder
    done: dict[str, dict[str, Counts]] = {}
    missing = []
    for language in map(get_language, config.datasets):
        shards = {split: [job.done() for job in jobs] for split, jobs in plan.jobs(language).items()}
        if all(shard is not None for shard in chain.from_iterable(shards.values())):
            whole = {split: [shard for shard in each if shard is not None] for split, each in shards.items()}
            done[language.bcp47] = {
                split.name: _write_split(plan, language.bcp47, split, whole[split.name], progress)
                for split in plan.sources[language.bcp47]
            }
        else:
            missing.append(language.bcp47)
    if not done:
        raise NothingFinished(f"output {folder.root}: no language was finished; run the build again")
    remove_old_data(folder, [(language, split) for language, splits in done.items() for split in splits])
    planned = (plan.jobs(language) for language in map(get_language, config.datasets))
    remove_old_shards(folder, (job.output for jobs in planned for job in chain.from_iterable(jobs.values())))
    folder.to_predict.unlink(missing_ok=True)
    report = _report(plan, done, missing)
    if not isinstance(config, BuildConfig):
        report |= worth(config, {language: _outcomes(plan, language) for language in done})
    write_json(folder.report, report)
    with writing_text(folder.root / "config.yaml") as stream:
        yaml.safe_dump(_reproducible(config), stream, sort_keys=False, allow_unicode=True)
    with writing_text(folder.card) as stream:
        stream.write(card(config, report))
    return report


def _write_split(plan: BuildPlan, language: str, split: Split, shards: Sequence[Sidecar], progress: Progress) -> Counts:
    """Write the files of one language and split, unless they are up to date; return its counts."""
    folder = plan.folder
    counts = add_counts(shard.counts for shard in shards)
    schema, tokens = merged_schema(plan.splits), any(each.tokens for each in plan.splits)
    writer = writer_of(plan.config)
    corrections = read_corrections(folder, language, split.name)
    if has_corrections(folder, language):  # the columns of all splits of a language are the same
        predicted = not isinstance(plan.config, BuildConfig)
        writer = with_corrections(writer, get_task(plan.config.task), predicted=predicted)
    key = fingerprint(
        {
            "step": writer.step,
            "shards": [shard.checksum for shard in shards],
            "spans": schema.spans,
            "labels": schema.labels,
            "tokens": tokens,
            "rows": ROWS_A_FILE,
            **({"corrections": [asdict(each) for each in corrections.values()]} if corrections else {}),
        }
    )
    outcomes = [folder.shard(language, split.name, index) for index in range(len(split.shards))]
    counts |= count_corrections(_read(outcomes), corrections)
    mark = folder.written_mark(language, split.name)
    if _up_to_date(folder, mark, key):
        return counts
    stage_name = f"{language}: writing {split.name}"
    progress.start(stage_name, counts["rows"])
    features = writer.features(schema, tokens)
    total = max(1, -(-counts["kept"] // ROWS_A_FILE))
    written = [folder.data(language, split.name, index, total) for index in range(total)]
    dropped = folder.dropped(language, split.name)
    if counts["dropped"] or counts["lost"]:
        written.append(dropped)
    names = [path.relative_to(folder.root).as_posix() for path in written]
    before = folder.written(language, split.name) or {}
    # Noted before the first is written: whatever stops this run, a later one knows whose these files are.
    write_json(mark, {"key": None, "files": dict.fromkeys([*before, *names])})
    remove_files(folder, before.keys() - set(names))
    kept = (each for each in _read(outcomes) if not each["reasons"])
    rows = map(writer.row, apply_corrections(kept, corrections))
    for path in written[:total]:
        with replacing(path) as temporary:
            write_parquet(islice(rows, ROWS_A_FILE), temporary, features)
    if dropped in written:
        write_records(dropped, (line for each in _read(outcomes) for line in losses(each)))
    write_json(mark, {"key": key, "files": dict(zip(names, map(file_digest, written), strict=True))})
    progress.advance(stage_name, counts["rows"])
    progress.finish(stage_name)
    return counts


def _up_to_date(folder: BuildFolder, mark: Path, key: str) -> bool:
    facts = folder.read_json(mark)
    if facts is None or facts.get("key") != key:
        return False
    try:
        return all(file_digest(folder.root / name) == checksum for name, checksum in facts["files"].items())
    except OSError:
        return False


def _outcomes(plan: BuildPlan, language: str) -> Iterator[dict[str, Any]]:
    jobs = chain.from_iterable(plan.jobs(get_language(language)).values())
    return _read([Path(job.output) for job in jobs])


def _read(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    return chain.from_iterable(map(read_records, paths))


def _reproducible(config: AnyConfig) -> dict[str, Any]:
    """Return the settings that decide what is built, as a configuration that builds it again."""
    return config.model_dump(exclude={"run"}, exclude_defaults=True)


def _report(plan: BuildPlan, done: Mapping[str, Mapping[str, Counts]], missing: Sequence[str]) -> dict[str, Any]:
    """Put together what `report.json` holds: the same for the same source, settings and models."""
    languages = {
        name: {
            "splits": dict(splits),
            "total": add_counts(splits.values()),
            "content": fingerprint({split: plan.folder.written(name, split) for split in splits})[:12],
        }
        for name, splits in done.items()
    }
    config = plan.config
    return {
        "spanferry": version("spanferry"),
        "signature": build_signature(plan),
        "task": config.task,
        "direction": config.direction,
        "source": {
            **_languages(config),
            "splits": {split.place: {"rows": split.rows, "rejected": split.rejected} for split in plan.splits},
        },
        "languages": languages,
        "missing": list(missing),
        **_calibration(config.projection.calibration),
        "models": dict(plan.parts),
        "settings": config.model_dump(exclude={"run", "output"}),
    }


def _languages(config: AnyConfig) -> dict[str, Any]:
    """Return the languages of the data, and of the predictor, for the report."""
    if isinstance(config, BuildConfig):
        return {"language": get_language(config.source.language).bcp47}
    names = [get_language(name).bcp47 for name in config.datasets]
    return {"languages": names, "pivot": get_language(config.pivot).bcp47}


def _sides(config: AnyConfig) -> dict[str, Any]:
    """Return what the text is translated from and into, for the signature."""
    datasets = [get_language(name).flores for name in config.datasets]
    if isinstance(config, BuildConfig):
        sides = {"src": get_language(config.source.language).flores, "tgt": datasets}
        return sides if config.direction == "translate-train" else {"direction": config.direction, **sides}
    return {"direction": config.direction, "src": datasets, "tgt": get_language(config.pivot).flores}


def _calibration(path: str | None) -> dict[str, Any]:
    """Return, where a calibration was used, how reliable it was on gold that was held out."""
    if path is None:
        return {}
    from spanferry.projection.calibration import load_calibration

    used = load_calibration(path)
    facts = {"data": used.data, "spans": used.spans, "right": used.right}
    return {"calibration": facts | {"held_out": used.held_out.to_json()}}


def build_signature(plan: BuildPlan) -> str:
    """Return the line that names everything the dataset depends on."""
    config = plan.config
    data = [[shard.checksum for shard in split.shards] for split in plan.splits]
    return signature(
        {
            **_sides(config),
            "data": fingerprint({"shards": data})[:12],
            **plan.parts,
            "version": version("spanferry"),
        }
    )
