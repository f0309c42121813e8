"""Aligners on gold links: alignment error rate of each aligner on each set, one table.

    python benchmarks/alignment.py --eval SETS [--priors FOLDER] [--aligners joint,mt-encoder,lexical,eflomal,attention]

Sets: en-fr and ro-en of the NAACL 2003 and ACL 2005 shared tasks (as awesome-align ships them), XL-WA's test sets en-es
and en-it, or its dev sets with ``--part dev``. ``--priors`` is a folder of files called ``en-XX.gz``, made by
`spanferry models priors`; without it, those that are shipped. Rows with priors are run for the languages that have a
file. Models that are not here, or do not speak a language, leave a dash. ``--set NAME.SETTING=VALUE`` gives an aligner
a setting: ``--set awesome.model=FOLDER``.

eflomal and `lexical` read each set as a whole (``--set lexical.readings=1``: pair by pair); eflomal samples, so that
its figures differ a little from run to run.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from spanferry.alignment.metrics import GoldPair, read_naacl_gold, read_tsv_gold, score_alignments
from spanferry.alignment.priors import BUNDLED
from spanferry.alignment.registry import load_aligner
from spanferry.data.errors import SpanferryError

# Name -> source and target language.
SETS = {
    "en-fr": ("eng_Latn", "fra_Latn"),
    "ro-en": ("ron_Latn", "eng_Latn"),
    "en-es": ("eng_Latn", "spa_Latn"),
    "en-it": ("eng_Latn", "ita_Latn"),
}
WITH_PRIORS = ("lexical", "eflomal")


def read_set(folder: Path, name: str, part: str) -> list[GoldPair]:
    if name in ("en-fr", "ro-en"):
        stem = folder / "word-alignment" / name.replace("-", "")
        return read_naacl_gold(stem.with_suffix(".src-tgt"), stem.with_suffix(".gold"))
    return read_tsv_gold(folder / "xl-wa" / name[-2:] / f"{part}.tsv")


def cell(aligner: str, settings: dict[str, Any], gold: list[GoldPair], languages: tuple[str, str]) -> str:
    """AER in per cent, precision / recall, and pairs a CPU-second; a dash where the aligner cannot run."""
    try:
        loaded = load_aligner(aligner, **settings)
        began = time.process_time()
        links = loaded.align([(pair.source, pair.target) for pair in gold], source=languages[0], target=languages[1])
    except SpanferryError as error:
        print(f"{aligner}, {'-'.join(languages)}: {error}")
        return "–"
    seconds = max(time.process_time() - began, 1e-3)
    score = score_alignments(links, [pair.links for pair in gold])
    speed = "" if aligner == "eflomal" else f", {len(gold) / seconds:,.0f}/s"  # a program of its own: not our time
    return f"{100 * score.aer:.1f} ({100 * score.precision:.1f} / {100 * score.recall:.1f}{speed})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="folder of gold data")
    parser.add_argument("--priors", type=Path, default=BUNDLED, help="folder of en-XX.gz")
    parser.add_argument("--part", default="test", choices=["test", "dev"], help="of XL-WA")
    parser.add_argument("--aligners", default="joint,mt-encoder,lexical,eflomal,attention")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--set", action="append", default=[], metavar="NAME.SETTING=VALUE")
    chosen = parser.parse_args()
    given: dict[str, dict[str, Any]] = {}
    for item in chosen.set:
        path, _, value = item.partition("=")
        name, _, setting = path.partition(".")
        try:
            given.setdefault(name, {})[setting] = json.loads(value)
        except ValueError:
            given.setdefault(name, {})[setting] = value
    names = chosen.sets.split(",")
    rows = []
    for aligner in chosen.aligners.split(","):
        forms = [False, True] if aligner in WITH_PRIORS else [False]
        for with_priors in forms:
            row = []
            for name in names:
                settings = dict(given.get(aligner, {}))
                if with_priors:
                    file = chosen.priors / f"en-{name.replace('en', '').strip('-')}.gz"
                    if not file.is_file():
                        row.append("–")
                        continue
                    settings["priors"] = str(file)
                elif aligner in WITH_PRIORS:
                    settings["priors"] = None
                row.append(cell(aligner, settings, read_set(chosen.eval, name, chosen.part), SETS[name]))
            rows.append(f"| `{aligner}`{', priors' if with_priors else ''} | {' | '.join(row)} |")
    print(f"\n| AER (P / R, pairs a second) | {' | '.join(names)} |\n|---|{'--:|' * len(names)}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
