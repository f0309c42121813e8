"""Rates of the translation memory as it grows.

    python benchmarks/translation_memory.py [--entries 1000000] [--folder DIR] [--keep FILE]

Puts entries in batches of 5,000, as the pipeline does, then looks up texts that were put together (a rebuild), texts
from all over the file (a new data set that shares sentences with many), and texts that it does not have. Rates are
per second of wall time; the file is opened anew before the look-ups. With ``--keep`` the memory stays, for
`benchmarks/durable.py --memory FILE`: what a build takes beside so many entries.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from spanferry.translation.base import Hypothesis
from spanferry.translation.memory import TranslationMemory

PAIR = ("benchmark", "eng_Latn", "deu_Latn")
BATCH = 5000


def text(number: int) -> str:
    return f"Sentence {number} tells of {number * 7919 % 1000003} things, most of which nobody has ever asked about."


def put(memory: TranslationMemory, entries: int) -> None:
    began = time.perf_counter()
    for start in range(0, entries, BATCH):
        numbers = range(start, min(entries, start + BATCH))
        memory.put(*PAIR, {text(n): Hypothesis(text(n)[::-1], -0.25) for n in numbers})
        if (start + BATCH) % max(BATCH, entries // 5 // BATCH * BATCH) == 0:
            now = time.perf_counter()
            size = memory.path.stat().st_size / 1e6
            print(f"put   {start + BATCH:>11,} entries: {entries / 5 / (now - began):>9,.0f} a second, {size:,.0f} MB")
            began = now


def get(memory: TranslationMemory, title: str, numbers: Iterable[int]) -> None:
    texts = [text(n) for n in numbers]
    began = time.perf_counter()
    found = sum(len(memory.get(*PAIR, texts[at : at + BATCH])) for at in range(0, len(texts), BATCH))
    rate = len(texts) / (time.perf_counter() - began)
    print(f"get   {len(texts):>11,} {title}: {rate:>9,.0f} a second, {found:,} found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where to put the file; by default the system's temporary folder")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="put the file here, and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = options.keep or Path(folder) / "memory.sqlite"
        with TranslationMemory(path) as memory:
            put(memory, options.entries)
        sample = min(100_000, options.entries)
        orders = {
            "put together": range(sample),
            "from all over": random.Random(7).sample(range(options.entries), sample),
            "not there": range(options.entries, options.entries + sample),
        }
        for title, numbers in orders.items():
            with TranslationMemory(path) as memory:
                get(memory, title, numbers)


if __name__ == "__main__":
    main()
