"""Where a build lies, for who has its `output`: a folder, or a URL and the folder here that it is worked on in."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from spanferry.data.errors import ConfigError
from spanferry.flows.folder import BuildFolder
from spanferry.flows.shards import write_json
from spanferry.flows.storage import Storage, is_url
from spanferry.flows.stored import StoredBuild

if TYPE_CHECKING:
    from spanferry.flows.jobs import Job

_opened: dict[Path, StoredBuild] = {}
"""The work folders of this process."""


def stored_at(root: Path) -> StoredBuild | None:
    """Return the storage of which a folder is the work folder in this process; None for any other folder."""
    return _opened.get(root.absolute()) if _opened else None


def stored_of(job: Job) -> StoredBuild | None:
    """Return the storage that a shard belongs to; None if its folder is all there is."""
    return stored_at(Path(job.output).parents[4]) if _opened else None


def locate(place: str | Path, folder: str | Path | None = None) -> BuildFolder:
    """Return the folder of a build: the one that is named, or the work folder of a URL.

    Args:
        place: an `output`: a folder, or a URL.
        folder: the work folder of a URL; `work_folder` chooses if absent.

    Raises:
        ConfigError: the URL or the work folder is not good.
        BuildError: the storage cannot be reached.

    >>> locate("out/demo").root.as_posix()
    'out/demo'
    """
    place = str(place)
    if not is_url(place):
        return BuildFolder(Path(place.removeprefix("file://")))
    found = BuildFolder((work_folder(place) if folder is None else Path(folder).expanduser()).absolute())
    if (known := _opened.get(found.root)) is None or known.storage.url != place.rstrip("/"):
        storage = Storage(place)
        storage.check()
        _opened[found.root] = StoredBuild(storage, found, _home(found, storage.url))
    return found


def fetched(place: str | Path) -> BuildFolder:
    """Return the folder of a finished build to read from; of one in shared storage, fetch what is new there first.

    Raises:
        ConfigError, BuildError: as `locate`, or a build is working in the work folder.
    """
    folder = locate(place)
    if (stored := stored_at(folder.root)) is not None:
        stored.fetch_build()
    return folder


def share_dataset(folder: BuildFolder) -> None:
    """Send what readers of a dataset need to where the build lies; nothing where its folder is that place."""
    if (stored := stored_at(folder.root)) is not None:
        stored.share_dataset()


def work_folder(url: str) -> Path:
    """Return where on this machine a build in shared storage is worked on, unless ``run.work_folder`` says otherwise.

    >>> work_folder("s3://bucket/builds/demo").name
    'bucket-builds-demo-01ec9d67'
    """
    from spanferry.translation.checkpoints import cache_folder

    name = re.sub(r"[^A-Za-z0-9]+", "-", url.partition("://")[2]).strip("-")[-60:]
    return cache_folder() / "builds" / f"{name}-{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:8]}"


def _home(folder: BuildFolder, url: str) -> str:
    """Return the id of a work folder; make it one of this URL if it is new.

    Raises:
        ConfigError: it is another build's, or something else's.
    """
    mark = folder.state / "store.json"
    folder.state.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.state / "store.lock"):
        facts = folder.read_json(mark)
        if facts is None:
            others = sorted(path.name for path in folder.root.iterdir() if path != folder.state)
            others += sorted(path.name for path in folder.state.iterdir() if not path.name.startswith("store."))
            if others:
                raise ConfigError(
                    f"run.work_folder {folder.root}: found {others[0]}, expected an empty folder or the work folder of "
                    f"{url}; name another"
                )
            facts = {"url": url, "id": secrets.token_hex(4)}
            write_json(mark, facts)
    if facts["url"] != url:
        raise ConfigError(
            f"run.work_folder {folder.root}: is the work folder of {facts['url']}; name another for {url}"
        )
    return str(facts["id"])
