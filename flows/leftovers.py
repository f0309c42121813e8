"""What earlier builds left in a folder: files that no plan names any more, because rows, splits or languages are fewer.

Only what a build itself wrote is removed: shards by their names and places, files of the dataset by the marks that
noted them before they were written. Whatever else lies in the folder is somebody's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from spanferry.flows.claims import claim_path
from spanferry.flows.folder import BuildFolder
from spanferry.flows.shards import is_held

_OF_A_SHARD = re.compile(r"\d{5,}\.(jsonl|json|lock|failed)")


def remove_old_shards(folder: BuildFolder, outputs: Iterable[str | Path]) -> list[Path]:
    """Remove the files of shards that are not among ``outputs``; return what was removed.

    A shard that a process has claimed stays: somebody helps the build as it was before, and will find out.
    """
    named = {Path(output).with_suffix("") for output in outputs}
    removed = []
    for path in sorted(folder.shards.glob("*/*/*")):
        if not _OF_A_SHARD.fullmatch(path.name) or path.with_suffix("") in named or not path.is_file():
            continue
        if not is_held(claim_path(path)):
            path.unlink(missing_ok=True)
            removed.append(path)
    _remove_empty(folder.shards, removed)
    return removed


def remove_old_data(folder: BuildFolder, kept: Iterable[tuple[str, str]]) -> list[Path]:
    """Remove the dataset's files of languages and splits that are not ``kept``; return what was removed.

    Args:
        folder: of the build.
        kept: (language, split) of all that is in the dataset now.
    """
    named = {folder.written_mark(language, split) for language, split in kept}
    removed = []
    for mark in sorted((folder.state / "dataset").glob("*/*.json")):
        if mark not in named:
            removed += remove_files(folder, (folder.read_json(mark) or {}).get("files", ()))
            mark.unlink()
    return removed


def remove_files(folder: BuildFolder, names: Iterable[str]) -> list[Path]:
    """Remove files of the dataset that a mark names; return those that were there."""
    removed = []
    for name in names:
        parts = PurePosixPath(name).parts
        if parts[:1] in {("data",), ("dropped",)} and ".." not in parts:  # whatever a damaged mark says
            path = folder.root / name
            with suppress(FileNotFoundError):
                path.unlink()
                removed.append(path)
    for kind in ("data", "dropped"):
        _remove_empty(folder.root / kind, removed)
    return removed


def _remove_empty(top: Path, removed: Iterable[Path]) -> None:
    """Remove the folders below ``top`` that are empty now that files are gone, the innermost first."""
    places = {parent for path in removed for parent in path.parents if top in parent.parents}
    for place in sorted(places, key=lambda each: -len(each.parts)):
        with suppress(OSError):  # something is in it
            place.rmdir()
