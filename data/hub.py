"""Files to a dataset repository on the hub: one commit that holds what changed, or none at all.

What is there already, by checksum, is not sent again. The commit names the commit that it was planned on, so that two
publishers never mix: the later one is refused by the hub, looks again, and plans anew. A tag is set when the commit
stands. The hub's client retries uploads but not commits (as of 2.4), so that this is done here.

Tokens come from the hub's own places (``HF_TOKEN``, ``hf auth login``) and are in no message.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanferry.data.errors import BuildError, ConfigError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MARK: Final = "spanferry"
"""The tag in a card that says that spanferry may replace the dataset."""

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_OVERTAKEN: Final = frozenset({409, 412})
_WAITS: Final = (1.0, 4.0, 15.0, 60.0)
_WRITE_ROLES: Final = frozenset({"admin", "write", "contributor"})


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit would do to a repository.

    Attributes:
        head: the commit that it is planned on; None for a repository that is not there yet.
        upload: paths to send, sorted.
        remove: paths of an earlier publication that have no place any more, sorted.
        same: paths that are there as they are, sorted.
    """

    head: str | None
    upload: tuple[str, ...]
    remove: tuple[str, ...]
    same: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What was done.

    Attributes:
        repo: ``namespace/name``.
        url: where people look at it.
        commit: the commit that holds the dataset.
        changes: what it changed.
        tag: the tag on that commit; None without.
    """

    repo: str
    url: str
    commit: str
    changes: Changes
    tag: str | None


class Hub:
    """A hub, and a token to write to it.

    Args:
        endpoint: address; None is the hub's own, or ``HF_ENDPOINT``.
        wait: how long to wait before another try; to be replaced in tests.
        say: told when something is tried again.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        wait: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        from huggingface_hub import HfApi

        self._api: HfApi = HfApi(endpoint=endpoint)
        self._wait, self._say = wait, say
        self._reached = False

    def check(self, repo: str, *, tag: str | None = None) -> None:
        """Find out, before anything is sent, whether ``repo`` can be written.

        Raises:
            ConfigError: the name is none, there is no token, the hub does not know it, it may only read, or it may
                not write to that namespace; the repository holds somebody else's work; the tag is taken.
            BuildError: the hub cannot be reached.
        """
        account = self._account()
        namespace = _namespace(repo, account["name"])
        role = account.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise ConfigError(f"the token of {account['name']} may only read: make one that may write, see {_TOKENS}")
        organisations = {each["name"]: each.get("roleInOrg") for each in account.get("orgs", [])}
        if namespace != account["name"] and organisations.get(namespace, "read") not in _WRITE_ROLES:
            known = ", ".join([account["name"], *(name for name, own in organisations.items() if own in _WRITE_ROLES)])
            raise ConfigError(f"--repo {repo}: the token of {account['name']} cannot write there, but to: {known}")
        head, files = self._contents(repo)
        if head is not None and set(files) - {".gitattributes"} and not self._is_ours(repo, head, files):
            raise ConfigError(
                f"--repo {repo}: holds {len(files)} files that spanferry did not publish (its card lacks the tag "
                f"{MARK!r}); name another repository"
            )
        if tag is not None and head is not None:
            self._check_tag(repo, tag, head)

    def publish(
        self, repo: str, files: Mapping[str, Path], *, message: str, private: bool = False, tag: str | None = None
    ) -> Published:
        """Make ``repo`` hold exactly ``files``; make it if it is not there. A repository keeps the privacy it has.

        Args:
            repo: ``namespace/name``.
            files: path in the repository -> local file.
            message: of the commit.
            private: of a repository that is made.
            tag: put on the commit when it stands.

        Raises:
            ConfigError: as `check`; or the hub refuses the card.
            BuildError: the hub failed, again and again; the repository is as it was before, but that the tag may be
                missing where it says so.
        """
        self.check(repo, tag=tag)
        self._check_card(files)
        with _readable(repo):
            self._retried(lambda: self._api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True))
        commit, changes = self._commit(repo, files, message, tag)
        if tag is not None:
            self._put_tag(repo, tag, commit)
        return Published(repo, f"{self._api.endpoint}/datasets/{repo}", commit, changes, tag)

    def changes(self, repo: str, files: Mapping[str, Path]) -> Changes:
        """Return what `publish` would change."""
        head, there = self._contents(repo)
        same = {path for path, file in files.items() if path in there and _is_same(file, there[path])}
        removed = there.keys() - files.keys() - {".gitattributes"}
        return Changes(head, tuple(sorted(files.keys() - same)), tuple(sorted(removed)), tuple(sorted(same)))

    def _commit(self, repo: str, files: Mapping[str, Path], message: str, tag: str | None) -> tuple[str, Changes]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.errors import HfHubHTTPError

        for wait in (*_WAITS, None):
            changes = self.changes(repo, files)
            if not (changes.upload or changes.remove) and changes.head is not None:
                return changes.head, changes
            if tag is not None and changes.head is not None:  # it would stay behind, on a commit that is there
                self._check_tag(repo, tag, None)
            # Made anew for each try: the client writes into them.
            operations: list[Any] = [
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(files[path])) for path in changes.upload
            ]
            operations += [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in changes.remove]
            try:
                with _readable(repo):
                    done = self._api.create_commit(
                        repo,
                        operations,
                        commit_message=message,
                        repo_type="dataset",
                        parent_commit=changes.head,
                    )
                return str(done.oid), changes
            except BuildError as error:
                cause = error.__cause__
                status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
                if wait is None or (status is not None and status not in _PASSING | _OVERTAKEN):
                    raise
                what = "somebody else published meanwhile" if status in _OVERTAKEN else str(error)
                self._say(f"{what}; looking again in {wait:g} s")
                self._wait(wait)
        raise AssertionError("the last try returns or raises")

    def _account(self) -> dict[str, Any]:
        from huggingface_hub import get_token

        if get_token() is None:
            raise ConfigError(f"no token for the hub: set HF_TOKEN, or run `hf auth login`; see {_TOKENS}")
        with _readable("the hub"):
            account: dict[str, Any] = self._retried(self._api.whoami)
        return account

    def _contents(self, repo: str) -> tuple[str | None, dict[str, Any]]:
        """Return the newest commit and its files; (None, {}) where there is no such repository."""
        from huggingface_hub import RepoFile
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with _readable(repo):
                head = self._retried(lambda: self._api.dataset_info(repo)).sha
                entries = self._retried(
                    lambda: list(self._api.list_repo_tree(repo, recursive=True, revision=head, repo_type="dataset"))
                )
        except BuildError as error:
            if isinstance(error.__cause__, RepositoryNotFoundError):
                return None, {}
            raise
        return head, {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _is_ours(self, repo: str, head: str, files: Mapping[str, Any]) -> bool:
        from huggingface_hub import DatasetCard

        if "README.md" not in files:
            return False
        with _readable(repo):
            path = self._retried(
                lambda: self._api.hf_hub_download(repo, "README.md", repo_type="dataset", revision=head)
            )
        return MARK in (DatasetCard.load(Path(path), ignore_metadata_errors=True).data.get("tags") or ())

    def _check_card(self, files: Mapping[str, Path]) -> None:
        """Have the hub look at the card's YAML: a license that it does not know, for one, is an error to it."""
        from huggingface_hub import DatasetCard

        card = DatasetCard.load(files["README.md"])
        try:
            with _readable("the card"):
                self._retried(lambda: card.validate(repo_type="dataset"))
        except ValueError as error:
            raise ConfigError(f"the hub refuses the card: {_reasons(str(error))}") from error

    def _check_tag(self, repo: str, tag: str, commit: str | None) -> None:
        """Refuse a tag that is there, unless it is on ``commit``."""
        taken = self._tags(repo)
        if tag in taken and taken[tag] != commit:
            raise ConfigError(f"--tag {tag}: {repo} has this tag on another commit already; name another tag")

    def _tags(self, repo: str) -> dict[str, str]:
        with _readable(repo):
            refs = self._retried(lambda: self._api.list_repo_refs(repo, repo_type="dataset"))
        return {each.name: each.target_commit for each in refs.tags}

    def _put_tag(self, repo: str, tag: str, commit: str) -> None:
        """Tag a commit that stands. The hub keeps a tag that is there where it is, so what came of it is looked at."""
        with _readable(repo):
            self._retried(
                lambda: self._api.create_tag(repo, tag=tag, revision=commit, repo_type="dataset", exist_ok=True)
            )
        on = self._tags(repo).get(tag, commit)  # one that is not listed yet was put there a moment ago
        if on != commit:
            raise BuildError(
                f"{repo}: commit {commit[:8]} was published, but somebody else put the tag {tag} on {on[:8]} "
                "meanwhile; publish again with another --tag"
            )

    def _retried(self, action: Callable[[], Any]) -> Any:
        """Return what ``action`` returns; try again, each time later, where the fault may pass."""
        from huggingface_hub.errors import HfHubHTTPError

        # The HTTP library's own base class, see `_readable`.
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

        for wait in _WAITS:
            try:
                found = action()
            except (HTTPError, ConnectionError) as error:
                what = "the connection to the hub broke"
                if isinstance(error, HfHubHTTPError):
                    self._reached, what = True, f"the hub answered {error.response.status_code}"
                    if error.response.status_code not in _PASSING:
                        raise
                elif not self._reached:  # there is no such hub, or no network
                    raise
                self._say(f"{what}; trying again in {wait:g} s")
                self._wait(wait)
            else:
                self._reached = True
                return found
        return action()


_TOKENS: Final = "https://huggingface.co/settings/tokens"


def _namespace(repo: str, user: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not marked so

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--repo {repo}: {error}") from None
    namespace, slash, _ = repo.partition("/")
    if not slash:
        raise ConfigError(f"--repo {repo}: expected namespace/name, for example {user}/{repo}")
    return namespace


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn the client's errors into one line each, the hub's own answer kept as the cause."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # The HTTP library's own base class, by way of the client, which has changed that library before.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # isort: skip

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ConfigError("the hub's client is told to stay offline: unset HF_HUB_OFFLINE to publish") from error
    except (HTTPError, ConnectionError, LocalEntryNotFoundError, RuntimeError) as error:
        # The client wraps what goes wrong in an upload (RuntimeError) or a download (LocalEntryNotFoundError).
        fault: BaseException | None = error
        while fault is not None and not isinstance(fault, HTTPError | ConnectionError):
            fault = fault.__cause__
        if fault is None:
            raise
        if not isinstance(fault, HfHubHTTPError):
            raise BuildError(
                f"{what}: the hub cannot be reached: {fault}; the same command goes on from here"
            ) from fault
        status = fault.response.status_code
        answers = {
            401: f"the hub does not accept the token; make another at {_TOKENS}",
            403: f"the token may not do this; see {_TOKENS}",
        }
        answer = answers.get(status, f"the hub answered {status}: {fault.server_message or 'no reason given'}")
        raise BuildError(f"{what}: {answer}") from fault


def _reasons(answer: str) -> str:
    """Return why the hub refuses a card, in one line: it answers in JSON, or in words.

    >>> _reasons('{"errors": [{"message": "license: unknown"}], "warnings": []}'), _reasons("- no YAML\\n- no tag")
    ('license: unknown', '- no YAML; - no tag')
    """
    with suppress(ValueError, KeyError, TypeError):
        return "; ".join(str(each["message"]) for each in json.loads(answer)["errors"])
    return "; ".join(answer.split("\n"))


def _is_same(file: Path, there: Any) -> bool:
    """Compare a local file with one on the hub: large files by SHA-256, others by git's own checksum."""
    size = file.stat().st_size
    if size != there.size:
        return False
    if there.lfs is not None:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == str(there.lfs.sha256)
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    digest.update(file.read_bytes())
    return digest.hexdigest() == str(there.blob_id)
