"""A dataset hub on loopback, as much of one as the real client asks for: accounts, repositories, commits, tags, LFS.

Routes and answers are those that huggingface_hub 2.4 and datasets 5.2 were seen to use. It keeps everything in memory.
``Hub.fail`` lets a route fail so many times, ``Hub.before_commit`` runs between a commit's upload and the commit.

To rehearse publishing, start it: ``python tests/hub_server.py --port 8123`` prints what to set in another terminal.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class Repo:
    """Commits in order, each a whole tree: path -> bytes."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        name = self.tags.get(revision, self.head if revision == "main" else revision)
        return next((commit for commit in reversed(self.commits) if commit[0] == name), None)

    def commit(self, files: dict[str, bytes], message: str) -> str:
        identity = hashlib.sha1(f"{len(self.commits)}{message}{sorted(files)}".encode()).hexdigest()
        self.commits.append((identity, files))
        return identity


@dataclass
class Hub:
    """The state of the server, for tests to look at and to meddle with."""

    tokens: dict[str, dict[str, Any]]
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    fail: dict[str, list[int | str]] = field(default_factory=dict)
    before_commit: Callable[[], None] = lambda: None
    seen: list[str] = field(default_factory=list)
    url: str = ""

    def answers(self, route: str) -> Response | None:
        """Return the failure that was ordered for a route, if any is left: a status, or `CUT`."""
        self.seen.append(route)
        waiting = self.fail.get(route)
        if not waiting or waiting[0] == CUT_AFTER:
            return None
        order = waiting.pop(0)
        if isinstance(order, str):
            return _Cut()
        return JSONResponse({"error": f"ordered failure of {route}"}, status_code=order)

    def done(self, route: str, answer: Response) -> Response:
        """Return the answer of a route that has done its work, or cut the connection if `CUT_AFTER` was ordered."""
        if (waiting := self.fail.get(route)) and waiting[0] == CUT_AFTER:
            waiting.pop(0)
            return _Cut()
        return answer


CUT, CUT_AFTER = "cut", "cut after"
"""Orders for `Hub.fail`: the connection ends in the middle of the answer, the work not done, or done."""


class _Cut(Response):
    """An answer that promises more than it sends, so that the server closes the connection."""

    def __init__(self) -> None:
        super().__init__(b"{", headers={"content-length": "100"})


def _missing(code: str) -> Response:
    return JSONResponse({"error": code}, status_code=404, headers={"X-Error-Code": code})


def _name(request: Request) -> str:
    return f"{request.path_params['namespace']}/{request.path_params['name']}"


def _is_large(path: str) -> bool:
    return path.endswith(".parquet")


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    found: dict[str, Any] = {"type": "file", "oid": oid, "size": len(content), "path": path}
    if _is_large(path):
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return found


def _routes(hub: Hub) -> list[Route]:  # noqa: PLR0915  (one route after the other)
    def account(request: Request) -> dict[str, Any] | None:
        return hub.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    async def whoami(request: Request) -> Response:
        if (failure := hub.answers("whoami")) is not None:
            return failure
        found = account(request)
        if found is None:
            return JSONResponse({"error": "Invalid credentials in Authorization header"}, status_code=401)
        return JSONResponse(found)

    async def create(request: Request) -> Response:
        if (failure := hub.answers("create")) is not None:
            return failure
        wanted = await request.json()
        name = f"{wanted.get('organization') or account(request)['name']}/{wanted['name']}"  # type: ignore[index]
        if name in hub.repos:
            return JSONResponse({"error": "exists", "url": f"{hub.url}/datasets/{name}"}, status_code=409)
        private = wanted.get("private") or wanted.get("visibility") == "private"
        hub.repos[name] = Repo(private=bool(private))
        hub.repos[name].commit({".gitattributes": b"*.parquet filter=lfs\n"}, "initial")
        return JSONResponse({"url": f"{hub.url}/datasets/{name}", "name": name})

    def repo_of(request: Request) -> Repo | None:
        repo = hub.repos.get(_name(request))
        return None if repo is None or (repo.private and account(request) is None) else repo

    async def info(request: Request) -> Response:
        if (failure := hub.answers("info")) is not None:
            return failure
        if (repo := repo_of(request)) is None:
            return _missing("RepoNotFound")
        found = repo.tree(request.path_params.get("revision", "main"))
        if found is None:
            return _missing("RevisionNotFound")
        siblings = [{"rfilename": path} for path in sorted(found[1])]
        name = _name(request)
        return JSONResponse(
            {"_id": name, "id": name, "sha": found[0], "private": repo.private, "siblings": siblings, "tags": []}
        )

    async def tree(request: Request) -> Response:
        if (repo := repo_of(request)) is None:
            return _missing("RepoNotFound")
        found = repo.tree(request.path_params["revision"])
        if found is None:
            return _missing("RevisionNotFound")
        under = request.path_params.get("path", "").rstrip("/")
        inside = {path: content for path, content in found[1].items() if not under or path.startswith(f"{under}/")}
        if under and not inside:
            return _missing("EntryNotFound")
        entries = [_entry(path, content) for path, content in sorted(inside.items())]
        parents = {str(parent) for path in inside for parent in PurePosixPath(path).parents} - {".", under}
        inner = {path for path in parents if not under or path.startswith(f"{under}/")}
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(inner)]
        if request.query_params.get("recursive", "false").lower() != "true":
            entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(f"{under}/")]
        return JSONResponse(entries)

    async def refs(request: Request) -> Response:
        if (repo := repo_of(request)) is None:
            return _missing("RepoNotFound")
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit} for name, commit in repo.tags.items()
        ]
        branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}]
        return JSONResponse({"branches": branches, "converts": [], "tags": tags})

    async def tag(request: Request) -> Response:
        if (failure := hub.answers("tag")) is not None:
            return failure
        repo, wanted = hub.repos[_name(request)], (await request.json())["tag"]
        if wanted in repo.tags:
            return JSONResponse({"error": "exists"}, status_code=409)
        repo.tags[wanted] = request.path_params["revision"]
        return JSONResponse({})

    async def preupload(request: Request) -> Response:
        if (failure := hub.answers("preupload")) is not None:
            return failure
        files = (await request.json())["files"]
        return JSONResponse(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if _is_large(each["path"]) else "regular",
                        "shouldIgnore": False,
                    }
                    for each in files
                ]
            }
        )

    async def batch(request: Request) -> Response:
        wanted = (await request.json())["objects"]
        objects = []
        for each in wanted:
            known = each["oid"] in hub.blobs
            actions = {} if known else {"actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}}
            objects.append({"oid": each["oid"], "size": each["size"], "authenticated": True, **actions})
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def put(request: Request) -> Response:
        if (failure := hub.answers("put")) is not None:
            return failure
        content = await request.body()
        assert hashlib.sha256(content).hexdigest() == request.path_params["oid"]
        hub.blobs[request.path_params["oid"]] = content
        return Response()

    async def commit(request: Request) -> Response:
        hub.before_commit()
        if (failure := hub.answers("commit")) is not None:
            return failure
        found = account(request)
        if found is None or found["auth"]["accessToken"]["role"] == "read":
            return JSONResponse({"error": "forbidden"}, status_code=403)
        repo = hub.repos[_name(request)]
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in {None, repo.head}:
            return JSONResponse({"error": "a commit has happened since"}, status_code=412)
        files = dict(repo.commits[-1][1])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        identity = repo.commit(files, header["summary"])
        where = f"{hub.url}/datasets/{_name(request)}/commit/{identity}"
        answer = {"success": True, "commitOid": identity, "commitUrl": where, "hookOutput": ""}
        return hub.done("commit", JSONResponse(answer))

    async def resolve(request: Request) -> Response:
        if (repo := repo_of(request)) is None:
            return _missing("RepoNotFound")
        found = repo.tree(request.path_params["revision"])
        path = request.path_params["path"]
        if found is None or path not in found[1]:
            return _missing("EntryNotFound" if found else "RevisionNotFound")
        content = found[1][path]
        entry = _entry(path, content)
        headers = {
            "X-Repo-Commit": found[0],
            "ETag": f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"',
            "Accept-Ranges": "bytes",
        }
        wanted = request.headers.get("range")
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return Response(content[start : end + 1], status_code=206, headers=headers)
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(len(content))})
        return Response(content, headers=headers)

    async def valid(request: Request) -> Response:
        if (failure := hub.answers("valid")) is not None:
            return failure
        wanted = await request.json()
        errors = [{"message": message} for message in card_errors(wanted["content"])]
        return JSONResponse({"errors": errors, "warnings": []}, status_code=400 if errors else 200)

    async def nothing(request: Request) -> Response:
        return _missing("EntryNotFound")

    repo = "/api/datasets/{namespace}/{name}"
    files = "/datasets/{namespace}/{name}"
    return [
        Route("/api/whoami-v2", whoami),
        Route("/api/repos/create", create, methods=["POST"]),
        Route("/api/validate-yaml", valid, methods=["POST"]),
        Route(repo, info),
        Route(f"{repo}/revision/{{revision}}", info),
        Route(f"{repo}/refs", refs),
        Route(f"{repo}/tree/{{revision}}", tree),
        Route(f"{repo}/tree/{{revision}}/{{path:path}}", tree),
        Route(f"{repo}/tag/{{revision}}", tag, methods=["POST"]),
        Route(f"{repo}/preupload/{{revision}}", preupload, methods=["POST"]),
        Route(f"{repo}/commit/{{revision}}", commit, methods=["POST"]),
        Route(f"{files}.git/info/lfs/objects/batch", batch, methods=["POST"]),
        Route("/lfs/{oid}", put, methods=["PUT"]),
        Route(f"{files}/resolve/{{revision}}/{{path:path}}", resolve, methods=["GET", "HEAD"]),
        Route("/{rest:path}", nothing, methods=["GET", "HEAD", "POST"]),
    ]


def token(name: str, role: str = "write", **organisations: str) -> dict[str, Any]:
    """Return what the hub says of a token: whose it is, what it may do, and the roles in organisations."""
    orgs = [{"name": each, "roleInOrg": own} for each, own in organisations.items()]
    return {"type": "user", "name": name, "orgs": orgs, "auth": {"accessToken": {"role": role}}}


def card_errors(card: str) -> list[str]:
    """Return what the hub would refuse in the YAML of a dataset card.

    The fields and the values that they may have are those of the hub's specification of dataset cards
    (https://github.com/huggingface/hub-docs/blob/main/datasetcard.md), as far as our cards use them.
    """
    if not card.startswith("---\n") or (end := card.find("\n---\n", 4)) < 0:
        return ["no YAML at the head of the card"]
    data = yaml.safe_load(card[4:end])
    found = [f"{name}: unknown field" for name in data if name not in _KNOWN]
    for name, allowed in _KNOWN.items():
        values = data.get(name, [])
        if isinstance(allowed, re.Pattern):
            listed = values if isinstance(values, list) else [values]
            found += [f"{name}: {value!r} is not allowed" for value in listed if not allowed.fullmatch(str(value))]
    for config in data.get("configs", []):
        if not config.get("config_name") or not all({"split", "path"} <= each.keys() for each in config["data_files"]):
            found.append(f"configs: {config} has no name, split or path")
    return found


_KNOWN: dict[str, re.Pattern[str] | None] = {
    "pretty_name": None,
    "configs": None,
    "tags": None,
    "language": re.compile("[a-z]{2,3}"),
    "license": re.compile("unknown|other|mit|apache-2.0|cc0-1.0|cc-by(-nc)?(-sa|-nd)?-(2.0|2.5|3.0|4.0)"),
    "annotations_creators": re.compile("crowdsourced|found|expert-generated|machine-generated|no-annotation|other"),
    "language_creators": re.compile("crowdsourced|found|expert-generated|machine-generated|other"),
    "multilinguality": re.compile("monolingual|multilingual|translation|other"),
    "source_datasets": re.compile("original|extended\\|.+"),
    "size_categories": re.compile("n<1K|1K<n<10K|10K<n<100K|100K<n<1M|1M<n<10M|n>10M"),
    "task_categories": re.compile("token-classification|text-classification|multiple-choice|question-answering"),
    "task_ids": re.compile(
        "named-entity-recognition|slot-filling|multiple-choice-qa|natural-language-inference|extractive-qa"
    ),
}


def _server(hub: Hub, port: int) -> uvicorn.Server:
    # Connections that were cut as ordered are no errors to be logged.
    return uvicorn.Server(
        uvicorn.Config(Starlette(routes=_routes(hub)), host="127.0.0.1", port=port, log_level="critical")
    )


@contextmanager
def running(tokens: dict[str, dict[str, Any]]) -> Iterator[Hub]:
    """Serve an empty hub on a free port of 127.0.0.1 for the time of a block."""
    hub = Hub(tokens)
    server = _server(hub, 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    hub.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join()


def main() -> None:
    """Serve a hub that knows one token until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A dataset hub on this machine, to rehearse publishing.")
    parser.add_argument("--port", type=int, default=8123)
    port = parser.parse_args().port
    hub = Hub({"hf_rehearsal": token("me")}, url=f"http://127.0.0.1:{port}")
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(f"port {port}: {error.strerror}; name another one by --port")
        bound.listen()
        print("a hub on this machine, which forgets everything when it ends (Ctrl-C); in another terminal:\n")
        # The client's newer way of uploading has a server of its own, which is not here.
        print(f"  export HF_ENDPOINT={hub.url} HF_TOKEN=hf_rehearsal HF_HUB_DISABLE_XET=1\n")
        print("then publish to --repo me/NAME", flush=True)
        with suppress(KeyboardInterrupt):
            _server(hub, port).run(sockets=[bound])


if __name__ == "__main__":
    main()
