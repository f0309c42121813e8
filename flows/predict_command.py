"""``spanferry predict``: what a model says of data as it is, without any translation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from spanferry.flows.options import stated


def predict_command(
    data: Annotated[str, typer.Argument(help="A file in any format; its own labels are not looked at.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="File to write: a row an example, by its id.")],
    *,
    language: Annotated[str, typer.Option(help="Language of the data.")],
    predictor: Annotated[str, typer.Option(metavar="transformers|spacy", help="Kind of model.")],
    model: Annotated[str | None, typer.Option(help="Folder or name of the model.", callback=stated)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the predictor: scheme=IOB1.")
    ] = None,
    task: Annotated[str, typer.Option(help="Shape of the data.")] = "ner",
    format: Annotated[str | None, typer.Option(help="Format of the file, where the suffix does not tell.")] = None,
) -> None:
    """Predict on a file, and write the predictions: to compare with a build (`spanferry compare`), or to build on."""
    from spanferry.data.formats import check_output, read_examples
    from spanferry.data.tasks import get_task
    from spanferry.flows.shards import write_records
    from spanferry.projection.predict_file import prediction_row
    from spanferry.projection.prediction import load_predictor
    from spanferry.translation.languages import get_language

    shape = get_task(task)
    settings = {**({} if model is None else {"model": model}), **_settings(set_ or [])}
    code = get_language(language).flores
    check_output(output, [data, model, settings.get("path")])
    loaded = load_predictor(predictor, task=shape, **settings)
    examples = list(read_examples(data, shape, format=format, labelled=False))
    predictions = loaded.predict(examples, language=code)
    write_records(output, (prediction_row(shape, *pair) for pair in zip(examples, predictions, strict=True)))
    print(f"{len(examples):,} predictions in {output}")


def _settings(items: list[str]) -> dict[str, Any]:
    from spanferry.data.errors import ConfigError

    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {item}: expected NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
