"""Publishing as a Prefect flow, so that a schedule can do it after a build."""
# No `from __future__ import annotations`: Prefect reads the parameters' types when a flow is served.

import os
from dataclasses import asdict
from typing import Any

# See `spanferry.flows.translate_train`: read when Prefect is imported.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "8")

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact

from spanferry.data.hub import Changes, Published
from spanferry.flows.publish import Choices
from spanferry.flows.publish import publish as publish_build


@flow(name="publish")
def publish(  # noqa: PLR0917  (the form that Prefect shows)
    build: str,
    repo: str,
    private: bool = False,
    tag: str | None = None,
    source: bool = False,
    pairs: bool = False,
    license: str | None = None,
) -> dict[str, Any]:
    """Publish a finished build on the dataset hub; the token is the one of the machine that runs the flow.

    Args:
        build: folder or URL of a finished build.
        repo: namespace/name of the dataset repository.
        private: make the repository private, if it is made.
        tag: of the commit.
        source: publish the source rows too.
        pairs: publish translation pairs too.
        license: of the data, if the build does not say it.
    """
    log = get_run_logger()
    choices = Choices(private=private, tag=tag, source=source, pairs=pairs, license=license)
    published = publish_build(build, repo, choices, say=log.info)
    create_link_artifact(link=published.url, link_text=repo, key="dataset", description=f"commit {published.commit}")
    return asdict(published)


def run_as_flow(build: str, repo: str, choices: Choices) -> Published:
    """Run `publish` here and now, and return what plain publishing returns."""
    found = publish(build, repo, **asdict(choices))
    return Published(**{**found, "changes": Changes(**found["changes"])})
