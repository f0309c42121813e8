"""Files in shared storage that is no folder: S3, Google Cloud Storage, and what else fsspec has a driver for.

Names are relative to the URL of a build. A file appears whole or not at all, as object stores have it, and whoever
looks at it sees its newest version. Two machines are kept apart by one operation, `Storage.create`: of many that try it
at once, one is the first.

Credentials are the driver's business: for S3 the environment, ``~/.aws`` or the role of the machine, for Google its
application default credentials. They stand in no configuration, and so in no report.
"""

from __future__ import annotations

import base64
import binascii
import copy
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from spanferry.data.errors import BuildError, ConfigError
from spanferry.data.formats import replacing
from spanferry.flows.shards import file_digest

Item = TypeVar("Item")
Result = TypeVar("Result")

DRIVERS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Scheme of a URL -> the extra of this package that brings its driver."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each new attempt, after the driver has given up its own."""

_AT_ONCE = 16


def is_url(place: str) -> bool:
    """Say whether a place is a URL of shared storage, and not a folder.

    >>> is_url("s3://bucket/builds/demo"), is_url("out/demo"), is_url("file:///out/demo")
    (True, False, False)
    """
    return "://" in place and not place.startswith("file://")


@dataclass(frozen=True)
class Entry:
    """One file, as a listing shows it.

    Attributes:
        size: in bytes.
        modified: when it was written, in seconds since 1970, by the storage's clock.
        md5: of its bytes, in hexadecimal, where the storage tells; None elsewhere.
    """

    size: int
    modified: float
    md5: str | None


class Storage:
    """The files below one URL.

    Args:
        url: ``s3://bucket/path``, ``gs://bucket/path``, ...

    Raises:
        ConfigError: there is no such kind of storage, its driver is not installed, or the URL has credentials in it.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = _open(url)
        self._pauses: tuple[float, ...] = PAUSES

    def trying_once(self) -> Storage:
        """Return the same files, seen by whoever will rather do without an answer than wait for one."""
        other = copy.copy(self)
        other._pauses = ()
        return other

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def check(self) -> None:
        """Refuse storage that cannot be reached, lets nobody in, or has no such bucket.

        Raises:
            BuildError: it says which of these.
        """
        bucket = self._root.partition("/")[0]
        try:
            self._try("looked at", lambda: self._fs.info(bucket))
        except FileNotFoundError:
            raise self._no_bucket() from None

    def read(self, name: str) -> bytes | None:
        """Return what a file holds; None if it is not there."""
        try:
            return bytes(self._try("read", lambda: self._fs.cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, or put another in its place."""
        self._put(lambda: self._fs.pipe_file(self._path(name), data))

    def create(self, name: str, data: bytes) -> bytes:
        """Write a file unless it is there; return what it holds then: ``data``, or what another wrote before.

        Args:
            name: of the file.
            data: what nobody else writes; where the answer to a first attempt was lost, a second one knows its own.
        """

        def attempt() -> bytes:
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            except FileNotFoundError:
                raise
            except Exception as error:
                try:
                    return bytes(self._fs.cat_file(self._path(name)))
                except FileNotFoundError:  # not written, or removed since
                    raise error from None
            return data

        return self._put(attempt)

    def upload(self, path: Path, name: str) -> None:
        """Write a file from one on this machine."""
        path.stat()  # it is not the bucket that is not there
        self._put(lambda: self._fs.put_file(str(path), self._path(name)))

    def download(self, name: str, path: Path, checksum: str | None = None) -> bool:
        """Write a file on this machine, moved into place whole; say whether there was one to fetch.

        Args:
            name: of the file.
            path: where to; stays as it is where there is nothing to fetch.
            checksum: SHA-256 that it must have; a file with another is none to fetch.
        """
        try:
            with replacing(path) as temporary:
                self._try("read", lambda: self._fs.get_file(self._path(name), str(temporary)))
                if checksum is not None and file_digest(temporary) != checksum:
                    raise FileNotFoundError
        except FileNotFoundError:
            return False
        return True

    def modified(self, name: str) -> float | None:
        """Return when a file was written, in seconds since 1970 by the storage's clock; None if it is not there."""
        try:
            return _seconds(self._try("looked at", lambda: self._fs.modified(self._path(name))))
        except FileNotFoundError:
            return None

    def entries(self, under: str = "") -> dict[str, Entry]:
        """Return every file below a folder, by name.

        Raises:
            BuildError: there is no such bucket.
        """
        try:
            found = self._try("listed", lambda: self._fs.find(self._path(under), detail=True))
        except FileNotFoundError:
            raise self._no_bucket() from None
        skip = len(self._root) + 1
        # A store has no folders, but some tools leave files of no length that stand for one.
        return {path[skip:]: _entry(info) for path, info in found.items() if not path.endswith("/")}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is not there is no mistake."""
        in_parallel(self._remove, list(names))

    def _remove(self, name: str) -> None:
        try:
            self._try("removed", lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _put(self, action: Callable[[], Result]) -> Result:
        try:
            return self._try("written", action)
        except FileNotFoundError:  # not the file: that is made
            raise self._no_bucket() from None

    def _no_bucket(self) -> BuildError:
        return BuildError(f"{self.url}: found no bucket {self._root.partition('/')[0]!r}; make it, or name another")

    def _try(self, what: str, action: Callable[[], Result]) -> Result:
        """Do something again and again, with longer and longer pauses, unless it is plainly of no use."""
        for pause in (*self._pauses, None):
            try:
                return action()
            except FileNotFoundError:
                raise
            except Exception as error:  # each driver has errors of its own
                if _refused(error):
                    raise BuildError(
                        f"{self.url}: cannot be {what}: {_line(error)}. Expected credentials that may read and write "
                        "there, where the driver looks for them (for s3 the environment or ~/.aws)"
                    ) from error
                if pause is None:
                    raise BuildError(
                        f"{self.url}: cannot be {what}: {_line(error)} (tried {len(self._pauses) + 1} times). What is "
                        "finished is safe; mend this, and the same command goes on"
                    ) from error
                time.sleep(pause)
        raise AssertionError


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Do something for several items at once, as storage likes it, and return the results in order.

    >>> in_parallel(len, ["a", "bc"])
    [1, 2]
    """
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="storage") as threads:
        return list(threads.map(work, items))


def _open(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it."""
    import fsspec

    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"output {parts.scheme}://...@{parts.hostname}{parts.path}: found credentials in a URL, where they would "
            "be written into the dataset; give them to the driver by its environment"
        )
    if not parts.netloc:
        raise ConfigError(f"output {url}: found no bucket, expected {parts.scheme}://BUCKET/PATH")
    for name in ("fsspec", "s3fs", "gcsfs", "aiobotocore"):  # what they log, they raise too
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        # Others write there too: what a listing said a moment ago is not to be relied upon.
        fs, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        extra = DRIVERS.get(parts.scheme)
        do = f"pip install 'spanferry[{extra}]'" if extra else str(error)
        raise ConfigError(f"output {url}: found no driver for {parts.scheme}:// storage; {do}") from None
    except ValueError as error:
        raise ConfigError(f"output {url}: {error}; expected a folder, s3://BUCKET/PATH or gs://BUCKET/PATH") from None
    except Exception as error:  # a driver that looks for credentials as soon as it is made
        raise BuildError(f"{url}: cannot be opened: {_line(error)}") from error
    return fs, root.strip("/")


def _refused(error: Exception) -> bool:
    """Say whether an error is about who asks, so that asking again is of no use."""
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    return (
        isinstance(error, PermissionError)
        or "Credential" in kinds
        or "AuthError" in kinds
        or getattr(error, "code", None) in {401, 403}
        or str(error).startswith("Forbidden")
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _entry(info: Mapping[str, Any]) -> Entry:
    moment = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created")
    return Entry(int(info["size"]), _seconds(moment), _md5(info))


def _seconds(moment: Any) -> float:
    """Return a moment, however a driver gives it, as seconds since 1970."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return float(moment.timestamp() if isinstance(moment, datetime) else moment or 0.0)


def _md5(info: Mapping[str, Any]) -> str | None:
    """Return the MD5 of a file, where a listing has one: as S3's tag of a file sent in one piece, or as Google's hash.

    >>> _md5({"ETag": '"900150983cd24fb0d6963f7d28e17f72"'})
    '900150983cd24fb0d6963f7d28e17f72'
    >>> _md5({"md5Hash": "kAFQmDzST7DWlj99KOF/cg=="})
    '900150983cd24fb0d6963f7d28e17f72'
    >>> _md5({"ETag": '"900150983cd24fb0d6963f7d28e17f72-3"'})
    """
    if "md5Hash" in info:
        try:
            return base64.b64decode(info["md5Hash"]).hex()
        except (binascii.Error, ValueError):
            return None
    tag = str(info.get("ETag") or "").strip('"')
    return tag if len(tag) == 32 and all(letter in "0123456789abcdef" for letter in tag) else None
