"""An S3 server on loopback: moto's, in a process of its own, `python tests/s3_server.py PORT`.

It answers one request at a time. Two conditional writes at once (If-None-Match) then come out as S3 promises it, where
moto with threads may let both through.
"""

from __future__ import annotations

import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
