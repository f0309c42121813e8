"""The commented configuration that `spanferry init` writes: made from the models, so that it never lags behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from spanferry.alignment.registry import DEFAULT_ALIGNER
from spanferry.flows.config import parse_config

# What a first build of each shape can start from: a sample that is shipped where there is one.
_SOURCES = {"ner": "sample:entities.en.jsonl", "slots": "sample:slots.en.jsonl"}
_FOLDERS = {"translate-test": "-predicted", "back-translate": "-and-back"}


def template(task: str, direction: str = "translate-train") -> str:
    """Return YAML for a build of ``task``: what must be set is set, everything else stands commented with its default.

    Raises:
        ConfigError: no such task or direction.

    >>> print(template("ner"))  # doctest: +ELLIPSIS
    # A build of spanferry. Try `spanferry plan FILE` first, then `spanferry build FILE`.
    <BLANKLINE>
    # shape of the data: ner, slots, text-classification, pair-classification, multiple-choice or question-answering
    task: ner
    ...
    """
    sides: dict[str, Any] = {
        "source": {"path": _SOURCES.get(task, "train.jsonl"), "language": "en"},
        "targets": ["de", "es"],
    }
    if direction == "translate-test":
        path = _SOURCES.get(task, "test.en.jsonl").replace(".en.", ".{language}.")
        sides = {
            "direction": direction,
            "source": {"path": path, "languages": ["de", "es"]},
            "pivot": "en",
            "predictor": {"name": "transformers", "model": "path/of/a/model"},
        }
    elif direction != "translate-train":
        sides = {"direction": direction, **sides}
    values = {
        "task": task,
        **sides,
        "translation": {"model": "bundled", "beam_size": 4},
        "projection": {"method": "alignment", "aligner": DEFAULT_ALIGNER},
        "output": f"out/{task}{_FOLDERS.get(direction, '')}",
    }
    model = type(parse_config(values))
    head = "# A build of spanferry. Try `spanferry plan FILE` first, then `spanferry build FILE`.\n"
    return "\n".join([head, *_lines(model, values, "")]) + "\n"


def _lines(model: type[BaseModel], values: dict[str, Any], indent: str) -> Iterator[str]:
    for name, info in model.model_fields.items():
        nested = _model(info.annotation)
        meaning = info.description or (nested.__doc__ or "").splitlines()[0] if nested else info.description
        set_here = name in values
        off = "" if set_here else "# "
        if not indent and meaning:
            yield f"# {meaning}"
        if nested is not None:
            yield f"{off}{indent}{name}:"
            inside = values[name] if set_here else nested().model_dump()
            yield from (f"{off}{line}" for line in _lines(nested, inside, indent + "  "))
        else:
            value = values[name] if set_here else info.get_default(call_default_factory=True)
            comment = f"  # {meaning}" if indent and meaning else ""
            yield f"{indent}{off}{name}: {_yaml(value)}{comment}"
        if not indent:
            yield ""
    yield from (f"{indent}{name}: {_yaml(value)}" for name, value in values.items() if name not in model.model_fields)


def _model(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _yaml(value: Any) -> str:
    """Write a value as YAML on one line; texts that need no quotes have none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return json.dumps(value)
