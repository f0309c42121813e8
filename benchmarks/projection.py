"""Projection methods on gold data: one table, methods by sets, that is filled cell by cell.

    python benchmarks/projection.py --eval SETS --json FILE [--sets NAME,NAME] [--limit N] [--details] METHOD ...

A METHOD is the name of a projection method, with its settings as JSON, and behind ``@`` an aligner with its own:

    alignment   'constrained{"delta": 2}'   alignment@eflomal   'alignment@mt-encoder{"layer": 3}'

A cell that stands in FILE is not done again, so that a run goes on where it was stopped, and new methods only add
their columns; a cell is told by its set, its METHOD as written and the limit (``--again`` does them anew). Without
METHOD the table is printed from FILE. Every figure is that of one `spanferry score` command on the files of the set,
which stay in the folder ``--work``.

SETS has the folders europarl-ner, absa, xsid, xquad and inline-markup. The opinion targets (``absa``) come with the
links of two aligners: sets whose name ends in theirs are for methods by alignment without ``@``, need no model, and
are always scored whole.

Speed is in source sentences (texts) per CPU-second of the projection, loading excluded. ``--failures FOLDER`` writes
what went wrong instead, to be read: for each set and method a file of the sentences whose spans are not gold's.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from spanferry.alignment.base import Token
from spanferry.alignment.registry import DEFAULT_ALIGNER
from spanferry.data.errors import SpanferryError
from spanferry.data.example import Example, Span
from spanferry.data.formats import read_examples, replacing, write_examples
from spanferry.projection.base import TranslatedText
from spanferry.projection.registry import Aligners, load_projector, projector_settings
from spanferry.projection.score import score_files
from spanferry.translation.languages import get_language

Pairs = Iterable[tuple[Example, Example]]

_MARK = re.compile(r"<(/?)(\d+)>")
_EUROPARL = ("de", "en", "es", "it")


@dataclass(frozen=True)
class Files:
    """What `score_files` takes: parallel files, and links where they came with the set."""

    sources: list[Path]
    targets: list[Path]
    task: str
    language: str
    alignments: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method as written, and what it stands for."""

    written: str
    name: str
    settings: dict[str, Any]
    aligner: str
    aligner_settings: dict[str, Any]


def parse_method(written: str) -> Method:
    """Return what a METHOD says.

    >>> method = parse_method('alignment{"gap_cost": 0.2}@eflomal')
    >>> method.name, method.settings, method.aligner
    ('alignment', {'gap_cost': 0.2}, 'eflomal')
    """
    name, settings, rest = _part(written)
    aligner, aligner_settings, _ = _part(rest.removeprefix("@"))
    return Method(written, name, settings, aligner, aligner_settings)


def _part(text: str) -> tuple[str, dict[str, Any], str]:
    """Split off a name and the JSON object behind it, if there is one."""
    name = re.match(r"[\w-]*", text)[0]  # type: ignore[index]  # it always matches
    rest, settings = text[len(name) :], {}
    if rest.startswith("{"):
        settings, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:]
    return name, settings, rest


def europarl(folder: Path, language: str) -> Pairs:
    return zip(*(read_examples(folder / f"{name}.conll02", "ner") for name in ("en", language)), strict=True)


def equal_rows(folder: Path, language: str) -> Pairs:
    """Yield the rows that have as many entities of each type in all four languages: what a projector can get right."""
    rows = zip(*(read_examples(folder / f"{name}.conll02", "ner") for name in _EUROPARL), strict=True)
    for row in rows:
        counts = [Counter(span.label for span in example.spans) for example in row]
        if all(each == counts[0] for each in counts):
            yield row[_EUROPARL.index("en")], row[_EUROPARL.index(language)]


def answer_sentences(folder: Path, language: str) -> Pairs:
    """Yield the pairs of sentences with an answer, where both languages cut the paragraph alike."""
    for line in (folder / f"en-{language}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("sent_en") and row.get(f"sent_{language}"):
            sides = [
                Example(row["id"], {"text": row[f"sent_{name}"]}, (Span(*row[f"sent_{name}_span"], "ANSWER"),))
                for name in ("en", language)
            ]
            yield sides[0], sides[1]


def inline_markup(folder: Path, language: str) -> Pairs:
    """Yield pairs whose spans translators carried over as markup; the label is the number of the mark."""
    lines = (folder / f"en-{language}.test.tsv").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        here, there, *_ = line.split("\t")
        yield unmarked(here, str(number)), unmarked(there, str(number))


def unmarked(text: str, identity: str) -> Example:
    """Take the marks out of a text, and return what they marked.

    >>> example = unmarked("Open <1>the <2>view</2></1>.", "7")
    >>> example.fields["text"], [(example.text_of(span), span.label) for span in example.spans]
    ('Open the view.', [('the view', '1'), ('view', '2')])
    """
    plain, opened, spans, last = "", dict[str, int](), [], 0
    for mark in _MARK.finditer(text):
        plain += text[last : mark.start()]
        last = mark.end()
        if not mark[1]:
            opened[mark[2]] = len(plain)
        elif opened[mark[2]] < len(plain):
            spans.append(Span(opened[mark[2]], len(plain), mark[2]))
    return Example(identity, {"text": plain + text[last:]}, tuple(sorted(spans)))


def opinion_targets(folder: Path, language: str) -> Files:
    splits = ("train", "test")
    sources = [folder / f"en.{split}.tsv" for split in splits]
    return Files(sources, [folder / f"{language}.gold.{split}.tsv" for split in splits], "ner", language)


def with_links(files: Files, aligner: str) -> Files:
    folder, splits = files.sources[0].parent, ("train", "test")
    links = tuple(folder / f"en-{files.language}.{aligner}.{split}.talp" for split in splits)
    return Files(files.sources, files.targets, files.task, files.language, links)


def all_sets(folder: Path, work: Path, limit: int | None) -> dict[str, Callable[[], Files]]:
    """Return, a set by its name, how its files are found or made."""
    sets: dict[str, Callable[[], Files]] = {}

    def made(name: str, language: str, pairs: Callable[[Path, str], Pairs], place: Path) -> None:
        sets[name] = lambda: write_pairs(pairs(place, language), work / name, language, limit)

    for language in ("de", "es", "it"):
        made(f"europarl-{language}", language, europarl, folder / "europarl-ner")
        made(f"europarl-{language}-727", language, equal_rows, folder / "europarl-ner")
    for language in ("es", "fr"):
        targets = opinion_targets(folder / "absa", language)
        made(f"absa-{language}", language, lambda place, code, files=targets: read_files(files), folder)
        for aligner in ("awesome", "simalign"):
            sets[f"absa-{language}-{aligner}"] = lambda files=targets, links=aligner: with_links(files, links)
    for language in ("de", "it"):
        files = Files(
            [folder / "xsid" / "en.test.conll"], [folder / "xsid" / f"{language}.test.conll"], "slots", language
        )
        made(f"xsid-{language}", language, lambda place, code, files=files: read_files(files), folder)
    for language in ("de", "es"):
        made(f"xquad-{language}", language, answer_sentences, folder / "xquad")
    for language in ("de", "es", "it"):
        made(f"markup-{language}", language, inline_markup, folder / "inline-markup")
    return sets


def read_files(files: Files) -> Iterator[tuple[Example, Example]]:
    for source, target in zip(files.sources, files.targets, strict=True):
        sides = (read_examples(path, files.task, format="conll") for path in (source, target))
        yield from zip(*sides, strict=True)


def write_pairs(pairs: Pairs, place: Path, language: str, limit: int | None) -> Files:
    """Write both sides as JSON lines, paired by order; labels of the example are left out."""
    chosen = list(islice(pairs, limit))
    paths = []
    for side, code in enumerate(("en", language)):
        path = place / f"{'all' if limit is None else limit}.{code}.jsonl"
        examples = (
            Example(str(number), pair[side].fields, pair[side].spans, tokens=pair[side].tokens)
            for number, pair in enumerate(chosen)
        )
        write_examples(examples, path, "ner")
        paths.append([path])
    return Files(*paths, "ner", language)


def score_cell(files: Files, method: Method) -> dict[str, Any]:
    result = score_files(
        files.sources,
        files.targets,
        alignments=files.alignments,
        method=method.name,
        settings=method.settings,
        aligner=method.aligner or DEFAULT_ALIGNER,
        aligner_settings=method.aligner_settings,
        task=files.task,
        format="conll" if files.alignments else None,
        lang_target=files.language,
    )
    speed = result.examples / result.cpu_seconds if result.cpu_seconds else 0.0
    return result.to_json() | {"sentences_per_cpu_second": round(speed, 2)}


def write_failures(files: Files, method: Method, path: Path) -> None:
    """Write each sentence whose projected spans differ from gold, with both."""
    from_to = get_language("en").flores, get_language(files.language).flores
    sides = [list(read_examples(paths[0], files.task)) for paths in (files.sources, files.targets)]
    pairs = list(zip(*sides, strict=True))
    projector = load_projector(
        method.name, Aligners(method.aligner or DEFAULT_ALIGNER, method.aligner_settings), **method.settings
    )
    found = projector.project([as_text(*pair) for pair in pairs], source=from_to[0], target=from_to[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for number, ((here, there), projections) in enumerate(zip(pairs, found, strict=True)):
            wrong = [each for each in projections if each.target not in there.spans]
            missed = set(there.spans) - {each.target for each in projections}
            if not wrong and not missed:
                continue
            out.write(f"#{number}\n  {here.fields['text']}\n  {there.fields['text']}\n")
            for each in wrong:
                place = f"[{there.text_of(each.target)}]" if each.target else each.reason
                out.write(f"    {each.source.label} [{here.text_of(each.source)}] -> {place}\n")
            out.writelines(f"    gold: {span.label} [{there.text_of(span)}]\n" for span in sorted(missed))


def as_text(source: Example, target: Example) -> TranslatedText:
    tokens = (
        tuple(Token(*offsets) for offsets in example.tokens["text"]) if example.tokens else None
        for example in (source, target)
    )
    return TranslatedText(source.fields["text"], target.fields["text"], source.spans, (), *tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--eval", type=Path, required=True, help="folder of gold data")
    parser.add_argument("--json", type=Path, required=True, help="cells are kept here")
    parser.add_argument("--work", type=Path, help="folder for the files that are made; temporary if absent")
    parser.add_argument("--sets", default="", help="names, or beginnings of names; all if absent")
    parser.add_argument("--limit", type=int, help="so many pairs of each set")
    parser.add_argument("--again", action="store_true", help="do cells again that are done")
    parser.add_argument(
        "--details", action="store_true", help="print precision, recall, partial F1, rate and speed too"
    )
    parser.add_argument("--failures", type=Path, metavar="FOLDER", help="write failures here, and fill no cells")
    chosen = parser.parse_args()
    cells = json.loads(chosen.json.read_text(encoding="utf-8")) if chosen.json.exists() else []
    with tempfile.TemporaryDirectory() as temporary:
        sets = all_sets(chosen.eval, chosen.work or Path(temporary), chosen.limit)
        asked = chosen.sets.split(",")
        wanted = [name for name in sets if any(name == one if one in sets else name.startswith(one) for one in asked)]
        for method in map(parse_method, chosen.methods):
            for name in wanted:
                if chosen.failures:
                    write_failures(sets[name](), method, chosen.failures / f"{name}.{method.name}@{method.aligner}.txt")
                    continue
                key = {"set": name, "method": method.written, "limit": chosen.limit}
                done = [cell for cell in cells if cell.items() >= key.items()]
                if done and not chosen.again:
                    continue
                files = sets[name]()
                if files.alignments and (method.aligner or "aligner" not in projector_settings(method.name)):
                    continue
                try:
                    cell = key | score_cell(files, method)
                except SpanferryError as error:
                    print(f"{name}, {method.written}: {error}", flush=True)
                    continue
                cells = [each for each in cells if each not in done] + [cell]
                with replacing(chosen.json) as path:
                    path.write_text(json.dumps(cells, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
                print(f"{name}, {method.written}: {cell['exact']['f1']:.2f}", flush=True)
    if chosen.failures:
        return
    here = [cell for cell in cells if cell["limit"] == chosen.limit]
    methods = list(dict.fromkeys(cell["method"] for cell in here))
    print(
        "\n".join(["", *table(here, [name for name in wanted if any(cell["set"] == name for cell in here)], methods)])
    )
    if chosen.details:
        print("\n".join(["", *details(here)]))


def table(cells: Sequence[dict[str, Any]], sets: Sequence[str], methods: Sequence[str]) -> Iterator[str]:
    """Yield exact F1, sets by methods, the best of a row in bold."""
    f1 = {(cell["set"], cell["method"]): cell["exact"]["f1"] for cell in cells}
    yield f"| exact F1 | {' | '.join(f'`{method}`' for method in methods)} |"
    yield f"|---|{'--:|' * len(methods)}"
    for name in sets:
        row = [f1.get((name, method)) for method in methods]
        best = max((value for value in row if value is not None), default=0.0)
        shown = ["–" if value is None else f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in row]
        yield f"| {name} | {' | '.join(shown)} |"


def details(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line a cell."""
    yield "| set | method | P | R | F1 | partial F1 | projected, % | sentences per CPU-second |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for cell in sorted(cells, key=lambda cell: cell["set"]):
        exact, rate = cell["exact"], 100 * cell["projected"] / cell["spans"]
        yield (
            f"| {cell['set']} | `{cell['method']}` | {exact['precision']:.2f} | {exact['recall']:.2f} | "
            f"{exact['f1']:.2f} | {cell['partial']['f1']:.2f} | {rate:.1f} | {cell['sentences_per_cpu_second']:.1f} |"
        )


if __name__ == "__main__":
    main()
