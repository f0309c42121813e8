"""Small checkpoints of the real classes, with real tokenizers, trained for seconds so that no tie decides a token.

Each maps words to words (`DICTIONARY`), which a Transformer of two layers learns well enough to end its sentences.
"""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

LANGUAGES = ("eng_Latn", "deu_Latn", "spa_Latn")
DICTIONARY = {
    "the": ("die", "la"),
    "old": ("alte", "vieja"),
    "red": ("rote", "roja"),
    "small": ("kleine", "pequeña"),
    "big": ("große", "grande"),
    "quiet": ("ruhige", "tranquila"),
    "cat": ("Katze", "gata"),
    "bridge": ("Brücke", "puente"),
    "street": ("Straße", "calle"),
    "city": ("Stadt", "ciudad"),
    "lamp": ("Lampe", "lámpara"),
    "flower": ("Blume", "flor"),
    "sees": ("sieht", "ve"),
    "finds": ("findet", "encuentra"),
    "loves": ("liebt", "ama"),
    "paints": ("malt", "pinta"),
    "and": ("und", "y"),
    "never": ("nie", "nunca"),
    "today": ("heute", "hoy"),
    "here": ("hier", "aquí"),
}
_COLUMN = {"eng_Latn": None, "deu_Latn": 0, "spa_Latn": 1}


def sentence(chance: random.Random) -> list[str]:
    """Return English words that make about a sentence."""

    def thing() -> list[str]:
        adjectives = chance.sample(["old", "red", "small", "big", "quiet"], chance.choice((0, 1, 1, 2, 3)))
        noun = chance.choice(["cat", "bridge", "street", "city", "lamp", "flower"])
        return ["the", *adjectives, noun]

    words = [*thing(), chance.choice(["sees", "finds", "loves", "paints"]), *thing()]
    if chance.random() < 0.5:
        words += ["and", *thing()]
    if chance.random() < 0.5:
        words += [chance.choice(["today", "here", "never"])]
    return words


def in_language(words: list[str], language: str) -> str:
    """Return the words in another language, as a sentence."""
    column = _COLUMN[language]
    return " ".join(word if column is None else DICTIONARY[word][column] for word in words) + "."


def sentences(number: int, language: str = "eng_Latn", seed: int = 1) -> list[str]:
    """Return sentences of the toy language, the same ones for the same seed."""
    chance = random.Random(seed)
    return [in_language(sentence(chance), language) for _ in range(number)]


def build(family: str, folder: Path) -> Path:
    """Write a checkpoint of a family (`nllb`, `m2m100`, `mbart50`, `marian`, `t5`) and return its folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # models this small gain nothing from more, and lose much on a busy machine
    text = [line for language in LANGUAGES for line in sentences(300, language, seed=2)]
    tokenizer = _TOKENIZERS[family](folder, text)
    model = _MODELS[family](tokenizer)
    _train(family, model, tokenizer)
    if family == "marian":  # the row of <pad> is zero in real checkpoints: the decoder begins with it
        with torch.no_grad():
            model.model.shared.weight[tokenizer.pad_token_id] = 0
    model.save_pretrained(folder)
    return folder


def encode(family: str, tokenizer: Any, texts: list[str], source: str, target: str) -> Any:
    """Tokenise as transformers does for the family, padded."""
    if family == "t5":
        texts = [f"<2{_SHORT[target]}> {text}" for text in texts]
    elif family == "marian":
        texts = [f">>{target[:3]}<< {text}" for text in texts]
    else:
        tokenizer.src_lang = language_name(family, source)
    return tokenizer(texts, return_tensors="pt", padding=True)


def forced_start(family: str, tokenizer: Any, target: str) -> int | None:
    """Return the id of the language token that the decoder begins with."""
    if family in ("marian", "t5"):
        return None
    if family == "m2m100":
        return int(tokenizer.get_lang_id(_SHORT[target]))
    return int(tokenizer.convert_tokens_to_ids(language_name(family, target)))


_SHORT = {"eng_Latn": "en", "deu_Latn": "de", "spa_Latn": "es"}
_MBART = {"eng_Latn": "en_XX", "deu_Latn": "de_DE", "spa_Latn": "es_XX"}


def language_name(family: str, flores: str) -> str:
    """Return what the family calls a language."""
    return {"m2m100": _SHORT, "mbart50": _MBART}.get(family, {}).get(flores, flores)


def _train(family: str, model: Any, tokenizer: Any, steps: int = 120) -> None:
    import torch

    chance = random.Random(3)
    batches = []
    for target in LANGUAGES[1:] * 8:
        words = [sentence(chance) for _ in range(16)]
        inputs = encode(family, tokenizer, [in_language(one, "eng_Latn") for one in words], "eng_Latn", target)
        batches.append(
            {**inputs, "labels": _labels(family, tokenizer, [in_language(one, target) for one in words], target)}
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    model.train()
    for step in range(steps):
        loss = model(**batches[step % len(batches)]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def _labels(family: str, tokenizer: Any, texts: list[str], target: str) -> Any:
    if family not in ("marian", "t5"):
        tokenizer.tgt_lang = language_name(family, target)
    labels = tokenizer(text_target=texts, return_tensors="pt", padding=True)["input_ids"]
    return labels.masked_fill(labels == tokenizer.pad_token_id, -100)


def _sentencepiece(folder: Path, name: str, text: list[str], size: int = 220, **options: Any) -> Path:
    import sentencepiece

    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(text), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "spm"),
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    corpus.unlink()
    (folder / "spm.vocab").unlink()
    return (folder / "spm.model").rename(folder / name)


def _pieces(file: Path) -> list[str]:
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    return [model.id_to_piece(number) for number in range(model.get_piece_size())]


def _nllb_tokenizer(folder: Path, text: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import NllbTokenizer

    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(text, trainers.BpeTrainer(vocab_size=260, special_tokens=special, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokenizer = NllbTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        additional_special_tokens=[*LANGUAGES, "zho_Hans", "sat_Beng"],
        src_lang="eng_Latn",
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _m2m100_tokenizer(folder: Path, text: list[str]) -> Any:
    from transformers import M2M100Tokenizer

    pieces = _pieces(_sentencepiece(folder, "sentencepiece.bpe.model", text))
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "M2M100Tokenizer"}', encoding="utf-8")
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), src_lang="en")


def _marian_tokenizer(folder: Path, text: list[str]) -> Any:
    from transformers import MarianTokenizer

    source = _pieces(_sentencepiece(folder, "source.spm", text[:300], 120))
    target = _pieces(_sentencepiece(folder, "target.spm", text[300:], 160))
    words = [piece for piece in dict.fromkeys([*source, *target]) if piece not in ("<unk>", "<s>", "</s>")]
    tokens = ["</s>", "<unk>", *words, ">>deu<<", ">>spa<<", "<pad>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    config = {"tokenizer_class": "MarianTokenizer", "source_lang": "eng", "target_lang": "mul"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with warnings.catch_warnings():  # it recommends sacremoses, which it would not use here
        warnings.simplefilter("ignore")
        return MarianTokenizer.from_pretrained(folder)


def _mbart50_tokenizer(folder: Path, text: list[str]) -> Any:
    import sentencepiece
    from transformers import MBart50Tokenizer

    model = sentencepiece.SentencePieceProcessor(
        model_file=str(_sentencepiece(folder, "sentencepiece.bpe.model", text))
    )
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(model.get_piece_size())]
    tokenizer = MBart50Tokenizer(vocab=pieces, src_lang="en_XX", tgt_lang="de_DE")
    tokenizer.save_pretrained(folder)
    return tokenizer


def _t5_tokenizer(folder: Path, text: list[str]) -> Any:
    import sentencepiece
    from transformers import T5Tokenizer

    file = _sentencepiece(
        folder,
        "spiece.model",
        text,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["<2en>", "<2de>", "<2es>", "<2zh>", "<2translate>"],
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    pieces = [(model.id_to_piece(number), model.get_score(number)) for number in range(model.get_piece_size())]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<2en>", "<2de>", "<2es>", "<2zh>"]})
    tokenizer.save_pretrained(folder)
    return tokenizer


_SIZES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "init_std": 0.1,
}


def _m2m_model(tokenizer: Any) -> Any:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    # The two models' files share the class; M2M-100 has language tokens behind its vocabulary, and made-up words.
    size = len(tokenizer) if hasattr(tokenizer, "_tokenizer") else tokenizer.vocab_size + 100 + 8
    config = M2M100Config(vocab_size=size, max_position_embeddings=128, decoder_start_token_id=2, **_SIZES)
    return M2M100ForConditionalGeneration(config)


def _mbart_model(tokenizer: Any) -> Any:
    from transformers import MBartConfig, MBartForConditionalGeneration

    config = MBartConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        scale_embedding=True,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        **_SIZES,
    )
    return MBartForConditionalGeneration(config)


def _marian_model(tokenizer: Any) -> Any:
    from transformers import MarianConfig, MarianMTModel

    pad = tokenizer.pad_token_id
    config = MarianConfig(
        vocab_size=len(tokenizer.encoder),
        max_position_embeddings=128,
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=None,
        scale_embedding=True,
        **_SIZES,
    )
    model = MarianMTModel(config)
    model.generation_config.bad_words_ids = [[pad]]
    return model


def _t5_model(tokenizer: Any) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(tokenizer) + 3,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5ForConditionalGeneration(config)


_TOKENIZERS = {
    "nllb": _nllb_tokenizer,
    "m2m100": _m2m100_tokenizer,
    "mbart50": _mbart50_tokenizer,
    "marian": _marian_tokenizer,
    "t5": _t5_tokenizer,
}
_MODELS = {
    "nllb": _m2m_model,
    "m2m100": _m2m_model,
    "mbart50": _mbart_model,
    "marian": _marian_model,
    "t5": _t5_model,
}
