"""What options of several commands have in common."""

from __future__ import annotations

import typer

from spanferry.data.errors import ConfigError


def stated(parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Return the value of an option, for typer's ``callback``; refuse an empty one, as an unset variable gives.

    Raises:
        ConfigError: the value is empty, which would match everything, or nothing, without a word.
    """
    if value is not None and not value.strip():
        raise ConfigError(f"{parameter.opts[0]}: found nothing, expected a value; give one, or leave the option out")
    return value
