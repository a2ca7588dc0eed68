"""The project as a user runs it: the whole chain on the embedded sample, in a copy of the checkout."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from spacy.tokens import DocBin

ROOT = Path(__file__).parents[2]
PARTS = [
    "configs",
    "project/scripts",
    "project/corpora",
    "project/assets/sample",
    "project/assets/jbert-mini",
    "project/meta",
    "spacy_jbert",
]
FILES = [
    "project.yml",
    "setup.py",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
]


def copy_checkout(to: Path) -> Path:
    for part in PARTS:
        shutil.copytree(ROOT / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, to / file)
    return to


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path)


@pytest.mark.slow
def test_the_whole_chain(checkout: Path) -> None:
    steps = ("sample_adapt_steps", "sample_steps", "sample_ner_steps")
    short = [part for name in steps for part in (f"--vars.{name}", "12")]
    done = run("-m", "spacy", "project", "run", "all", ".", *short, cwd=checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    project = checkout / "project"
    before, _ = _pretrained(project / "training/adapt")
    assert (
        before["loss"] < 6
    )  # it begins with what the mini encoder knows: nothing known would be 9.7
    assert {"ents_f", "ents_per_type"} <= set(
        json.loads((project / "metrics/sample_ner.json").read_text(encoding="utf-8"))
    )
    assert "cats_macro_f" in json.loads(
        (project / "metrics/sample_topic.json").read_text(encoding="utf-8")
    )
    assert "経済・金融" in (project / "reports/sample_topic.html").read_text(encoding="utf-8")
    # The entities of the sample are all in the corpus.
    sample = [
        json.loads(line)
        for line in (project / "assets/sample/texts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    parts = [
        DocBin().from_disk(project / f"corpus/sample_ner/{part}.spacy")
        for part in ("train", "dev", "test")
    ]
    import spacy

    vocab = spacy.blank("ja").vocab
    kept = {
        (doc.text, ent.start_char, ent.end_char, ent.label_)
        for part in parts
        for doc in part.get_docs(vocab)
        for ent in doc.ents
    }
    assert kept == {(record["text"], *entity) for record in sample for entity in record["entities"]}
    # The wheel holds its weights, and nothing of this machine.
    (wheel,) = project.glob("packages/ja_jbert_sample_ner-*/dist/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert any(
            name.endswith("transformer/model/model.safetensors") for name in archive.namelist()
        )
        for name in archive.namelist():
            if name.endswith((".cfg", ".json", "METADATA")):
                assert str(checkout) not in archive.read(name).decode("utf-8"), name
        metadata = next(
            archive.read(name).decode("utf-8")
            for name in archive.namelist()
            if name.endswith("METADATA")
        )
    assert "Requires-Dist: spacy-jbert" in metadata
    assert "Author: The spacy-jbert developers" in metadata
    # Installed elsewhere, network off, three new sentences annotated by both pipelines.
    assert done.stdout.count("金沢精機は17日") == 2
    assert "ja_jbert_sample_topic 0.1.0: transformer, textcat" in done.stdout


@pytest.mark.slow
def test_an_encoder_from_scratch(checkout: Path) -> None:
    short = ["--vars.sample_vocabulary", "1024", "--vars.sample_pretrain_steps", "12"]
    done = run("-m", "spacy", "project", "run", "scratch", ".", *short, cwd=checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    before, after = _pretrained(checkout / "project/training/pretrain")
    assert after["loss"] < before["loss"]


@pytest.mark.slow
def test_the_small_encoder_is_chosen_once_it_is_there(checkout: Path) -> None:
    project = checkout / "project"
    chosen = project / "training/sample_encoder"

    def choose() -> int:
        done = run("-m", "spacy", "project", "run", "sample_encoder", ".", cwd=checkout)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return int(json.loads((chosen / "config.json").read_text())["hidden_size"])

    assert choose() == 192
    text = "project/assets/sample/pretrain.txt"
    tiny = {"text": text, "layers": 1, "width": 64, "heads": 2, "steps": 6, "batch": 1024}
    settings = [part for name, value in tiny.items() for part in (f"--vars.small_{name}", value)]
    done = run("-m", "spacy", "project", "run", "small", ".", *map(str, settings), cwd=checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    before, after = _pretrained(project / "training/small")
    assert after["loss"] < before["loss"]
    assert choose() == 64
    weights = load_file(chosen / "model.safetensors")
    assert all(weight.dtype == torch.float16 for weight in weights.values())
    vocabulary = (project / "assets/jbert-mini/tokenizer.json").read_text(encoding="utf-8")
    ours = (chosen / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(ours)["model"]["vocab"] == json.loads(vocabulary)["model"]["vocab"]


def test_no_encoder_to_choose(tmp_path: Path) -> None:
    script = ROOT / "project/scripts/choose_encoder.py"
    done = run(str(script), "out", "one", "two", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert "one, two" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def _pretrained(folder: Path) -> tuple[dict, dict]:
    """Look for what Weasel never checks to be there.

    RETURNS: The figures on held-out text before and after.
    """
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in (folder / "encoder").iterdir()
    }
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics["before"], metrics["after"]


def test_a_missing_asset_is_named(checkout: Path) -> None:
    done = run("-m", "spacy", "project", "run", "stockmark", ".", cwd=checkout)
    assert done.returncode != 0
    assert "project/assets/stockmark/ner.json" in done.stdout + done.stderr
    assert not (checkout / "project/corpus/stockmark").exists()


def test_an_asset_in_place_is_not_fetched(checkout: Path) -> None:
    """With the asset's MD5 in place nothing is fetched: a mirror is a copied file."""
    file = checkout / "project/assets/stockmark/ner.json"
    file.parent.mkdir(parents=True)
    file.write_text("[]", encoding="utf-8")
    project = (checkout / "project.yml").read_text(encoding="utf-8")
    before, assets = project.split("assets:\n", 1)
    stockmark = next(entry for entry in assets.split("  - dest:") if "stockmark/ner.json" in entry)
    old = next(line.split('"')[1] for line in stockmark.splitlines() if "checksum" in line)
    only = "  - dest:" + stockmark.replace(old, hashlib.md5(b"[]").hexdigest())
    workflows = assets[assets.index("workflows:") :]
    (checkout / "project.yml").write_text(f"{before}assets:\n{only}\n{workflows}", encoding="utf-8")
    done = run("-m", "spacy", "project", "assets", ".", cwd=checkout)
    assert "matching checksum" in done.stdout, done.stdout + done.stderr
    assert file.read_text(encoding="utf-8") == "[]"


def test_the_table_in_the_docs_is_the_projects(checkout: Path) -> None:
    page = checkout / "docs" / "project.md"
    page.parent.mkdir()
    before = (ROOT / "docs" / "project.md").read_text(encoding="utf-8")
    # The page lies deeper than what it links to.
    before = before.replace("(../project.yml)", "(project.yml)")
    page.write_text(before, encoding="utf-8")
    done = run("-m", "spacy", "project", "document", ".", "--output", page, cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert page.read_text(encoding="utf-8") == before, (
        "run: python -m spacy project document --output docs/project.md, and mend the link"
    )
