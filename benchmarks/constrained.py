"""Exact constrained decoding against the sentence-by-sentence depth-first search: sentences per CPU-second, in one run.

    python benchmarks/constrained.py [--model bundled] [--lengths 10,20,40,80] [--n-best 1,5] [--count 40] [--json FILE]
        [--precisions float32,bfloat16] [--ctranslate2 float32,int8] [--delta 2] [--delta-from closing,opening]
        [--baseline-seconds S] [--repeat 3]

Both get the same model, marked sources and templates, and the answers are compared: with the baseline's where it got
that far, and with those of the first engine's exact search. The baseline is Codec's exact search (its
constrained_decoding.py with alpha = -1), done plainly with transformers on the torch engine's own weights, in the first
of the precisions: one sentence at a time, one token at a time, up to 16 beginnings of equal length in a batch, most
probable first, each with its cache of past states; a beginning is dropped when it is less probable than the n-th best
whole variant. With `--baseline-seconds` it is stopped when it used so many CPU-seconds for a line: what it would have
needed for the sentence that it was in is not known then, its rate is printed as `<` and the others' ratios as `>`. Its
tree of variants is laid out beforehand and not counted; ours counts everything, tokenising too. Templates are the
model's own translations of the English samples, joined to about the wanted length. "No search" is what every search
must do: read the sources, score the templates and one answer each. With `--repeat` each line, the baseline's too, is
the best of so many runs: on a shared machine what others take away differs from run to run.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from spanferry.alignment.tokens import tokenize
from spanferry.projection.marked_template import MarkedTemplate, PieceEncoder
from spanferry.projection.marker_choice import DEFAULT_MARKERS
from spanferry.projection.placement_search import Found, Problem, SearchSettings, search_all
from spanferry.translation.ct2 import load_ctranslate2
from spanferry.translation.ct2_scorer import CTranslate2PrefixScorer
from spanferry.translation.prefix_scorer import PrefixScorer, Step
from spanferry.translation.registry import load_translator
from spanferry.translation.torch_scorer import TorchScorer, load_torch_scorer

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"
MARKERS = DEFAULT_MARKERS[0]
Place = tuple[int, int, float]


@dataclass(frozen=True)
class Text:
    """A marked source, its template, and where a marked range may begin and end."""

    source: str
    template: str
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True)
class Line:
    """One line of the table; rates are sentences per CPU-second and per second."""

    length: int
    n_best: int
    method: str
    sentences: int
    cpu_rate: float
    rate: float
    stopped: bool
    """the baseline was stopped in the last of its sentences: its rates are less than these"""
    same: int
    """sentences with the same places as the baseline's, of those that it finished"""
    same_as_exact: int
    """sentences with the same places as the first engine's exact search found"""
    positions: float
    """target tokens computed a sentence"""


def texts_of_length(length: int, scorer: PrefixScorer, options: argparse.Namespace) -> list[Text]:
    """Join samples until the template has about `length` tokens; the span is the first one of the middle sample."""
    rows = [json.loads(line) for line in (SAMPLES / "entities.en.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["spans"] and MARKERS.free_in(row["text"])]
    languages = {"source": options.source, "target": options.target}
    translated = load_translator(options.model).translate([row["text"] for row in rows], **languages)
    rendered = [hypothesis.text for hypothesis in translated]
    tokens = [len(ids) for ids in scorer.encode_target(rendered, options.target)]
    texts: list[Text] = []
    for first in range(len(rows)):
        last, total = first, 0
        while last < len(rows) and total < length:
            total, last = total + tokens[last], last + 1
        template = " ".join(rendered[first:last])
        if 0.75 * length <= total <= 1.25 * length and MARKERS.free_in(template):
            middle = (first + last) // 2
            offset = sum(len(row["text"]) + 1 for row in rows[first:middle])
            span, whole = rows[middle]["spans"][0], " ".join(row["text"] for row in rows[first:last])
            units = tokenize([template], options.target)[0].tokens
            source = MARKERS.around(whole, offset + span["start"], offset + span["end"])
            texts.append(Text(source, template, [unit.start for unit in units], [unit.end for unit in units]))
        if len(texts) == options.count:
            break
    return texts


def problems_of(texts: Sequence[Text], scorer: PrefixScorer, options: argparse.Namespace) -> list[Problem]:
    encoder = PieceEncoder(lambda pieces: scorer.encode_target(pieces, options.target))
    return [
        Problem(
            text.source,
            MarkedTemplate(text.template, text.starts, text.ends, MARKERS, encoder=encoder, end=scorer.end),
        )
        for text in texts
    ]


def search(
    texts: Sequence[Text], scorer: PrefixScorer, options: argparse.Namespace, settings: SearchSettings
) -> list[Found]:
    problems = problems_of(texts, scorer, options)
    return search_all(problems, scorer, source=options.source, target=options.target, settings=settings)


def score_only(
    texts: Sequence[Text], scorer: PrefixScorer, options: argparse.Namespace, places: Sequence[tuple[int, int]]
) -> int:
    """Do what no search can leave out: read the sources, score the templates and the answers; returns tokens fed."""
    problems = problems_of(texts, scorer, options)
    opened = scorer.open([problem.source for problem in problems], source=options.source, target=options.target)
    steps, whole = [], []
    for problem, here in zip(problems, opened, strict=True):
        tokens, before = [*here.prompt, *problem.template.tokens], len(here.prompt)
        steps.append(Step(here.state, 0, tokens[:-1], [(at - 1, tokens[at]) for at in range(before, len(tokens))]))
    for problem, here, place, scored in zip(problems, opened, places, scorer.run(steps), strict=True):
        branch = problem.template.opened(place[0]).branch
        tokens = problem.template.marked(*place).tokens[branch:]
        ask = [(at - 1, token) for at, token in enumerate(tokens)]
        whole.append(Step(scored.state, len(here.prompt) + branch, tokens[:-1], ask))
    scorer.run(whole)
    for here in opened:
        scorer.close(here)
    return sum(len(step.feed) for step in steps + whole)


@dataclass
class Node:
    """A beginning of variants: its next tokens, and the place of the variant that ends here."""

    token: int = -1
    next: dict[int, Node] = field(default_factory=dict)
    place: tuple[int, int] | None = None


def tree(text: Text, scorer: TorchScorer, target: str) -> Node:
    pairs = [(start, end) for start in text.starts for end in text.ends if start < end]
    root = Node()
    marked = scorer.encode_target([MARKERS.around(text.template, *pair) for pair in pairs], target)
    for pair, tokens in zip(pairs, marked, strict=True):
        node = root
        for token in [*tokens, scorer.end]:
            node = node.next.setdefault(token, Node(token))
        node.place = node.place or pair
    return root


class OutOfTime(Exception):
    """The baseline used the CPU-seconds that it was given."""


class DepthFirst:
    """The baseline, for one sentence."""

    batch = 16
    deadline = float("inf")  # CPU-seconds of this process after which it raises OutOfTime

    def __init__(self, scorer: TorchScorer, source: str, options: argparse.Namespace, n_best: int) -> None:
        self.model, self.n_best = scorer.model, n_best
        ids = scorer.tokenizer.encode_source([source], options.source, options.target)[0]
        numbers = {token: number for number, token in enumerate(scorer.tokenizer.subwords.vocabulary)}
        self.source = torch.tensor([[numbers.get(token, scorer.unknown) for token in ids]], device=scorer.device)
        prompt = [scorer.model.config.decoder_start_token_id]
        prompt += [numbers[token] for token in scorer.tokenizer.target_prefix(options.target)]
        self.prompt = torch.tensor([prompt], device=scorer.device)
        self.best: list[Place] = []
        self.rows = 0

    @torch.inference_mode()
    def run(self, root: Node) -> list[Place]:
        self.encoded = self.model.get_encoder()(input_ids=self.source).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.visit([(root, 0.0)], self.feed(self.prompt, cache), cache)
        return self.best

    def feed(self, tokens: torch.Tensor, cache: Any) -> torch.Tensor:
        if time.process_time() > self.deadline:
            raise OutOfTime
        self.rows += tokens.numel()
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.encoded.expand(len(tokens), -1, -1)),
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        )
        log_probs: torch.Tensor = output.logits[:, -1].float().log_softmax(-1)
        return log_probs

    def visit(self, nodes: Sequence[tuple[Node, float]], log_probs: torch.Tensor, cache: Any) -> None:
        children = [(row, child) for row, (node, _) in enumerate(nodes) for child in node.next.values()]
        rows = torch.tensor([row for row, _ in children], device=log_probs.device)
        tokens = torch.tensor([child.token for _, child in children], device=log_probs.device)
        answers = log_probs[rows, tokens].tolist()
        going_on = []
        for (row, child), answer in zip(children, answers, strict=True):
            score = nodes[row][1] + answer
            if child.place is not None:
                self.best.append((*child.place, score))
                self.best.sort(key=lambda place: (-place[2], place[0], place[1]))
                del self.best[self.n_best :]
            else:
                going_on.append((score, row, child))
        going_on.sort(key=lambda each: -each[0])
        for first in range(0, len(going_on), self.batch):
            batch = [each for each in going_on[first : first + self.batch] if each[0] >= self.threshold()]
            if batch:
                picked = pick(cache, torch.tensor([row for _, row, _ in batch], device=log_probs.device))
                fed = self.feed(torch.tensor([[child.token] for _, _, child in batch], device=log_probs.device), picked)
                self.visit([(child, score) for score, _, child in batch], fed, picked)

    def threshold(self) -> float:
        return self.best[-1][2] if len(self.best) == self.n_best else float("-inf")


def pick(cache: Any, rows: torch.Tensor) -> Any:
    """Copy some rows of the past states."""
    parts = []
    for old in (cache.self_attention_cache, cache.cross_attention_cache):
        new = DynamicCache()
        for number, layer in enumerate(old.layers):
            new.update(layer.keys[rows], layer.values[rows], number)
        parts.append(new)
    return EncoderDecoderCache(*parts)


def timed(work: Callable[[], Any], device: torch.device, repeat: int = 1) -> tuple[Any, float, float]:
    """Return the result, the CPU time and the time of the run that took the least CPU time."""
    runs = []
    for _ in range(repeat):
        cpu, wall = time.process_time(), time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        runs.append((result, time.process_time() - cpu, time.perf_counter() - wall))
    return min(runs, key=lambda run: run[1])


@dataclass(frozen=True)
class Baseline:
    """What the baseline did within its time: the places of the sentences that it finished, and what it took.

    `fed` are the target tokens of each sentence that it began; the last of them may not be finished.
    """

    places: list[list[Place]]
    fed: list[int]
    cpu: float
    wall: float


def run_baseline(texts: Sequence[Text], scorer: TorchScorer, options: argparse.Namespace, n_best: int) -> Baseline:
    searches = [DepthFirst(scorer, text.source, options, n_best) for text in texts]
    trees = [tree(text, scorer, options.target) for text in texts]
    places: list[list[Place]] = []

    def work(which: Sequence[DepthFirst], seconds: float) -> None:
        deadline = time.process_time() + seconds
        with suppress(OutOfTime):
            for each, root in zip(which, trees, strict=False):
                each.deadline = deadline
                places.append(each.run(root))

    work([DepthFirst(scorer, texts[0].source, options, 1)], 1.0)  # loads and allocates what is shared
    places.clear()
    _, cpu, wall = timed(lambda: work(searches, options.baseline_seconds), scorer.device)
    return Baseline(places, [each.rows for each in searches if each.rows], cpu, wall)


def measure(
    texts: Sequence[Text], length: int, n_best: int, engines: dict[str, PrefixScorer], options: argparse.Namespace
) -> Iterator[Line]:
    scorer = next(iter(engines.values()))
    assert isinstance(scorer, TorchScorer)
    clock = partial(timed, device=scorer.device, repeat=options.repeat)
    baseline: list[list[Place]] = []
    some = texts[: options.baseline_count]
    if some:
        runs = [run_baseline(some, scorer, options, n_best) for _ in range(options.repeat)]
        ran = min(runs, key=lambda each: each.cpu / len(each.fed))
        baseline, begun = ran.places, len(ran.fed)
        rates, stopped = (begun / ran.cpu, begun / ran.wall), begun > len(baseline)
        yield Line(length, n_best, "depth-first", begun, *rates, stopped, len(baseline), 0, sum(ran.fed) / begun)
    assumed = [(delta, since) for delta in options.delta for since in options.delta_from]
    exact: list[Found] = []
    for name, engine in engines.items():
        for delta, since in ((None, "closing"), *assumed):
            settings = SearchSettings(n_best, delta, since)
            search(texts[:2], engine, options, settings)
            found, cpu, wall = clock(lambda e=engine, s=settings: search(texts, e, options, s))
            exact = exact or found
            same = sum(agree(ours.places, theirs) for ours, theirs in zip(found, baseline, strict=False))
            as_exact = sum(
                agree(ours.places, [(place.start, place.end, place.log_prob) for place in theirs.places])
                for ours, theirs in zip(found, exact, strict=True)
            )
            method = f"{name} {'exact' if delta is None else f'delta {delta:g} {since}'}"
            fed = sum(each.fed for each in found) / len(texts)
            yield Line(
                length, n_best, method, len(texts), len(texts) / cpu, len(texts) / wall, False, same, as_exact, fed
            )
        best = [(each.places[0].start, each.places[0].end) for each in found]
        tokens, cpu, wall = clock(lambda e=engine, b=best: score_only(texts, e, options, b))
        fed = tokens / len(texts)
        yield Line(
            length, n_best, f"{name} no search", len(texts), len(texts) / cpu, len(texts) / wall, False, 0, 0, fed
        )


def agree(ours: Sequence[Any], theirs: Sequence[Place]) -> bool:
    """Tell whether the places are the same; two that differ by less than the arithmetic can tell may change places."""
    for one, other in zip(ours, theirs, strict=True):
        if (one.start, one.end) != other[:2] and abs(one.log_prob - other[2]) > 1e-3:
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="folder, hub id, or bundled")
    parser.add_argument("--source", default="eng_Latn")
    parser.add_argument("--target", default="deu_Latn")
    parser.add_argument("--lengths", type=numbers, default=[10, 20, 40, 80], help="template lengths in tokens")
    parser.add_argument("--n-best", type=numbers, default=[1, 5])
    parser.add_argument("--delta", type=lambda text: [float(part) for part in parts(text)], default=[2.0])
    parser.add_argument("--delta-from", type=parts, default=["closing", "opening"])
    parser.add_argument("--count", type=int, default=40, help="sentences of each length")
    parser.add_argument("--baseline-count", type=int, default=20, help="of these, how many the baseline gets")
    parser.add_argument(
        "--baseline-seconds", type=float, default=float("inf"), help="CPU-seconds after which it is stopped, a line"
    )
    parser.add_argument("--ctranslate2", type=parts, default=[], help="quantizations to run CTranslate2 with, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precisions", type=parts, default=["float32"], help="of the torch engine")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="a line is the best of so many runs")
    parser.add_argument("--json", type=Path, help="write the lines here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engines: dict[str, PrefixScorer] = {
        f"torch {precision}": load_torch_scorer(options.model, device=options.device, precision=precision)
        for precision in options.precisions
    }
    for quantization in options.ctranslate2:
        translator = load_ctranslate2(options.model, quantization=quantization, device=options.device, workers=1)
        engines[f"ctranslate2 {quantization}"] = CTranslate2PrefixScorer(translator)
    print(f"{options.model}, {options.device}, {platform.processor() or platform.machine()}")
    print(f"tokens  n-best  {'method':32}  sentences  per CPU-s  per s  times  same  as exact  positions")
    lines: list[Line] = []
    for length in options.lengths:
        texts = texts_of_length(length, next(iter(engines.values())), options)
        for n_best in options.n_best:
            here = []
            for line in measure(texts, length, n_best, engines, options):
                here.append(line)
                print(row(line, here[0]), flush=True)
            lines += here
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


def row(line: Line, baseline: Line) -> str:
    less, more = ("<" if line.stopped else ""), (">" if baseline.stopped and line is not baseline else "")
    return (
        f"{line.length:6}  {line.n_best:6}  {line.method:32}  {line.sentences:9}  {f'{less}{line.cpu_rate:.3g}':>9}  "
        f"{f'{less}{line.rate:.3g}':>5}  {f'{more}{line.cpu_rate / baseline.cpu_rate:.1f}':>5}  {line.same:4}  "
        f"{line.same_as_exact:8}  {line.positions:9.0f}"
    )


def numbers(text: str) -> list[int]:
    return [int(part) for part in parts(text)]


def parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


if __name__ == "__main__":
    main()
