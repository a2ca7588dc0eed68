"""Each interpreter that is promised trains, saves and loads. `.ci/interpreters` installs into the
others that a machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = """
import sys
from pathlib import Path

import spacy
import torch
from spacy.training import Example
from transformers import BertConfig, BertModel, BertTokenizerFast

if __name__ == "__main__":
    torch.manual_seed(0)
    spacy.util.fix_random_seed(0)
    text = "田中は京都へ行く。"
    folder = Path("checkpoint")
    folder.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(text))]
    (folder / "vocab.txt").write_text("\\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(len(pieces), 16, 1, 2, 32, max_position_embeddings=64)
    BertModel(config).save_pretrained(folder)

    tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1"}
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})
    nlp.add_pipe("jbert_transformer", name="transformer", config={"model": {"overlap": 8}})
    nlp.add_pipe("jbert_ner", name="ner")
    encoder = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(folder)}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": encoder}
    entities = {"entities": [(0, 2, "人名"), (3, 5, "地名")]}
    examples = [Example.from_dict(nlp.make_doc(text), entities)]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk("pipeline")
    found = [
        [(entity.text, entity.label_) for entity in pipeline(text).ents]
        for pipeline in (nlp, spacy.load("pipeline"))
    ]
    assert found == [[("田中", "人名"), ("京都", "地名")]] * 2, found
    print(*sys.version_info[:2], sep=".")
"""


def interpreter(version: str) -> Path:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return Path(sys.executable)
    python = ROOT / f".venv-{version}" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no .venv-{version}: .ci/interpreters makes it where it can")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_trains_saves_and_loads(version: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    run = subprocess.run(
        [str(interpreter(version)), "program.py"],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.stdout.strip() == version, run.stderr[-2000:]
