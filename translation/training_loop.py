"""What training needs beyond transformers' trainer: a clock, guided alignment, batches by tokens, a quiet bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from spanferry.data.errors import ModelError
from spanferry.translation.recipe import AlignmentSettings, OptimizerSettings, RunSettings, TrainRecipe
from spanferry.translation.training_data import IGNORED_LABEL, TokenBatches


class TimeBudget(TrainerCallback):  # type: ignore[misc]
    """Knows how far a run is, by steps and by the clock; stops it at the end and asks for checkpoints on the way.

    The time that a run has used is saved beside its checkpoints, so that it counts across restarts.

    >>> settings = OptimizerSettings(learning_rate=0.001, warmup_steps=10, max_steps=100)
    >>> clock = TimeBudget(settings, save_minutes=5)
    >>> clock.rate(4), clock.rate(50), clock.rate(100)
    (0.48, 0.5, 0.0)
    """

    FILE = "clock.json"
    """Name of the file in a checkpoint, written after all others: a checkpoint that has it is whole."""

    def __init__(self, settings: OptimizerSettings, *, save_minutes: float, checkpoint: Path | None = None) -> None:
        self._settings, self._save_seconds = settings, save_minutes * 60
        self._used = 0.0
        if checkpoint is not None:
            self._used = json.loads((checkpoint / self.FILE).read_text(encoding="utf-8"))["used_seconds"]
        self._started = self._saved_at = time.monotonic()

    def used_seconds(self) -> float:
        """Training time so far, earlier runs included."""
        return self._used + time.monotonic() - self._started

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the end: of steps and minutes, the one that is nearer to its end."""
        by_step = step / self._settings.max_steps
        if self._settings.max_minutes is None:
            return min(by_step, 1.0)
        return min(max(by_step, self.used_seconds() / (60 * self._settings.max_minutes)), 1.0)

    def rate(self, step: int) -> float:
        """Factor on the learning rate at `step`: up linearly over the warm-up, then down to zero along `progress`."""
        return min(1.0, (step + 1) / self._settings.warmup_steps) * (1.0 - self.progress(step))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._started = self._saved_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint when one is due, and end the run when the budget is used."""
        now = time.monotonic()
        if self.progress(state.global_step) >= 1.0:
            control.should_training_stop = control.should_save = True
        elif now - self._saved_at >= self._save_seconds:
            control.should_save = True
            self._saved_at = now

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the time used so far into the checkpoint just saved."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        (folder / self.FILE).write_text(json.dumps({"used_seconds": self.used_seconds()}), encoding="utf-8")


class GuidedAlignment:
    """The loss that teaches attention heads statistical word links (Garg et al. 2019).

    For the chosen heads of one decoder layer, the cross-attention of the step that predicts target token j is taught
    to be the distribution over the source tokens linked with token j. Only the queries and keys of these heads are
    used, so the model may run any attention kernel.
    """

    def __init__(self, model: Any, settings: AlignmentSettings) -> None:
        try:
            attention = model.get_decoder().layers[settings.layer].encoder_attn
        except (AttributeError, IndexError) as error:
            raise ModelError(
                f"guided_alignment.layer {settings.layer}: {type(model).__name__} has no such decoder layer with "
                "`encoder_attn`. Choose another layer, or set guided_alignment.weight to 0."
            ) from error
        self.weight, self._heads, self._size = settings.weight, settings.heads, attention.head_dim
        if max(settings.heads) >= attention.num_heads:
            raise ModelError(
                f"guided_alignment.heads {settings.heads}: the layer has heads 0 to {attention.num_heads - 1}."
            )
        self._seen: dict[str, torch.Tensor] = {}
        attention.q_proj.register_forward_hook(lambda *call: self._seen.update(queries=call[2]))
        attention.k_proj.register_forward_hook(lambda *call: self._seen.update(keys=call[2]))

    def loss(self, alignment: torch.Tensor, source_mask: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over linked target tokens and heads of the forward pass just done.

        `alignment` (B x T x S) holds the wanted distributions, zeros where a target token has no link;
        `source_mask` (B x S) is 0 at padding.
        """
        linked = alignment.sum(-1)
        total = alignment.new_zeros(())
        for head in self._heads:
            part = slice(head * self._size, (head + 1) * self._size)
            queries, keys = self._seen["queries"][..., part].float(), self._seen["keys"][..., part].float()
            scores = queries @ keys.transpose(1, 2) * self._size**-0.5
            scores = scores.masked_fill(source_mask[:, None, :] == 0, torch.finfo(scores.dtype).min)
            total = total - (alignment * scores.log_softmax(-1)).sum()
        self._seen.clear()
        return total / (linked.sum().clamp(min=1.0) * len(self._heads))


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """One bar for the whole run on a terminal, one line for each report elsewhere."""

    def __init__(self, clock: TimeBudget) -> None:
        self._clock = clock
        time_columns = (TimeElapsedColumn(), TimeRemainingColumn())
        report = TextColumn("{task.fields[report]}")
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            *time_columns,
            report,
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=1.0, report="")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar."""
        if self._bar.console.is_terminal:
            self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=self._clock.progress(state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Show the step, its loss and its learning rate."""
        if not logs or "loss" not in logs:
            return
        report = f"step {state.global_step}, loss {float(logs['loss']):.3f}, rate {float(logs['learning_rate']):.2e}"
        self._bar.update(self._task, report=report)
        if not self._bar.console.is_terminal:
            progress = self._clock.progress(state.global_step)
            print(f"training: {progress:.1%}, {report}", file=sys.stderr, flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        self._bar.stop()


class ClockedTrainer(Seq2SeqTrainer):  # type: ignore[misc]
    """transformers' trainer with batches by tokens and the clock's schedule.

    Args:
        recipe: the run's settings.
        checkpoints: folder for them.
        batches: the batches of the whole run.
        clock: makes the schedule.
        others: what `Seq2SeqTrainer` takes: model, data, collator.
    """

    def __init__(
        self, *, recipe: RunSettings, checkpoints: Path, batches: TokenBatches, clock: TimeBudget, **others: Any
    ) -> None:
        super().__init__(args=training_arguments(recipe, checkpoints), callbacks=[clock, ProgressBar(clock)], **others)
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = False
        self._clock, self._batches = clock, batches

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Return the batches; the whole run is one pass of the loader, so a restart skips to its step."""
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the clock's schedule."""
        if self.lr_scheduler is None:
            self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self._clock.rate)
            self._created_lr_scheduler = True
        return self.lr_scheduler


class TranslationTrainer(ClockedTrainer):
    """Trains a translation model, with guided alignment where the recipe says so."""

    def __init__(self, *, recipe: TrainRecipe, **others: Any) -> None:
        super().__init__(recipe=recipe, **others)
        self._smoothing = recipe.optimizer.label_smoothing
        guided = recipe.guided_alignment
        self._guided = GuidedAlignment(self.model, guided) if guided.weight else None

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Any], return_outputs: bool = False, **_: Any
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Label-smoothed cross-entropy per target token, plus the weighted alignment loss."""
        batch = dict(inputs)
        labels, alignment = batch.pop("labels"), batch.pop("alignment", None)
        outputs = model(**batch, use_cache=False)
        loss = torch.nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED_LABEL,
            label_smoothing=self._smoothing,
        )
        if self._guided is not None and alignment is not None:
            loss = loss + self._guided.weight * self._guided.loss(alignment, batch["attention_mask"])
        return (loss, outputs) if return_outputs else loss


def last_checkpoint(recipe: RunSettings) -> Path | None:
    """Return the newest whole checkpoint of a run, None before the first."""
    folders = (recipe.output / "checkpoints").glob(f"checkpoint-*/{TimeBudget.FILE}")
    return max((file.parent for file in folders), key=lambda folder: int(folder.name.split("-")[1]), default=None)


def training_arguments(recipe: RunSettings, folder: Path) -> Seq2SeqTrainingArguments:
    """Translate the recipe into transformers' arguments; checkpoints are written when the clock says so."""
    settings = recipe.optimizer
    return Seq2SeqTrainingArguments(
        output_dir=str(folder),
        max_steps=settings.max_steps,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient_norm,
        adam_beta1=0.9,
        adam_beta2=0.98,
        optim="adamw_torch_fused",
        bf16=settings.precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        save_strategy="no",
        save_total_limit=recipe.keep_checkpoints,
        logging_steps=recipe.report_steps,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=recipe.loader_workers,
    )
