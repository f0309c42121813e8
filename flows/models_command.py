"""``spanferry models``: train a translation model, look at a run that is going on, measure a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spanferry.flows.options import stated

models = typer.Typer(name="models", help="Train, export and measure translation models.", no_args_is_help=True)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The run's settings; see docs/training.md.")]


@models.command()
def train(recipe: RecipePath) -> None:
    """Train from scratch, or fine-tune a checkpoint for markers. Stopped, the same command goes on where it stood."""
    from spanferry.data.outputs import check_output
    from spanferry.translation.recipe import TrainRecipe
    from spanferry.translation.train import train as run

    settings = TrainRecipe.read(recipe)
    check_output(settings.output, folder=True)
    print(run(settings))


@models.command()
def train_aligner(recipe: RecipePath) -> None:
    """Teach a model's encoder to align, by an adapter. Stopped, the same command goes on where it stood."""
    from spanferry.alignment.adapter_recipe import AdapterRecipe
    from spanferry.alignment.adapter_training import train_adapter
    from spanferry.data.outputs import check_output

    settings = AdapterRecipe.read(recipe)
    check_output(settings.output, folder=True)
    print(train_adapter(settings))


@models.command()
def train_ranges(
    recipe: RecipePath, quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False
) -> None:
    """Teach `alignment` where a span ends, from texts whose translators carried marks over."""
    from spanferry.projection.range_recipe import RangeRecipe
    from spanferry.projection.range_training import train_ranges as run

    made = run(RangeRecipe.read(recipe), report=lambda step: None if quiet else print(step, file=sys.stderr))
    print(f"{made.path}: learnt {made.taught:,} lessons; right in {made.right:,} of {made.tested:,} held out")


@models.command()
def train_tagger(
    data: Annotated[list[str], typer.Argument(help="Labelled files of any format; behind them the folder.")],
    *,
    language: Annotated[str, typer.Option(help="Language of the data.")],
    without: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Leave out the examples whose ids are in this file.")
    ] = None,
    task: Annotated[str, typer.Option(help="Shape of the data.")] = "ner",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the weights and the order.")] = 1,
) -> None:
    """Train a small tagger from nothing, a spaCy pipeline, to try translate-test with: FILE... FOLDER."""
    from spanferry.data.errors import ConfigError
    from spanferry.data.formats import check_output, read_examples
    from spanferry.projection.tagger_training import train_tagger as run

    *files, folder = data
    if not files:
        raise ConfigError("train-tagger needs labelled files, and behind them the folder to write")
    check_output(folder, files, folder=True)
    held_out = {example.id for file in without or () for example in read_examples(file, task, labelled=False)}
    found = [example for file in files for example in read_examples(file, task) if example.id not in held_out]
    run(found, folder, language=language, epochs=epochs, seed=seed)
    print(f"{folder}: learnt from {len(found):,} examples")


@models.command()
def export(
    recipe: RecipePath,
    folder: Annotated[Path, typer.Argument(help="Where the model goes; a model there is replaced.")],
) -> None:
    """Export the newest checkpoint of a run, in half precision and with its tokenizer, while the run goes on."""
    from spanferry.data.errors import ModelError
    from spanferry.data.outputs import check_output
    from spanferry.translation.recipe import TrainRecipe
    from spanferry.translation.train import export_checkpoint
    from spanferry.translation.training_loop import last_checkpoint

    settings = TrainRecipe.read(recipe)
    check_output(folder, folder=True)
    checkpoint = last_checkpoint(settings)
    if checkpoint is None:
        raise ModelError(
            f"{settings.output}: no checkpoint yet; the first comes after {settings.save_minutes:g} minutes"
        )
    print(export_checkpoint(settings, checkpoint, folder))


@models.command()
def evaluate(
    *,
    model: Annotated[str, typer.Argument(help="bundled, a folder with a checkpoint, or a hub id.")],
    source: Annotated[
        Path, typer.Option(help="One sentence a line; with --markers, source TAB target with <1>..</1>.")
    ],
    lang_source: Annotated[str, typer.Option(help="Language of the source.")],
    lang_target: Annotated[str, typer.Option(help="Language to translate into.")],
    target: Annotated[Path | None, typer.Option(help="The reference translations, line by line.")] = None,
    markers: Annotated[
        str | None, typer.Option(metavar="brackets|tags", help="Measure how well markers are carried instead.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first N sentences.")] = None,
    beam_size: Annotated[int, typer.Option(min=1)] = 4,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Translate a file and print BLEU and chrF against its reference, with sacreBLEU's signatures."""
    from spanferry.data.errors import ConfigError

    settings: dict[str, Any] = {"beam_size": beam_size, "device": device}
    if markers is not None:
        from spanferry.translation.evaluate_markers import evaluate_markers

        result = evaluate_markers(
            model,
            source,
            source=lang_source,
            target=lang_target,
            style=markers,  # type: ignore[arg-type]  # checked there
            limit=limit,
            **settings,
        )
    elif target is None:
        raise ConfigError("evaluate needs --target FILE with the reference translations (or --markers)")
    else:
        from spanferry.translation.evaluate import evaluate as run

        result = run(model, source, target, source=lang_source, target=lang_target, limit=limit, **settings)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<15} {value}")


@models.command()
def convert(
    model: Annotated[str, typer.Argument(help="bundled, a folder with a checkpoint, or a hub id.")],
    quantization: Annotated[
        str, typer.Option(help="int8, float16, float32, ...; auto chooses by the device.")
    ] = "auto",
    revision: Annotated[str | None, typer.Option(help="Commit or tag of a hub model.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda")] = "auto",
) -> None:
    """Convert a checkpoint for CTranslate2 into the cache, as a build does on first use; print its folder."""
    from spanferry.translation.convert import ensure_converted

    print(ensure_converted(model, revision=revision, quantization=quantization, device=device).path)


@models.command()
def priors(
    *,
    source_language: Annotated[str, typer.Option(help="Language of the first column.")],
    target_language: Annotated[str, typer.Option(help="Language of the second column.")],
    data: Annotated[
        list[Path], typer.Option(help="source TAB target TAB corpus; plain, .gz or .zst; may be repeated.")
    ],
    output: Annotated[Path, typer.Option(help="File to write; packed if it ends in .gz.")],
    corpora: Annotated[
        str | None, typer.Option(metavar="a,b", help="Take only these corpora (third column).", callback=stated)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first N pairs of each file.")] = None,
    min_count: Annotated[float, typer.Option(min=0, help="Leave out pairs of words linked fewer times.")] = 1.0,
    samplers: Annotated[int, typer.Option(min=1, help="eflomal's chains; more are steadier and slower.")] = 3,
    effort: Annotated[float, typer.Option(min=0.01, help="Multiplies eflomal's iterations.")] = 1.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Count which words render each other in parallel text, for the aligners lexical and eflomal (setting `priors`)."""
    from spanferry.alignment.priors import write_priors
    from spanferry.alignment.priors_training import make_priors_of_files
    from spanferry.data.outputs import check_output

    check_output(output, data)
    made = make_priors_of_files(
        data,
        source_language,
        target_language,
        corpora=None if corpora is None else corpora.split(","),
        limit=limit,
        min_count=min_count,
        samplers=samplers,
        effort=effort,
        progress=None if quiet else lambda step, count: print(f"{step}: {count:,} pairs", file=sys.stderr),
    )
    write_priors(made, output)
    print(f"{output}: {len(made.words):,} pairs of words, from {made.record['pairs']:,} pairs of sentences")


@models.command("list")
def list_converted() -> None:
    """List the converted models in the cache: name, family, weights, size and folder."""
    from spanferry.translation.checkpoints import cache_folder

    folder = cache_folder() / "ct2"
    records = sorted(folder.glob("*/spanferry.json"))
    if not records:
        print(f"no converted model in {folder}; a build converts what it needs, or: spanferry models convert MODEL")
    for path in records:
        record = json.loads(path.read_text(encoding="utf-8"))
        megabytes = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file()) / 1e6
        print(f"{record['model']}\t{record['family']}\t{record['quantization']}\t{megabytes:,.0f} MB\t{path.parent}")
