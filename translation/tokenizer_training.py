"""A subword vocabulary of our own, in the form that NLLB uses.

Byte-pair encoding over words with a leading `▁`, in which letters, digits and other signs never share a token: every
bracket, digit and quotation mark stays a token of its own, which is what markers and copied numbers need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")

_SIGNS = "[](){}<>/%#@_&*|=+-\"'«»“”„‘’.,;:!?0123456789"
"""Signs that have one token at the beginning of a word, too."""

_ALPHABET_RANGES = (
    (0x21, 0x7E),  # ASCII
    (0xA1, 0x17F),  # Latin-1 Supplement and Latin Extended-A
    (0x2010, 0x2027),  # dashes, quotation marks, bullets, dots
    (0x2030, 0x203A),  # per mille, primes, guillemets
    (0x20A0, 0x20BF),  # currency signs
)
_ALPHABET_EXTRA = "▁№™℃←↑→↓↔−≈≠≤≥▸●★☆♥♪✓✗😀😂😊😍👍❤🎉🔥"


def alphabet() -> list[str]:
    """Characters that always have a token, seen in training or not.

    >>> {"[", "ß", "ñ", "„", "€", "7"} <= set(alphabet())
    True
    """
    ranges = [chr(code) for start, end in _ALPHABET_RANGES for code in range(start, end + 1) if code != 0xAD]
    return [*ranges, *_ALPHABET_EXTRA]


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, languages: Sequence[str]) -> Any:
    """Train a `transformers.NllbTokenizer` of at most `vocabulary` tokens.

    Args:
        texts: the training text, any language, one sentence an item.
        vocabulary: number of tokens, special tokens, language codes, signs and the alphabet (about 600) included.
        languages: FLORES-200 codes; each becomes a special token.

    Characters outside :func:`alphabet` have a token where they are among the 800 commonest of `texts`, and are
    `<unk>` elsewhere.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import NllbTokenizer

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    # NllbTokenizer splits at spaces alone. Since no merge that is learned here crosses from letters to signs or digits,
    # its tokens do not either.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(r"▁?\p{L}[\p{L}\p{M}]*|▁?\p{N}|▁?[^\p{L}\p{N}▁]|▁"), behavior="isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(languages) - 1 - len(_SIGNS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=alphabet(),
        limit_alphabet=800,
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]
    for sign in _SIGNS:
        if f"▁{sign}" not in tokens:
            tokens[f"▁{sign}"] = len(tokens)
            merges.append(("▁", sign))
    return NllbTokenizer(
        vocab=tokens,
        merges=merges,
        additional_special_tokens=list(languages),
        src_lang=languages[0],
        model_max_length=256,
    )
