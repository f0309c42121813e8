"""Adapters: what they compute, what they fit, and how they are trained, on small models of a toy language."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from spanferry.alignment import adapter
from spanferry.alignment import adapter_training as training
from spanferry.alignment.adapter_data import AlignedPairs, CollatePairs, examples, load_pairs, tokens, word_links
from spanferry.alignment.adapter_recipe import AdapterRecipe
from spanferry.alignment.linking import Pair
from spanferry.alignment.mt_encoder import MTEncoderAligner, load_encoder
from spanferry.data.errors import ConfigError, DataError, ModelError
from spanferry.flows.models_command import models
from spanferry.translation.checkpoints import find_checkpoint
from spanferry.translation.corpus import SentencePair

FAMILIES = ["nllb", "m2m100", "mbart50", "marian"]
LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}
TARGETS = ("q_proj", "out_proj", "fc1", "fc2")


@pytest.fixture(scope="module")
def corpus(checkpoints: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 sentence pairs that are word for word translations, in `toy.tsv`, and their links in `toy.links`."""
    folder = tmp_path_factory.mktemp("aligned")
    sides = [checkpoints.sentences(300, language, seed=7) for language in ("eng_Latn", "deu_Latn")]
    pairs = list(zip(*sides, strict=True))
    links = [" ".join(f"{i}-{i}" for i in range(len(tokens(english).tokens))) for english, _ in pairs]
    (folder / "toy.tsv").write_text("".join(f"{a}\t{b}\ttoy\n" for a, b in pairs), encoding="utf-8")
    (folder / "toy.links").write_text("\n".join(links) + "\n", encoding="ascii")
    return folder


def settings(corpus: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a small run, for YAML."""
    return {
        "name": "toy",
        "output": "run",
        "model": str(model),
        "data": [
            {
                "path": str(corpus / "toy.tsv"),
                "links": str(corpus / "toy.links"),
                "source_language": "eng_Latn",
                "target_language": "deu_Latn",
                "quotas": {"toy": [{"pairs": 300}]},
            }
        ],
        "rank": 4,
        "embedding_rank": 4,
        "temperature": 0.1,
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 5, "max_steps": 30, "batch_tokens": 300},
        "report_steps": 5,
        **changes,
    }


def read(folder: Path, values: dict[str, Any]) -> AdapterRecipe:
    """Read settings back as the command does."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return AdapterRecipe.read(file)


def changed(encoder: Any) -> dict[str, torch.Tensor]:
    """Give the updates of an encoder random values, and return them."""
    torch.manual_seed(3)
    for matrix in adapter.updates(encoder).values():
        matrix.copy_(torch.randn_like(matrix) * 0.1)
    return adapter.updates(encoder)


def state(encoder: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return output


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_is_what_was_trained(tiny_checkpoint: Callable[[str], Path], family: str) -> None:
    folder = tiny_checkpoint(family)
    ids = torch.arange(5, 29).reshape(2, 12)
    plain, apart = load_encoder(folder), load_encoder(folder)
    adapter.insert(apart, targets=TARGETS, rank=3, embedding_rank=2)
    assert torch.equal(state(apart, ids), state(plain, ids))
    matrices = changed(apart)
    assert sorted({name.split(".")[-2] for name in matrices}) == ["embed_tokens", "fc1", "fc2", "out_proj", "q_proj"]
    before = state(plain, ids)
    adapter.merge(plain, matrices)
    assert torch.allclose(state(plain, ids), state(apart, ids), atol=1e-4)
    assert not torch.allclose(state(plain, ids), before, atol=1e-2)
    trained = {name for name, parameter in apart.named_parameters() if parameter.requires_grad}
    assert trained == set(matrices)


def test_only_layers_that_are_there_get_an_update(tiny_checkpoint: Callable[[str], Path]) -> None:
    encoder = load_encoder(tiny_checkpoint("nllb"))
    with pytest.raises(ConfigError, match=r"has no fc3. It has fc1, fc2, k_proj"):
        adapter.insert(encoder, targets=["fc1", "fc3"], rank=2)
    with pytest.raises(ConfigError, match=r"rank 1000 of an update of .* expected 1\.\."):
        adapter.insert(encoder, targets=["fc1"], rank=1000)


@pytest.fixture
def saved(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> tuple[Path, adapter.AdapterRecord]:
    """An adapter of random updates for the small NLLB."""
    checkpoint = find_checkpoint(tiny_checkpoint("nllb"))
    encoder = load_encoder(checkpoint.folder)
    adapter.insert(encoder, targets=TARGETS, rank=3)
    record = adapter.AdapterRecord(
        base=adapter.base_checksum(checkpoint),
        model="nllb-tiny",
        layer=1,
        rank=3,
        embedding_rank=0,
        targets=TARGETS,
        temperature=0.05,
        languages=("deu_Latn", "eng_Latn"),
        data="0" * 16,
    )
    return adapter.save_adapter(tmp_path / "adapter", record, changed(encoder)), record


def test_an_adapter_comes_back_as_it_was_written(
    saved: tuple[Path, adapter.AdapterRecord], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, record = saved
    found, matrices = adapter.load_adapter(folder)
    assert found == record
    again = adapter.save_adapter(tmp_path / "again", found, matrices)
    for name in (adapter.RECORD, adapter.WEIGHTS):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    plain, adapted = (MTEncoderAligner(tiny_checkpoint("nllb"), adapter=each) for each in (None, folder))
    assert plain.fingerprint != adapted.fingerprint
    assert ":layer=1:" in adapted.fingerprint


def test_an_adapter_of_another_model_is_refused(
    saved: tuple[Path, adapter.AdapterRecord], tiny_checkpoint: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError, match=r"trained on nllb-tiny \(weights \w{16}\) and fits no model"):
        MTEncoderAligner(tiny_checkpoint("mbart50"), adapter=saved[0])


def test_another_configuration_of_the_same_weights_is_accepted(
    saved: tuple[Path, adapter.AdapterRecord], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint("nllb"), copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"spanferry": {"languages": []}}), encoding="utf-8")
    assert MTEncoderAligner(copy, adapter=saved[0])


def test_a_model_whose_decoder_alone_was_trained_keeps_its_adapters(
    saved: tuple[Path, adapter.AdapterRecord], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    def trained(part: str) -> Path:
        copy = tmp_path / part
        shutil.copytree(tiny_checkpoint("nllb"), copy)
        weights = load_file(copy / "model.safetensors")
        name = next(name for name in sorted(weights) if name.startswith(f"model.{part}.layers."))
        save_file(weights | {name: weights[name] + 1}, copy / "model.safetensors", metadata={"format": "pt"})
        return copy

    assert MTEncoderAligner(trained("decoder"), adapter=saved[0])
    with pytest.raises(ModelError, match="fits no model with another"):
        MTEncoderAligner(trained("encoder"), adapter=saved[0])


def test_what_is_no_adapter_is_named(saved: tuple[Path, adapter.AdapterRecord], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"adapter\.json and adapter\.safetensors not found"):
        adapter.load_adapter(tmp_path / "nowhere")
    (saved[0] / adapter.RECORD).write_text('{"base": "0"}', encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read: 'targets'"):
        adapter.load_adapter(saved[0])


def test_the_loss_is_the_missing_probability_of_linked_words() -> None:
    torch.manual_seed(1)
    scores, links = torch.randn(2, 3, 4), torch.zeros(2, 3, 4)
    for cell in ((0, 0, 1), (0, 0, 2), (0, 2, 0), (1, 1, 1)):
        links[cell] = 1
    inside = torch.ones(2, 3, 4, dtype=torch.bool)
    inside[1, 2], inside[1, :, 3] = False, False
    expected = []
    for turned in (False, True):
        terms = []
        for number, (rows, columns) in enumerate(((3, 4), (2, 3))):
            cells, linked = scores[number, :rows, :columns], links[number, :rows, :columns].bool()
            cells, linked = (cells.T, linked.T) if turned else (cells, linked)
            terms += [
                -row.softmax(0)[chosen].sum().log() for row, chosen in zip(cells, linked, strict=True) if chosen.any()
            ]
        expected.append(torch.stack(terms).mean())
    assert training.alignment_loss(scores, links, inside).item() == pytest.approx(sum(expected).item() / 2, rel=1e-5)


def test_what_is_trained_on_is_what_the_aligner_reads(
    tiny_checkpoint: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    recipe = read(tmp_path, settings(corpus, tiny_checkpoint("nllb"), exchange_names=0.0))
    checkpoint = find_checkpoint(recipe.model)
    training.prepare_run(recipe, checkpoint)
    pairs = list(examples(recipe, load_pairs(recipe)))
    dataset = AlignedPairs(recipe.output / "data")
    assert len(dataset) == len(pairs) == 300
    batch = CollatePairs(pad=1)([dataset[4], dataset[9]])
    encoder = load_encoder(checkpoint.folder)
    hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    words = torch.nn.functional.normalize(batch["pool"] @ hidden, dim=-1)
    aligner = MTEncoderAligner(recipe.model, method="argmax")
    for row, number in enumerate((4, 9)):
        source, target = tokens(pairs[number].source), tokens(pairs[number].target)
        [alignment] = aligner.align([(source, target)], **LANGUAGES)
        cosines = words[row] @ words[row + 2].T
        for link in alignment.links:
            assert (1 + cosines[link.source, link.target].item()) / 2 == pytest.approx(link.score, abs=1e-4)
        assert {(i, i) for i in range(len(source.tokens))} == set(map(tuple, batch["links"][row].nonzero().tolist()))


def errors(aligner: MTEncoderAligner, pairs: list[Pair]) -> int:
    """Count the source words of word for word translations that are not linked with their own place alone."""
    alignments = aligner.align(pairs, **LANGUAGES)
    found = [{link[:2] for link in alignment.links} for alignment in alignments]
    wanted = [{(i, i) for i in range(len(source.tokens))} for source, _ in pairs]
    return sum(len(one ^ other) for one, other in zip(found, wanted, strict=True))


def test_a_run_teaches_and_a_stopped_one_goes_on_as_if_it_had_not_stopped(  # noqa: PLR0917
    checkpoints: ModuleType,
    tiny_checkpoint: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = tiny_checkpoint("nllb")
    whole = training.train_adapter(read(tmp_path, settings(corpus, model, output="whole")))
    reported = [line for line in capfd.readouterr().err.splitlines() if line.startswith("training:")]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in reported]
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]
    sides = [checkpoints.sentences(50, language, seed=11) for language in ("eng_Latn", "deu_Latn")]
    pairs = [(tokens(source), tokens(target)) for source, target in zip(*sides, strict=True)]
    before, after = (MTEncoderAligner(model, adapter=each, method="argmax") for each in (None, whole))
    assert errors(after, pairs) < errors(before, pairs)

    recipe = read(tmp_path, settings(corpus, model, output="stopped", save_minutes=1e-9))
    real = training.AlignmentModel.forward
    calls = 0

    def stop(self: Any, *args: Any, **others: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return real(self, *args, **others)

    monkeypatch.setattr(training.AlignmentModel, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        training.train_adapter(recipe)
    monkeypatch.setattr(training.AlignmentModel, "forward", real)
    last = training.last_checkpoint(recipe)
    assert last is not None and last.name == "checkpoint-11"
    resumed = training.train_adapter(recipe)
    assert (resumed / adapter.WEIGHTS).read_bytes() == (whole / adapter.WEIGHTS).read_bytes()
    with pytest.raises(ConfigError, match="made with other settings"):
        training.train_adapter(read(tmp_path, settings(corpus, model, output="stopped", seed=5)))


def test_links_that_do_not_fit_are_named(tiny_checkpoint: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "toy.links").read_text(encoding="ascii").splitlines()
    values = settings(corpus, tiny_checkpoint("nllb"))
    file = tmp_path / "broken.links"
    values["data"][0]["links"] = str(file)
    for content, message in (
        ([lines[0], "0-99", *lines[2:]], "links:2: found '0-99', expected links i-j of"),
        ([lines[0], "0_1", *lines[2:]], "links:2: found '0_1'"),
        ([lines[0], "0--1", *lines[2:]], "links:2: found '0--1'"),
        (lines[:-1], "found 299 lines of links, expected one for each"),
        ([*lines, ""], "found 301 lines of links, expected 300"),
    ):
        file.write_text("\n".join(content) + "\n", encoding="ascii")
        with pytest.raises(DataError, match=message):
            load_pairs(read(tmp_path, values))


def test_eflomal_aligns_what_has_no_links(tiny_checkpoint: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("eflomal")
    values = settings(corpus, tiny_checkpoint("nllb"))
    del values["data"][0]["links"]
    [pairs] = load_pairs(read(tmp_path, values))
    right = sum(word_links(pair, tokens(pair.source), tokens(pair.target)) == diagonal(pair) for pair in pairs)
    assert right > 200


def diagonal(pair: SentencePair) -> list[tuple[int, int]]:
    return [(i, i) for i in range(len(tokens(pair.source).tokens))]


def test_weights_and_lengths_say_how_often_a_pair_is_used(
    tiny_checkpoint: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    counts = []
    for weight in (0.4, 2.0):
        values = settings(corpus, tiny_checkpoint("nllb"), least_words=8)
        values["data"][0]["weight"] = weight
        recipe = read(tmp_path, values)
        used = list(examples(recipe, load_pairs(recipe)))
        assert all(len(tokens(pair.source).tokens) >= 8 for pair in used)
        counts.append(len(used))
    assert counts[1] > 100
    assert 0.1 < counts[0] / counts[1] < 0.3


def test_the_command_trains_and_prints_where_the_adapter_is(
    tiny_checkpoint: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    optimizer = {"learning_rate": 0.01, "warmup_steps": 1, "max_steps": 2, "batch_tokens": 200}
    file = tmp_path / "recipe.yaml"
    values = settings(corpus, tiny_checkpoint("marian"), embedding_rank=0, layer=1, optimizer=optimizer)
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    result = CliRunner().invoke(models, ["train-aligner", str(file)])
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    record, matrices = adapter.load_adapter(folder)
    assert folder == tmp_path / "run/adapter"
    assert record.languages == ("deu_Latn", "eng_Latn")
    assert {name.split(".")[1] for name in matrices} == {"0"}
    assert MTEncoderAligner(values["model"], adapter=folder).fingerprint.count(":layer=1:") == 1
