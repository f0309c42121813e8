"""Train a translation model from a recipe, or fine-tune one so that it carries markers.

On transformers' own trainer. A run that was stopped goes on from its last checkpoint when it is started again::

    spanferry models train recipe.yaml
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, M2M100Config, M2M100ForConditionalGeneration

from spanferry.data.errors import ConfigError
from spanferry.translation.checkpoints import find_checkpoint
from spanferry.translation.families import TOKENIZER_FILES, ModelTokenizer, load_tokenizer
from spanferry.translation.recipe import ScratchModel, TrainRecipe
from spanferry.translation.tokenizer_training import train_tokenizer
from spanferry.translation.training_data import Collate, PreparedPairs, TokenBatches, prepare
from spanferry.translation.training_examples import examples, load_sources
from spanferry.translation.training_loop import TimeBudget, TranslationTrainer, last_checkpoint

_log = logging.getLogger(__name__)

_KEPT = frozenset({".md", ".yaml"})
"""Endings of what an export leaves in its folder: a card, a recipe."""


def train(recipe: TrainRecipe) -> Path:
    """Run a recipe and return the folder of the finished model, `recipe.output / "model"`.

    `recipe.output` keeps the tokenizer, the prepared data and the checkpoints as well; a second call goes on from the
    last checkpoint.

    Raises:
        ConfigError: `recipe.output` holds the data of another recipe, or a setting does not fit the model.
        DataError: a corpus cannot be read.
        ModelError: `start_from` is not a checkpoint.
        LanguageError: the model does not speak a language of the data.
    """
    tokenizer = prepare_run(recipe)
    model = start_model(recipe, tokenizer)
    checkpoints = recipe.output / "checkpoints"
    last = last_checkpoint(recipe)
    dataset = PreparedPairs(recipe.output / "data")
    settings = recipe.optimizer
    trainer = TranslationTrainer(
        recipe=recipe,
        checkpoints=checkpoints,
        model=model,
        train_dataset=dataset,
        data_collator=Collate(
            pad=model.config.pad_token_id,
            decoder_start=_decoder_start(model.config),
            with_links=recipe.guided_alignment.weight > 0,
        ),
        batches=TokenBatches(
            dataset.lengths("source", "target"),
            batch_tokens=settings.batch_tokens,
            steps=settings.max_steps * settings.accumulate,
            seed=recipe.seed,
        ),
        clock=TimeBudget(settings, save_minutes=recipe.save_minutes, checkpoint=last),
    )
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return export(model, recipe)


def prepare_run(recipe: TrainRecipe) -> ModelTokenizer:
    """Make the tokenizer and the prepared data in `recipe.output`, or find them where an earlier call left them.

    `examples.json` there, written last, counts what was made of which corpus.

    Raises:
        ConfigError: the folder holds data that was made with other settings.
        DataError: a corpus cannot be read.
        ModelError: the checkpoint to start from cannot be found.
    """
    vocabulary, record = recipe.output / "tokenizer", recipe.output / "examples.json"
    digest = _data_digest(recipe)
    if record.is_file():
        if json.loads(record.read_text(encoding="utf-8"))["recipe"] != digest:
            raise ConfigError(
                f"{recipe.output}: holds training data that was made with other settings (data, model, markers, "
                "augment, seed, ...). Choose another `output`, or remove the folder"
            )
        return load_tokenizer(vocabulary)
    _log.info("reading and aligning %d corpora", len(recipe.data))
    sources = load_sources(recipe)
    vocabulary.mkdir(parents=True, exist_ok=True)
    if recipe.model is not None:
        texts = (text for source in sources for text in (source.pair.source, source.pair.target))
        made = train_tokenizer(texts, vocabulary=recipe.model.vocabulary, languages=recipe.model.languages)
        made.save_pretrained(str(vocabulary))
    else:
        _copy_tokenizer(find_checkpoint(str(recipe.start_from)).folder, vocabulary)
    tokenizer = load_tokenizer(vocabulary)
    counts: Counter[str] = Counter()
    _log.info("encoding the examples of %d sentence pairs", len(sources))
    sizes = prepare(
        examples(recipe, sources, counts),
        tokenizer,
        recipe.output / "data",
        max_tokens=recipe.max_tokens,
        with_links=recipe.guided_alignment.weight > 0,
    )
    content = {"recipe": digest, **sizes, **dict(sorted(counts.items()))}
    record.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return tokenizer


def _data_digest(recipe: TrainRecipe) -> str:
    """What of a recipe can change the prepared data."""
    settings = recipe.model_dump_json(
        include={"data", "start_from", "pivot", "both_directions", "markers", "augment", "max_tokens", "seed"}
    )
    vocabulary = None if recipe.model is None else (recipe.model.vocabulary, recipe.model.languages)
    links = recipe.guided_alignment.weight > 0
    return hashlib.sha256(f"{settings}{vocabulary}{links}".encode()).hexdigest()[:16]


def _copy_tokenizer(source: Path, target: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def start_model(recipe: TrainRecipe, tokenizer: ModelTokenizer) -> Any:
    """Return a new model of the recipe's size, or the checkpoint that it starts from, in float32.

    Raises:
        ConfigError: `train_only` names no parameter.
    """
    torch.manual_seed(recipe.seed)
    if recipe.model is not None:
        model: Any = M2M100ForConditionalGeneration(model_config(recipe.model, tokenizer.subwords.vocabulary))
    else:
        folder = find_checkpoint(str(recipe.start_from)).folder
        model = AutoModelForSeq2SeqLM.from_pretrained(str(folder), dtype=torch.float32, use_safetensors=True)
    if recipe.train_only:
        _freeze(model, recipe.train_only)
    if not torch.cuda.is_available():
        # The backward pass of torch's fused attention takes 40 % of a step on CPU; that of the plain one hardly any.
        model.set_attn_implementation("eager")
    return model


def _freeze(model: Any, patterns: list[str]) -> None:
    chosen = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(re.search(pattern, name) for pattern in patterns)
        chosen += parameter.requires_grad
    if not chosen:
        names = ", ".join(list(dict(model.named_parameters()))[-3:])
        raise ConfigError(f"train_only: {patterns} matches no parameter; they are named like {names}")


def model_config(size: ScratchModel, vocabulary: list[str]) -> M2M100Config:
    """Return the configuration of a new model in NLLB's form: pre-norm, tied embeddings, `</s>` starts the decoder."""
    return M2M100Config(
        vocab_size=len(vocabulary),
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.feed_forward,
        decoder_ffn_dim=size.feed_forward,
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        max_position_embeddings=512,
        init_std=size.width**-0.5,
        bos_token_id=vocabulary.index("<s>"),
        pad_token_id=vocabulary.index("<pad>"),
        eos_token_id=vocabulary.index("</s>"),
        decoder_start_token_id=vocabulary.index("</s>"),
        scale_embedding=True,
        tokenizer_class="NllbTokenizer",
    )


def _decoder_start(config: Any) -> int:
    """mBART's configuration names no start token; its decoder begins with the end token, as the collator's does."""
    start: int | None = config.decoder_start_token_id
    return int(config.eos_token_id if start is None else start)


def export_checkpoint(recipe: TrainRecipe, checkpoint: Path, folder: Path | None = None) -> Path:
    """Export a checkpoint of a run that is still going on, to try it.

    Raises:
        ConfigError: the folder holds other things than a model.
    """
    if folder is not None and folder.is_dir():
        there = sorted(path.name for path in folder.iterdir() if path.suffix not in _KEPT)
        if there and "config.json" not in there:  # all of it would go
            raise ConfigError(
                f"{folder}: found {there[0]} and no model, expected an empty folder or a model to replace; name another"
            )
    return export(AutoModelForSeq2SeqLM.from_pretrained(str(checkpoint), dtype=torch.float32), recipe, folder)


def export(model: Any, recipe: TrainRecipe, folder: Path | None = None) -> Path:
    """Write the model in half precision, with its tokenizer, to a folder that is replaced as a whole.

    `config.json` says under `spanferry` which languages were trained, and which decoder layer and heads were taught to
    align. A card (`.md`) and a recipe (`.yaml`) in the folder stay; all else in it goes.

    Args:
        model: what was trained; it is not changed.
        recipe: its recipe; the tokenizer is taken from `recipe.output`.
        folder: by default `recipe.output / "model"`.
    """
    folder = folder or recipe.output / "model"
    half = copy.deepcopy(model).cpu().half()
    half.config.use_cache = True
    guided = recipe.guided_alignment
    ours: dict[str, Any] = dict(getattr(half.config, "spanferry", None) or {})
    if recipe.model is not None or "languages" in ours:
        used = {code for corpus in recipe.data for code in (corpus.source_language, corpus.target_language)}
        ours["languages"] = sorted(used.union(ours.get("languages", ())))
    if guided.weight:
        layer = guided.layer % half.config.decoder_layers
        ours |= {"alignment_layer": layer, "alignment_heads": list(guided.heads), "alignment_state": "writes"}
    if ours:
        half.config.spanferry = ours
    if recipe.model is not None:
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        tokens = {name: getattr(half.config, name) for name in names}
        half.generation_config = GenerationConfig(num_beams=4, max_length=256, **tokens)

    def write(draft: Path) -> None:
        half.save_pretrained(str(draft))
        _copy_tokenizer(recipe.output / "tokenizer", draft)
        for weights in draft.glob("*.safetensors"):
            weights.chmod(0o644)  # safetensors writes them for the owner alone

    return _replace_folder(folder, write)


def _replace_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """Have a folder written beside the old one, keep the old one's card and recipe, and exchange the two."""
    draft, old = folder.with_name(f".{folder.name}.draft"), folder.with_name(f".{folder.name}.old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write(draft)
    if folder.exists():
        for kept in folder.iterdir():
            if kept.suffix in _KEPT:
                shutil.copy2(kept, draft / kept.name)
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder
