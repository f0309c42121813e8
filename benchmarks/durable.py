"""What durability costs: the machinery beside translation and projection, builds that are built again, memory by size.

    python benchmarks/durable.py [--model bundled] [--aligner mt-encoder] [--rows 2000]
    python benchmarks/durable.py --model fake --aligner fake --rows 10000 100000 1000000
    python benchmarks/durable.py --rows 1000 --memory FILE      # a translation memory that holds something already

A size at a time, each in a process of its own, so that the peak of its memory is its own. Four builds of task ner:

    translate, project  no build: the texts translated and the spans projected, 2,000 rows at a time, nothing kept
    cold                a whole build, with empty memories
    nothing changed     the same again
    1 % changed         every hundredth row has another text, so that no shard is as it was
    a row put in front  one row more, which every shard notices

`of cold` is the time of a build as a share of the cold one; `machinery` is what the cold build took over the first
line, by wall time. On a machine that does other things at once, take the best of several runs.
With the fake translator, which takes no time, the machinery is all there is; take a model to see its share. A build
that overlaps translation and projection may be quicker than both in turn: `machinery` is then negative.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spanferry.data.example import Example, Span
from spanferry.flows.build import build
from spanferry.flows.config import BuildConfig, parse_config
from spanferry.flows.jobs import Direction
from spanferry.flows.parts import Parts, load_parts
from spanferry.flows.shards import cut
from spanferry.flows.work import carry_examples, translate_examples
from spanferry.projection.remembering import RememberingProjector
from spanferry.translation.languages import get_language

FIRST = ("Ada", "Zoe", "Clara", "Omar", "Yusuf", "Ingrid", "Tomas", "Noor", "Bela", "Chidi")
LAST = ("Lovelace", "Okafor", "Petrov", "Nakamura", "Silva", "Haddad", "Novak", "Larsen", "Costa", "Meyer")
PLACES = ("Porto", "Vienna", "Lagos", "Kyoto", "Lima", "Tallinn", "Marseille", "Quito", "Dakar", "Bergen")
VERBS = ("opened an office in", "travelled by train to", "gave a talk in", "spent the winter in", "wrote a book about")
ENDS = ("in the spring", "after the war", "for the first time", "with two friends", "before anyone noticed")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[2000])
    options.add_argument("--model", default="bundled")
    options.add_argument("--aligner", default="mt-encoder")
    options.add_argument("--target", default="de")
    options.add_argument("--shard-rows", type=int, default=2000)
    options.add_argument("--memory", type=Path, help="a translation memory to use; else an empty one")
    options.add_argument("--no-memory", action="store_true", help="no memories at all")
    options.add_argument("--cold-only", action="store_true", help="only that line")
    options.add_argument("--one", action="store_true", help="in this process (the benchmark calls itself so)")
    arguments = options.parse_args()
    if arguments.one:
        measure(arguments)
        return
    sizes, given = arguments.rows, [word for word in sys.argv[1:] if word not in map(str, arguments.rows)]
    given = [word for word in given if word != "--rows"]
    print(f"{'rows':>10}  {'':18}{'seconds':>9}{'rows/s':>9}{'of cold':>9}{'machinery':>11}{'peak MB':>9}", flush=True)
    for size in sizes:
        subprocess.run([sys.executable, __file__, *given, "--rows", str(size), "--one"], check=True)


def measure(arguments: argparse.Namespace) -> None:
    [number] = arguments.rows
    with TemporaryDirectory(prefix="spanferry-benchmark-") as folder:
        settings = config(arguments, Path(folder))
        write(Path(folder), number)
        parts = load_parts(settings)
        warm(settings, Path(folder))
        if arguments.cold_only:
            show(number, "cold", timed(lambda: build(settings)), number)
            return
        bare = timed(lambda: translate_and_project(parts, arguments.target, number))
        show(number, "translate, project", bare, number, peak=False)
        cold = timed(lambda: build(settings))
        show(number, "cold", cold, number, machinery=cold / bare - 1)
        show(number, "nothing changed", timed(lambda: build(settings)), number, cold)
        write(Path(folder), number, every=100)
        show(number, "1 % changed", timed(lambda: build(settings)), number, cold)
        write(Path(folder), number, every=100, before=1)
        show(number, "a row put in front", timed(lambda: build(settings)), number, cold)


def config(arguments: argparse.Namespace, place: Path) -> BuildConfig:
    memory: Any = str(arguments.memory or place / "memory.sqlite")
    return parse_config(
        {
            "task": "ner",
            "source": {"path": str(place / "train.jsonl"), "language": "en"},
            "targets": [arguments.target],
            "translation": {"model": arguments.model},
            "projection": {"aligner": arguments.aligner},
            "run": {"memory": False if arguments.no_memory else memory, "shard_rows": arguments.shard_rows},
            "output": str(place / "out"),
        }
    )


def warm(settings: BuildConfig, place: Path) -> None:
    """Do a few rows of other texts, so that what is loaded at first use is loaded."""
    with (place / "warm.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record(example)) + "\n" for example in examples(range(-40, 0)))
    run = settings.run.model_copy(update={"memory": False})
    source = settings.source.model_copy(update={"path": str(place / "warm.jsonl")})
    build(settings.model_copy(update={"source": source, "output": str(place / "warm"), "run": run}))
    load_parts(settings)


def translate_and_project(parts: Parts, target: str, number: int) -> None:
    """Do what a build is for, and nothing else."""
    projector = parts.projector.projector if isinstance(parts.projector, RememberingProjector) else parts.projector
    bare = replace(parts, memory=None, projector=projector)
    direction = Direction("eng_Latn", get_language(target).flores)
    for chunk in cut(examples(range(number)), 2000):
        carry_examples(translate_examples(chunk, bare, direction), bare, direction)


def write(place: Path, number: int, *, every: int = 0, before: int = 0) -> None:
    """Write the rows; every so many have another text, and some stand before all."""
    numbers = (-100 - n for n in range(before))
    changed = (n + number if every and n % every == 0 else n for n in range(number))
    with (place / "train.jsonl").open("w", encoding="utf-8") as stream:
        for chosen in (numbers, changed):
            stream.writelines(json.dumps(record(example)) + "\n" for example in examples(chosen))


def examples(numbers: Sequence[int] | Iterator[int]) -> Iterator[Example]:
    """Yield an example a number: the same for the same number, and different ones for different numbers."""
    for number in numbers:
        chance = random.Random(number)
        name = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        place = chance.choice(PLACES)
        begin = f"In {1000 + number % 1013}, as letter {number} says, "
        middle = f"{name} {chance.choice(VERBS)} "
        text = f"{begin}{middle}{place} {chance.choice(ENDS)}."
        start = len(begin) + len(middle)
        spans = (Span(len(begin), len(begin) + len(name), "PER"), Span(start, start + len(place), "LOC"))
        yield Example(str(number), {"text": text}, spans)


def record(example: Example) -> dict[str, Any]:
    spans = [{"start": span.start, "end": span.end, "label": span.label} for span in example.spans]
    return {"id": example.id, "text": example.fields["text"], "spans": spans}


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(
    rows: int, name: str, seconds: float, done: int, cold: float | None = None, *,
    machinery: float | None = None, peak: bool = True,
) -> None:  # fmt: skip
    share = "" if cold is None else f"{seconds / cold:.1%}"
    over = "" if machinery is None else f"{machinery:+.1%}"
    most = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f}" if peak else ""
    print(f"{rows:>10,}  {name:18}{seconds:>9.1f}{done / seconds:>9,.0f}{share:>9}{over:>11}{most:>9}", flush=True)


if __name__ == "__main__":
    main()
