"""A pipeline whose saving was cut off is refused, or is wholly the old or the new one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import MakeNLP, tagged, tagger, transformer

TEXT = SENTENCES[1]
HEADS = [
    ("ner", "jbert_ner", {}),
    tagger(listener()),
    (
        "textcat",
        "textcat",
        {
            "model": {
                "@architectures": "spacy-jbert.PooledTextCat.v1",
                "exclusive_classes": True,
                "tok2vec": listener(),
            }
        },
    ),
]


def disturb(nlp: Language, *, encoder: bool = True, heads: bool = True) -> None:
    """Other weights, as a training would leave them."""
    with torch.no_grad():
        for weight in transformer(nlp).encoder.model.parameters() if encoder else ():
            weight += 0.1 * torch.rand_like(weight)
    for name in nlp.pipe_names[1:] if heads else ():
        for node in nlp.get_pipe(name).model.walk():
            for param in node.param_names:
                if node.has_param(param):
                    array = node.get_param(param)
                    noise = torch.rand(array.shape).numpy() * 0.1
                    node.set_param(param, array + node.ops.asarray(noise))


def says(nlp: Language) -> str:
    """Everything the heads say, as text."""
    doc = nlp(TEXT)
    tags = nlp.get_pipe("tagger").model.predict([doc])[0]
    scores = nlp.get_pipe("ner").model.predict([doc]).tokens[0]
    return f"{tags.tolist()} {scores.tolist()} {doc.cats}"


@pytest.fixture
def nlp(make_nlp: MakeNLP) -> Language:
    return make_nlp(HEADS, tagged)


@pytest.fixture
def states(nlp: Language, tmp_path: Path) -> tuple[Path, Path]:
    """The same pipeline saved twice, with a training between."""
    nlp.to_disk(tmp_path / "old")
    disturb(nlp)
    nlp.to_disk(tmp_path / "new")
    return tmp_path / "old", tmp_path / "new"


@pytest.mark.parametrize("head", ["ner", "tagger", "textcat"])
def test_old_head(head: str, states: tuple[Path, Path]) -> None:
    old, new = states
    shutil.rmtree(new / head)
    shutil.copytree(old / head, new / head)
    with pytest.raises(ValueError, match="J090.*" + head):
        spacy.load(new)
    assert spacy.load(new, exclude=[head])(TEXT)
    nlp = spacy.load(new, disable=[head])
    nlp.enable_pipe(head)
    with pytest.raises(ValueError, match="J090"):
        nlp(TEXT)


def test_old_head_of_frozen_encoder(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "old")
    disturb(nlp, encoder=False)
    nlp.to_disk(tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "ner")
    shutil.copytree(tmp_path / "old" / "ner", tmp_path / "new" / "ner")
    with pytest.raises(ValueError, match="J090"):
        spacy.load(tmp_path / "new")


def test_stock_listener(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(stock_listener())], tagged)
    nlp.to_disk(tmp_path / "old")
    nlp.to_disk(tmp_path / "new")
    shutil.rmtree(tmp_path / "new" / "tagger")
    shutil.copytree(tmp_path / "old" / "tagger", tmp_path / "new" / "tagger")
    with pytest.raises(ValueError, match="J090"):
        spacy.load(tmp_path / "new")


def test_saved_before_marks(states: tuple[Path, Path]) -> None:
    old, _ = states
    (old / "transformer" / "model" / "generation").unlink()
    assert spacy.load(old)(TEXT)


def test_heads_that_were_disabled_or_sourced(
    states: tuple[Path, Path], make_nlp: MakeNLP, tmp_path: Path
) -> None:
    old, new = states
    nlp = spacy.load(old, disable=["tagger"])
    nlp.to_disk(tmp_path / "again")
    with nlp.select_pipes(disable=["ner"]):
        nlp.to_disk(tmp_path / "twice")
    other = spacy.load(new, exclude=["ner"])
    other.add_pipe("ner", source=nlp)
    assert other(TEXT)
    other.to_disk(tmp_path / "sourced")
    for name in ("again", "twice", "sourced"):
        assert spacy.load(tmp_path / name)(TEXT)


def test_new_head_on_a_loaded_encoder(states: tuple[Path, Path], tmp_path: Path) -> None:
    nlp = spacy.load(states[1], exclude=["ner"])
    nlp.add_pipe("jbert_ner", name="ner")
    nlp.get_pipe("ner").initialize(lambda: tagged(nlp), nlp=nlp)
    nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in tagged(nlp)])
    nlp.to_disk(tmp_path / "more")
    nlp.from_bytes(nlp.to_bytes())
    assert says(spacy.load(tmp_path / "more")) == says(nlp)


def test_two_transformers(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    nlp.add_pipe("transformer", name="second", source=nlp, before="tagger")
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(TEXT)


def test_refused_save(states: tuple[Path, Path]) -> None:
    """What was there before stays, and can be loaded."""
    old, _ = states
    nlp = spacy.load(old)
    expected = says(nlp)
    with torch.no_grad():
        next(transformer(nlp).encoder.model.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="J081"):
        nlp.to_disk(old)
    assert says(spacy.load(old)) == expected


def test_killed_between_renames(states: tuple[Path, Path]) -> None:
    """The old encoder is read where it is; the next save tidies up."""
    old, _ = states
    expected = says(spacy.load(old))
    model = old / "transformer" / "model"
    model.rename(model.with_name(".model.old"))
    model.with_name(".model.new").mkdir()
    nlp = spacy.load(old)
    assert says(nlp) == expected
    assert not model.exists()
    nlp.to_disk(old)
    assert not list(old.rglob(".*"))
    assert says(spacy.load(old)) == expected


@pytest.mark.parametrize("file", ["cfg", "model"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_truncated_ner(file: str, share: float, states: tuple[Path, Path]) -> None:
    path = states[0] / "ner" / file
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="J091"):
        spacy.load(states[0])


def test_truncated_ner_bytes(nlp: Language) -> None:
    pipe = nlp.get_pipe("ner")
    with pytest.raises(ValueError, match="J091"):
        pipe.from_bytes(pipe.to_bytes()[:-20])


def test_truncated_cfg_of_transformer(states: tuple[Path, Path]) -> None:
    (states[0] / "transformer" / "cfg").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="J009"):
        spacy.load(states[0])


SAVE_AGAIN_AND_AGAIN = """
import sys, spacy
old, new = (spacy.load(path) for path in sys.argv[1:3])
print("ready", flush=True)
while True:
    new.to_disk(sys.argv[3])
    old.to_disk(sys.argv[3])
"""


@pytest.mark.slow
def test_killed(states: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = states
    whole = [says(spacy.load(path)) for path in states]
    assert whole[0] != whole[1]
    target = tmp_path / "target"
    chance = random.Random(0)
    refused = 0
    for kills in range(40):
        if kills >= 6 and refused:
            break
        nlp = spacy.load(old)
        nlp.to_disk(target)
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_AGAIN_AND_AGAIN, *map(str, (old, new, target))],
            stdout=subprocess.PIPE,
            env=os.environ,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        try:
            left = says(spacy.load(target))
        except Exception:  # spaCy's own files raise whatever reads them
            refused += 1
        else:
            assert left in whole
        nlp.to_disk(target)
        assert says(spacy.load(target)) == whole[0]
        assert not list(target.rglob(".*")) + list(target.rglob("*.part"))
    assert refused
