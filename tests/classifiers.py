"""Small classifiers of the real classes of transformers, trained for seconds on a toy language until they are sure.

In the toy language `PEOPLE` and `PLACES` are names, a text is *about* a place when it names one, and the second text of
a pair contradicts the first when it says "not"; the right one of several choices is a place.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PEOPLE = ("Anna", "Benedikt", "Clara Sommer")
PLACES = ("Paris", "Oslo", "New York")
WORDS = (
    "sees",
    "visits",
    "likes",
    "the",
    "old",
    "red",
    "house",
    "in",
    "and",
    "today",
    "never",
    "quiet",
    "a",
    "garden",
    ",",
    ".",
)
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
POSITIONS = 48
"""Tokens that the models read at once, special tokens included."""


def sentence(chance: random.Random) -> list[tuple[str, str]]:
    """Return some words with their tags."""
    found: list[tuple[str, str]] = []
    for _ in range(chance.randint(3, 9)):
        kind = chance.choice(("PER", "LOC", "", "", ""))
        if kind:
            name = chance.choice(PEOPLE if kind == "PER" else PLACES).split()
            found += [(word, f"{'I' if number else 'B'}-{kind}") for number, word in enumerate(name)]
            found.append((chance.choice(WORDS), "O"))
        else:
            found.append((chance.choice(WORDS), "O"))
    return found


def build(kind: str, folder: Path, family: str = "bert") -> Path:
    """Write a classifier and return its folder.

    Args:
        kind: ``"tokens"``, ``"texts"``, ``"pairs"``, ``"numbers"``, ``"choices"`` or ``"answers"``.
        folder: where it goes.
        family: ``"bert"`` (WordPiece) or ``"roberta"`` (byte-level BPE).
    """
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = _tokenizer(folder, family)
    model = _model(kind, family, tokenizer)
    chance = random.Random(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(80):
        batch = _BATCHES[kind](tokenizer, chance)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    model.save_pretrained(folder)
    return folder


def _tokenizer(folder: Path, family: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    chance = random.Random(2)
    text = [" ".join(word for word, _ in sentence(chance)) for _ in range(200)]
    if family == "roberta":
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        trained = Tokenizer(models.BPE(unk_token="<unk>"))
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trained.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        trainer = trainers.BpeTrainer(
            vocab_size=330, special_tokens=names, initial_alphabet=alphabet, show_progress=False
        )
        trained.train_from_iterator(text, trainer)
        ids = {name: trained.token_to_id(name) for name in names}
        trained.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    else:
        special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}
        trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trained.normalizer = normalizers.BertNormalizer(lowercase=False)
        trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=names, show_progress=False)
        trained.train_from_iterator([*text, *["not"] * 20], trainer)
        ids = {name: trained.token_to_id(name) for name in names}
        trained.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, model_max_length=POSITIONS, **special)
    if family == "roberta":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    return tokenizer


_LABELS = {"tokens": TAGS, "texts": ("other", "place"), "pairs": ("entailment", "contradiction")}
_KINDS = {"tokens": "TokenClassification", "answers": "QuestionAnswering", "choices": "MultipleChoice"}


def _model(kind: str, family: str, tokenizer: Any) -> Any:
    import transformers

    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "numbers":
        sizes |= {"num_labels": 1}
    elif labels := _LABELS.get(kind):
        sizes |= {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
    if family == "roberta":  # positions count from behind the padding token's
        config: Any = transformers.RobertaConfig(**sizes, max_position_embeddings=POSITIONS + 2, type_vocab_size=1)
    else:
        config = transformers.BertConfig(**sizes, max_position_embeddings=POSITIONS)
    name = _KINDS.get(kind, "SequenceClassification")
    return getattr(transformers, f"{'Roberta' if family == 'roberta' else 'Bert'}For{name}")(config)


def _pad(rows: Sequence[Sequence[int]], filler: int) -> Any:
    import torch

    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def _short(chance: random.Random) -> list[tuple[str, str]]:
    return sentence(chance)[:9]


def _tokens(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    sentences = [_short(chance) for _ in range(24)]
    encoded = tokenizer(
        [[word for word, _ in each] for each in sentences], is_split_into_words=True, padding=True, return_tensors="pt"
    )
    labels = []
    for number, each in enumerate(sentences):
        before, row = None, []
        for word in encoded.word_ids(number):
            row.append(-100 if word is None or word == before else TAGS.index(each[word][1]))
            before = word
        labels.append(row)
    return {**encoded, "labels": _pad(labels, -100)}


def _texts(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    import torch

    sentences = [_short(chance) for _ in range(24)]
    encoded = tokenizer([" ".join(word for word, _ in each) for each in sentences], padding=True, return_tensors="pt")
    return {**encoded, "labels": torch.tensor([int(any(tag == "B-LOC" for _, tag in each)) for each in sentences])}


def _pairs(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    import torch

    firsts = [" ".join(word for word, _ in _short(chance)[:5]) for _ in range(24)]
    labels = [chance.randint(0, 1) for _ in firsts]
    seconds = [f"not {text} not" if label else text for text, label in zip(firsts, labels, strict=True)]
    encoded = tokenizer(firsts, seconds, padding=True, return_tensors="pt")
    return {**encoded, "labels": torch.tensor(labels)}


def _numbers(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    """The similarity of two texts: 5 where they are the same, 0 where the second says "not"."""
    import torch

    batch = _pairs(tokenizer, chance)
    return {**batch, "labels": torch.where(batch["labels"] == 0, 5.0, 0.0)}


def _choices(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    """Three choices, one of which is a place: that one is right."""
    import torch

    firsts, seconds, labels = [], [], []
    for _ in range(16):
        choices = [chance.choice(WORDS), chance.choice(PEOPLE), chance.choice(PLACES)]
        chance.shuffle(choices)
        question = " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 2)))
        firsts += [question] * 3
        # Where there is a context, the question stands before the choice.
        seconds += [f"{question} {choice}" if chance.random() < 0.5 else choice for choice in choices]
        labels.append(next(place for place, choice in enumerate(choices) if choice in PLACES))
    encoded = tokenizer(firsts, seconds, padding=True, return_tensors="pt")
    return {name: values.view(16, 3, -1) for name, values in encoded.items()} | {"labels": torch.tensor(labels)}


def _answers(tokenizer: Any, chance: random.Random) -> dict[str, Any]:
    import torch

    contexts, places = [], []
    for _ in range(24):
        words = [chance.choice(WORDS) for _ in range(chance.randint(4, 9))]
        place = chance.choice(PLACES)
        words.insert(chance.randrange(len(words)), place)
        text = " ".join(words)
        contexts.append(text)
        places.append((text.index(place), text.index(place) + len(place)))
    encoded = tokenizer(
        ["visits"] * len(contexts), contexts, padding=True, return_tensors="pt", return_offsets_mapping=True
    )
    offsets = encoded.pop("offset_mapping")
    starts, ends = [], []
    for number, (start, end) in enumerate(places):
        inside = [
            position
            for position, part in enumerate(encoded.sequence_ids(number))
            if part == 1 and start <= offsets[number][position][0] and offsets[number][position][1] <= end
        ]
        starts.append(inside[0])
        ends.append(inside[-1])
    return {**encoded, "start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)}


_BATCHES = {
    "tokens": _tokens,
    "texts": _texts,
    "pairs": _pairs,
    "numbers": _numbers,
    "choices": _choices,
    "answers": _answers,
}
