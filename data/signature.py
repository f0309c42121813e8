"""Settings as one line that reproduces a dataset or a score, after sacreBLEU's signatures (Post, 2018), and back.

    task:ner|src:eng_Latn|tgt:deu_Latn|model.beam:4|model.name:nllb@1f0c9a|projector.name:alignment|version:0.1.0

Only settings that can change the output belong in it: device, batch size and threads do not.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from spanferry.data.errors import ConfigError

_FIRST: Final = ("task", "src", "tgt")
_LAST: Final = ("version",)
_BARE_KEY: Final = re.compile(r"[^\s.:|\"\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_KEY_PART: Final = re.compile(rf'{_BARE_KEY.pattern}|"(?:[^"\\]|\\.)*"')
_UNSAFE: Final = re.compile(r"[|\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def signature(settings: Mapping[str, Any]) -> str:
    """Return ``settings`` as one line of ``key:value`` fields with ``|`` between them.

    Keys of nested mappings are joined by dots. ``task``, ``src`` and ``tgt`` come first and ``version`` last, all
    others in alphabetical order, so that equal settings have equal lines. A text stands as it is where it cannot be
    taken for something else; every other value is JSON.

    Args:
        settings: text, numbers, booleans, None, lists and mappings of these, with text as keys.

    Raises:
        ConfigError: a key is no text, or a value is something else (NaN, a path, an object).

    >>> signature({"version": "0.1.0", "task": "ner", "model": {"name": "nllb@1f0c9a", "beam": 4}, "year": "2026"})
    'task:ner|model.beam:4|model.name:nllb@1f0c9a|year:"2026"|version:0.1.0'
    """
    return "|".join(f"{_path(keys)}:{_value(value)}" for keys, value in _leaves(settings, ()))


def parse_signature(line: str) -> dict[str, Any]:
    """Return the settings that `signature` wrote; sequences come back as lists.

    Raises:
        ConfigError: the line is no signature.

    >>> parse_signature('task:ner|model.beam:4|model.name:nllb@1f0c9a|year:"2026"')
    {'task': 'ner', 'model': {'beam': 4, 'name': 'nllb@1f0c9a'}, 'year': '2026'}
    """
    settings: dict[str, Any] = {}
    for part in line.split("|") if line else ():
        keys, rest = _parse_path(part)
        inner = settings
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"signature: {part!r} lies under {key!r}, which has a value of its own")
        if keys[-1] in inner:
            raise ConfigError(f"signature: {part!r} gives a key that was there before: expected each once")
        inner[keys[-1]] = _parse_value(rest)
    return settings


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of ``settings`` in canonical JSON (sorted keys, no blanks), as 64 hexadecimal digits.

    The order of keys does not matter; 1 and 1.0 are different values, as are "1" and 1.

    Raises:
        ConfigError: as `signature`.

    >>> fingerprint({"beam": 4, "task": "ner"}) == fingerprint({"task": "ner", "beam": 4})
    True
    """
    _check(settings, "settings")
    text = json.dumps(settings, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _leaves(settings: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    _check(settings, ".".join(above) or "settings")
    for key in sorted(settings, key=lambda name: _rank(name, nested=bool(above))):
        value = settings[key]
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _rank(key: str, *, nested: bool) -> tuple[int, int, str]:
    if not nested and key in _FIRST:
        return 0, _FIRST.index(key), key
    return (2 if not nested and key in _LAST else 1), 0, key


def _check(value: Any, where: str) -> None:
    """Refuse what JSON cannot hold or would change."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{where} has the key {key!r}: expected text")
            _check(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}: expected a finite number")
    elif value is not None and not isinstance(value, str | int | float):
        raise ConfigError(
            f"{where} is {value!r} of type {type(value).__name__}: expected text, a number, a boolean, null, or a list "
            "or mapping of these"
        )


def _path(keys: tuple[str, ...]) -> str:
    return ".".join(key if _BARE_KEY.fullmatch(key) else _json(key) for key in keys)


def _value(value: Any) -> str:
    return value if isinstance(value, str) and _stands_alone(value) else _json(value)


def _stands_alone(text: str) -> bool:
    """Tell whether a text can be read back without quotes."""
    if not text or text != text.strip() or _UNSAFE.search(text):
        return False
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def _json(value: Any) -> str:
    # A bar can only stand inside a JSON string, where its escape means the same; ASCII keeps the line one line.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).replace("|", "\\u007c")


def _parse_path(part: str) -> tuple[list[str], str]:
    keys: list[str] = []
    end = 0
    while match := _KEY_PART.match(part, end):
        keys.append(json.loads(match[0]) if match[0].startswith('"') else match[0])
        end = match.end()
        if part[end : end + 1] == ":":
            return keys, part[end + 1 :]
        if part[end : end + 1] != ".":
            break
        end += 1
    raise ConfigError(f"signature: {part!r} is no field: expected key:value")


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
