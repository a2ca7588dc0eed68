"""Storing and passing on `jbert_transformer`: folders, bytes, processes, other pipelines, spaCy's
commands.
"""

import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_config
from transformers import AutoModel
from typer.testing import CliRunner

from spacy_jbert.pipeline.transformer import JBertTransformer

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import MakeNLP, changed, scores, tagged, tagger, train, transformer, vectors, weights


@pytest.mark.parametrize(
    "tok2vec",
    [listener(), listener(pooling="first"), stock_listener()],
    ids=["own", "first", "stock"],
)
def test_replace_listeners(tok2vec: dict, make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(tok2vec)], tagged)
    train(nlp, tagged(nlp))
    expected = scores(nlp, SENTENCES[0])
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    assert transformer(nlp).listeners == []
    np.testing.assert_allclose(scores(nlp, SENTENCES[0]), expected, atol=1e-6)
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    np.testing.assert_allclose(scores(again, SENTENCES[0]), expected, atol=1e-6)
    # The copy learns too.
    train(again, tagged(again))
    assert not np.allclose(scores(again, SENTENCES[0]), expected, atol=1e-6)


def test_sourcing(make_nlp: MakeNLP, tmp_path: Path) -> None:
    source = make_nlp([tagger(listener())], tagged)
    train(source, tagged(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
        nlp.add_pipe("transformer", source=source)
        nlp.add_pipe("tagger", source=source)
    nlp.to_disk(tmp_path)
    for other in (nlp, spacy.load(tmp_path)):
        np.testing.assert_allclose(
            scores(other, SENTENCES[0]), scores(source, SENTENCES[0]), atol=1e-6
        )


def test_bytes_pickle_and_copies(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    train(nlp, tagged(nlp))
    expected = scores(nlp, SENTENCES[0])
    blank = spacy.blank("ja").from_config(nlp.config)
    assert np.array_equal(scores(blank.from_bytes(nlp.to_bytes()), SENTENCES[0]), expected)
    pipe = pickle.loads(pickle.dumps(transformer(nlp).model))
    assert np.array_equal(
        pipe.predict([nlp.make_doc(SENTENCES[0])]).doc_data[0].tensors[0][0],
        vectors(nlp(SENTENCES[0])),
    )


@pytest.mark.parametrize("family", ["bert-fast", "mecab-unidic", "sudachi"])
def test_several_processes(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(family=family)
    for doc, expected in zip(
        nlp.pipe(SENTENCES, n_process=2, batch_size=5), nlp.pipe(SENTENCES), strict=True
    ):
        np.testing.assert_allclose(vectors(doc), vectors(expected), atol=1e-6)


def test_exclude(make_nlp: MakeNLP, tmp_path: Path) -> None:
    pipe = transformer(make_nlp())
    pipe.to_disk(tmp_path / "all")
    pipe.to_disk(tmp_path / "none", exclude=["model"])
    assert (tmp_path / "all" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "none" / "model").exists()
    blank = spacy.blank("ja").add_pipe("jbert_transformer")
    assert isinstance(blank, JBertTransformer)
    blank.from_disk(tmp_path / "none", exclude=["model"])
    with pytest.raises(ValueError, match="J001"):
        _ = blank.encoder
    blank.from_disk(tmp_path / "all", exclude=["cfg"])
    assert blank.encoder.width == 16


@pytest.mark.parametrize("broken", ["folder", "weights", "half the weights"])
def test_damaged_storage(broken: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
    make_nlp().to_disk(tmp_path)
    folder = tmp_path / "transformer" / "model"
    if broken == "folder":
        shutil.rmtree(folder)
    elif broken == "weights":
        (folder / "model.safetensors").unlink()
    else:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"J009.*'transformer'"):
        spacy.load(tmp_path)


def test_no_encoder(tmp_path: Path) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="brain")
    with pytest.raises(ValueError, match=r"J001.*brain"):
        nlp.initialize()
    with pytest.raises(ValueError, match="J001"):
        nlp("東京")
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).pipe_names == ["brain"]


def test_saved_pipelines_name_no_path(
    make_nlp: MakeNLP, checkpoint: Callable, tmp_path: Path
) -> None:
    nlp = make_nlp()
    nlp.config["initialize"]["components"].pop("transformer")
    nlp.to_disk(tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".cfg", ".json"):
            assert str(checkpoint("bert-fast")) not in path.read_text(encoding="utf-8"), path


def test_saving_over_the_folder_that_weights_are_mapped_from(
    make_nlp: MakeNLP, tmp_path: Path
) -> None:
    make_nlp([tagger(listener())], tagged).to_disk(tmp_path)
    file = tmp_path / "transformer" / "model" / "model.safetensors"
    stored = file.read_bytes()
    for _ in range(2):
        nlp = spacy.load(tmp_path)
        train(nlp, tagged(nlp))
        # Training writes to memory, never through it to the file.
        assert file.read_bytes() == stored
        expected, again = vectors(nlp(SENTENCES[0])), weights(nlp)
        nlp.to_disk(tmp_path)
        assert file.read_bytes() != stored
        stored = file.read_bytes()
        assert not changed(again, weights(nlp))
        assert np.array_equal(vectors(nlp(SENTENCES[0])), expected)
        assert np.array_equal(vectors(spacy.load(tmp_path)(SENTENCES[0])), expected)


@pytest.mark.parametrize("storage", ["fp16", "bf16"])
def test_storage(storage: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp(storage=storage)
    full = make_nlp()
    nlp.to_disk(tmp_path / storage)
    full.to_disk(tmp_path / "fp32")
    sizes = [
        (tmp_path / name / "transformer" / "model" / "model.safetensors").stat().st_size
        for name in (storage, "fp32")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    n_weights = sum(weight.numel() for weight in weights(nlp))
    assert len(nlp.to_bytes()) < len(full.to_bytes()) - 1.5 * n_weights
    again = spacy.load(tmp_path / storage)
    assert {weight.dtype for weight in weights(again)} == {torch.float32}
    assert changed(weights(again), weights(nlp))
    np.testing.assert_allclose(vectors(again(SENTENCES[0])), vectors(nlp(SENTENCES[0])), atol=0.05)
    plain = AutoModel.from_pretrained(
        tmp_path / storage / "transformer" / "model", torch_dtype="auto"
    )
    assert plain.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[storage]


def test_pipelines_without_the_transformer(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    expected = scores(nlp, SENTENCES[0])
    nlp.to_disk(tmp_path, exclude=["transformer"])
    assert not (tmp_path / "transformer").exists()
    with pytest.raises(ValueError, match="transformer"):
        spacy.load(tmp_path)
    nlp.to_disk(tmp_path)
    without = spacy.load(tmp_path, exclude=["transformer"])
    assert without.pipe_names == ["tagger"]
    assert len(without(SENTENCES[0])) > 0
    disabled = spacy.load(tmp_path, disable=["transformer"])
    assert disabled(SENTENCES[0])._.trf_data is None
    disabled.enable_pipe("transformer")
    np.testing.assert_allclose(scores(disabled, SENTENCES[0]), expected, atol=1e-6)
    with nlp.select_pipes(enable=["transformer"]):
        assert len(vectors(nlp(SENTENCES[0])))
    with nlp.select_pipes(disable=["transformer"]):
        assert nlp(SENTENCES[0])._.trf_data is None
    np.testing.assert_allclose(scores(nlp, SENTENCES[0]), expected, atol=1e-6)


def test_a_head_that_is_sourced_alone(make_nlp: MakeNLP) -> None:
    source = make_nlp([tagger(listener())], tagged)
    expected = scores(source, SENTENCES[0])
    source.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}}, vocab=source.vocab)
    nlp.add_pipe("tagger", source=source)
    np.testing.assert_allclose(scores(nlp, SENTENCES[0]), expected, atol=1e-6)


def training_config(nlp: Language, folder: Path, **training: Any) -> Path:
    """A config that takes both components from a trained pipeline, and its data."""
    nlp.to_disk(folder / "trained")
    DocBin(docs=[eg.reference for eg in tagged(nlp)]).to_disk(folder / "data.spacy")
    config = nlp.config.copy()
    config["paths"] |= {"train": str(folder / "data.spacy"), "dev": str(folder / "data.spacy")}
    config["components"] = {name: {"source": str(folder / "trained")} for name in nlp.pipe_names}
    config["initialize"]["components"] = {}
    config["training"] |= {"max_steps": 4, "eval_frequency": 2, **training}
    config.to_disk(folder / "config.cfg")
    return folder / "config.cfg"


@pytest.mark.parametrize("frozen", [[], ["transformer"]])
def test_training_goes_on_from_a_pipeline(
    frozen: list[str], make_nlp: MakeNLP, tmp_path: Path
) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    head = scores(nlp, SENTENCES[0])
    config = training_config(nlp, tmp_path, frozen_components=frozen, annotating_components=frozen)
    result = CliRunner().invoke(
        app, ["train", str(config), "--output", str(tmp_path / "out"), "--gpu-id", "-1"]
    )
    assert result.exit_code == 0, result.output
    trained = spacy.load(tmp_path / "out" / "model-last")
    assert changed(weights(nlp), weights(trained)) == (not frozen)
    assert not np.allclose(scores(trained, SENTENCES[0]), head)


def test_debug_commands(make_nlp: MakeNLP, tmp_path: Path) -> None:
    config = str(training_config(make_nlp([tagger(listener())], tagged), tmp_path))
    for command in (
        ["config", config],
        ["data", config],
        ["model", config, "transformer"],
        ["model", config, "tagger"],
    ):
        result = CliRunner().invoke(app, ["debug", *command])
        assert result.exit_code == 0, result.output


def test_pretraining_within_spacys_commands_is_done_once(make_nlp: MakeNLP, tmp_path: Path) -> None:
    """Commands that initialise a pipeline run its callbacks, but what is finished is loaded; of
    other weights it is another run.
    """
    pytest.importorskip("accelerate")
    path = training_config(make_nlp([tagger(listener())], tagged), tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(SENTENCES * 2), encoding="utf-8")
    config = load_config(path)
    config["initialize"]["after_init"] = {
        "@callbacks": "spacy-jbert.pretrain_mlm.v2",
        "path": str(tmp_path / "text.txt"),
        "output": str(tmp_path / "pretrained"),
        "max_steps": 2,
        "min_characters": 1,
        "preprocessing_workers": 1,
    }
    config.to_disk(path)

    def runs(*command: str) -> set[str]:
        result = CliRunner().invoke(app, [*command[:2], str(path), *command[2:]])
        assert result.exit_code == 0, result.output
        return {run.name for run in (tmp_path / "pretrained" / "runs").iterdir()}

    assert len(first := runs("init", "nlp", str(tmp_path / "initialised"))) == 1
    metrics = tmp_path / "pretrained" / "metrics.json"
    written = metrics.stat().st_mtime_ns
    assert runs("debug", "data") == first
    assert runs("init", "nlp", str(tmp_path / "again")) == first
    assert metrics.stat().st_mtime_ns == written
    pretrained, again = (spacy.load(tmp_path / name) for name in ("initialised", "again"))
    assert not changed(weights(pretrained), weights(again))
    assert changed(weights(pretrained), weights(spacy.load(tmp_path / "trained")))
    pretrained.to_disk(tmp_path / "trained")
    assert len(runs("init", "nlp", str(tmp_path / "further"))) == 2
