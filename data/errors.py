"""What can go wrong, as one tree.

    SpanferryError                 everything below; the command line prints its message, without a traceback
    ├── ConfigError                a setting is unknown, missing or out of range
    ├── DataError                  a file, line or row is not what its format says
    ├── LanguageError              a language is unknown, or the model does not speak it
    ├── ModelError                 a checkpoint cannot be found, loaded, converted or run
    └── BuildError                 a build cannot go on (its folder is in use, its source changed, ...)
        └── IncompleteError        some of it failed, the rest is whole

A message answers four questions: where (file, line or row), what was found, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class SpanferryError(Exception):
    """Root of all errors that a user of spanferry can cause or repair."""


class ConfigError(SpanferryError):
    """A setting is unknown, missing or out of range."""


class LanguageError(SpanferryError):
    """A language is unknown, or the model does not speak it."""


class ModelError(SpanferryError):
    """A checkpoint cannot be found, loaded, converted or run."""


class BuildError(SpanferryError):
    """A build cannot go on."""


class IncompleteError(BuildError):
    """Some languages of a build failed; the others are whole. The command line ends with code 1, not 2."""


class DataError(SpanferryError):
    """A file, line or row is not what its format says.

    Args:
        problem: what was found, and what was expected, in one clause each.
        path: the file (or hub id) it stands in, if any.
        line: one-based line of a text file.
        row: zero-based row of a table (Parquet, datasets), where lines do not exist.
        hint: what to do about it.

    >>> print(DataError("tag 'I-PER' follows 'O', expected 'B-PER'", path="train.conll", line=7,
    ...                 hint="set scheme: iob1 if the file uses IOB1"))
    train.conll:7: tag 'I-PER' follows 'O', expected 'B-PER'. Hint: set scheme: iob1 if the file uses IOB1
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        row: int | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem, self.path, self.line, self.row, self.hint = problem, path, line, row, hint
        where = "" if path is None else str(path)
        if line is not None:
            where += f":{line}"
        if row is not None:
            where += f"{', ' if where else ''}row {row}"
        message = f"{where}: {problem}" if where else problem
        super().__init__(f"{message}. Hint: {hint}" if hint else message)


def yaml_problem(error: Exception) -> tuple[int | None, str]:
    """Return the one-based line that a ``yaml.YAMLError`` stands in, if it says so, and in one line what is wrong.

    >>> import yaml
    >>> try:
    ...     yaml.safe_load("a: [")
    ... except yaml.YAMLError as error:
    ...     yaml_problem(error)
    (1, "expected the node content, but found '<stream end>'")
    """
    if isinstance(character := getattr(error, "character", None), int):  # its reader's, which knows no lines
        where = getattr(error, "position", 0)
        return None, f"the character {character:#x} at position {where}, which YAML does not hold"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or error
    return None if mark is None else mark.line + 1, " ".join(str(problem).split())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a clause that names the nearest known name, or lists them all.

    >>> did_you_mean("constraned", ["alignment", "constrained"])
    "did you mean 'constrained'? Known: alignment, constrained"
    >>> did_you_mean("zzz", ["alignment", "constrained"])
    'known: alignment, constrained'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    listing = ", ".join(names)
    return f"did you mean {near[0]!r}? Known: {listing}" if near else f"known: {listing}"


def shortened(value: object) -> str:
    """Return how a value that was found is shown in a message.

    >>> shortened("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
