"""Comparing builds: quality and cost of both directions and of both together, from what finished builds left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import BuildError, ConfigError, DataError, SpanferryError
from spanferry.flows.build import build
from spanferry.flows.compare import Compared, compare_builds
from spanferry.flows.compare_command import table
from spanferry.flows.config import parse_config
from spanferry.flows.cost import Cost, costs
from spanferry.flows.ensemble import make_ensemble
from spanferry.flows.members import Build, open_build

Row = dict[str, Any]


def row(number: int, text: str, *names: str) -> Row:
    """A row whose spans are the given words: people."""
    spans = [{"start": text.index(name), "end": text.index(name) + len(name), "label": "PER"} for name in names]
    return {"id": str(number), "text": text, "spans": spans}


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows), encoding="utf-8")
    return path


# The fake translator renders one word and copies all others; the fake aligner links words that are equal.
TEXTS = ["Zoë lacht.", "Hans und Ada gehen.", "Niemand geht."]
GOLD = [row(1, TEXTS[0], "Zoë"), row(2, TEXTS[1], "Hans", "Ada"), row(3, TEXTS[2])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished build of each direction, and predictions of a model trained on the one."""
    root = tmp_path_factory.mktemp("compare")
    shared = {
        "task": "ner",
        "translation": {"model": "fake", "settings": {"dictionary": {"und": "and"}}},
        "projection": {"aligner": "fake"},
        "run": {"memory": False},
    }
    train = {
        **shared,
        "source": {"path": str(write(root / "train.jsonl", GOLD)), "language": "en"},
        "targets": ["de"],
        "output": str(root / "train"),
    }
    test = {
        **shared,
        "direction": "translate-test",
        "source": {"path": str(write(root / "test.jsonl", GOLD)), "languages": ["de"]},
        "pivot": "en",
        "predictor": {"name": "file", "path": str(root / "predicted.jsonl")},
        "output": str(root / "test"),
    }
    with pytest.raises(BuildError, match="3 texts wait for predictions"):
        build(parse_config(test))
    pivot = [row(1, "Zoë lacht.", "Zoë"), row(2, "Hans and Ada gehen.", "Hans"), row(3, "Niemand geht.", "Niemand")]
    write(root / "predicted.jsonl", pivot)
    for name, settings in {"train": train, "test": test}.items():
        build(parse_config(settings))
        (root / f"{name}.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    write(root / "trained.de.jsonl", [row(1, TEXTS[0]), row(2, TEXTS[1], "Hans", "Ada"), row(3, TEXTS[2])])
    return root


@pytest.fixture
def builds(place: Path) -> list[Build]:
    return [open_build(place / "train"), open_build(place / "test")]


def f1(lines: list[Compared]) -> dict[str, float]:
    return {line.direction: round(line.quality["spans"].main.value, 2) for line in lines if line.quality}


def test_quality_of_each_and_of_both(place: Path, builds: list[Build]) -> None:
    predictions = str(place / "trained.{language}.jsonl")
    lines = compare_builds(builds, predictions=predictions, ties="keep")
    # Of three names train found 2, both right; test found 2 and one wrong; together 3 and one wrong.
    assert f1(lines) == {"translate-train": 80.0, "translate-test": 66.67, "both": 85.71}
    assert f1(compare_builds(builds, predictions=predictions))["both"] == 66.67
    assert f1(compare_builds(builds, predictions=predictions, ties="drop"))["both"] == 50.0


def test_cost_of_each_and_of_both(place: Path, builds: list[Build]) -> None:
    train, test, both = compare_builds(builds, predictions=str(place / "trained.de.jsonl"))
    assert train.cost is not None and test.cost is not None and both.cost is not None
    # Three sentences translated in each; in translate-test three texts predicted besides.
    assert (train.cost.examples, train.cost.model_calls) == (3, 3)
    assert (test.cost.examples, test.cost.model_calls) == (3, 6)
    assert both.cost.model_calls == pytest.approx(1000 * 9 / 3)
    assert train.cost.characters == sum(map(len, TEXTS))
    assert both.cost.seconds == pytest.approx(train.cost.per_thousand().seconds + test.cost.per_thousand().seconds)


def test_without_predictions_there_is_no_quality_of_train_and_no_both(builds: list[Build]) -> None:
    lines = compare_builds(builds)
    assert [(line.direction, bool(line.quality)) for line in lines] == [
        ("translate-train", False),
        ("translate-test", True),
    ]


def test_as_text_and_as_json(place: Path, builds: list[Build]) -> None:
    lines = compare_builds(builds, predictions=str(place / "trained.de.jsonl"), ties="keep")
    text = table(lines)
    assert [line.split()[0] for line in text[1:4]] == ["translate-train", "translate-test", "both"]
    assert "spans 80.0 [" in text[1]
    assert "MiB" in text[2]
    written = json.loads(json.dumps([line.to_json() for line in lines]))
    assert written[2]["name"] == "test + train"
    assert written[1]["quality"]["spans"]["value"] == 66.67
    assert written[1]["cost"]["per_thousand"]["model_calls"] == 2000.0


def test_what_was_not_counted_is_not_shown_as_nothing() -> None:
    lines = [
        Compared("flow", "translate-train", "de", Cost(2, seconds=1.0)),
        Compared("gone", "translate-train", "de", None),
        Compared("known", "translate-train", "de", Cost(2, seconds=1.0, remembered=2)),
    ]
    flow, gone, known = (line.split()[3:] for line in table(lines)[1:4])
    assert flow == ["-", "2", "500.0", "s", "-", "-", "-"]
    assert gone == ["-", "-", "-", "-", "-", "-"]
    assert known == ["-", "2", "500.0", "s*", "0*", "0*", "-"]


def test_command_builds_what_is_missing_and_reads_the_rest(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanferry.flows.cli import main

    arguments = ["compare", str(place / "train.yaml"), str(place / "test"), "--json"]
    arguments += ["--predictions", str(place / "trained.{language}.jsonl")]
    monkeypatch.setattr("sys.argv", ["spanferry", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    lines = json.loads(capsys.readouterr().out)
    assert [line["direction"] for line in lines] == ["translate-train", "translate-test", "both"]
    assert lines[2]["quality"]["spans"]["value"] == 85.71


class TestMistakes:
    def check(self, error: type[SpanferryError], problem: str, builds: list[Build], predictions: Path | None) -> None:
        with pytest.raises(error, match=problem):
            compare_builds(builds, predictions=None if predictions is None else str(predictions))

    def test_builds(self, place: Path, builds: list[Build], tmp_path: Path) -> None:
        self.check(ConfigError, "no build was given", [], None)
        self.check(ConfigError, "found builds of translate-test; expected one", builds[1:], place / "trained.de.jsonl")
        with pytest.raises(BuildError, match=r"found no report\.json of a finished build"):
            open_build(tmp_path)

    def test_predictions(self, builds: list[Build], tmp_path: Path) -> None:
        file = write(tmp_path / "few.jsonl", GOLD[:2])
        self.check(DataError, "1 of 3 test examples have no prediction", builds, file)
        file = write(tmp_path / "other.jsonl", [*GOLD[:2], row(3, "Nobody goes.")])
        self.check(DataError, "row '3' has another text than the test data", builds, file)

    def test_ties(self, place: Path, builds: list[Build]) -> None:
        with pytest.raises(ConfigError, match="did you mean 'keep'"):
            compare_builds(builds, predictions=str(place / "trained.de.jsonl"), ties="kep")  # type: ignore[arg-type]


class TestCosts:
    def test_runs_add_up_and_memory_does_not(self) -> None:
        runs = [
            {"peak_bytes": 7, "languages": {"de": {"rows": 10, "seconds": 2.0, "translated": 9, "predicted": 10}}},
            {"languages": {"de": {"rows": 0, "reused": 10}, "es": {"rows": 1, "seconds": 0.5, "remembered": 1}}},
            {"peak_bytes": 5, "languages": {"de": {"rows": 10, "seconds": 1.0, "translated": 1, "characters": 30}}},
        ]
        found = costs(runs)
        assert found["de"] == Cost(20, 3.0, 0.0, 30, 20, 0, 7)
        assert found["de"].per_thousand().seconds == 150.0
        assert found["es"] == Cost(1, 0.5, remembered=1)

    def test_of_nothing(self) -> None:
        assert costs([]) == costs([{"languages": {"de": {"rows": 0}}}]) == {}
        assert Cost().per_thousand() == Cost()
        assert Cost().to_json()["per_thousand"]["seconds"] == 0.0


class TestEnsemble:
    def test_votes_are_on_record_and_everyone_is_evaluated(self, place: Path) -> None:
        members = [f"test={place / 'test'}", f"train={place / 'trained.de.jsonl'}"]
        made = make_ensemble(members, ties="keep")
        rows = list(made.rows())
        assert [len(each["spans"]) for each in rows] == [1, 2, 1]
        [first] = rows[0]["votes"]
        assert [(vote["member"], vote["start"], vote["label"]) for vote in first] == [
            ("test", 0, "PER"),
            ("train", None, None),
        ]
        figures = {name: round(each["spans"].main.value, 2) for name, each in made.quality.items()}
        assert figures == {"test": 66.67, "train": 80.0, "ensemble": 85.71}

    def test_a_missing_example_does_not_vote(self, place: Path, tmp_path: Path) -> None:
        few = write(tmp_path / "few.jsonl", [row(2, TEXTS[1], "Ada")])
        made = make_ensemble([str(few), str(place / "trained.de.jsonl")], gold=str(place / "test.jsonl"), task="ner")
        assert [len(each["spans"]) for each in made.rows()] == [0, 1, 0]
        assert list(made.quality) == ["few", "trained", "ensemble"]

    def test_distributions_are_averaged(self, place: Path, tmp_path: Path) -> None:
        def predicted(chance: float) -> list[Row]:
            chances = {"tags": ["O", "B-PER"], "tokens": [[0, 3], [4, 9]], "rows": [[1 - chance, chance], None]}
            return [{**row(1, TEXTS[0]), "distribution": chances}]

        sure, doubtful = write(tmp_path / "sure.jsonl", predicted(0.9)), write(tmp_path / "not.jsonl", predicted(0.2))
        made = make_ensemble([str(sure), str(doubtful)], gold=str(place / "test.jsonl"), task="ner")
        [decision] = made.combined[0].spans
        assert (decision.span.start, decision.span.end, round(decision.score, 3)) == (0, 3, 0.55)

    def test_command(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from spanferry.flows.cli import main

        arguments = [
            "ensemble",
            str(place / "test"),
            str(place / "trained.de.jsonl"),
            "-o",
            str(tmp_path / "out.jsonl"),
        ]
        monkeypatch.setattr("sys.argv", ["spanferry", *arguments, "--weights", "1,2"])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        assert "ensemble  spans  80.00 [" in capsys.readouterr().out
        found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [each["id"] for each in found] == ["1", "2", "3"]

    def test_mistakes(self, place: Path, tmp_path: Path) -> None:
        test, file = str(place / "test"), str(place / "trained.de.jsonl")
        for members, settings, problem in [
            ([test], {}, "found 1 member of an ensemble"),
            ([test, test], {}, "expected a name that no other has"),
            ([test, str(place / "train")], {}, "is a build of translate-train, which predicts nothing"),
            ([test, "gone.jsonl"], {}, "member 'gone': found nothing at gone.jsonl"),
            ([test, file], {"language": "fr"}, "--language is fr; known: de"),
            ([file, f"b={file}"], {"task": "ner"}, "the test data is not known"),
            ([file, f"b={file}"], {"gold": file}, "found tasks: none"),
            ([test, file], {"weights": [1.0]}, "1 weights for 2 members"),
        ]:
            with pytest.raises(ConfigError, match=problem):
                make_ensemble(members, **settings)  # type: ignore[arg-type]
        strange = write(tmp_path / "strange.jsonl", [row(7, "x")])
        with pytest.raises(DataError, match="the ids are '7', and none is one of the test data"):
            make_ensemble([test, str(strange)])
        broken = write(tmp_path / "broken.jsonl", [{**row(1, TEXTS[0]), "distribution": {"tags": ["O"]}}])
        with pytest.raises(DataError, match="row '1': a distribution is"):
            make_ensemble([test, str(broken)])
