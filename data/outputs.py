"""Where a command writes: found to be possible, and nothing that it reads, before the work and not after it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from spanferry.data.errors import ConfigError


def check_output(path: str | Path, inputs: Iterable[str | Path | None] = (), *, folder: bool = False) -> None:
    """Refuse a place that cannot be written, or where something lies that the same command reads. Makes nothing.

    Args:
        path: what will be written.
        inputs: files and folders that are read; what is no path (a hub id, None) is passed over.
        folder: whether a folder is written, and not a file.

    Raises:
        ConfigError: another kind of thing is there, a folder on the way is none or is closed, or it is an input or an
            existing file in one.

    >>> check_output("notes.jsonl", ["org/dataset", None])
    >>> check_output(".")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: .: is a folder, expected a file to write; name another
    """
    if path == "":  # an unset variable of a shell; as a path it would be the folder that one is in
        raise ConfigError(f"the output: found nothing, expected a {'folder' if folder else 'file'} to write; name one")
    path = Path(path)
    _check_kind(path, folder=folder)
    try:
        nearest = next(each for each in path.absolute().parents if each.exists())
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another") from None
    for each in inputs:
        if each is not None and path.exists() and Path(each).exists():
            _check_input(path, Path(each), folder=folder)


def _check_kind(path: Path, *, folder: bool) -> None:
    """Refuse to write a file in the place of a folder, or of a device, and a folder in that of a file."""
    if not path.exists() or (path.is_dir() if folder else path.is_file()):
        return
    found = "a folder" if path.is_dir() else "a file" if folder else "no plain file"
    raise ConfigError(f"{path}: is {found}, expected {'a folder' if folder else 'a file'} to write; name another")


def _check_input(path: Path, read: Path, *, folder: bool) -> None:
    inside = not folder and read.is_dir() and read.resolve() in path.resolve().parents
    if inside or path.samefile(read):
        belongs = f"belongs to {read}, which is" if inside else "is"
        raise ConfigError(f"{path}: {belongs} read, and would be written over; name another file to write")
