"""What stands around the model, against the model: seconds of each, in one run.

    python benchmarks/pipeline_overhead.py [--texts FILE] [--model NAME] [--source en] [--target de]

FILE has one text a line; by default the English samples that come with the project. The machinery is splitting,
protecting, deduplication, the memory and putting together: all of `translate_texts` but the model's `translate`. A
second pass over the same texts, from the memory alone, shows what a rebuild costs. CPU time stands beside wall time:
the machinery runs in one thread, and other load on the machine stretches only the clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanferry.translation.base import Hypothesis, Translator
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.pipeline import translate_texts
from spanferry.translation.registry import load_translator
from spanferry.translation.remembering import TranslationStats

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"


def read_texts(path: Path | None, limit: int | None) -> list[str]:
    if path is not None:
        return path.read_text(encoding="utf-8").splitlines()[:limit]
    files = (SAMPLES / "entities.en.jsonl", SAMPLES / "slots.en.jsonl")
    rows = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    return [row["text"] for row in rows][:limit]


class Clocked:
    """A translator that adds up its CPU time, of all threads."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self.process_seconds = self.thread_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._translator, name)

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        process, thread = time.process_time(), time.thread_time()
        try:
            return self._translator.translate(texts, source=source, target=target)
        finally:
            self.process_seconds += time.process_time() - process
            self.thread_seconds += time.thread_time() - thread


def measure(title: str, texts: list[str], translator: Translator, memory: TranslationMemory, **languages: str) -> None:
    stats, clocked = TranslationStats(), Clocked(translator)
    began = time.thread_time()
    translate_texts(texts, clocked, memory=memory, stats=stats, **languages)
    cpu = time.thread_time() - began - clocked.thread_seconds
    wall = stats.seconds - stats.model_seconds
    each = 1e6 / max(1, stats.sentences)
    print(
        f"{title}: {stats.texts} texts, {stats.sentences} different sentences, {stats.translated} translated "
        f"({stats.characters} characters), {stats.remembered} remembered, {stats.retried} tried again\n"
        f"  model     {stats.model_seconds:8.3f} s wall {clocked.process_seconds:8.3f} s CPU\n"
        f"  machinery {wall:8.3f} s wall {cpu:8.3f} s CPU  ({each * wall:.0f} and {each * cpu:.0f} µs a sentence)"
    )
    if stats.translated:
        print(
            f"  machinery / model: wall {100 * wall / stats.model_seconds:.2f} %, "
            f"CPU {100 * cpu / clocked.process_seconds:.2f} % (goal: under 5 %)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="file with one text a line")
    parser.add_argument("--limit", type=int, help="use the first N texts only")
    parser.add_argument("--model", default="bundled", help='name, folder or hub id; "fake" leaves the model out')
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    options = parser.parse_args()
    texts = read_texts(options.texts, options.limit)
    translator = load_translator(options.model)
    languages = {"source": options.source, "target": options.target}
    # Compiles the expressions and loads the libraries, once a process.
    translate_texts(["Dr. Ada B. Smith left at 5 p.m. She was {late}."], translator, **languages)
    with tempfile.TemporaryDirectory() as folder, TranslationMemory(Path(folder) / "memory.sqlite") as memory:
        for title in ("first pass", "second pass"):
            measure(title, texts, translator, memory, **languages)


if __name__ == "__main__":
    main()
