"""A configuration file as the user sees it: YAML with lines, `--set` overrides, and errors that point at both.

`spanferry.flows.config` says what a build's settings are; this file only turns text into plain values, and pydantic's
complaints about them into sentences that name the file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from spanferry.data.errors import ConfigError, did_you_mean, yaml_problem

Key = str | int
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of YAML 1.2, because in 1.1 the language code ``no`` is a boolean."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True)
class RawConfig:
    """Plain values, and where each stands.

    Attributes:
        values: what the file says, with the overrides in place.
        path: the file; None for values that come from elsewhere.
        lines: key path -> one-based line in the file.
        overridden: key paths that ``--set`` gave.
    """

    values: dict[str, Any]
    path: Path | None = None
    lines: Mapping[tuple[Key, ...], int] = field(default_factory=dict)
    overridden: frozenset[tuple[Key, ...]] = frozenset()

    def where(self, key: Sequence[Key]) -> str:
        """Say where a key stands: ``demo.yaml:7: translation.beam_size``, or the nearest key above it.

        >>> RawConfig({}, Path("demo.yaml"), {("task",): 1}).where(["task"])
        'demo.yaml:1: task'
        """
        name = ".".join(str(part) for part in key)
        if any(given[: len(key)] == tuple(key) for given in self.overridden):
            return f"--set {name}"
        for length in range(len(key), 0, -1):
            prefix = tuple(key[:length])
            if prefix in self.overridden:
                return f"--set {name}"
            if prefix in self.lines:
                return f"{self.path}:{self.lines[prefix]}: {name}"
        return f"{self.path}: {name}" if self.path else name


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> RawConfig:
    """Read a YAML file and put ``overrides`` (``"translation.beam_size=2"``) over it.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, a key that stands twice, or a malformed override.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path}: no such file; `spanferry init ner` writes one to start from") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: found a folder, expected a YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}, expected a YAML file") from None
    values, lines = _parse(text, str(path))
    return override(RawConfig(values, path, lines), overrides)


def _parse(text: str, name: str) -> tuple[dict[str, Any], dict[tuple[Key, ...], int]]:
    try:
        values, lines = _loaded(text, name)
    except yaml.YAMLError as error:
        line, problem = yaml_problem(error)
        raise ConfigError(f"{name}{'' if line is None else f':{line}'}: not valid YAML: {problem}") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: found {_show(values)}, expected a mapping with keys such as `task:` and `source:`")
    return values, lines


def _loaded(text: str, name: str) -> tuple[Any, dict[tuple[Key, ...], int]]:
    """Return what a YAML text holds, and the line of every key."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (loader.construct_document(node), dict(_lines(node, (), name))) if node else (None, {})
    except RecursionError:
        raise ConfigError(
            f"{name}: a value stands within itself (*anchor), or a thousand deep; write it out, or leave it out"
        ) from None
    finally:
        loader.dispose()


def _lines(node: yaml.Node, prefix: tuple[Key, ...], name: str) -> Iterator[tuple[tuple[Key, ...], int]]:
    """Yield the line of every key below ``node``, and refuse a key that stands twice (YAML keeps the last silently)."""
    children: list[tuple[Key, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(index, value, value) for index, value in enumerate(node.value)]
    seen: dict[Key, int] = {}
    for key, at, value in children:
        line = at.start_mark.line + 1
        if key in seen:
            raise ConfigError(f"{name}:{line}: key {key!r} stands twice, first in line {seen[key]}; keep one")
        seen[key] = line
        yield (*prefix, key), line
        yield from _lines(value, (*prefix, key), name)


def override(raw: RawConfig, overrides: Sequence[str]) -> RawConfig:
    """Return ``raw`` with each ``a.b=value`` set; the value is read as YAML.

    Raises:
        ConfigError: an item is no key path with a value, its value is no YAML, or the path leads below one that is no
            mapping.

    >>> override(RawConfig({"translation": {"model": "x"}}), ["translation.beam_size=2", "targets=[de, no]"]).values
    {'translation': {'model': 'x', 'beam_size': 2}, 'targets': ['de', 'no']}
    """
    values = _copy(raw.values)
    overridden = set(raw.overridden)
    for item in overrides:
        name, equals, text = item.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {item}: expected a key path and a value, as in --set translation.beam_size=2")
        at = values
        for depth, key in enumerate(keys[:-1]):
            if at.get(key) is None:
                at[key] = {}
            at = at[key]
            if not isinstance(at, dict):
                above = ".".join(keys[: depth + 1])
                raise ConfigError(f"--set {item}: {above} is {_show(at)}, which has no keys below it")
        try:
            at[keys[-1]], _ = _loaded(text, f"--set {item}")
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {item}: not a YAML value: {yaml_problem(error)[1]}") from None
        overridden.add(tuple(keys))
    return RawConfig(values, raw.path, raw.lines, frozenset(overridden))


def _copy(value: Any) -> Any:
    return {key: _copy(below) for key, below in value.items()} if isinstance(value, dict) else value


def validate(model: type[Model], raw: RawConfig) -> Model:
    """Return ``raw.values`` as ``model``.

    Raises:
        ConfigError: one sentence a mistake, in the order of the file.
    """
    try:
        return model.model_validate(raw.values)
    except ValidationError as error:
        mistakes = [_sentence(model, raw, item) for item in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(mistakes))) from None


def _sentence(model: type[BaseModel], raw: RawConfig, error: Any) -> str:
    """Turn one of pydantic's errors into: where, what was found, what was expected, what to do."""
    key = _key_path(raw.values, error["loc"])
    where = raw.where(key) if key else (str(raw.path) if raw.path else "settings")
    above = _model_at(model, key[:-1]) if key else None
    if error["type"] == "extra_forbidden" and above is not None:
        return f"{where}: unknown key; {did_you_mean(str(key[-1]), above.model_fields)}"
    described = above.model_fields.get(str(key[-1])) if above is not None else None
    meaning = f" ({described.description})" if described is not None and described.description else ""
    if error["type"] == "missing":
        return f"{where}: missing{meaning}"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    expected = "expected a mapping" if error["type"] == "model_type" else error["msg"]
    expected = expected.replace("Input should be ", "expected ").replace("valid dictionary", "mapping")
    return f"{where}: found {_show(error['input'])}, {expected}{meaning}"


def _key_path(values: Any, location: tuple[Key, ...]) -> list[Key]:
    """Drop from pydantic's location the parts that name a member of a union (``str``, ``dict[str,str]``), not a key."""
    path: list[Key] = []
    for index, part in enumerate(location):
        below = values.get(part) if isinstance(values, dict) and part in values else None
        if below is None and isinstance(values, list) and isinstance(part, int) and part < len(values):
            below = values[part]
        if isinstance(values, dict) or below is not None:
            path.append(part)
            values = below
        elif index == len(location) - 1 and isinstance(part, int):
            path.append(part)
    return path


def _model_at(model: type[BaseModel], key: Sequence[Key]) -> type[BaseModel] | None:
    """Follow a key path down the models."""
    at: type[BaseModel] | None = model
    for part in key:
        info = at.model_fields.get(str(part)) if at is not None else None
        if info is None:
            return None
        at = next(_models_in(info.annotation), None)
    return at


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        for member in typing.get_args(annotation):
            yield from _models_in(member)


def _show(value: Any) -> str:
    """Show a found value shortly.

    >>> _show({"a": 1}), _show("x" * 100), _show(None)
    ('a mapping', "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'nothing')
    """
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return repr(value if not isinstance(value, str) or len(value) <= 40 else value[:38] + "…")
