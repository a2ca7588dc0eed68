"""Encoders as ONNX graphs: the same vectors, whatever the architecture; what is damaged or names
other files is refused."""

import json
import pickle
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.onnx import FACTS_FILE, GRAPH_FILE, OnnxEncoder
from spacy_jbert.encoder.onnx_export import export_encoder
from spacy_jbert.errors import DataError
from spacy_jbert.storage import sha256

onnx = pytest.importorskip("onnx")

ARCHITECTURES = ["bert-fast", "electra", "xlm-roberta", "deberta-v2", "albert", "llama"]
ARCHITECTURES += ["modernbert"]


@pytest.fixture(scope="module")
def once(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    export_encoder(Encoder.load(checkpoint("bert-fast"))).save(folder)
    return folder


@pytest.fixture
def exported(once: Path, tmp_path: Path) -> Path:
    """The folder of an exported encoder."""
    return shutil.copytree(once, tmp_path / "encoder")


def batch(encoder: Any, *lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids of windows of several lengths, and their mask."""
    torch.manual_seed(1)
    ids = torch.randint(5, encoder.n_rows, (len(lengths), max(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return ids.masked_fill(mask == 0, encoder.pad_id), mask


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_any_batch_gives_the_vectors_of_torch(
    family: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = Encoder.load(checkpoint(family))
    export_encoder(encoder).save(tmp_path / "encoder")
    exported = OnnxEncoder.load(tmp_path / "encoder")
    for lengths in ((1,), (5, 5), (33, 20, 2), (encoder.max_pieces,)):
        ids, mask = batch(encoder, *lengths)
        with torch.inference_mode():
            wanted = encoder(ids, mask)
        found = exported(ids, mask)
        assert torch.allclose(found[mask == 1], wanted[mask == 1], atol=1e-5)
    assert exported.special_ids == encoder.special_ids
    assert exported.pad_id == encoder.pad_id
    assert exported.max_pieces == encoder.max_pieces


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_bytes_give_nearly_the_vectors_of_torch(
    family: str, checkpoint: Callable[[str], Path]
) -> None:
    encoder = Encoder.load(checkpoint(family))
    ids, mask = batch(encoder, 20, 9)
    with torch.inference_mode():
        wanted = encoder(ids, mask)[mask == 1]
    found = export_encoder(encoder, int8=True)(ids, mask)[mask == 1]
    assert 0 < (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_bytes_make_the_file_small(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    config = json.loads((checkpoint("bert-fast") / "config.json").read_bytes())
    sizes = {"hidden_size": 128, "intermediate_size": 512, "vocab_size": 4000}
    for file in checkpoint("bert-fast").glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "vocab.txt").write_bytes((checkpoint("bert-fast") / "vocab.txt").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | sizes), encoding="utf-8")
    encoder = Encoder.from_config(tmp_path)
    whole, rounded = (
        len(bytes(export_encoder(encoder, int8=int8)._content)) for int8 in (False, True)
    )
    assert rounded < 0.35 * whole


def test_a_copy_and_a_pickle_run(exported: Path) -> None:
    encoder = OnnxEncoder.load(exported)
    ids, mask = batch(encoder, 7)
    for other in (deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(other(ids, mask), encoder(ids, mask))


def test_what_is_loaded_can_be_saved_over_itself(exported: Path) -> None:
    encoder = OnnxEncoder.load(exported)
    ids, mask = batch(encoder, 7)
    before = encoder(ids, mask)
    encoder.save(exported)
    assert torch.equal(OnnxEncoder.load(exported)(ids, mask), before)


def test_there_is_nothing_to_train(exported: Path) -> None:
    with pytest.raises(NotImplementedError, match="J425"):
        _ = OnnxEncoder.load(exported).model


@pytest.mark.parametrize("file", [GRAPH_FILE, FACTS_FILE])
def test_a_missing_file_is_named(exported: Path, file: str) -> None:
    (exported / file).unlink()
    with pytest.raises(DataError, match=rf"J427.*{file}"):
        OnnxEncoder.load(exported)


@pytest.mark.parametrize("length", [0, 1, 1000, -1])
def test_a_graph_that_was_cut_off_is_refused(exported: Path, length: int) -> None:
    whole = (exported / GRAPH_FILE).read_bytes()
    (exported / GRAPH_FILE).write_bytes(whole[:length])
    with pytest.raises(DataError, match="J427"):
        OnnxEncoder.load(exported)
    # The hash is no protection from whoever writes it too.
    forge(exported)
    with pytest.raises(DataError, match=r"J42[789]"):
        OnnxEncoder.load(exported)


def test_a_changed_byte_is_noticed(exported: Path) -> None:
    content = bytearray((exported / GRAPH_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / GRAPH_FILE).write_bytes(content)
    with pytest.raises(DataError, match="J427"):
        OnnxEncoder.load(exported)


@pytest.mark.parametrize("facts", ["", "[]", "{}", '{"sha256": 1}', "[" * 100_000])
def test_damaged_facts_are_refused(exported: Path, facts: str) -> None:
    (exported / FACTS_FILE).write_text(facts, encoding="utf-8")
    with pytest.raises(DataError, match="J427"):
        OnnxEncoder.load(exported)


@pytest.mark.parametrize("where", ["../secret", "/etc/passwd", "weights.bin"])
def test_other_files_are_never_opened(exported: Path, where: str) -> None:
    def name_file(model: Any) -> None:
        tensor = next(t for t in model.graph.initializer if len(t.raw_data) > 100)
        name_outside(tensor, where)

    (exported / "weights.bin").write_bytes(b"\0" * 100_000)
    (exported.parent / "secret").write_bytes(b"\0" * 100_000)
    change(exported, name_file)
    with pytest.raises(DataError, match=r"J428.*the file"):
        OnnxEncoder.load(exported)


def test_other_files_are_never_opened_from_inside_a_branch(exported: Path) -> None:
    def hide(model: Any) -> None:
        tensor = onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [0.0])
        name_outside(tensor, "/etc/passwd")
        constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        branch = onnx.helper.make_graph([constant], "branch", [], [])
        condition = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
        model.graph.initializer.append(condition)
        model.graph.node.append(
            onnx.helper.make_node("If", ["yes"], ["x"], then_branch=branch, else_branch=branch)
        )

    change(exported, hide)
    with pytest.raises(DataError, match=r"J428.*the file"):
        OnnxEncoder.load(exported)


@pytest.mark.parametrize("domain", ["com.example", "com.microsoft", "ai.onnx.ml"])
def test_foreign_operators_are_refused(exported: Path, domain: str) -> None:
    def rename(model: Any) -> None:
        model.graph.node[0].domain = domain
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))

    change(exported, rename)
    with pytest.raises(DataError, match=r"J428.*operator"):
        OnnxEncoder.load(exported)


def test_an_operator_that_onnx_lacks_is_refused(exported: Path) -> None:
    change(exported, lambda model: setattr(model.graph.node[0], "op_type", "Nonsense"))
    with pytest.raises(DataError, match="J427"):
        OnnxEncoder.load(exported)


@pytest.mark.parametrize("setting", ["hidden_size", "max_position_embeddings"])
def test_a_config_of_other_sizes_is_refused(exported: Path, setting: str) -> None:
    config = json.loads((exported / "config.json").read_bytes())
    (exported / "config.json").write_text(json.dumps(config | {setting: 32}), encoding="utf-8")
    with pytest.raises(DataError, match="J429"):
        OnnxEncoder.load(exported)


def test_a_graph_with_fewer_rows_than_said_is_refused(exported: Path) -> None:
    facts = json.loads((exported / FACTS_FILE).read_bytes())
    facts["rows"] += 1
    (exported / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DataError, match="J429"):
        OnnxEncoder.load(exported)


def test_a_tokenizer_with_more_pieces_than_rows_is_refused(exported: Path) -> None:
    facts = json.loads((exported / FACTS_FILE).read_bytes())
    facts["rows"] = 10
    (exported / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ValueError, match="J065"):
        OnnxEncoder.load(exported)


def test_a_window_beyond_the_graph_is_a_coded_error(exported: Path) -> None:
    encoder = OnnxEncoder.load(exported)
    with pytest.raises(DataError, match="J427"):
        encoder(torch.zeros((1, encoder.max_pieces + 1), dtype=torch.long))


def test_an_architecture_that_cannot_be_traced_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint("llama"))
    monkeypatch.setattr("spacy_jbert.encoder.onnx_export._CAUSAL", set())
    with pytest.raises(ValueError, match=r"J430.*LlamaModel"):
        export_encoder(encoder)


def test_a_graph_that_computes_something_else_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder.load(checkpoint("llama"))
    # Every piece sees all of them, as in no Llama.
    monkeypatch.setattr(
        "spacy_jbert.encoder.onnx_export._causal",
        lambda mask: torch.zeros(1, 1, 1, 1) * mask.float()[:, None, None],
    )
    with pytest.raises(ValueError, match="J431"):
        export_encoder(encoder)


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_without_the_extra_its_install_line_is_told(
    exported: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ImportError, match=rf"J469.*{package}.*spacy-jbert\[onnx\]"):
        OnnxEncoder.load(exported)


def name_outside(tensor: Any, where: str) -> None:
    """Let a tensor's numbers be in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", where


def change(folder: Path, how: Callable[[Any], object]) -> None:
    """Change a graph, as somebody would who makes the hash fit."""
    model = onnx.load(folder / GRAPH_FILE, load_external_data=False)
    how(model)
    (folder / GRAPH_FILE).write_bytes(model.SerializeToString())
    forge(folder)


def forge(folder: Path) -> None:
    facts = json.loads((folder / FACTS_FILE).read_bytes())
    facts["sha256"] = sha256(folder / GRAPH_FILE)
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
