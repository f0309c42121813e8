"""Projection methods on gold data: exact-span F1 of each method on each set, and the speed of the projection step.

    python benchmarks/projection.py --eval SETS [--methods alignment,min-max] [--aligner eflomal]

Opinion targets (``absa``) come with the links of two aligners, so that they need no model. The other sets are aligned
by ``--aligner``, and left out without it. Every figure is also that of one `spanferry score` command.

The speed is that of `project_links` alone, on the opinion targets with awesome-align's links: sentences with spans
per CPU-second, the best of five rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from spanferry.alignment.base import Token
from spanferry.alignment.given import parse_links
from spanferry.data.formats import read_examples
from spanferry.projection.base import TranslatedText
from spanferry.projection.by_alignment import AlignmentSettings, project_links
from spanferry.projection.score import ScoreResult, score_files

OPINION_TARGETS = [(language, aligner) for language in ("es", "fr") for aligner in ("awesome", "simalign")]


def opinion_targets(folder: Path, language: str, aligner: str, method: str) -> ScoreResult:
    splits = ("train", "test")
    return score_files(
        [folder / f"en.{split}.tsv" for split in splits],
        [folder / f"{language}.gold.{split}.tsv" for split in splits],
        alignments=[folder / f"en-{language}.{aligner}.{split}.talp" for split in splits],
        method=method,
        lang_target=language,
    )


def aligned_here(folder: Path, method: str, aligner: str) -> dict[str, ScoreResult]:
    """Score the sets that come without links: entities (Europarl) and slots (xSID)."""
    results = {}
    for language in ("de", "es", "it"):
        files = [folder / "europarl-ner" / "en.conll02"], [folder / "europarl-ner" / f"{language}.conll02"]
        results[f"Europarl {language}"] = score_files(*files, method=method, aligner=aligner, lang_target=language)
    for language in ("de", "it"):
        files = [folder / "xsid" / "en.test.conll"], [folder / "xsid" / f"{language}.test.conll"]
        results[f"xSID {language}"] = score_files(
            *files, method=method, aligner=aligner, task="slots", lang_target=language
        )
    return results


def speed(folder: Path, settings: AlignmentSettings) -> float:
    """Return sentences with spans per CPU-second."""
    sources = read_examples(folder / "en.train.tsv", "ner", format="conll")
    targets = read_examples(folder / "es.gold.train.tsv", "ner", format="conll")
    lines = (folder / "en-es.awesome.train.talp").read_text(encoding="utf-8").splitlines()
    work = []
    for here, there, line in zip(sources, targets, lines, strict=True):
        if here.spans:
            tokens = [tuple(Token(*offsets) for offsets in example.tokens["text"]) for example in (here, there)]
            text = TranslatedText(here.fields["text"], there.fields["text"], here.spans, (), *tokens)
            work.append((text, *tokens, parse_links(line).links))
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for text, source_tokens, target_tokens, links in work:
            project_links(text, source_tokens, target_tokens, links, settings)
        rounds.append(time.process_time() - began)
    return len(work) / min(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", type=Path, required=True, help="folder of gold data")
    parser.add_argument("--methods", default="alignment,min-max")
    parser.add_argument("--aligner", help="aligner for the sets without links; left out if absent")
    chosen = parser.parse_args()
    methods = chosen.methods.split(",")
    rows: dict[str, dict[str, ScoreResult]] = {}
    for method in methods:
        for language, aligner in OPINION_TARGETS:
            result = opinion_targets(chosen.eval / "absa", language, aligner, method)
            rows.setdefault(f"opinion targets {language}, {aligner}", {})[method] = result
        if chosen.aligner:
            for name, result in aligned_here(chosen.eval, method, chosen.aligner).items():
                rows.setdefault(f"{name}, {chosen.aligner}", {})[method] = result
    print(f"| exact-span F1 | {' | '.join(methods)} |\n|---|{'---:|' * len(methods)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[method].scores.exact.f1:.2f}' for method in methods)} |")
    print("\n| form | sentences per CPU-second |\n|---|---:|")
    for settings in (AlignmentSettings(), AlignmentSettings(form="min-max")):
        print(f"| {settings.form} | {speed(chosen.eval / 'absa', settings):,.0f} |")


if __name__ == "__main__":
    main()
