"""What a build costs beside the model: its rate against CTranslate2 alone, on the same texts, in the same run.

    python benchmarks/build_overhead.py [--rows 2000] [--target de] [--beam-size 4] [--model bundled] [--texts-only]
                                        [--where]

Four measurements, after all libraries and the model are loaded:

    CTranslate2 alone   the sentences, tokenised beforehand, with its own batching and the same limits of length
    texts only          a whole build of task text-classification: read, translate, check, write, count, load features
    with spans          a whole build of task ner, its spans carried by the model's own encoder
    built again         the same with nothing changed

and, with ``--where``, what the model had to do for the texts alone, done again by itself:

    first tries         every sentence, shard by shard
    second tries        those that lost a number or an address, behind stand-ins

What the build of texts costs beside these two is its own work.

The rows are sentences of `data/samples` with their entities exchanged for others of the same label, so that any
number of them differs. The last columns say how much of CTranslate2's own rate is left, by wall time and by processor
time; on a machine that does other things at once, the second is the one to trust.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from spanferry.flows.build import build
from spanferry.flows.config import BuildConfig, parse_config
from spanferry.flows.parts import load_parts
from spanferry.translation.base import Hypothesis
from spanferry.translation.ct2 import CTranslate2Translator
from spanferry.translation.languages import get_language

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples" / "entities.en.jsonl"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--target", default="de")
    options.add_argument("--beam-size", type=int, default=4)
    options.add_argument("--model", default="bundled")
    options.add_argument("--aligner", default="mt-encoder")
    options.add_argument("--texts-only", action="store_true", help="leave out the builds with spans")
    options.add_argument("--where", action="store_true", help="measure the model's part of the texts by itself, too")
    options.add_argument("--seed", type=int, default=1)
    arguments = options.parse_args()
    with TemporaryDirectory(prefix="spanferry-benchmark-") as folder:
        place = Path(folder)
        warm_up(arguments, place / "warm")
        texts = write_rows(arguments.rows, arguments.seed, place)
        alone = measure(ctranslate2_alone(config(arguments, place, "ner"), texts))
        print(
            f"{len(texts):,} rows, {sum(map(len, texts)) / len(texts):.0f} characters a row, en -> {arguments.target}"
        )
        print(f"\n{'':20}{'seconds':>9}{'cpu s':>9}{'rows/s':>9}{'of CT2':>9}{'by cpu':>9}{'peak MB':>9}")
        show("CTranslate2 alone", alone, alone, len(texts))
        builds = [("texts only", "text-classification"), ("with spans", "ner"), ("built again", "ner")]
        for name, task in builds[:1] if arguments.texts_only else builds:
            settings = config(arguments, place, task)
            load_parts(settings)
            with asked_of_the_model() as calls:
                show(name, measure(partial(build, settings)), alone, len(texts))
            if arguments.where and name == "texts only":
                for each, again in replays(calls, load_parts(settings).translator.fingerprint).items():
                    show(each, measure(again), alone, len(texts))


def warm_up(arguments: argparse.Namespace, place: Path) -> None:
    """Build a few rows of each task, so that libraries and models are loaded before anything is measured."""
    place.mkdir()
    write_rows(20, arguments.seed + 1, place)
    for task in ("text-classification", "ner"):
        build(config(arguments, place, task))


def write_rows(number: int, seed: int, place: Path) -> list[str]:
    """Write the rows for both tasks, and return their texts."""
    rows = list(exchanged(number, seed))
    for task, keys in (("ner", ("id", "text", "spans")), ("text-classification", ("id", "text", "label"))):
        with (place / f"{task}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps({key: row[key] for key in keys}) + "\n" for row in rows)
    return [row["text"] for row in rows]


def exchanged(number: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield so many different rows: sample sentences with each entity exchanged for one of the same label."""
    chance = random.Random(seed)
    samples = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    flat = [row for row in samples if row["spans"] and not nested(row["spans"])]
    names: dict[str, list[str]] = {}
    for row in flat:
        for span in row["spans"]:
            names.setdefault(span["label"], []).append(row["text"][span["start"] : span["end"]])
    seen: set[str] = set()
    while len(seen) < number:
        row = chance.choice(flat)
        text, end, spans = "", 0, []
        for span in row["spans"]:
            text += row["text"][end : span["start"]]
            name = chance.choice(names[span["label"]])
            spans.append({"start": len(text), "end": len(text) + len(name), "label": span["label"]})
            text, end = text + name, span["end"]
        text += row["text"][end:]
        if text not in seen:
            seen.add(text)
            yield {"id": str(len(seen)), "text": text, "spans": spans, "label": spans[0]["label"]}


def nested(spans: list[dict[str, Any]]) -> bool:
    return any(before["end"] > after["start"] for before, after in pairwise(spans))


def config(arguments: argparse.Namespace, place: Path, task: str) -> BuildConfig:
    return parse_config(
        {
            "task": task,
            "source": {"path": str(place / f"{task}.jsonl"), "language": "en"},
            "targets": [arguments.target],
            "translation": {"model": arguments.model, "beam_size": arguments.beam_size},
            "projection": {"aligner": arguments.aligner},
            "run": {"memory": str(place / f"{task}.sqlite")},
            "output": str(place / f"out-{task}"),
        }
    )


def ctranslate2_alone(settings: BuildConfig, texts: list[str]) -> Callable[[], Any]:
    """Return what is to be measured: the model loaded and warm, the texts tokenised."""
    translator: Any = load_parts(settings).translator
    source, target = get_language("en").flores, get_language(settings.targets[0]).flores
    translator.translate(texts[:64], source=source, target=target)
    tokenizer = translator.tokenizer
    prefix = tokenizer.target_prefix(target)
    special = sum(map(len, tokenizer.around_source(source, target)))
    of_limit: dict[int, list[list[str]]] = {}
    for sequence in tokenizer.encode_source(texts, source, target):
        limit = translator.decoding.length_limit(len(sequence) - special, translator.model.max_positions)
        of_limit.setdefault(limit + len(prefix), []).append(sequence)

    def translate() -> None:
        promises = [
            translator.engine.translate_batch(
                group,
                [prefix] * len(group) if prefix else None,
                beam_size=settings.translation.beam_size,
                max_batch_size=translator.placement.padded_tokens(translator.device),
                batch_type="tokens",
                max_decoding_length=limit,
                max_input_length=0,
                return_scores=True,
                asynchronous=True,
            )
            for limit, group in of_limit.items()
        ]
        for promise in chain.from_iterable(promises):
            promise.result()

    return translate


Call = tuple[CTranslate2Translator, Sequence[str], dict[str, str]]


@contextmanager
def asked_of_the_model() -> Iterator[list[Call]]:
    """Note every call of the model."""
    calls: list[Call] = []
    translate = CTranslate2Translator.translate

    def noting(self: CTranslate2Translator, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        calls.append((self, texts, {"source": source, "target": target}))
        return translate(self, texts, source=source, target=target)

    with patch.object(CTranslate2Translator, "translate", noting):
        yield calls


def replays(calls: Sequence[Call], fingerprint: str) -> dict[str, Callable[[], Any]]:
    """Return what makes the calls again: those of the model itself, and those of the one for second tries."""

    def again(first: bool) -> None:
        for translator, texts, languages in calls:
            if (translator.fingerprint == fingerprint) == first:
                translator.translate(texts, **languages)

    return {"  first tries": partial(again, True), "  second tries": partial(again, False)}


def measure(run: Callable[[], Any]) -> tuple[float, float]:
    """Return seconds on the wall and of the processors."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def show(name: str, cost: tuple[float, float], alone: tuple[float, float], rows: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shares = [100 * whole / part for whole, part in zip(alone, cost, strict=True)]
    print(
        f"{name:20}{cost[0]:9.1f}{cost[1]:9.1f}{rows / cost[0]:9.1f}{shares[0]:8.0f}%{shares[1]:8.0f}%{peak:9,.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
