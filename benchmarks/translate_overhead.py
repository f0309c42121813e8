"""What the translator costs on top of CTranslate2: its rate against `translate_batch` on texts that are tokenised.

    python benchmarks/translate_overhead.py [--sentences 600] [--rounds 5] [--beam 1]

Both translate the same sentences with the same engine, in turn, and the ratio of each pair of runs is taken, so that a
busy machine slows both. CPU time counts all threads. CTranslate2 alone gets the tokens ready, with the same limits of
length, and leaves its output as tokens; it sorts and batches by itself. The translator tokenises, batches, reads scores
and detokenises besides.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from spanferry.translation.ct2 import load_ctranslate2

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"


def sentences(number: int) -> list[str]:
    """Return so many different sentences, made of the samples' words."""
    words = [word for file in sorted(SAMPLES.glob("*.conll")) for word in _words(file)]
    lengths = itertools.cycle([6, 9, 12, 15, 18, 22, 27, 34])
    found, place = [], 0
    for length in itertools.islice(lengths, number):
        found.append(" ".join(words[(place + step) % len(words)] for step in range(length)) + ".")
        place += length + 1
    return found


def _words(file: Path) -> list[str]:
    rows = csv.reader(file.read_text(encoding="utf-8").splitlines(), delimiter=" ", quoting=csv.QUOTE_NONE)
    return [row[0] for row in rows if row and not row[0].startswith("-DOCSTART-")]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and the CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--sentences", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    start, cpu = time.perf_counter(), time.process_time()
    translator = load_ctranslate2(arguments.model, beam_size=arguments.beam, device=arguments.device)
    print(f"loaded in {time.perf_counter() - start:.2f} s ({time.process_time() - cpu:.2f} s CPU)")
    texts = sentences(arguments.sentences)
    source, target = "eng_Latn", "deu_Latn"
    tokens = translator.tokenizer.encode_source(texts, source, target)
    prefix = translator.tokenizer.target_prefix(target)
    special = sum(map(len, translator.tokenizer.around_source(source, target)))
    of_limit: dict[int, list[list[str]]] = {}
    for sequence in tokens:
        limit = translator.decoding.length_limit(len(sequence) - special, translator.model.max_positions)
        of_limit.setdefault(limit + len(prefix), []).append(sequence)

    def alone() -> None:
        promises = [
            translator.engine.translate_batch(
                group,
                [prefix] * len(group),
                max_batch_size=translator.placement.padded_tokens(translator.device),
                batch_type="tokens",
                beam_size=arguments.beam,
                max_decoding_length=limit,
                max_input_length=0,
                return_scores=True,
                asynchronous=True,
            )
            for limit, group in of_limit.items()
        ]
        for promise in itertools.chain.from_iterable(promises):
            promise.result()

    def ours() -> None:
        translator.translate(texts, source=source, target=target)

    alone()
    ratios = []
    for number in range(arguments.rounds):
        first, second = (timed(alone), timed(ours)) if number % 2 == 0 else (timed(ours), timed(alone))
        base, whole = (first, second) if number % 2 == 0 else (second, first)
        ratios.append((base[0] / whole[0], base[1] / whole[1]))
        print(
            f"round {number + 1}: CTranslate2 alone {len(texts) / base[0]:.1f} sentences/s, translator "
            f"{len(texts) / whole[0]:.1f}; ratio {ratios[-1][0]:.3f} by the clock, {ratios[-1][1]:.3f} by CPU time"
        )
    clock, cpu_time = (statistics.median(ratio[kind] for ratio in ratios) for kind in (0, 1))
    print(f"median of {arguments.rounds}: {clock:.3f} by the clock, {cpu_time:.3f} by CPU time")


if __name__ == "__main__":
    main()
