"""How much faster are SimAlign's methods when batched? Same weights, same texts, same links, in one run.

    python benchmarks/simalign_ratio.py [--sizes 2x128 4x256 6x384 12x768] [--pairs 250] [--threads 1] [--runs 5]

Prints, for encoders of several sizes (layers x width, random weights with a real tokenizer; 12x768 is the size of
mBERT, of which SimAlign uses layer 8) and for each method, CPU seconds of the `simalign` package's loop and of
`spanferry.alignment.embeddings`, and the ratio; then the seconds that ours spends inside the encoder's forward passes,
and the ratio that would be left if all the rest cost nothing. All three are medians of several runs, taken in turn,
so that what else the machine does meets them alike. It ends with status 1 where the links of any run differ.

What to expect: the loop pays for tokenising word by word, for small tensors, for Python loops over all cells, and for
networkx in `match`; we do not. Both pay for the encoder's arithmetic, which on a CPU is the same for a batch as for a
pair: the larger the encoder, the closer the ratio comes to that of the layers run (we stop at the layer that is
used). `--device cuda` measures where batches do gain; both run there, and the clock is the wall's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from spanferry.alignment.base import TokenizedText
from spanferry.alignment.embeddings import EmbeddingAligner
from spanferry.alignment.encoder import SubwordEncoder
from spanferry.alignment.simalign_package import SimAlignPackageAligner
from spanferry.alignment.tokens import tokenize

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "samples"
METHODS = ("argmax", "itermax", "match")
Pair = tuple[TokenizedText, TokenizedText]
Clock = Callable[[], float]


def sample_pairs() -> list[Pair]:
    """The sample sentences of this project that exist in English and in German or Spanish."""
    pairs: list[Pair] = []
    for language, code in (("deu_Latn", "de"), ("spa_Latn", "es")):
        for kind in ("entities", "slots"):
            english, other = (
                {row["id"]: row["text"] for row in _rows(f"{kind}.{side}.jsonl")} for side in ("en", code)
            )
            ids = sorted(english.keys() & other.keys())
            left = tokenize([english[key] for key in ids], "eng_Latn")
            pairs += zip(left, tokenize([other[key] for key in ids], language), strict=True)
    return pairs


def build_encoder(kind: str, folder: Path, *, layers: int, width: int, seed: int = 0, vocabulary: int = 3000) -> Path:
    """Save an encoder with random weights and a tokenizer trained on the samples.

    Args:
        kind: ``"bert"`` (WordPiece) or ``"xlmr"`` (Unigram, as SentencePiece has it).
        folder: where to.
        layers, width: its size.
        seed: of the weights.
        vocabulary: subwords at most.
    """
    import torch
    from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(seed)
    texts = [text.text for pair in sample_pairs() for text in pair]
    tokenizer = (_wordpiece if kind == "bert" else _unigram)(texts, vocabulary)
    tokenizer.model_max_length = 512
    # Large enough that neighbouring tokens do not all look alike, as they do with the usual 0.02.
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, width // 64),
        "intermediate_size": 4 * width,
        "initializer_range": 0.08,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "bert":
        model = BertModel(BertConfig(**sizes))
    else:
        model = XLMRobertaModel(XLMRobertaConfig(**sizes, max_position_embeddings=514, type_vocab_size=1))
    tokenizer.save_pretrained(folder)
    model.eval().save_pretrained(folder)
    return folder


def _wordpiece(texts: list[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False)


def _unigram(texts: list[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizer

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return XLMRobertaTokenizer(vocab=[tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]])


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with (SAMPLES / name).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


class Comparison(NamedTuple):
    """Median seconds of the package, of ours, and of our encoder's forward passes; and the pairs whose links differ."""

    theirs: float
    ours: float
    encoder: float
    differing: int


def compare(package: Any, batched: EmbeddingAligner, pairs: list[Pair], clock: Clock, runs: int) -> Comparison:
    """Align the pairs with each aligner, in turn, ``runs`` times."""
    for aligner in (package, batched):
        _align(aligner, pairs[:8], clock)  # the first call pays for what is set up once
    seconds, differing = [], set()
    for _ in range(runs):
        theirs, expected = _align(package, pairs, clock)
        ours, found = _align(batched, pairs, clock)
        with _encoder_clocked(clock) as passes:
            _align(batched, pairs, clock)
        seconds.append((theirs, ours, sum(passes)))
        differing |= {place for place, links in enumerate(found) if links != expected[place]}
    return Comparison(*map(statistics.median, zip(*seconds, strict=True)), len(differing))


def _align(aligner: Any, pairs: list[Pair], clock: Clock) -> tuple[float, list[Any]]:
    start = clock()
    alignments = aligner.align(pairs, source="eng_Latn", target="deu_Latn")
    return clock() - start, [[link[:2] for link in alignment.links] for alignment in alignments]


@contextmanager
def _encoder_clocked(clock: Clock) -> Iterator[list[float]]:
    """Give a list to which every forward pass adds its seconds."""
    forward, spent = SubwordEncoder._run, []

    def clocked(encoder: SubwordEncoder, rows: list[list[int]]) -> Any:
        start = clock()
        hidden = forward(encoder, rows)
        if hidden.is_cuda:
            hidden.sum().item()  # a GPU answers before it is done; this waits
        spent.append(clock() - start)
        return hidden

    with patch.object(SubwordEncoder, "_run", clocked):
        yield spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["2x128", "4x256", "6x384", "12x768"], metavar="LAYERSxWIDTH")
    parser.add_argument("--pairs", type=int, default=250, help="how many of the sample pairs")
    parser.add_argument("--kind", choices=["bert", "xlmr"], default="bert")
    parser.add_argument("--unit", choices=["bpe", "word"], default="bpe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="of each; the medians are shown")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--wall", action="store_true", help="seconds of the wall, not of the processors")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.wall or options.device != "cpu" else time.process_time
    pairs = sample_pairs()
    random.Random(0).shuffle(pairs)
    pairs = pairs[: options.pairs]
    words = sum(len(text.tokens) for pair in pairs for text in pair) / len(pairs) / 2
    print(
        f"{len(pairs)} pairs of {words:.1f} words a side, {options.kind}, {options.unit}, {options.threads} thread(s), "
        f"medians of {options.runs} runs"
    )
    columns = f"{'simalign s':>10} {'ours s':>8} {'ratio':>6} {'encoder s':>9} {'at most':>7}"
    print(f"{'encoder':>8} {'layer':>5} {'method':>8} {columns}  pairs that differ")
    differing = 0
    for size in options.sizes:
        layers, width = map(int, size.split("x"))
        layer = min(8, layers - 1)
        with tempfile.TemporaryDirectory() as name:
            folder = build_encoder(options.kind, Path(name), layers=layers, width=width)
            for method in METHODS:
                settings = {"method": method, "layer": layer, "unit": options.unit}
                settings["device"] = options.device
                package, batched = SimAlignPackageAligner(folder, **settings), EmbeddingAligner(folder, **settings)
                theirs, ours, encoder, differ = compare(package, batched, pairs, clock, options.runs)
                differing += differ
                print(
                    f"{size:>8} {layer:>5} {method:>8} {theirs:10.2f} {ours:8.3f} {theirs / ours:6.1f} "
                    f"{encoder:9.3f} {theirs / encoder:7.1f}  {differ}",
                    flush=True,
                )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
