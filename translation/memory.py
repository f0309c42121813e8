"""Translation memory: what a model once translated, it need not translate again.

One SQLite file, shared by every process of a machine (write-ahead log; not for network file systems). An entry is
found by fingerprint of the translator, languages and text; nothing else is in the key, so that another batch size,
thread count or device finds it too.

Layout, for tens of millions of entries: rows are only ever appended, so that what was translated together lies
together; and a row is found by a 64-bit hash in an index of about 15 bytes an entry, which stays in the page cache
when the rows themselves (some hundred bytes each) no longer do. A hash as the table's own key would put every row of
a batch on another page. Each batch is sorted by hash, so that it walks the index in one direction. The hash only
finds candidates: the text itself is compared.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from spanferry.data.errors import BuildError, ConfigError
from spanferry.translation.base import Hypothesis

_APPLICATION_ID = 0x73706D31  # "spm1": tells our files from any other SQLite database
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    UNIQUE (fingerprint, source, target)
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL REFERENCES scopes (id),
    hash INTEGER NOT NULL,
    created INTEGER NOT NULL,
    score REAL,
    finished INTEGER NOT NULL,
    source_text TEXT NOT NULL,
    target_text TEXT NOT NULL
);
CREATE UNIQUE INDEX entries_by_hash ON entries (hash);
"""
_FIND = """
SELECT hash, source_text, target_text, score, finished FROM entries
WHERE hash IN (SELECT value FROM json_each(?)) AND scope = ?
"""
_KEEP = """
INSERT INTO entries (scope, hash, created, score, finished, source_text, target_text) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET scope = excluded.scope, created = excluded.created, score = excluded.score,
    finished = excluded.finished, source_text = excluded.source_text, target_text = excluded.target_text
"""
_BATCH = 10_000
_WAIT_SECONDS = 120.0


class CorruptMemoryWarning(UserWarning):
    """A translation memory could not be read; it was moved aside and an empty one begun."""


class TranslationMemory:
    """A file of remembered translations.

    Safe to use from several threads and processes, and after a fork. Use it as a context manager, or `close` it.

    Args:
        path: the file; it is made, with its folder, where there is none.

    Raises:
        ConfigError: the path cannot be written, or is some other database, or was written by a newer version.

    Warns:
        CorruptMemoryWarning: the file is damaged. It is renamed (``memory.sqlite`` to ``memory.sqlite.corrupt-1``),
            never deleted, and an empty one takes its place.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, TranslationMemory(Path(folder) / "memory.sqlite") as memory:
    ...     memory.put("model@1", "eng_Latn", "deu_Latn", {"Yes.": Hypothesis("Ja.", -0.25)})
    ...     memory.get("model@1", "eng_Latn", "deu_Latn", ["Yes.", "No."])
    ...     memory.get("model@2", "eng_Latn", "deu_Latn", ["Yes."])
    {'Yes.': Hypothesis(text='Ja.', score=-0.25, finished=True)}
    {}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        self._inherited: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._scopes: dict[tuple[str, str, str], int] = {}
        with self._repaired():
            self._connected()

    def get(self, fingerprint: str, source: str, target: str, texts: Sequence[str]) -> dict[str, Hypothesis]:
        """Return what is remembered of ``texts``; those that are not known are not in the answer.

        Args:
            fingerprint: see `Translator.fingerprint`.
            source: FLORES-200 code of the texts' language.
            target: FLORES-200 code of the language wanted.
            texts: any number of texts.
        """
        with self._repaired():
            connection = self._connected()
            scope = self._scope(connection, (fingerprint, source, target))
            if scope is None:
                return {}
            found: dict[str, Hypothesis] = {}
            hashes = sorted((_hash(scope, text), text) for text in set(texts))
            for at in range(0, len(hashes), _BATCH):
                wanted = dict(hashes[at : at + _BATCH])
                rows = connection.execute(_FIND, (f"[{','.join(map(str, wanted))}]", scope))
                for key, source_text, target_text, score, finished in rows:
                    if wanted[key] == source_text:
                        found[source_text] = Hypothesis(target_text, score, bool(finished))
            return found
        return {}  # the memory was damaged, and is empty now

    def put(self, fingerprint: str, source: str, target: str, translations: Mapping[str, Hypothesis]) -> None:
        """Remember ``translations`` (text -> what the model made of it), all or none; the last writer wins.

        Raises:
            BuildError: the disk is full, or another process has held the file for two minutes.
        """
        if not translations:
            return
        for _ in range(2):  # a second time when the file was damaged, into the empty one
            with self._repaired():
                connection = self._connected()
                now = int(time.time())
                with _transaction(connection):
                    scope = self._scope(connection, (fingerprint, source, target)) or self._new_scope(
                        connection, (fingerprint, source, target)
                    )
                    rows = [
                        (scope, _hash(scope, text), now, each.score, each.finished, text, each.text)
                        for text, each in translations.items()
                    ]
                    rows.sort(key=lambda row: row[1])
                    connection.executemany(_KEEP, rows)
                return

    def __len__(self) -> int:
        """Number of entries, of all models and languages."""
        with self._repaired():
            return int(self._connected().execute("SELECT count(*) FROM entries").fetchone()[0])
        return 0

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return the number of entries for each (fingerprint, source language, target language)."""
        query = "SELECT fingerprint, source, target, count(entries.id) FROM scopes JOIN entries ON scope = scopes.id"
        with self._repaired():
            rows = self._connected().execute(f"{query} GROUP BY scopes.id ORDER BY scopes.id")
            return {(fingerprint, source, target): number for fingerprint, source, target, number in rows}
        return {}

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
            if self._connection is not None and self._owner == os.getpid():
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
        if self._connection is None or self._owner != os.getpid():
            # A connection must not cross a fork, not even to be closed: its locks belong to the parent.
            self._inherited = self._connection
            self._scopes.clear()
            self._opened = _identity(self.path)
            self._connection, self._owner = _open(self.path), os.getpid()
            self._opened = _identity(self.path)
        return self._connection

    def _scope(self, connection: sqlite3.Connection, names: tuple[str, str, str]) -> int | None:
        if names not in self._scopes:
            query = "SELECT id FROM scopes WHERE fingerprint = ? AND source = ? AND target = ?"
            row = connection.execute(query, names).fetchone()
            if row is None:
                return None
            self._scopes[names] = row[0]
        return self._scopes[names]

    @staticmethod
    def _new_scope(connection: sqlite3.Connection, names: tuple[str, str, str]) -> int:
        # Not kept in `_scopes`: the transaction may yet be rolled back.
        query = "INSERT INTO scopes (fingerprint, source, target) VALUES (?, ?, ?) RETURNING id"
        return int(connection.execute(query, names).fetchone()[0])

    @contextlib.contextmanager
    def _repaired(self) -> Iterator[None]:
        """Run a block; when the file turns out to be damaged, move it aside and leave the block."""
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise _explained(self.path, error) from error
                if not _is_damage(error):
                    raise
                self.close()
                _move_aside(self.path, self._opened, error)


def _hash(scope: int, text: str) -> int:
    key = scope.to_bytes(8, "little")
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), signed=True)


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{path}: its folder cannot be made ({error}); choose another place for the memory"
        ) from error
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if not _is_ours(connection, path):
        with _transaction(connection):
            if not _is_ours(connection, path):  # another process may have been faster
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    # A power cut may lose the last batches, which are then translated again; it cannot damage the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Say whether the file is a memory; False for an empty one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == _APPLICATION_ID and version == _SCHEMA_VERSION:
        return True
    if application == _APPLICATION_ID:
        raise ConfigError(
            f"{path}: the translation memory has schema {version}, this version of spanferry reads {_SCHEMA_VERSION}; "
            "upgrade spanferry, or name another file"
        )
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise ConfigError(f"{path}: this SQLite database is not a translation memory; name another file")
    return False


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
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


def _explained(path: Path, error: sqlite3.OperationalError) -> BuildError | ConfigError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}:
        return ConfigError(f"{path}: the translation memory cannot be written ({error}); check the path and its rights")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BuildError(
            f"{path}: another process has held the translation memory for {_WAIT_SECONDS:.0f} seconds; "
            "end it, or give this build a memory of its own"
        )
    return BuildError(f"{path}: the translation memory failed: {error}; make room on its disk, or name another file")


def _move_aside(path: Path, opened: tuple[int, int] | None, error: sqlite3.DatabaseError) -> None:
    """Rename a damaged memory and its log, unless another process has done so already."""
    guard = path.with_name(path.name + ".guard")
    with contextlib.closing(sqlite3.connect(guard, timeout=_WAIT_SECONDS, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")  # a lock that every platform has, and that a crash lets go
        if opened is None or _identity(path) != opened:
            return
        number = 1
        while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):  # the file itself last: a new one must not find an old log
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    with contextlib.suppress(OSError):
        guard.unlink()
    warnings.warn(
        f"{path}: the translation memory is damaged ({error}). It was moved to {aside} and an empty one begun; what it "
        "held will be translated again",
        CorruptMemoryWarning,
        stacklevel=5,
    )
