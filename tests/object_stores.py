"""Object stores on loopback, each in a process of its own: `python tests/object_stores.py s3|gcs PORT`.

S3 is moto's server, Google Cloud Storage that of gcp-storage-emulator. Both answer one request at a time: two
conditional writes at once then come out as the real stores promise it, where threads may let both through. The emulator
does not know the condition (ifGenerationMatch=0) that gcsfs sends with an exclusive write; it is taught it here.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

BUCKET = "bucket"


@dataclass(frozen=True)
class Server:
    """A server that runs: its address, and the file in which it notes what it was asked."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str) -> list[str]:
        """Return the paths of all requests of one method so far, without the bucket."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line.split(f'"{method} /{BUCKET}/')[1].split()[0] for line in lines if f'"{method} /{BUCKET}/' in line]


@contextmanager
def running(kind: str, log: Path) -> Iterator[Server]:
    """Start a server, with one empty bucket, and stop it at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(free.getsockname()[1], log)
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, __file__, kind, str(server.port)], stdout=stream, stderr=stream)
    try:
        end = time.monotonic() + 120
        while not _answers(server.url):
            assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/", timeout=10):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


class Cable:
    """A way to a server that can be cut: the port answers only while it is whole."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = self._listen(0)
        self.port: int = self._listening.getsockname()[1]

    def cut(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # what waits in accept, wakes up
        self._listening.close()

    def mend(self) -> None:
        self._listening = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._connect, args=listening.accept()[:1], daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def serve_s3(port: int) -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=False)


def serve_gcs(port: int) -> None:
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    insert = objects.insert

    def conditional(request: Any, response: Any, storage: Any, *rest: Any, **named: Any) -> None:
        if request.query.get("ifGenerationMatch") == ["0"]:
            with suppress(NotFound):
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        insert(request, response, storage, *rest, **named)

    objects.insert = conditional
    from gcp_storage_emulator.server import create_server  # it takes the handlers as they are when it is imported

    create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET).run()


if __name__ == "__main__":
    {"s3": serve_s3, "gcs": serve_gcs}[sys.argv[1]](int(sys.argv[2]))
