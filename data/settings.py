"""Settings that come from a file or a command line, checked against the parameters of what they are given to.

Whoever writes a part (a projector, an aligner, a plug-in) annotates its parameters, and need not look at the types of
values again: text where a number belongs is refused here, by one sentence that names the part and the setting.
"""

from __future__ import annotations

import enum
import inspect
import math
import numbers
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from spanferry.data.errors import ConfigError, did_you_mean, shortened

Factory = Callable[..., Any]

_UNIONS: Final = (Union, types.UnionType)
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameters_of(factory: Factory, given: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Return the settings that ``factory`` takes: name -> parameter. Those that are ``given`` by the caller are none.

    >>> list(parameters_of(did_you_mean, given=["known"]))
    ['name']
    """
    found = inspect.signature(factory).parameters
    return {name: each for name, each in found.items() if each.kind not in _VARIABLE and name not in given}


def check_settings(owner: str, settings: Mapping[str, Any], factory: Factory, given: Collection[str] = ()) -> None:
    """Refuse settings that ``factory`` does not take, cannot take, or lacks.

    Args:
        owner: what is made, for the message: ``"aligner 'joint'"``.
        settings: name -> value.
        factory: what makes it.
        given: its parameters that are no settings.

    Raises:
        ConfigError: a setting is unknown, has a value of another kind than it is annotated with, or is missing.

    >>> check_settings("aligner 'fake'", {"length": 3}, lambda *, depth=3: depth)
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: aligner 'fake' has no setting 'length': known: depth
    """
    check_names(owner, settings, factory, given)
    check_values(owner, settings, factory)
    check_present(owner, settings, factory, given)


def check_names(
    owner: str, settings: Iterable[str], factory: Factory, given: Collection[str] = (), also: Iterable[str] = ()
) -> None:
    """Refuse settings that are neither parameters of ``factory`` nor among ``also``, see `check_settings`.

    Raises:
        ConfigError: a setting is unknown.
    """
    known = [*parameters_of(factory, given), *also]
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in inspect.signature(factory).parameters.values()):
        return
    for name in settings:
        if name not in known:
            raise ConfigError(f"{owner} has no setting {name!r}: {did_you_mean(name, known)}")


def check_present(owner: str, settings: Collection[str], factory: Factory, given: Collection[str] = ()) -> None:
    """Refuse to go on without a setting that has no default, see `check_settings`.

    Raises:
        ConfigError: a setting is missing.
    """
    for name, parameter in parameters_of(factory, given).items():
        if parameter.default is inspect.Parameter.empty and name not in settings:
            raise ConfigError(f"{owner} needs the setting {name!r}, a {parameter.annotation}")


def check_values(owner: str, settings: Mapping[str, Any], *factories: Factory) -> None:
    """Refuse values that the annotations of any of ``factories`` do not allow; other settings are left alone.

    Raises:
        ConfigError: a value is of another kind than its setting.

    >>> def part(depth: int = 3, model: str | None = None) -> None: ...
    >>> check_values("aligner 'x'", {"depth": 2, "model": None}, part)
    >>> check_values("aligner 'x'", {"depth": "2"}, part)
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: aligner 'x': depth is '2', expected a whole number
    """
    for factory in factories:
        parameters, kinds = parameters_of(factory), _annotations(factory)
        for name, value in settings.items():
            if name not in parameters or value is parameters[name].default:  # `x: float = None` is common
                continue
            if problem := what_is_wrong(value, kinds.get(name, Any)):
                raise ConfigError(f"{owner}: {name} {problem}")


def _annotations(factory: Factory) -> Mapping[str, Any]:
    """Return the types of the parameters; none where they name what is not there (imported for type checkers only)."""
    try:
        return get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def what_is_wrong(value: Any, kind: Any) -> str | None:
    """Say what is wrong with a value that ought to be a ``kind``, an annotation; None where nothing is, or can be told.

    Values are judged as a file gives them: true is no number, ``"3"`` is none either, but 1 serves as 1.0, a list as a
    tuple, and text as a path.

    >>> what_is_wrong("3", float | None), what_is_wrong(3, float | None)
    ("is '3', expected a number or null", None)
    >>> what_is_wrong("sentense", Literal["sentence", "word"])
    "is 'sentense': did you mean 'sentence'? Known: sentence, word"
    >>> what_is_wrong({"wine": 3}, Mapping[str, str])
    'has 3, expected text'
    """
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return what_is_wrong(value, inside[0])
    if origin is Literal:
        known = any(value == each and type(value) is type(each) for each in inside)
        return None if known else f"is {shortened(value)}: {did_you_mean(str(value), map(str, inside))}"
    if origin in _UNIONS:
        problems = [what_is_wrong(value, each) for each in inside]
        if None in problems:
            return None
        within = [problem for problem in problems if problem and problem.startswith("has ")]
        return within[0] if within else f"is {shortened(value)}, expected {_named(kind)}"
    if not _is(value, origin) or (_is_row(origin, inside) and len(value) != len(inside)):
        return f"is {shortened(value)}, expected {_named(kind)}"
    for each, part in _members(value, origin, inside):
        if problem := what_is_wrong(each, part):
            return f"has {problem.removeprefix('is ').removeprefix('has ')}"
    return None


def _members(value: Any, origin: Any, inside: tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """Return what is in a value, with what it ought to be; of an iterator, which can be read once only, nothing."""
    if len(inside) > 1 and isinstance(value, Mapping):
        return [*zip(value, repeat(inside[0])), *zip(value.values(), repeat(inside[1]))]
    if not inside or not isinstance(value, list | tuple):
        return ()
    return zip(value, inside if _is_row(origin, inside) else repeat(inside[0]))  # noqa: B905


def _is_row(origin: Any, inside: tuple[Any, ...]) -> bool:
    """Tell whether a type is a tuple of so many members, each with a type of its own."""
    return origin is tuple and bool(inside) and inside[-1] is not Ellipsis


def _is(value: Any, kind: Any) -> bool:
    """Tell whether a value may stand for a plain type; what nothing is known of lets everything pass."""
    if kind is None or kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
    if not isinstance(kind, type) or kind in (Any, object, type) or issubclass(kind, enum.Enum):
        return True
    if issubclass(kind, str | Path):
        return isinstance(value, kind | str)
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if issubclass(kind, Iterable) and kind.__module__ in ("builtins", "collections.abc"):
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    # A part of another kind (an aligner): what a file can hold is none.
    if not isinstance(value, str | bytes | numbers.Number | list | tuple | Mapping | None):
        return True
    return not getattr(kind, "_is_protocol", False) and isinstance(value, kind)


_NAMES: Final[Mapping[Any, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "text",
}


def _named(kind: Any) -> str:
    """Return what a value ought to be, in words.

    >>> _named(int | str | Path | None)
    'a whole number, text or null'
    """
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _named(inside[0])
    if origin is Literal:
        return f"some of {', '.join(map(str, inside))}"
    if origin in _UNIONS:
        *first, last = dict.fromkeys(map(_named, inside))
        return f"{', '.join(first)} or {last}" if first else last
    if origin in _NAMES:
        return _NAMES[origin]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    if isinstance(origin, type) and issubclass(origin, Iterable):
        if _is_row(origin, inside):
            return f"[{', '.join(map(_named, inside))}]"
        return f"a list of {_named(inside[0])}" if inside else "a list"
    name = getattr(origin, "__name__", str(origin))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
