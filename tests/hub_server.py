"""A dataset hub on loopback, as much of one as the real client asks for: accounts, repositories, commits, tags, LFS.

Routes and answers are those that huggingface_hub 2.4 and datasets 5.2 were seen to use. It keeps everything in memory.
``Hub.fail`` lets a route fail so many times, ``Hub.before_commit`` runs between a commit's upload and the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import uvicorn
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
    fail: dict[str, list[int]] = field(default_factory=dict)
    before_commit: Callable[[], None] = lambda: None
    seen: list[str] = field(default_factory=list)
    url: str = ""

    def answers(self, route: str) -> Response | None:
        """Return the failure that was ordered for a route, if any is left."""
        self.seen.append(route)
        if waiting := self.fail.get(route):
            return JSONResponse({"error": f"ordered failure of {route}"}, status_code=waiting.pop(0))
        return None


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
        return JSONResponse({"success": True, "commitOid": identity, "commitUrl": where, "hookOutput": ""})

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
        return JSONResponse({"errors": [], "warnings": []})

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


@contextmanager
def running(tokens: dict[str, dict[str, Any]]) -> Iterator[Hub]:
    """Serve an empty hub on a free port of 127.0.0.1 for the time of a block."""
    hub = Hub(tokens)
    config = uvicorn.Config(Starlette(routes=_routes(hub)), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
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
