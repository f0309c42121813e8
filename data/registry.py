"""One lazy table per kind of part (projectors, aligners, translators, tasks): a name finds its code on first use.

A built-in part is one line in the table of its folder; a third party adds one by an entry point of the same group
(``[project.entry-points."spanferry.projectors"]``). Listing names imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from spanferry.data.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class LazyTable:
    """Names and where their code is.

    Attributes:
        kind: what the entries are, in the singular, for messages (``"projector"``).
        group: entry-point group that third parties add to (``"spanferry.projectors"``).
        builtin: name -> ``"module:attribute"``.

    >>> table = LazyTable("error", "spanferry.errors", {"config": "spanferry.data.errors:ConfigError"})
    >>> table.names()
    ['config']
    >>> table.load("config").__name__
    'ConfigError'
    >>> table.load("confg")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: unknown error 'confg': did you mean 'config'? Known: config
    """

    kind: str
    group: str
    builtin: Mapping[str, str]

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def names(self) -> list[str]:
        """Return every known name, sorted. A plug-in never shadows a built-in part."""
        return sorted({*self.builtin, *self._plugins})

    def load(self, name: str) -> Any:
        """Import and return the part called ``name``.

        Raises:
            ConfigError: no part has this name, or its code cannot be imported (a missing extra, say).
        """
        try:
            if name in self.builtin:
                module, _, attribute = self.builtin[name].partition(":")
                return getattr(import_module(module), attribute)
            if name in self._plugins:
                return self._plugins[name].load()
        except ImportError as error:
            raise ConfigError(f"{self.kind} {name!r} needs a package that cannot be imported: {error}") from error
        raise ConfigError(f"unknown {self.kind} {name!r}: {did_you_mean(name, self.names())}")
