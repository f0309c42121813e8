"""A finished build to the dataset hub: what is checked before, what is sent, what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spanferry.data.errors import BuildError, ConfigError
from spanferry.data.hub import Hub, Published
from spanferry.flows.edition import Edition, describe, make_edition
from spanferry.flows.folder import BuildFolder
from spanferry.flows.output_place import not_loadable
from spanferry.flows.places import fetched
from spanferry.translation.licenses import conflict


@dataclass(frozen=True)
class Choices:
    """What of a build is published, and how it is called.

    Attributes:
        private: whether a repository that is made is private.
        tag: put on the commit.
        source: publish the source rows too.
        pairs: publish translation pairs too.
        license: of the data, where the build's configuration does not say it.
    """

    private: bool = False
    tag: str | None = None
    source: bool = False
    pairs: bool = False
    license: str | None = None


def publish(build: str | Path, repo: str, choices: Choices, *, say: Callable[[str], None]) -> Published:
    """Publish a finished build as one commit; what the repository has already is not sent again.

    Everything that can be known to be wrong is found before anything is sent, and a failure leaves the repository as it
    was.

    Args:
        build: the build's folder, or its URL in shared storage.
        repo: ``namespace/name``.
        choices: what is published.
        say: told, line by line, what is being done.

    Raises:
        ConfigError: the token, the name, the license or the tag does not allow it.
        BuildError: the build is not finished, or the hub failed again and again.
    """
    hub = Hub(say=say)
    hub.check(repo, tag=choices.tag)  # before the folder is made, which may take a while
    folder = _whole(build)
    with folder.claimed():
        edition = prepare(folder.root, choices, repo)
        message = _message(edition)
        return hub.publish(repo, edition.files, message=message, private=choices.private, tag=choices.tag)


def rehearse(build: str | Path, choices: Choices, repo: str | None = None) -> list[str]:
    """Do everything but send; return what would be sent, as lines.

    ``repo`` is what the card calls the dataset; no hub is asked whether it may be written.

    Raises:
        ConfigError, BuildError: as `publish`, as far as they need no hub.
    """
    folder = _whole(build)
    with folder.claimed():
        edition = prepare(folder.root, choices, repo)
        return [*describe(edition), f"the folder as it would be on the hub: {edition.root}"]


def prepare(build: str | Path, choices: Choices, repo: str | None = None) -> Edition:
    """Make the folder that is published, hold it against licenses, and load it back as its users will."""
    edition = make_edition(build, source=choices.source, pairs=choices.pairs, license_=choices.license, repo=repo)
    check_license(edition, private=choices.private)
    load_back(edition)
    return edition


def check_license(edition: Edition, *, private: bool) -> None:
    """Refuse what the licenses of data and model do not allow.

    Raises:
        ConfigError: no license is known, or the licenses do not go together.
    """
    if edition.license == "unknown" and not private:
        raise ConfigError(
            "the license of the data is not known: say it in the build's source.license, or by --license, as the hub "
            "writes it (cc-by-4.0); a --private repository needs none"
        )
    if (why := conflict(edition.license, edition.model_license)) is not None:
        raise ConfigError(f"cannot be published: {why}")


def load_back(edition: Edition) -> None:
    """Load the first row of every config as its users will, and hold the numbers of rows against the report.

    Raises:
        BuildError: something is not as it was built.
    """
    import pyarrow.parquet as pq

    from spanferry.data.hf import first_row

    for config, splits in edition.configs.items():
        for split, rows in splits.items():
            files = sorted((edition.root / "data" / config).glob(f"{split}-*.parquet"))
            found = sum(pq.read_metadata(file).num_rows for file in files)
            if found != rows:
                raise BuildError(f"{edition.root}: {config}/{split} has {found:,} rows, the report says {rows:,}")
            if not rows:
                continue
            with TemporaryDirectory(prefix="spanferry-") as cache:
                row = first_row(edition.root, config, split, cache)
            if row is None:
                raise BuildError(f"{edition.root}: {config}/{split} loads, but without a row")


def _message(edition: Edition) -> str:
    """Return the commit's message: what is in it, and the line that reproduces it."""
    report: dict[str, Any] = BuildFolder.read_json(edition.root / "report.json") or {}
    return f"spanferry {report['spanferry']}: {', '.join(edition.configs)}\n\n{report['signature']}"


def _whole(build: str | Path) -> BuildFolder:
    """Return the folder of a finished build; who publishes from it holds it, so that no build changes it meanwhile."""
    folder = fetched(build)
    if not folder.report.is_file():
        raise BuildError(f"{build}: no finished build is there; run `spanferry build` first")
    if (problem := not_loadable(folder.root)) is not None:
        raise BuildError(f"{build}: {problem}, so it cannot be loaded back; rename the folder")
    return folder
