"""Translate-test as a Prefect flow: the same shards, tasks and functions as `spanferry.flows.translate_train`."""
# No `from __future__ import annotations`: Prefect reads the parameters' types when a flow is served.

from typing import Any

from spanferry.flows.predict_config import TranslateTestConfig

from spanferry.flows.translate_train import run_shards  # isort: skip  (it says how Prefect is to start)
from prefect import flow  # isort: skip


@flow(name="translate-test")
def translate_test(
    config: TranslateTestConfig, only: list[str] | None = None, only_failed: bool = False
) -> dict[str, Any]:
    """Predict on test data by way of a translation, or do what is missing of that; return the report and the costs.

    Args:
        config: the settings of the build, the same as in a configuration file.
        only: some of the languages; the others stay as they are.
        only_failed: of these, do only the shards that failed before.
    """
    return run_shards(config, only, only_failed)
