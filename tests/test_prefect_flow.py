"""The build as a Prefect flow, on a real temporary server: the same bytes as a plain build, one task a shard."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import BuildError, DataError
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.cost import costs

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

pytestmark = [
    pytest.mark.slow,
    # Prefect's own: its client, its use of pydantic, and sockets of the server that it stops.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def flows(prefect_server: None) -> Any:
    """The flow's module, with a Prefect server behind it."""
    from spanferry.flows import translate_train

    return translate_train


def test_the_flow_writes_the_bytes_of_the_plain_build(
    flows: Any, build_settings: Settings, tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_settings["output"] = "out"
    results = {}
    for name in ("plain", "flow"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        build_settings["run"]["memory"] = "memory.sqlite"
        config = parse_config(build_settings)
        results[name] = build(config) if name == "plain" else flows.run_as_flow(config)
    assert published(tmp_path / "flow" / "out") == published(tmp_path / "plain" / "out")
    assert results["flow"].report == results["plain"].report
    assert {name: timing.rows for name, timing in results["flow"].timings.items()} == {"de": 120, "es": 120}
    for name, plain in results["plain"].timings.items():
        flow = results["flow"].timings[name]  # in the same process, with the memory that the plain build filled
        assert (flow.translated, flow.remembered, flow.model_seconds) == (0, plain.translated, 0)
        assert (flow.projected, flow.projections_remembered) == (0, plain.projected)


def test_a_second_run_has_nothing_to_do_and_a_lost_shard_is_done_again(
    flows: Any, build_settings: Settings, published: Published
) -> None:
    config = parse_config(build_settings)
    folder = flows.run_as_flow(config).folder
    before = published(folder)
    again = flows.run_as_flow(config)
    assert all(timing.rows == 0 and timing.reused == 120 for timing in again.timings.values())
    (folder / ".spanferry" / "shards" / "de" / "train" / "00001.jsonl").unlink()
    mended = flows.run_as_flow(config)
    assert {name: timing.rows for name, timing in mended.timings.items()} == {"de": 50, "es": 0}
    assert published(folder) == before


def test_there_is_one_task_a_shard(flows: Any, build_settings: Settings) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    state = flows.translate_train(parse_config(build_settings), ["de"], return_state=True)
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        tasks = client.read_task_runs(flow_run_filter=wanted)
    assert state.is_completed()
    assert sorted(task.name for task in tasks) == ["de/0", "de/1", "de/2"]


def test_a_mistake_in_the_data_reaches_the_caller(flows: Any, build_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("{broken\n", encoding="utf-8")
    build_settings["source"]["path"] = str(path)
    with pytest.raises(DataError, match="broken JSON"):
        flows.run_as_flow(parse_config(build_settings))


def test_translate_test_is_a_flow_too(flows: Any, tmp_path: Path, published: Published, root: Path) -> None:
    predictions = tmp_path / "predictions.jsonl"
    settings = {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": "sample:entities.{language}.jsonl", "languages": ["de", "es"]},
        "pivot": "en",
        "predictor": {"name": "file", "path": str(predictions)},
        "translation": {"model": "fake"},
        "projection": {"aligner": "fake"},
        "run": {"memory": False, "shard_rows": 3},
        "limit": 5,
        "output": str(tmp_path / "out"),
    }
    with pytest.raises(BuildError, match="10 texts wait for predictions"):
        flows.run_as_flow(parse_config(settings))
    assert len((tmp_path / "out" / "to-predict.jsonl").read_text(encoding="utf-8").splitlines()) == 10
    lines: list[str] = []
    for language in ("de", "es"):
        sample = root / "data" / "samples" / f"entities.{language}.jsonl"
        lines += sample.read_text(encoding="utf-8").splitlines(keepends=True)[:5]
    predictions.write_text("".join(lines), encoding="utf-8")  # the fake translates nothing: gold is right
    result = flows.run_as_flow(parse_config(settings))
    assert result.report["evaluation"]["spans"]["value"] == 100
    assert {name: timing.predicted for name, timing in result.timings.items()} == {"de": 5, "es": 5}
    runs = (result.folder / ".spanferry" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    spent = costs(map(json.loads, runs))  # what `spanferry compare` shows
    assert {name: (each.examples, each.model_calls > 5, each.characters > 0) for name, each in spent.items()} == {
        "de": (5, True, True),
        "es": (5, True, True),
    }
    before = published(result.folder)
    assert all(timing.rows == 0 for timing in build(parse_config(settings)).timings.values())
    assert published(result.folder) == before


def test_the_parameters_show_their_types_to_prefect(flows: Any) -> None:
    schema = flows.translate_train.parameters.model_dump()
    text = json.dumps(schema)
    assert "beam_size" in text and "folder to write" in text


def test_a_plain_build_does_not_import_prefect() -> None:
    program = "import sys; import spanferry.flows.build, spanferry.flows.plan; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
