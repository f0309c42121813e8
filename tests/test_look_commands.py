"""inspect, diff and export: what they print and write, on finished builds of both directions."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from spanferry.data.errors import BuildError, ConfigError, SpanferryError
from spanferry.data.formats import read_examples
from spanferry.data.spreadsheet import read_sheet, write_sheet
from spanferry.flows import cli
from spanferry.flows.build import build
from spanferry.flows.build_outcomes import rows_of
from spanferry.flows.config import parse_config
from spanferry.flows.diff import diff_builds
from spanferry.flows.export import export_build
from spanferry.flows.inspect_command import check_label, draw, lines_of
from spanferry.flows.members import Build, open_build
from spanferry.flows.review import export_review
from spanferry.flows.review_import import import_review
from spanferry.flows.shards import write_json, write_records

Settings = dict[str, Any]
Run = Callable[..., str]


@pytest.fixture
def three(looked_at: ModuleType, tmp_path: Path) -> Build:
    return open_build(looked_at.write(tmp_path / "three"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["spanferry", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_inspect_is_readable_without_colour(run: Run, three: Build) -> None:
    out = run("inspect", three.folder.root, "--lang", "German", "--lost")
    assert "\x1b" not in out
    assert out.splitlines()[:2] == [
        "de/train cairo · dropped: unaligned",
        "  en  The [University of [Cologne](LOC)](ORG) and the [Cairo Museum](ORG) work together with Dr. "
        "[Layla Hassan](PER) 🙂 on [Nile](LOC) archives.",
    ]
    assert "  lost LOC 'Nile': unaligned" in out
    assert "  unsure LOC 'Cologne': alignment 'Köln', candidates 'Di'" in out
    assert out.count("de/train") == 1
    root = three.folder.root
    assert run("inspect", root, "--lang", "zh", "--lost", "--label", "PER") == (
        f"no example lost with label PER in {root}\n"
    )


def test_inspect_colours_what_stands_on_a_terminal(three: Build) -> None:
    [(language, row)] = draw(three, ["ar"], n=1, lost=True, label=None, seed=0)
    console = Console(force_terminal=True, width=300, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    for line in lines_of(three, language, row, coloured=True):
        console.print(line)
    text = console.export_text(styles=True, clear=False)
    assert "\x1b[1;36mBerlin\x1b[0m\x1b[2m|LOC\x1b[0m" in text and "\x1b[1;36mبرلين\x1b[0m" in text
    console.file.close()


def test_a_seed_draws_the_same_examples(run: Run, three: Build) -> None:
    drawn = [run("inspect", three.folder.root, "--n", "3", "--seed", seed) for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_nothing_changed_between_a_build_and_itself(run: Run, three: Build) -> None:
    assert run("diff", three.folder.root, three.folder.root, "--lang", "de").splitlines() == [
        "de rows: same 4",
        "de spans: same 5",
    ]


def test_inspect_tells_reasons_from_flags_and_knows_labels(run: Run, three: Build) -> None:
    shard = three.folder.shard("de", "train", 0)
    rows = [row.outcome for row in rows_of(three, "de")]
    rows[0]["flags"] = ["length_ratio", "unfinished"]
    cairo = next(row for row in rows if row["id"] == "cairo")
    placed = [
        [each["start"], each["end"], each["label"], "text"] for each in cairo["projections"] if not each["reason"]
    ]
    target = {"fields": {"text": cairo["translations"]["text"]["text"]}, "spans": sorted(placed), "labels": {}}
    cairo |= {"reasons": [], "target": {**rows[0]["target"], **target, "id": "cairo"}}
    write_records(shard, rows)
    heads = [line for line in run("inspect", three.folder.root, "--lang", "de").splitlines() if line.startswith("de/")]
    assert heads[:2] == [
        "de/train curie · kept · flags: length_ratio, unfinished",
        "de/train cairo · kept, a span lost: unaligned",
    ]
    with pytest.raises(ConfigError, match=r"--label PERS: no span of .* has it; did you mean 'PER'\?"):
        check_label(three, "PERS")


def test_a_diff_shows_of_long_settings_what_differs(
    run: Run, three: Build, looked_at: ModuleType, tmp_path: Path
) -> None:
    other = open_build(looked_at.write(tmp_path / "other"))
    shared = "alignment/2(form=candidates,gap_cost=0.1,identical=True,snap=auto,min_score=0.0"
    for each, aligner in ((three, "fake:1"), (other, "fake:2")):
        signature = f"{each.report['signature']}|projector:{shared},aligner={aligner})"
        write_json(each.folder.report, {**each.report, "signature": signature})
    out = run("diff", three.folder.root, other.folder.root)
    assert out.splitlines()[0] == "signature projector: ...aligner=fake:1) -> ...aligner=fake:2)"


def test_a_diff_finds_each_kind_of_change_by_id(run: Run, three: Build, looked_at: ModuleType, tmp_path: Path) -> None:
    other = open_build(looked_at.write(tmp_path / "other"))
    rows = {each["id"]: each for each in looked_at.outcomes("de")}
    curie, script = rows["curie"], rows["script"]
    curie["projections"][0] |= {"end": curie["projections"][0]["end"] - 6, "score": 0.45}  # "Marie"
    script["source"] = {"text": "Another text."}
    cairo = rows["cairo"]
    cairo["reasons"], cairo["projections"][4] = [], cairo["projections"][4] | {"start": 70, "end": 73, "reason": None}
    new = rows["quiet"] | {"id": "new"}
    # Other order, one row gone, one there that was not.
    write_records(other.folder.state / "shards/de/train/00000.jsonl", [new, cairo, script, curie])
    report = {**other.report, "signature": "task:ner|src:eng_Latn|seed:3|version:0.1.0"}
    found = diff_builds(three, Build(other.folder, report, {}), "de").to_json()
    assert found["signature"] == {"seed": [None, 3]}
    german = found["languages"]["de"]
    kinds = {kind: number for kind, number in german["rows"].items() if number}
    assert kinds == {"added": 1, "removed": 1, "source changed": 1, "now kept": 1, "spans changed": 1}
    assert german["ids"]["removed"] == ["train/quiet"] and german["ids"]["spans changed"] == ["train/curie"]
    assert german["spans"] == {"moved": 1, "gained": 5, "lost": 0, "same": 1}
    # The first of two scores went from 0.95 to 0.45; the other row's mean is as it was.
    assert german["scores"]["span score"] == {"both": 2, "mean_change": -0.125, "up": 0, "down": 1}
    assert (
        json.loads(run("diff", three.folder.root, other.folder.root, "--json"))["languages"]["ar"]["rows"]["same"] == 4
    )


def test_other_words_are_a_move_and_the_same_words_elsewhere_are_not(
    three: Build, looked_at: ModuleType, tmp_path: Path
) -> None:
    other = open_build(looked_at.write(tmp_path / "other"))
    rows = looked_at.outcomes("de")
    curie = rows[0]
    curie["translations"]["text"]["text"] = text = "Im Jahr 1867 wurde Marie Curie in Warschau geboren."
    for projection, words in zip(curie["projections"], ("Marie Curie", "Jahr"), strict=True):
        projection |= {"start": text.index(words), "end": text.index(words) + len(words)}
    write_records(other.folder.state / "shards/de/train/00000.jsonl", rows)
    german = diff_builds(three, other, "de").to_json()["languages"]["de"]
    assert german["rows"]["text changed"] == 1 and german["ids"] == {"text changed": ["train/curie"]}
    assert german["spans"] == {"moved": 1, "gained": 0, "lost": 0, "same": 4}


@pytest.fixture
def finished(build_settings: Settings) -> Build:
    return open_build(build(parse_config(build_settings)).folder)


def test_every_form_has_the_spans_of_the_dataset(finished: Build, tmp_path: Path) -> None:
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    kept = [row.outcome for row in rows_of(finished, "de") if not row.outcome["reasons"]]
    wanted = [
        (each["id"], each["target"]["fields"]["text"], sorted(tuple(span[:3]) for span in each["target"]["spans"]))
        for each in kept
    ]

    def read(path: Path) -> list[Any]:
        return [
            (each.id, each.fields["text"], sorted((span.start, span.end, span.label) for span in each.spans))
            for each in read_examples(path, "ner")
        ]

    for form, name in (("jsonl", "train.jsonl"), ("conll", "train.conll")):
        written = export_build(finished, tmp_path / form, form)
        assert written[tmp_path / form / "de" / name] == len(kept) == 116
        assert read(tmp_path / form / "de" / name) == wanted
    [path] = export_build(finished, tmp_path / "spacy", "spacy", language="de")
    documents = list(DocBin().from_disk(path).get_docs(Vocab()))
    assert [
        (each.user_data["id"], each.text, [tuple(span) for span in each.user_data["spans"]]) for each in documents
    ] == wanted
    spans = [sorted((span.start_char, span.end_char, span.label_) for span in each.spans["sc"]) for each in documents]
    assert spans == [own for _, _, own in wanted]
    # "Le [[French](LOC) Revolution](MISC)": entities do not overlap, the longer one stays.
    assert [len(each.ents) for each in documents].count(0) == spans.count([]) and sum(map(len, spans)) > sum(
        len(each.ents) for each in documents
    )
    [path] = export_build(finished, tmp_path / "pairs", "pairs", language="de")
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert (row["source_language"], row["target_language"]) == ("en", "de")
    assert row["source_text"][slice(*list(row["source_spans"][0].values())[:2])] == "Marta Silva"
    assert row["target_text"] == kept[0]["target"]["fields"]["text"] and len(row["target_spans"]) == 1


def test_shards_of_an_earlier_longer_build_are_not_seen(finished: Build, build_settings: Settings) -> None:
    build(parse_config({**build_settings, "limit": 30}))
    again = open_build(finished.folder.root)
    assert sum(1 for _ in rows_of(again, "de")) == 30
    for shard in (again.folder.state / "shards" / "de").rglob("*.jsonl"):
        shard.unlink()
    with pytest.raises(BuildError, match=r"the shards of de/train in .* are gone; run the build again"):
        next(rows_of(again, "de"))


def test_an_exported_folder_loads(finished: Build, tmp_path: Path) -> None:
    from datasets import load_dataset

    export_build(finished, tmp_path / "plain", "folder")
    assert not (tmp_path / "plain" / ".spanferry").exists()
    assert len(load_dataset(str(tmp_path / "plain"), "de", cache_dir=str(tmp_path / "cache"))["train"]) == 116
    with pytest.raises(BuildError, match="found something there"):
        export_build(finished, tmp_path / "plain", "jsonl")


def test_corrections_are_exported(finished: Build, tmp_path: Path) -> None:
    sheet = tmp_path / "review.csv"
    export_review(finished, sheet, n=1, language="de")
    [row] = read_sheet(sheet)
    write_sheet(sheet, list(row.cells), [[*list(row.cells.values())[:-1], "[Neu](PER)!"]])
    import_review(finished, sheet)
    [path] = export_build(finished, tmp_path / "rows", "jsonl", language="de")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    [edited] = [each for each in rows if each["post_edited"]]
    assert edited["text"] == "Neu!" and edited["spans"] == [{"start": 0, "end": 3, "label": "PER"}]
    assert edited["machine_text"] in edited["source_text"] or edited["machine_spans"]


@pytest.mark.parametrize(
    ("form", "language", "message"),
    [
        ("docbin", None, "--format docbin: known: conll, folder, jsonl, pairs, spacy"),
        ("folder", "de", "a plain folder has all languages"),
        ("jsonl", "fr", "--lang fr: no language of"),
        ("jsonl", "Klingon", "unknown language 'Klingon'"),
    ],
)
def test_what_cannot_be_exported_is_said(
    three: Build, tmp_path: Path, form: str, language: str | None, message: str
) -> None:
    with pytest.raises(SpanferryError, match=message):
        export_build(three, tmp_path / "out", form, language=language)
    assert not (tmp_path / "out").exists()


def test_tags_need_spans(three: Build, tmp_path: Path) -> None:
    plain = Build(three.folder, {**three.report, "task": "text-classification"}, {})
    with pytest.raises(ConfigError, match="task 'text-classification' has no spans; choose jsonl or pairs"):
        export_build(plain, tmp_path / "out", "spacy")


def jsonl(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def predicted(tmp_path: Path) -> Build:
    """A translate-test build: German text, its predictions made on an English translation."""
    settings = {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": jsonl(tmp_path / "test.jsonl", {"id": "1", "text": "Hans und Ada gehen.",
                   "spans": [{"start": 0, "end": 4, "label": "PER"}]}), "languages": ["de"]},
        "pivot": "en",
        "predictor": {"name": "file", "path": jsonl(tmp_path / "predicted.jsonl", {"id": "1", "text":
                      "Hans and Ada gehen.", "spans": [{"start": 9, "end": 12, "label": "PER"}]})},
        "translation": {"model": "fake", "settings": {"dictionary": {"und": "and"}}},
        "projection": {"aligner": "fake"},
        "run": {"memory": False},
        "output": str(tmp_path / "predictions"),
    }  # fmt: skip
    return open_build(build(parse_config(settings)).folder)


@pytest.fixture
def pairs(tmp_path: Path) -> Build:
    """A build of a task without spans, and with two texts in a row."""
    rows = [{"premise": "It rains.", "hypothesis": "It is [wet].", "label": "yes", "seen": 1}] * 2
    settings = {
        "task": "pair-classification",
        "source": {"path": jsonl(tmp_path / "pairs.jsonl", *rows), "language": "en"},
        "targets": ["de"],
        "translation": {"model": "fake", "settings": {"dictionary": {"rains": "regnet"}}},
        "run": {"memory": False},
        "output": str(tmp_path / "classified"),
    }
    return open_build(build(parse_config(settings)).folder)


def test_predictions_are_looked_at_in_the_same_way(run: Run, predicted: Build, tmp_path: Path) -> None:
    root = predicted.folder.root
    assert run("inspect", root).splitlines()[1:3] == [
        "  en  Hans and [Ada](PER) gehen.",
        "  de  Hans und [Ada](PER) gehen.",
    ]
    assert run("diff", root, root).splitlines() == ["de rows: same 1", "de spans: same 1"]
    shutil.copytree(root, tmp_path / "other")
    shard = tmp_path / "other/.spanferry/shards/de/test/00000.jsonl"
    [outcome] = map(json.loads, shard.read_text(encoding="utf-8").splitlines())
    # Another translation, and another prediction at the same place besides.
    outcome["source"] = {"text": "Well, Hans and Ada walk."}
    outcome["projections"].append({**outcome["projections"][0], "label": "LOC"})
    for projection in outcome["projections"]:
        projection |= {"source_start": 15, "source_end": 18}
    write_records(shard, [outcome])
    assert run("diff", root, tmp_path / "other").splitlines() == [
        "de rows: text changed 1",
        "de spans: gained 1, same 1",
        "  text changed: test/1",
    ]
    assert "wrote" in run("report", root)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "German by way of English" in page and '"tags":["en","de"]' in page
    [path] = export_build(predicted, tmp_path / "rows", "jsonl")
    row = json.loads(path.read_text(encoding="utf-8"))
    assert row["spans"] == [{"start": 0, "end": 4, "label": "PER"}]
    assert row["predicted_spans"] == [{"start": 9, "end": 12, "label": "PER"}] and row["pivot_text"].startswith(
        "Hans and"
    )
    [path] = export_build(predicted, tmp_path / "tags", "conll")
    assert "Ada\tB-PER" in path.read_text(encoding="utf-8")


def test_texts_without_spans_are_looked_at_in_the_same_way(run: Run, pairs: Build, tmp_path: Path) -> None:
    root = pairs.folder.root
    assert "  premise en  It rains." in run("inspect", root)
    run("report", root)
    page = (root / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="labels">' not in page and "<td>50.0%</td>" in page  # the second row repeats the first
    sheet = tmp_path / "review.xlsx"
    run("review", "export", root, "-o", sheet)
    rows = [list(row.cells.values()) for row in read_sheet(sheet)]
    assert rows[0][-3:-1] == ["It regnet.", "It is \\[wet\\]."]
    write_sheet(sheet, list(next(iter(read_sheet(sheet))).cells), [[*rows[0][:-3], "Es regnet.", *rows[0][-2:]]])
    assert "de             1        1" in run("review", "import", root, sheet)
    [path] = export_build(pairs, tmp_path / "rows", "jsonl")
    first, *_ = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert (first["premise"], first["machine_premise"]) == ("Es regnet.", "It regnet.") and "machine_spans" not in first
