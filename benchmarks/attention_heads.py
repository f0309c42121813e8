"""Which cross-attention of a translation model aligns best: every decoder layer and head, at both decoding states.

    python benchmarks/attention_heads.py --gold SETS/xl-wa/es/dev.tsv --source en --target es [--model bundled]

The state that *writes* a target token is what most work reads (and what guided training teaches); Chen, Sun, Chen and
Zhang ("Accurate Word Alignment Induction from Neural Machine Translation", EMNLP 2020) take the step after, at which
the token is the decoder's *input*. Both directions are run by transformers in one teacher-forced pass, and joined as
the aligner `attention` joins them. Alignment error rate in per cent, best first; `--pairs` tries means of two heads.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spanferry.alignment.attention import join_directions
from spanferry.alignment.metrics import GoldPair, aer, read_tsv_gold
from spanferry.alignment.mt_encoder import MTSplitter
from spanferry.translation.checkpoints import find_checkpoint
from spanferry.translation.families import load_tokenizer
from spanferry.translation.languages import get_language

Head = tuple[int, int]


def attentions(
    model: Any, tokenizer: Any, gold: list[GoldPair], source: str, target: str, *, turned: bool
) -> dict[str, list[Any]]:
    """Return, a state, one array (layers, heads, source words, target words) a pair."""
    ids = {token: number for number, token in enumerate(tokenizer.subwords.vocabulary)}
    before, after = tokenizer.around_source(source, target)
    prefix = tokenizer.target_prefix(target)
    sides = [[pair.target, pair.source] if turned else [pair.source, pair.target] for pair in gold]
    splitter = MTSplitter(tokenizer)
    left = splitter([side[0] for side in sides], source).texts
    right = splitter([side[1] for side in sides], target).texts
    found: dict[str, list[Any]] = {"writes": [], "reads": []}
    for side, here, there in zip(sides, left, right, strict=True):
        source_ids = [*(ids[token] for token in before), *here.ids, *(ids[token] for token in after)]
        target_ids = [model.config.decoder_start_token_id, *(ids[token] for token in prefix), *there.ids]
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor([source_ids]),
                decoder_input_ids=torch.tensor([target_ids]),
                output_attentions=True,
            )
        cells = torch.stack(output.cross_attentions)[:, 0, :, :, len(before) : len(before) + len(here.ids)].numpy()
        for state, first in (("writes", len(prefix)), ("reads", len(prefix) + 1)):
            rows = cells[:, :, first : first + len(there.ids)]
            table = np.zeros((*cells.shape[:2], len(side[0].tokens), len(side[1].tokens)))
            for row, word in zip(there.subwords, there.words, strict=True):
                for column, other in zip(here.subwords, here.words, strict=True):
                    table[:, :, other, word] += rows[:, :, row, column]
            found[state].append(table / np.maximum(np.bincount(there.words, minlength=table.shape[3]), 1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, required=True, help="XL-WA's form: source, target, links")
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--pairs", action="store_true", help="means of two heads of the best eight too")
    chosen = parser.parse_args()
    from transformers import AutoModelForSeq2SeqLM

    folder = find_checkpoint(chosen.model).folder
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    tokenizer = load_tokenizer(folder)
    gold = read_tsv_gold(chosen.gold)[: chosen.limit]
    source, target = get_language(chosen.source).flores, get_language(chosen.target).flores
    there = attentions(model, tokenizer, gold, source, target, turned=False)
    back = attentions(model, tokenizer, gold, target, source, turned=True)

    def rate(state: str, heads: tuple[Head, ...]) -> float:
        links = [
            join_directions(
                np.mean([here[head] for head in heads], axis=0).astype(np.float32),
                np.mean([other[head] for head in heads], axis=0).astype(np.float32).T,
            )
            for here, other in zip(there[state], back[state], strict=True)
        ]
        return 100 * aer(links, [pair.links for pair in gold])

    layers, heads = there["writes"][0].shape[:2]
    sets: list[tuple[Head, ...]] = [((layer, head),) for layer in range(layers) for head in range(heads)]
    sets += [tuple((layer, head) for head in range(heads)) for layer in range(layers)]
    results = sorted((rate(state, one), state, one) for state in there for one in sets)
    if chosen.pairs:
        best = list(dict.fromkeys((state, one[0]) for _, state, one in results if len(one) == 1))[:8]
        both = [(state, (one, two)) for (state, one), (other, two) in combinations(best, 2) if state == other]
        results = sorted([*results, *((rate(state, heads), state, heads) for state, heads in both)])
    print("| AER | state that | layer.head |\n|--:|---|---|")
    for value, state, heads_used in results:
        names = ", ".join(f"{layer}.{head}" for layer, head in heads_used)
        if len(heads_used) > 2:
            names = f"all of layer {heads_used[0][0]}"
        print(f"| {value:.1f} | {state} the token | {names} |")


if __name__ == "__main__":
    main()
