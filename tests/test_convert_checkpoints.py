"""Checkpoints that lie, lack something, or ship more than weights."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanferry.data.errors import ModelError
from spanferry.translation.convert import ensure_converted
from spanferry.translation.ct2 import load_ctranslate2
from spanferry.translation.families import detect_family, load_tokenizer


@pytest.fixture
def copy(tiny_checkpoint: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a family's checkpoint and changes its config.json."""

    def copied(family: str, **changes: Any) -> Path:
        folder = Path(shutil.copytree(tiny_checkpoint(family), tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
        return folder

    return copied


def to_pickle(folder: Path) -> None:
    """Turn the safetensors into `pytorch_model.bin`."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_a_pickle_is_refused_unless_allowed(copy: Callable[..., Path], tmp_path: Path) -> None:
    safe = copy("nllb")
    pickled = copy("nllb")
    to_pickle(pickled)
    with pytest.raises(ModelError, match=r"pickle .pytorch_model.bin.*allow_pickle"):
        ensure_converted(pickled, device="cpu", cache_dir=tmp_path)
    settings = {"device": "cpu", "quantization": "float32", "cache_dir": tmp_path}
    pair = {"source": "eng_Latn", "target": "deu_Latn"}
    expected = load_ctranslate2(safe, **settings).translate(["the old cat."], **pair)
    assert load_ctranslate2(pickled, allow_pickle=True, **settings).translate(["the old cat."], **pair) == expected


class _Attack:
    """Unpickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_an_allowed_pickle_still_cannot_run_code(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("nllb")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "trace"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Attack(trace)}, protocol=2))
    with pytest.raises(ModelError, match="cannot be converted"):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path / "cache", allow_pickle=True)
    assert not trace.exists()


def test_a_pickle_beside_safetensors_is_not_touched(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("nllb")
    trace = tmp_path / "trace"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Attack(trace)}, protocol=2))
    ensure_converted(folder, device="cpu", cache_dir=tmp_path / "cache", allow_pickle=True)
    assert not trace.exists()


def test_code_in_a_checkpoint_is_not_run(copy: Callable[..., Path], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mapped = {"AutoConfig": "evil.Config", "AutoModelForSeq2SeqLM": "evil.Model", "AutoTokenizer": ["evil.T", None]}
    known = copy("nllb", auto_map=mapped)
    unknown = copy("nllb", auto_map=mapped, model_type="evil")
    for folder in (known, unknown):
        (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n", encoding="utf-8")
    ensure_converted(known, device="cpu", cache_dir=tmp_path / "cache")
    with pytest.raises(ModelError, match="model_type 'evil' is not a translation model"):
        ensure_converted(unknown, device="cpu", cache_dir=tmp_path / "cache")
    assert not trace.exists()


def test_an_nllb_tokenizer_without_languages_is_refused(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("nllb")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    for code in ("eng_Latn", "deu_Latn", "spa_Latn", "zho_Hans", "sat_Beng"):
        text = text.replace(code, code.replace("_", "-"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="an NLLB tokenizer without language codes"):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path)


def test_a_tokenizer_of_another_model_is_refused(
    copy: Callable[..., Path], tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copy("nllb", vocab_size=40)
    with pytest.raises(ModelError, match="the tokenizer does not fit the model"):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path)
    marian = copy("marian")
    for name in ("source.spm", "vocab.json"):
        (marian / name).unlink()
    with pytest.raises(ModelError, match=r"the tokenizer needs source.spm, vocab.json"):
        ensure_converted(marian, device="cpu", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "no config.json and no model.bin"),
        ("model.safetensors", "no weights: expected model.safetensors"),
        ("tokenizer.json", "no tokenizer|needs tokenizer.json"),
    ],
)
def test_a_missing_file_is_named(copy: Callable[..., Path], tmp_path: Path, missing: str, said: str) -> None:
    folder = copy("nllb")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=said):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path)


def test_families_are_told_without_a_tokenizer_class(copy: Callable[..., Path]) -> None:
    for family in ("nllb", "m2m100", "mbart50", "marian", "t5"):
        folder = copy(family)
        if family == "mbart50":
            (folder / "sentencepiece.bpe.model").unlink()
        (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
        assert detect_family(folder) == family


def test_sentencepiece_alone_gives_the_same_ids(copy: Callable[..., Path], checkpoints: Any) -> None:
    for family in ("mbart50", "t5"):
        folder = copy(family)
        fast = load_tokenizer(folder)
        (folder / "tokenizer.json").unlink()
        slow = load_tokenizer(folder)
        texts = [*checkpoints.sentences(20), "zzz ünknown  wörds", ""]
        assert slow.subwords.vocabulary == fast.subwords.vocabulary
        assert slow.encode_source(texts, "eng_Latn", "deu_Latn") == fast.encode_source(texts, "eng_Latn", "deu_Latn")
        tokens = fast.encode(texts)
        assert slow.decode(tokens) == fast.decode(tokens)


@pytest.mark.parametrize(("layer", "heads"), [(0, [2]), (1, [3, 1])])
def test_the_named_heads_give_the_attention(
    copy: Callable[..., Path], tmp_path: Path, layer: int, heads: list[int]
) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM

    folder = copy("nllb", spanferry={"alignment_layer": layer, "alignment_heads": heads})
    ours = load_ctranslate2(folder, device="cpu", quantization="float32", cache_dir=tmp_path)
    assert (ours.model.alignment_layer, ours.model.alignment_heads) == (layer, tuple(heads))
    source = ours.tokenizer.encode_source(["the old cat sees the lamp."], "eng_Latn", "deu_Latn")
    target = ours.tokenizer.encode_target(["die alte Katze sieht die Lampe."], "deu_Latn")
    # max_decoding_length counts the prefix: a row for each of its tokens, and none after.
    (result,) = ours.engine.translate_batch(
        source, target, beam_size=1, max_decoding_length=len(target[0]), return_attention=True
    )
    number = {token: place for place, token in enumerate(ours.tokenizer.subwords.vocabulary)}
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([[number[token] for token in source[0]]]),
            decoder_input_ids=torch.tensor([[2, *(number[token] for token in target[0][:-1])]]),
            output_attentions=True,
        )
    expected = output.cross_attentions[layer][0][heads].mean(0).numpy()
    np.testing.assert_allclose(np.array(result.attention[0]), expected, atol=1e-5)


def test_heads_that_are_not_there_are_named(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("nllb", spanferry={"alignment_layer": 2, "alignment_heads": [0]})
    with pytest.raises(ModelError, match="a decoder of 2 layers with 4 heads"):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path)


def test_a_state_that_is_none_is_named(copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy("nllb", spanferry={"alignment_layer": 0, "alignment_state": "read"})
    with pytest.raises(ModelError, match=r"config\.json: spanferry\.alignment_state: .*reads"):
        ensure_converted(folder, device="cpu", cache_dir=tmp_path)


def test_madlad_ships_its_embedding_as_the_decoders(copy: Callable[..., Path], tmp_path: Path) -> None:
    """MADLAD-400 has `decoder.embed_tokens` and a `lm_head` of its own, and no `shared`; transformers 5 ties them."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForSeq2SeqLM

    folder = copy("t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tensors = load_file(folder / "model.safetensors")
    embedding = tensors.pop("shared.weight")
    torch.manual_seed(1)
    head = embedding + 0.5 * torch.randn_like(embedding)
    save_file(
        {**tensors, "decoder.embed_tokens.weight": embedding, "lm_head.weight": head},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    model.lm_head.weight = torch.nn.Parameter(head)
    ours = load_ctranslate2(folder, device="cpu", quantization="float32", cache_dir=tmp_path)
    source, target = "the old cat sees the lamp.", "die alte Katze sieht die Lampe."
    number = {token: place for place, token in enumerate(ours.tokenizer.subwords.vocabulary)}
    ids = [number[token] for token in ours.tokenizer.encode_source([source], "eng_Latn", "deu_Latn")[0]]
    labels = torch.tensor([[*(number[token] for token in ours.tokenizer.encode_target([target], "deu_Latn")[0]), 1]])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), labels=labels).logits[0]
    expected = logits.log_softmax(-1).gather(1, labels[0][:, None])[:, 0].tolist()
    (score,) = ours.score([source], [target], source="eng_Latn", target="deu_Latn")
    assert score == pytest.approx(expected, abs=2e-4)


def test_a_hub_model_is_downloaded_without_its_pickles(
    copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    remote = copy("nllb")
    (remote / "pytorch_model.bin").write_bytes(b"a pickle")
    (remote / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    asked: list[tuple[str, str | None]] = []

    def snapshot(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        folder = tmp_path / "snapshots" / "0123abcd"
        folder.mkdir(parents=True, exist_ok=True)
        for file in remote.iterdir():
            if any(file.match(pattern) for pattern in allow_patterns):
                shutil.copy(file, folder)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = ensure_converted("someone/nllb-tiny", revision="v1", device="cpu", cache_dir=tmp_path / "cache")
    assert (model.model, model.revision) == ("someone/nllb-tiny", "0123abcd")
    assert asked == [("someone/nllb-tiny", "v1")]
    found = {file.name for file in (tmp_path / "snapshots" / "0123abcd").iterdir()}
    assert "model.safetensors" in found
    assert not {"pytorch_model.bin", "modeling.py"} & found


def test_a_hub_model_that_cannot_be_reached_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args: object, **options: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        ModelError, match=r"someone/none at revision v2: not a folder here, and the hub did not give it"
    ):
        ensure_converted("someone/none", revision="v2", device="cpu", cache_dir=tmp_path)
