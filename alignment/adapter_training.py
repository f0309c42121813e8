"""Train an adapter, so that the words of a sentence and those of its translation get vectors that match.

On transformers' own trainer, as the translation models are. A run that was stopped goes on from its last checkpoint
when it is started again::

    spanferry models train-aligner recipe.yaml
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spanferry.alignment import adapter
from spanferry.alignment.adapter_data import AlignedPairs, CollatePairs, examples, load_pairs, prepare
from spanferry.alignment.adapter_recipe import AdapterRecipe
from spanferry.alignment.encoder import HiddenState
from spanferry.alignment.mt_encoder import load_encoder
from spanferry.data.errors import ConfigError
from spanferry.translation.checkpoints import Checkpoint, find_checkpoint
from spanferry.translation.families import load_tokenizer
from spanferry.translation.training_data import TokenBatches
from spanferry.translation.training_loop import ClockedTrainer, TimeBudget, last_checkpoint

_log = logging.getLogger(__name__)


def train_adapter(recipe: AdapterRecipe) -> Path:
    """Run a recipe and return the folder of the finished adapter, `recipe.output / "adapter"`.

    `recipe.output` keeps the prepared data and the checkpoints as well; a second call goes on from the last one.

    Raises:
        ConfigError: `recipe.output` holds the data of another recipe, or a setting does not fit the model.
        DataError: a corpus or its links cannot be read.
        ModelError: the model cannot be loaded.
        LanguageError: the model does not read a language of the data.
    """
    checkpoint = find_checkpoint(recipe.model)
    prepare_run(recipe, checkpoint)
    torch.manual_seed(recipe.seed)
    encoder = load_encoder(checkpoint.folder)
    model = AlignmentModel(encoder, recipe)
    dataset = AlignedPairs(recipe.output / "data")
    settings, last = recipe.optimizer, last_checkpoint(recipe)
    trainer = ClockedTrainer(
        recipe=recipe,
        checkpoints=recipe.output / "checkpoints",
        model=model,
        train_dataset=dataset,
        data_collator=CollatePairs(encoder.config.pad_token_id),
        batches=TokenBatches(
            dataset.lengths("source", "target"),
            batch_tokens=settings.batch_tokens,
            steps=settings.max_steps * settings.accumulate,
            seed=recipe.seed,
        ),
        clock=TimeBudget(settings, save_minutes=recipe.save_minutes, checkpoint=last),
    )
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    record = adapter.AdapterRecord(
        base=adapter.base_checksum(checkpoint),
        model=checkpoint.name,
        layer=model.layer,
        rank=recipe.rank,
        embedding_rank=recipe.embedding_rank,
        targets=tuple(recipe.targets),
        temperature=recipe.temperature,
        languages=tuple(sorted({code for one in recipe.data for code in (one.source_language, one.target_language)})),
        data=_digest(recipe),
    )
    return adapter.save_adapter(recipe.output / "adapter", record, adapter.updates(encoder))


def prepare_run(recipe: AdapterRecipe, checkpoint: Checkpoint) -> None:
    """Align and encode the data in `recipe.output`, or find them where an earlier call left them.

    Raises:
        ConfigError: it holds the data of another recipe.
    """
    record, digest = recipe.output / "examples.json", _digest(recipe)
    if record.is_file():
        if json.loads(record.read_text(encoding="utf-8"))["recipe"] != digest:
            raise ConfigError(
                f"{recipe.output}: holds training data that was made with other settings (data, model, seed, ...). "
                "Choose another `output`, or remove the folder"
            )
        return
    _log.info("reading and aligning %d corpora", len(recipe.data))
    pairs = load_pairs(recipe)
    _log.info("encoding %d sentence pairs", sum(map(len, pairs)))
    counts = prepare(
        examples(recipe, pairs),
        load_tokenizer(checkpoint.folder),
        recipe.output / "data",
        max_tokens=recipe.max_tokens,
    )
    record.write_text(json.dumps({"recipe": digest, **counts}, indent=2) + "\n", encoding="utf-8")


def _digest(recipe: AdapterRecipe) -> str:
    """What of a recipe can change the prepared data."""
    fields = {"data", "model", "symmetrization", "exchange_names", "least_words", "max_tokens", "seed"}
    return hashlib.sha256(recipe.model_dump_json(include=fields).encode()).hexdigest()[:16]


class AlignmentModel(nn.Module):
    """An encoder with low-rank updates, and the loss that teaches them.

    Args:
        encoder: of a transformers model; cut to `recipe.layer`, and given the updates.
        recipe: layer, targets, ranks and temperature.

    Raises:
        ConfigError: the encoder has no such layer or target, or a rank is out of range.
    """

    def __init__(self, encoder: Any, recipe: AdapterRecipe) -> None:
        super().__init__()
        if not torch.cuda.is_available():
            # The backward pass of torch's fused attention is slow on CPU; see `translation.train.start_model`.
            encoder.set_attn_implementation("eager")
        self.layer = encoder.config.num_hidden_layers if recipe.layer is None else recipe.layer
        self.encoder = encoder
        self._state = HiddenState(encoder, self.layer)
        adapter.insert(encoder, targets=recipe.targets, rank=recipe.rank, embedding_rank=recipe.embedding_rank)
        self._temperature = recipe.temperature

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, pool: torch.Tensor, links: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return `loss` of a batch of `CollatePairs`."""
        hidden = self._state(input_ids, attention_mask).float()
        vectors = torch.nn.functional.normalize(torch.bmm(pool, hidden), dim=-1)
        source, target = vectors.chunk(2)
        there, back = pool.any(-1).chunk(2)
        cosines = torch.bmm(source, target.transpose(1, 2))
        return {"loss": alignment_loss(cosines / self._temperature, links, there[:, :, None] & back[:, None, :])}


def alignment_loss(scores: torch.Tensor, links: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return how much probability the linked words lack, the mean of both directions.

    For every source word with a link, -log of the probability that the softmax over the target's words gives to the
    words linked with it, summed; and the same from target to source. Words without a link have no term of their own,
    but take probability from others.

    Args:
        scores: (B, M, N), cosines over temperature.
        links: (B, M, N), 1 where two words are linked.
        inside: (B, M, N), False at padding.

    >>> scores, links = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[1, 0]]])
    >>> round(alignment_loss(scores, links, torch.ones(1, 1, 2, dtype=torch.bool)).item(), 4)
    0.0635

    That is -log softmax(2, 0)[0] = 0.1269 from the source word; the target word has one source word to choose from
    and loses nothing.
    """
    least = torch.finfo(scores.dtype).min
    scores, linked = scores.masked_fill(~inside, least), links.bool()
    losses = []
    for dimension in (2, 1):
        probabilities = scores.log_softmax(dimension).masked_fill(~linked, least)
        losses.append(-probabilities.logsumexp(dimension)[linked.any(dimension)].mean())
    return torch.stack(losses).mean()
