"""Encoders: from folders and from sizes, what is said when they can't be had, and how they are
saved.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import srsly
import torch
from spacy.language import Language
from transformers import AutoModel, AutoTokenizer

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.loaders import hf_encoder, new_encoder
from spacy_jbert.models.shim import EncoderShim

from ..conftest import FAMILIES

Checkpoint = Callable[[str], Path]


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """A checkpoint of one's own, to break."""
    return Path(shutil.copytree(checkpoint("bert-fast"), tmp_path / "checkpoint"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("family", FAMILIES)
def test_special_ids_are_those_of_the_checkpoint(family: str, checkpoint: Checkpoint) -> None:
    encoder = Encoder.load(checkpoint(family))
    prefix, suffix = encoder.special_ids
    text = "東京で"
    assert (
        encoder.tokenizer(text)["input_ids"]
        == prefix + encoder.tokenizer(text, add_special_tokens=False)["input_ids"] + suffix
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip(family: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint(family))
    encoder.save(tmp_path / "saved")
    again = Encoder.load(tmp_path / "saved")
    ids = torch.tensor([[1, 5, 6, 7, 2]])
    assert not again.model.training
    with torch.inference_mode():
        assert torch.equal(encoder(ids), again(ids))
    assert again.special_ids == encoder.special_ids
    assert again.max_pieces == encoder.max_pieces
    # A plain folder for transformers too, that gives nothing away of where it came from.
    AutoModel.from_pretrained(tmp_path / "saved")
    AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert not any(
        str(checkpoint(family)) in (tmp_path / "saved" / name).read_text()
        for name in ("config.json", "tokenizer_config.json")
    )


def test_as_many_pieces_as_the_positions_allow(checkpoint: Checkpoint) -> None:
    for family in ("bert-fast", "xlm-roberta"):
        encoder = Encoder.load(checkpoint(family))
        at_most = torch.full((1, encoder.max_pieces), 5)
        assert encoder(at_most).shape == (1, encoder.max_pieces, 16)
        with pytest.raises((IndexError, RuntimeError)):
            encoder(torch.full((1, encoder.max_pieces + 1), 5))


def test_half_precision_checkpoints_run_in_full(checkpoint: Checkpoint, tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint("bert-fast"))
    encoder.model.half()
    encoder.save(tmp_path / "half")
    assert next(Encoder.load(tmp_path / "half").model.parameters()).dtype == torch.float32


def test_dropout(checkpoint: Checkpoint, japanese: Language) -> None:
    name = str(checkpoint("bert-fast"))
    plain = hf_encoder(name)(japanese).model.config
    assert (plain.attention_probs_dropout_prob, plain.hidden_dropout_prob) == (0.0, 0.1)
    changed = hf_encoder(name, attention_dropout=0.2, hidden_dropout=0.3)(japanese).model
    assert {module.p for module in changed.modules() if isinstance(module, torch.nn.Dropout)} == {
        0.2,
        0.3,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_first_layers_only(
    family: str, checkpoint: Checkpoint, japanese: Language, tmp_path: Path
) -> None:
    name, ids = str(checkpoint(family)), torch.tensor([[1, 5, 6, 7, 2]])
    whole, cut = hf_encoder(name)(japanese), hf_encoder(name, layers=1)(japanese)
    assert (whole.depth, cut.depth) == (2, 1)
    cut.save(tmp_path / "cut")
    again = Encoder.load(tmp_path / "cut")
    assert (again.depth, again.width) == (1, whole.width)
    with torch.inference_mode():
        states = whole.model(input_ids=ids, output_hidden_states=True).hidden_states
        if family not in ("llama", "modernbert"):  # of these the last layer is followed by a norm
            torch.testing.assert_close(cut(ids), states[1])
        assert torch.equal(cut(ids), again(ids))


def test_more_layers_than_there_are(checkpoint: Checkpoint, japanese: Language) -> None:
    with pytest.raises(ValueError, match=r"J002.*weights are missing"):
        hf_encoder(str(checkpoint("bert-fast")), layers=3)(japanese)
    with pytest.raises(ValueError, match="J016"):
        hf_encoder("any", layers=0)


@pytest.mark.parametrize(
    ("missing", "named"), [("model.safetensors", "the weights"), ("config.json", "config.json")]
)
def test_missing_files(folder: Path, japanese: Language, missing: str, named: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=rf"J003.*{named}"):
        hf_encoder(str(folder))(japanese)


def test_missing_tokenizer(folder: Path, japanese: Language) -> None:
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(ValueError, match=r"J00[23]"):
        hf_encoder(str(folder))(japanese)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_truncated_files(folder: Path, japanese: Language, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="J002"):
        hf_encoder(str(folder))(japanese)


def test_weights_of_another_model(folder: Path, checkpoint: Checkpoint, japanese: Language) -> None:
    shutil.copy(checkpoint("llama") / "model.safetensors", folder)
    with pytest.raises(ValueError, match=r"J002.*weights are missing"):
        hf_encoder(str(folder))(japanese)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere"])
def test_no_such_folder(name: str, japanese: Language) -> None:
    with pytest.raises(ValueError, match=r"J002.*no such folder"):
        hf_encoder(name)(japanese)


def test_unknown_name_offline(japanese: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.utils.hub._is_offline_mode", True)
    with pytest.raises(ValueError, match="J004"):
        hf_encoder("nobody/has-this-model")(japanese)


@pytest.mark.slow  # the hub's client tries again a few times
def test_unknown_name_without_a_network(
    japanese: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **settings: Any) -> Any:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    began = time.monotonic()
    with pytest.raises(ValueError, match="J004"):
        hf_encoder("nobody/has-this-model")(japanese)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_new_encoder_sizes(size: str, checkpoint: Checkpoint, japanese: Language) -> None:
    encoder = new_encoder(str(checkpoint("bert-fast")), size=size, max_pieces=32)(japanese)
    assert (encoder.depth, encoder.width) == {"tiny": (2, 128), "mini": (4, 256)}[size]
    assert encoder.max_pieces == 32
    assert encoder.model.config.vocab_size % 64 == 0
    assert encoder.model.config.vocab_size >= len(encoder.tokenizer)


def test_positions_of_a_new_encoder_know_their_neighbours(
    checkpoint: Checkpoint, japanese: Language
) -> None:
    encoder = new_encoder(str(checkpoint("bert-fast")), size="tiny", max_pieces=32)(japanese)
    embeddings = encoder.model.embeddings
    positions = embeddings.position_embeddings.weight.detach()
    # They weigh as much as words do, or they would drown them.
    assert 0.5 < positions.std() / embeddings.word_embeddings.weight.std() < 2
    likeness = torch.nn.functional.cosine_similarity(positions[:, None], positions[None], dim=-1)
    near, far = likeness.diagonal(1), likeness.diagonal(16)
    assert near.min() > far.max()


def test_new_encoder_takes_single_sizes(checkpoint: Checkpoint, japanese: Language) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint("bert-fast"))
    encoder = new_encoder(lambda nlp: tokenizer, size="tiny", layers=1)(japanese)
    assert (encoder.depth, encoder.width) == (1, 128)
    encoder = new_encoder(lambda nlp: tokenizer, layers=1, width=8, heads=2)(japanese)
    assert (encoder.depth, encoder.width) == (1, 8)


@pytest.mark.parametrize(
    "settings",
    [{"size": "huge"}, {}, {"layers": 2, "width": 8}, {"layers": 2, "width": 9, "heads": 2}],
)
def test_new_encoder_sizes_that_dont_fit(settings: dict) -> None:
    with pytest.raises(ValueError, match="J008"):
        new_encoder("vocabulary", **settings)


def test_a_seed_gives_the_same_weights(checkpoint: Checkpoint, japanese: Language) -> None:
    def weights(seed: int | None) -> list[float]:
        built = new_encoder(str(checkpoint("bert-fast")), size="tiny", max_pieces=32, seed=seed)(
            japanese
        )
        return built.model.get_input_embeddings().weight[5].tolist()

    torch.manual_seed(1)
    follows = torch.rand(1).item()
    torch.manual_seed(1)
    assert weights(7) == weights(7) != weights(8)
    assert torch.rand(1).item() == follows  # whatever else is random isn't touched
    assert weights(None) != weights(None)


def test_new_encoder_without_vocabulary(japanese: Language, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"J00[24]"):
        new_encoder(str(tmp_path / "none"), size="tiny")(japanese)


def test_from_config_is_new(checkpoint: Checkpoint) -> None:
    new = Encoder.from_config(checkpoint("bert-fast"))
    old = Encoder.load(checkpoint("bert-fast"))
    assert new.width == old.width
    ids = torch.tensor([[2, 5, 3]])
    assert not torch.allclose(new(ids), old(ids))


@pytest.mark.parametrize("failing", ["model", "tokenizer"])
def test_a_failed_save_leaves_the_old_folder(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    encoder = Encoder.load(checkpoint("bert-fast"))
    target = tmp_path / "model"
    encoder.save(target)
    before = files(target)

    def fail(*args: Any, **settings: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(getattr(encoder, failing), "save_pretrained", fail)
    with pytest.raises(OSError, match="No space"):
        encoder.save(target)
    assert files(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_move_leaves_the_old_folder(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint("bert-fast"))
    target = tmp_path / "model"
    encoder.save(target)
    before, rename = files(target), Path.rename

    def fail(self: Path, to: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("Device or resource busy")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="busy"):
        encoder.save(target)
    assert files(target) == before


def test_save_replaces(checkpoint: Checkpoint, tmp_path: Path) -> None:
    encoder = Encoder.load(checkpoint("bert-fast"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left over").touch()
    encoder.save(tmp_path / "model")
    assert "left over" not in files(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["hidden_size"] == 16
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.shared
def test_the_real_encoder_loads_quickly(real_encoder: Path, japanese: Language) -> None:
    began = time.monotonic()
    encoder = hf_encoder(str(real_encoder))(japanese)
    assert time.monotonic() - began < 20
    assert (encoder.depth, encoder.width, encoder.max_pieces) == (12, 384, 512)
    assert encoder.special_ids == ([0], [2])


CODE_FILES = [
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
]


@pytest.mark.parametrize("model_type", ["bert", "of-its-own"])
@pytest.mark.parametrize("file", CODE_FILES)
def test_code_in_a_checkpoint_is_refused_unasked(
    folder: Path,
    file: str,
    model_type: str,
    japanese: Language,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("asked on standard input")

    monkeypatch.setattr("builtins.input", ask)
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')", encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": model_type}), encoding="utf-8"
    )
    path = folder / file
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content["auto_map"] = {"AutoConfig": "evil.A", "AutoTokenizer": ["evil.A", "evil.A"]}
    path.write_text(json.dumps(content), encoding="utf-8")
    bytes_ = srsly.msgpack_dumps(files(folder))
    for load in (
        lambda: hf_encoder(str(folder))(japanese),
        lambda: new_encoder(str(folder), "tiny")(japanese),
        lambda: Encoder.from_config(folder),
        lambda: EncoderShim().from_bytes(bytes_),
    ):
        with pytest.raises(ValueError, match="J060"):
            load()
    assert not ran.exists()


BAD_NAMES = [
    "../evil",
    "/tmp/evil",
    "a/b",
    "a\\b",
    "..",
    ".",
    "",
    ".hidden",
    "C:evil",
    "C:\\evil",
    "\\\\host\\share",
    "NUL",
    "con.json",
    "a\0b",
    "a\n",
    "config.json.",
    "config.json:stream",
]


@pytest.mark.parametrize("name", [*BAD_NAMES, b"bytes", 3])
def test_only_bare_names_become_files(folder: Path, name: object) -> None:
    with pytest.raises(ValueError, match="J061"):
        EncoderShim().from_bytes(srsly.msgpack_dumps(files(folder) | {name: b"x"}))


@pytest.mark.parametrize("data", [b"\xc1", b"\x93\x01\x02", b"\x01", b"\x81\xa1a\x01"])
def test_bytes_that_are_no_encoder(data: bytes) -> None:
    with pytest.raises(ValueError, match="J061"):
        EncoderShim().from_bytes(data)


def test_a_mix_of_layers_is_refused(folder: Path) -> None:
    (folder / "layer_mix.json").write_text("[0.0, 0.0, 0.0]", encoding="utf-8")
    with pytest.raises(ValueError, match="J062"):
        Encoder.load(folder)
