"""A SQLite file of one kind that several processes of a machine share, and that is replaced when it turns out damaged.

What the memories of translations and of projections have in common. A memory is a convenience: what it has lost is
computed again, so a damaged file is moved aside and an empty one begun, and no build fails for it. That goes for files
that still show what they were; any other is somebody else's, and is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakSet

from spanferry.data.errors import BuildError, ConfigError

_WAIT_SECONDS = 120.0
_HEADER = b"SQLite format 3\0"
_APPLICATION_ID = slice(68, 72)
"""Where the header of a database says whose it is (https://www.sqlite.org/fileformat.html, 1.3)."""
_STATE = """
SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
    (SELECT count(*) FROM sqlite_master)
"""


class CorruptMemoryWarning(UserWarning):
    """A memory could not be read; it was moved aside and an empty one begun."""


class SharedFile:
    """A SQLite database in write-ahead mode; not for network file systems.

    Safe to use from several threads and processes, and after a fork. Use it as a context manager, or `close` it. A
    subclass says what it holds:

    Attributes:
        what: what messages call it: ``"translation memory"``.
        again: what becomes of its content when it is lost: ``"translated"``, to be followed by "again".
        application_id: a number that tells our files from any other SQLite database (`PRAGMA application_id`).
        version: of ``tables``; goes up when they change.
        tables: SQL statements that make them, each ended by ``;``.

    Args:
        path: the file; it is made, with its folder, where there is none.

    Raises:
        ConfigError: the path cannot be written, or is some other file, or was written by a newer version.

    Warns:
        CorruptMemoryWarning: the file is damaged. It is renamed (``memory.sqlite`` to ``memory.sqlite.corrupt-1``),
            never deleted, and an empty one takes its place.

    >>> import tempfile
    >>> class Numbers(SharedFile):
    ...     what, again, application_id, version = "list of numbers", "counted", 0x6E756D31, 1
    ...     tables = "CREATE TABLE numbers (number INTEGER);"
    >>> with tempfile.TemporaryDirectory() as folder, Numbers(f"{folder}/numbers.sqlite") as numbers:
    ...     with numbers.connection() as connection, transaction(connection):
    ...         _ = connection.execute("INSERT INTO numbers VALUES (7)")
    ...     with numbers.connection() as connection:
    ...         connection.execute("SELECT * FROM numbers").fetchall()
    [(7,)]
    """

    what: ClassVar[str]
    again: ClassVar[str]
    application_id: ClassVar[int]
    version: ClassVar[int]
    tables: ClassVar[str]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._was_good: tuple[int, int] | None = None
        _files.add(self)
        with self._repaired():
            self._connected()

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Give the open file to a block that looks after it (see `memory_upkeep`), others in this process waiting.

        A file that turns out to be damaged is moved aside, and the block left, as everywhere in this class.
        """
        with self._repaired():
            yield self._connected()

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._forget()
            self._opened = _identity(self.path)
            self._connection = self._open()
            self._opened = self._was_good = _identity(self.path)
        return self._connection

    def _begin_after_fork(self) -> None:
        """Leave to the parent what is the parent's: in a child, before anything else runs there."""
        # A thread that was at work holds the lock, and it does not exist here: nobody would ever release it.
        self._lock = threading.RLock()
        if self._connection is not None:
            # A connection must not cross a fork, not even to be closed: its locks belong to the parent.
            _inherited.append(self._connection)
            self._connection = None

    def _forget(self) -> None:
        """Drop what is known of the file besides its connection: another may have taken its place."""

    @contextlib.contextmanager
    def _repaired(self) -> Iterator[None]:
        """Run a block; when the file turns out to be damaged, move it aside and leave the block."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise self._explained(error) from error
                if not _is_damage(error):
                    raise
                self.close()
                if self._opened != self._was_good and not self._was_ours():
                    raise ConfigError(
                        f"{self.path}: found another file, expected a {self.what} or nothing; name another file"
                    ) from error
                self._move_aside(error)

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: its folder cannot be made ({error}); choose another place for the {self.what}"
            ) from error
        connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._is_ours(connection):
            with transaction(connection):
                if not self._is_ours(connection):  # another process may have been faster
                    for statement in self.tables.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {self.application_id}")
                    connection.execute(f"PRAGMA user_version = {self.version}")
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last batches, which are then computed again; it cannot damage the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -65536")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Say whether the file is of this kind; False for an empty one."""
        # One statement, so that it sees the file before or after another process made its tables, and never between.
        application, version, tables = connection.execute(_STATE).fetchone()
        if application == self.application_id and version == self.version:
            return True
        if application == self.application_id:
            raise ConfigError(
                f"{self.path}: the {self.what} has schema {version}, this version of spanferry reads {self.version}; "
                "upgrade spanferry, or name another file"
            )
        if tables:
            raise ConfigError(f"{self.path}: this SQLite database is not a {self.what}; name another file")
        return False

    def _was_ours(self) -> bool:
        """Say whether a file that cannot be read still shows that it is of this kind."""
        try:
            with self.path.open("rb") as file:
                head = file.read(_APPLICATION_ID.stop)
        except FileNotFoundError:  # another process moved it aside
            return True
        owner = self.application_id.to_bytes(4, "big")
        return not head or (head.startswith(_HEADER) and head[_APPLICATION_ID] in (owner, b""))

    def _explained(self, error: sqlite3.OperationalError) -> BuildError | ConfigError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
            return ConfigError(
                f"{self.path}: the {self.what} cannot be written ({error}); check the path and its rights"
            )
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return BuildError(
                f"{self.path}: another process has held the {self.what} for {_WAIT_SECONDS:.0f} seconds; "
                "end it, or give this build a memory of its own"
            )
        return BuildError(f"{self.path}: the {self.what} failed: {error}; make room on its disk, or name another file")

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file and its log, unless another process has done so already."""
        from filelock import FileLock  # here: a file is hardly ever damaged, and every build opens one

        path = self.path
        # The lock's file stays: one that is removed while others wait for it lets two of them in.
        with FileLock(path.with_name(f".{path.name}.lock")):
            if self._opened is None or _identity(path) != self._opened:
                return
            number = 1
            while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
                number += 1
            for suffix in ("-wal", "-shm", ""):  # the file itself last: a new one must not find an old log
                with contextlib.suppress(FileNotFoundError):
                    path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        warnings.warn(
            f"{path}: the {self.what} is damaged ({error}). It was moved to {aside} and an empty one begun; what it "
            f"held will be {self.again} again",
            CorruptMemoryWarning,
            stacklevel=5,
        )


_files: WeakSet[SharedFile] = WeakSet()
_inherited: list[sqlite3.Connection] = []


def _begin_after_fork() -> None:
    for each in _files:
        each._begin_after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_after_fork)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block whose statements take effect together, at its end, or not at all."""
    # IMMEDIATE takes the write lock at once: two readers that both wish to write would wait for each other for ever.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell one file from another that took its name."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
