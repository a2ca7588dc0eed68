"""Pipelines whose encoder is run by onnxruntime: saved, loaded, sourced, copied as any other."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_jbert import exporting
from spacy_jbert.cli.app import app
from spacy_jbert.exporting import export_onnx

from .conftest import SENTENCES, listener

pytest.importorskip("onnx")

NER = ("ner", "jbert_ner", {"model": {"tok2vec": listener()}})
TEXTCAT = (
    "textcat",
    "textcat",
    {
        "model": {
            "@architectures": "spacy-jbert.PooledTextCat.v1",
            "exclusive_classes": True,
            "tok2vec": listener(),
        },
        "scorer": {"@scorers": "spacy-jbert.textcat_scorer.v1", "exclusive_classes": True},
    },
)


def examples_of_both(
    ner_examples: Callable[[Language], list[Example]],
) -> Callable[[Language], list[Example]]:
    def make(nlp: Language) -> list[Example]:
        examples = ner_examples(nlp)
        for number, eg in enumerate(examples):
            eg.reference.cats = {"偶": float(number % 2 == 0), "奇": float(number % 2)}
        return examples

    return make


@pytest.fixture(scope="module")
def saved(
    checkpoint: Callable[[str], Path],
    ner_examples: Callable[[Language], list[Example]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a trained pipeline, `torch`, the documents `dev.spacy`, and what was exported
    of both, `onnx`."""
    folder = tmp_path_factory.mktemp("pipelines")
    make = examples_of_both(ner_examples)
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("jbert_transformer", name="transformer", config={"model": {"overlap": 8}})
    for name, factory, config in (NER, TEXTCAT):
        nlp.add_pipe(factory, name=name, config=config)
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(checkpoint("bert-fast"))}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    examples = make(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 3e-3
    for _ in range(40):
        nlp.update(make(nlp), sgd=optimizer)
    nlp.to_disk(folder / "torch")
    DocBin(docs=[eg.reference for eg in make(nlp)], store_user_data=True).to_disk(
        folder / "dev.spacy"
    )
    export_onnx(nlp)
    nlp.to_disk(folder / "onnx")
    return folder


def said(nlp: Language, **settings: Any) -> list[tuple[Any, ...]]:
    docs = list(nlp.pipe([*SENTENCES, "", " ", "".join(SENTENCES)], **settings))
    return [
        (
            [(span.text, span.label_) for span in doc.ents],
            pytest.approx([span._.jbert_score for span in doc.ents], abs=1e-4),
            pytest.approx(doc.cats, abs=1e-4),
        )
        for doc in docs
    ]


def plain(nlp: Language, **settings: Any) -> list[tuple[Any, ...]]:
    docs = list(nlp.pipe([*SENTENCES, "", " ", "".join(SENTENCES)], **settings))
    return [
        (
            [(span.text, span.label_) for span in doc.ents],
            [span._.jbert_score for span in doc.ents],
            doc.cats,
        )
        for doc in docs
    ]


def test_it_says_what_torch_says(saved: Path) -> None:
    before = plain(spacy.load(saved / "torch"))
    assert sum(len(ents) for ents, _, _ in before) >= 8
    assert before == said(spacy.load(saved / "onnx"))


def test_its_config_names_what_runs_it(saved: Path) -> None:
    model = spacy.load(saved / "onnx").config["components"]["transformer"]["model"]
    assert model["@architectures"] == "spacy-jbert.OnnxTransformer.v1"
    assert model["overlap"] == 8
    assert "device" not in model
    requirements = json.loads((saved / "onnx/meta.json").read_bytes())["requirements"]
    assert any(needed.startswith("onnxruntime") for needed in requirements)
    assert not list((saved / "onnx").rglob("*.safetensors"))


def test_several_processes_say_the_same(saved: Path) -> None:
    nlp = spacy.load(saved / "onnx")
    wanted = said(nlp)
    assert plain(nlp, n_process=2, batch_size=5) == wanted


def test_with_threads_several_processes_say_the_same(saved: Path) -> None:
    threads = {"components.transformer.model.threads": 2}
    nlp = spacy.load(saved / "onnx", config=threads)
    # The parent's threads are running when the others are forked.
    wanted = said(nlp)
    assert plain(nlp, n_process=2, batch_size=5) == wanted


FORKED = """
import gc, os, sys, spacy
nlp = spacy.load(sys.argv[1], config={"components.transformer.model.threads": 2})
list(nlp.pipe(["東京です。"] * 20))
for runs in [True, False] * 5:
    child = os.fork()
    if not child:
        if runs:
            assert nlp("東京です。").has_annotation("ENT_IOB")
        del nlp
        gc.collect()
        os._exit(0)  # as multiprocessing ends one; with onnxruntime imported, sys.exit() hangs
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no system with fork")
def test_forked_processes_end(saved: Path) -> None:
    """Whether they use the encoder or not: threads that only the parent has aren't waited for."""
    command = [sys.executable, "-c", FORKED, str(saved / "onnx")]
    subprocess.run(command, check=True, timeout=120)


def test_bytes_and_a_second_save(saved: Path, tmp_path: Path) -> None:
    nlp = spacy.load(saved / "onnx")
    wanted = plain(nlp)
    again = spacy.util.load_model_from_config(nlp.config, auto_fill=True)
    again.from_bytes(nlp.to_bytes())
    assert plain(again) == wanted
    again.to_disk(tmp_path / "again")
    again.to_disk(tmp_path / "again")
    assert plain(spacy.load(tmp_path / "again")) == wanted


def test_it_can_be_sourced(saved: Path) -> None:
    source = spacy.load(saved / "onnx")
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    for name in source.pipe_names:
        nlp.add_pipe(name, source=source)
    assert plain(nlp) == plain(source)


def test_listeners_can_be_replaced(saved: Path, tmp_path: Path) -> None:
    nlp = spacy.load(saved / "onnx")
    wanted = said(nlp)
    for name in ("ner", "textcat"):
        nlp.replace_listeners("transformer", name, ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert plain(nlp) == wanted
    nlp.to_disk(tmp_path / "replaced")
    loaded = spacy.load(tmp_path / "replaced")
    tok2vec = loaded.config["components"]["ner"]["model"]["tok2vec"]
    assert tok2vec["@architectures"] == "spacy-jbert.Tok2VecOnnxTransformer.v1"
    assert plain(loaded) == wanted


def test_encoders_inside_of_heads_are_exported(saved: Path, tmp_path: Path) -> None:
    nlp = spacy.load(saved / "torch")
    wanted = said(nlp)
    for name in ("ner", "textcat"):
        nlp.replace_listeners("transformer", name, ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    export_onnx(nlp)
    nlp.to_disk(tmp_path / "exported")
    assert plain(spacy.load(tmp_path / "exported")) == wanted


def test_training_it_is_a_coded_error(
    saved: Path, ner_examples: Callable[[Language], list[Example]]
) -> None:
    nlp = spacy.load(saved / "onnx")
    with pytest.raises(NotImplementedError, match="J425"):
        nlp.update(ner_examples(nlp), sgd=nlp.create_optimizer())


def test_heads_learn_on_a_frozen_one(
    saved: Path, ner_examples: Callable[[Language], list[Example]]
) -> None:
    nlp = spacy.load(saved / "onnx")
    losses: dict[str, float] = {}
    nlp.update(
        ner_examples(nlp),
        sgd=nlp.create_optimizer(),
        losses=losses,
        exclude=["transformer", "textcat"],
        annotates=["transformer"],
    )
    assert losses["ner"] > 0


def test_an_encoder_of_torch_is_refused(saved: Path, checkpoint: Callable[[str], Path]) -> None:
    nlp = spacy.load(saved / "onnx")
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(checkpoint("bert-fast"))}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    with pytest.raises(ValueError, match="J434"):
        nlp.initialize()


def test_a_pipeline_cut_off_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved / "onnx", tmp_path / "cut")
    file = folder / "transformer/model/encoder.onnx"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="J009"):
        spacy.load(folder)
    (folder / "files.json").unlink()
    (folder / "meta.json").write_text(
        (folder / "meta.json").read_text(encoding="utf-8").replace("jbert_files", "x"),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="J427"):
        spacy.load(folder)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_have_a_range(threads: int, saved: Path) -> None:
    with pytest.raises(ValueError, match="J087"):
        spacy.load(saved / "onnx", config={"components.transformer.model.threads": threads})


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_the_command_measures_and_writes(saved: Path, tmp_path: Path) -> None:
    done = run(saved / "torch", tmp_path / "int8", "--int8", "--dev", saved / "dev.spacy")
    done_more = run(
        saved / "torch", tmp_path / "int8", "--int8", "--dev", saved / "dev.spacy", "--max-drop", 1
    )
    assert done_more.exit_code == 0, done_more.output
    for name in ("ents_f", "ents_macro_f", "ents_ece", "cats_macro_f", "cats_ece"):
        assert name in done_more.output
    assert done.exit_code in (0, 1)
    facts = json.loads((tmp_path / "int8/transformer/model/onnx.json").read_bytes())
    assert facts["precision"] == "int8"
    assert facts["difference"] > 0
    plain(spacy.load(tmp_path / "int8"))


def test_calibration_is_fitted_again(saved: Path) -> None:
    nlp = spacy.load(saved / "torch")
    nlp.get_pipe("ner").cfg["temperature"] = 7.0
    examples = lambda: list(spacy.training.Corpus(saved / "dev.spacy")(nlp))  # noqa: E731
    export_onnx(nlp, int8=True, read_dev=examples, max_drop=1.0)
    assert nlp.get_pipe("ner").cfg["temperature"] != 7.0


def test_what_is_worse_is_not_written(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([{"ents_f": 0.8, "ents_ece": 0.02}, *[{"ents_f": 0.79, "ents_ece": 0.02}] * 2])
    monkeypatch.setattr(exporting, "_measure", lambda *_: (next(measured), []))
    done = run(saved / "torch", tmp_path / "int8", "--int8", "--dev", saved / "dev.spacy")
    assert done.exit_code == 1
    assert "J432" in done.output
    assert "0.8000 -> 0.7900" in done.output
    assert "ents_ece" not in done.output
    assert not (tmp_path / "int8").exists()


def test_more_calibration_error_counts_too(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([{"ents_ece": 0.02}, *[{"ents_ece": 0.03}] * 2])
    monkeypatch.setattr(exporting, "_measure", lambda *_: (next(measured), []))
    done = run(saved / "torch", tmp_path / "int8", "--int8", "--dev", saved / "dev.spacy")
    assert "J432" in done.output
    assert "ents_ece 0.0200 -> 0.0300" in done.output


def test_fp32_changes_nothing_on_the_dev_set(saved: Path, tmp_path: Path) -> None:
    done = run(saved / "torch", tmp_path / "fp32", "--dev", saved / "dev.spacy", "--max-drop", 0)
    assert done.exit_code == 0, done.output
    assert "0 of 20 documents" in done.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--int8"], "J433"),
        (["--dev", "dev.spacy"], "J311"),
    ],
)
def test_what_cannot_be_done_has_a_code(
    saved: Path, tmp_path: Path, arguments: list[str], code: str
) -> None:
    nlp = spacy.blank("ja")
    DocBin(docs=[nlp.make_doc("犬")]).to_disk(tmp_path / "dev.spacy")
    arguments = [str(tmp_path / part) if part == "dev.spacy" else part for part in arguments]
    done = run(saved / "torch", tmp_path / "out", *arguments)
    assert done.exit_code == 1
    assert code in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("left_out", ["ner", "textcat"])
def test_nothing_of_what_it_predicts_is_annotated(
    saved: Path, tmp_path: Path, left_out: str
) -> None:
    nlp = spacy.load(saved / "torch", exclude=[left_out])
    nlp.to_disk(tmp_path / "model")
    doc = nlp.make_doc("犬")
    if left_out == "textcat":
        doc.cats = {"動物": 1.0}
    else:
        doc.set_ents([doc.char_span(0, 1, "動物")])
    DocBin(docs=[doc]).to_disk(tmp_path / "dev.spacy")
    done = run(tmp_path / "model", tmp_path / "out", "--int8", "--dev", tmp_path / "dev.spacy")
    assert done.exit_code == 1
    assert "J311" in done.output
    assert not (tmp_path / "out").exists()


def test_a_pipeline_is_not_overwritten_or_exported_twice(saved: Path, tmp_path: Path) -> None:
    assert "J433" in run(saved / "torch", saved / "torch").output
    assert "J433" in run(saved / "onnx", tmp_path / "twice").output
    spacy.blank("ja").to_disk(tmp_path / "blank")
    assert "J031" in run(tmp_path / "blank", tmp_path / "out").output
