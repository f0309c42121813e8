"""Sentence boundaries found, and what they cost, against pysbd on whole texts.

    python benchmarks/sentence_boundaries.py eng_Latn=FILE [deu_Latn=FILE ...]

Each FILE has one sentence a line, in reading order (NTREX-128's `newstest2019-*.txt`, say). Eight lines that end in a
full stop, question or exclamation mark are joined by spaces to a text; the places where they were joined are to be
found. Lines of two sentences count against precision, for both. Times are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from spanferry.translation.segments import sentence_ranges
from spanferry.translation.sentences import primary_subtag


def by_spanferry(text: str, language: str) -> set[int]:
    return {start for start, _ in sentence_ranges(text, language)[1:]}


def by_pysbd(text: str, language: str) -> set[int]:
    import pysbd

    starts, position = set(), 0
    for sentence in pysbd.Segmenter(language=primary_subtag(language), clean=False).segment(text):
        found = text.find(sentence.strip(), position)
        if found >= 0:
            starts.add(found)
            position = found + len(sentence.strip())
    return starts - {0}


def score(lines: list[str], language: str, split: Callable[[str, str], set[int]]) -> str:
    split("Dr. A. met B. They left.", language)  # loads the library and compiles its expressions
    right = found = wanted = 0
    began = time.thread_time()
    for at in range(0, len(lines), 8):
        joined, text = set(), ""
        for line in lines[at : at + 8]:
            joined.add(len(text))
            text += line + " "
        joined.discard(0)
        starts = split(text.rstrip(), language)
        right, found, wanted = right + len(starts & joined), found + len(starts), wanted + len(joined)
    each = 1e6 * (time.thread_time() - began) / len(lines)
    return f"precision {right / found:.3f}, recall {right / wanted:.3f}, {each:6.0f} µs a sentence"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="LANGUAGE=FILE")
    warnings.simplefilter("ignore")  # pysbd's invalid escapes
    for argument in parser.parse_args().files:
        language, _, file = argument.partition("=")
        lines = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line.endswith((".", "!", "?"))]
        for name, split in (("spanferry", by_spanferry), ("pysbd", by_pysbd)):
            print(f"{language} {name:<9} {len(lines)} sentences: {score(lines, language, split)}")


if __name__ == "__main__":
    main()
