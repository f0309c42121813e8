"""Peak memory of long projections: 10,000 spans against 100,000, carried shard by shard as a build does.

    python benchmarks/projection_memory.py [--methods alignment,constrained] [--spans 10000,100000] [--shard 2000]

Each size runs in a process of its own, whose highest resident memory is printed. Every text is new (its words are in
no other text), so that nothing that grows with the data is hidden by repetition. The aligner and the scorer are those
that know a dictionary: what is measured is the projection, not a model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from spanferry.data.example import Example, Span
from spanferry.flows.shards import cut
from spanferry.projection.base import Projector
from spanferry.projection.carry import carry
from spanferry.projection.registry import load_projector
from spanferry.translation.base import Translation

SPANS_A_TEXT = 2


def texts() -> Iterator[tuple[Example, Translation]]:
    """Yield examples of eight words with two spans, and translations whose words stand in another order."""
    number = 0
    while True:
        words = [f"{'abcdefgh'[place]}{number}" for place in range(8)]
        source, target = " ".join(words), " ".join(words[3:] + words[:3])
        places = [source.index(f"{words[first]} {words[first + 1]}") for first in (1, 5)]
        length = 2 * len(words[0]) + 1
        spans = tuple(Span(place, place + length, "X") for place in places)
        yield Example(str(number), {"text": source}, spans), Translation(source, target)
        number += 1


def projector(method: str) -> Projector:
    if method == "constrained":
        from spanferry.translation.fake_scorer import FakePrefixScorer

        return load_projector(method, model=FakePrefixScorer({}))
    return load_projector(method, aligner="fake")


def run(method: str, spans: int, shard: int, answers: Any) -> None:
    """Carry so many spans, and say what became of them and how much memory that took."""
    method_here, began, carried = projector(method), time.process_time(), 0
    for part in cut(islice(texts(), spans // SPANS_A_TEXT), shard):
        examples = [example for example, _ in part]
        translations = {(index, "text"): translation for index, (_, translation) in enumerate(part)}
        results = carry(examples, translations, method_here, source="eng_Latn", target="deu_Latn", on_lost="keep")
        carried += sum(len(each.target.spans) for each in results if each.target is not None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answers.put((carried, peak, time.process_time() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="alignment,constrained")
    parser.add_argument("--spans", default="10000,100000")
    parser.add_argument("--shard", type=int, default=2000, help="texts in a shard")
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| method | spans | carried | peak memory, MB | CPU seconds |\n|---|--:|--:|--:|--:|")
    for method in chosen.methods.split(","):
        for spans in map(int, chosen.spans.split(",")):
            answers = context.SimpleQueue()
            process = context.Process(target=run, args=(method, spans, chosen.shard, answers))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{method}, {spans} spans: the process ended with {process.exitcode}")
            carried, peak, seconds = answers.get()
            print(f"| `{method}` | {spans:,} | {carried:,} | {peak:,.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
