"""Where a build writes, held against what it reads and who will read it, when its configuration is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanferry.data.errors import ConfigError
from spanferry.flows.storage import is_url

_PATTERN: Final = re.compile(r"\[[^/]+\]")

if TYPE_CHECKING:
    from spanferry.flows.config import AnyConfig
    from spanferry.flows.config_file import RawConfig


def check_places(config: AnyConfig, raw: RawConfig) -> None:
    """Refuse an output that nobody could load, and places to write that lie in a folder which is read.

    Raises:
        ConfigError: says which setting, and what to do.
    """
    if (problem := not_loadable(config.output)) is not None:
        raise ConfigError(f"{raw.where(['output'])}: {problem}; name another `output`")
    for key, place in _written(config):
        for read in _folders_read(config):
            if read.resolve() in (place.resolve(), *place.resolve().parents):
                raise ConfigError(
                    f"{raw.where(key)}: {place} lies in {read}, which the build reads: what it writes there would be "
                    "part of its source; name a place outside"
                )


def not_loadable(output: str | Path) -> str | None:
    """Say why `datasets.load_dataset` finds nothing in a folder; None if it does.

    >>> not_loadable("out/demo")
    >>> not_loadable("s3://bucket/demo [2]")
    "'s3://bucket/demo [2]' has brackets in it, by which `datasets` looks for other names"
    """
    # What a path is below counts too: the library makes it absolute, and takes all of it for a pattern.
    place = str(output) if is_url(str(output)) else str(Path(str(output).removeprefix("file://")).absolute())
    return (
        f"{place!r} has brackets in it, by which `datasets` looks for other names" if _PATTERN.search(place) else None
    )


def _written(config: AnyConfig) -> Iterator[tuple[list[str], Path]]:
    if not is_url(config.output):
        yield ["output"], Path(config.output.removeprefix("file://"))
    elif config.run.work_folder is not None:
        yield ["run", "work_folder"], Path(config.run.work_folder).expanduser()
    if isinstance(config.run.memory, str):
        yield ["run", "memory"], Path(config.run.memory)


def _folders_read(config: AnyConfig) -> Iterator[Path]:
    if config.direction == "translate-test":
        sources = [config.source.of(name) for name in config.datasets]
    else:
        sources = [config.source]
    for source in sources:
        for path in source.path.values() if isinstance(source.path, dict) else (source.path,):
            if Path(path).is_dir():
                yield Path(path)
