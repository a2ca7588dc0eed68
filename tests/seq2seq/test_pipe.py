"""`jbert_seq2seq`: writes what transformers writes, and is the same wherever it is taken."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
import torch
from spacy.language import Language
from transformers import AutoTokenizer, EncoderDecoderModel

from spacy_jbert.pipeline.seq2seq import JBertSeq2Seq

from .conftest import PAIRS

SOURCES = [source for source, _ in PAIRS]


@pytest.fixture
def nlp(trained: Path) -> Language:
    return spacy.load(trained / "pipeline")


def written(nlp: Language) -> list[str]:
    return [doc._.generated for doc in nlp.pipe(SOURCES)]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_what_transformers_writes(num_beams: int, nlp: Language, trained: Path) -> None:
    pipe = nlp.get_pipe("seq2seq")
    assert isinstance(pipe, JBertSeq2Seq)
    pipe.num_beams = num_beams
    model = EncoderDecoderModel.from_pretrained(trained / "model")
    tokenizer = AutoTokenizer.from_pretrained(trained / "model")
    for text in SOURCES:
        ids = torch.tensor(pipe.seq2seq.source_ids([nlp.make_doc(text)]))
        (wanted,) = model.generate(ids, num_beams=num_beams, do_sample=False, max_new_tokens=12)
        decoded = tokenizer.decode(wanted, skip_special_tokens=True)
        assert nlp(text)._.generated.replace(" ", "") == decoded.replace(" ", "")


def test_batches_make_no_difference(nlp: Language) -> None:
    alone = [nlp(text)._.generated for text in SOURCES]
    assert written(nlp) == alone
    assert [doc._.generated for doc in nlp.pipe(SOURCES, batch_size=5)] == alone


def test_it_is_the_same_wherever_it_is_taken(nlp: Language, tmp_path: Path) -> None:
    wanted = written(nlp)
    nlp.to_disk(tmp_path / "saved")
    assert written(spacy.load(tmp_path / "saved")) == wanted
    assert written(type(nlp).from_config(nlp.config).from_bytes(nlp.to_bytes())) == wanted
    assert written(pickle.loads(pickle.dumps(nlp))) == wanted
    other = spacy.blank("ja")
    other.add_pipe("seq2seq", source=nlp)
    other.to_disk(tmp_path / "other")
    assert written(spacy.load(tmp_path / "other")) == wanted
    # Without the component: nothing of it is read.
    bare = spacy.load(tmp_path / "saved", exclude=["seq2seq"])
    assert "seq2seq" not in bare.pipe_names
    assert bare("東京")._.generated is None


def test_words_of_latin_letters_keep_their_space(nlp: Language) -> None:
    assert nlp("電車")._.generated == "Rail Way"


def test_nothing_is_written_of_nothing(nlp: Language) -> None:
    assert [doc._.generated for doc in nlp.pipe(["", " ", "猫"])] == ["", "", "名前"]


def test_no_more_than_so_many_pieces(nlp: Language) -> None:
    pipe = nlp.get_pipe("seq2seq")
    assert isinstance(pipe, JBertSeq2Seq)
    pipe.max_pieces = 1
    assert nlp("電車")._.generated != "Rail Way"
    # The decoder has no more positions.
    pipe.max_pieces = 10_000
    assert nlp("電車")._.generated == "Rail Way"


def test_it_is_initialised_from_a_folder(nlp: Language, trained: Path) -> None:
    other = spacy.blank("ja")
    other.add_pipe("jbert_seq2seq", name="seq2seq", config={"max_pieces": 12})
    with pytest.raises(ValueError, match=r"J559.*'seq2seq'"):
        other("東京")
    with pytest.raises(ValueError, match="J559"):
        other.initialize()
    other.config["initialize"]["components"]["seq2seq"] = {"folder": str(trained / "model")}
    other.initialize()
    assert written(other) == written(nlp)


def test_what_it_cannot_be_made_of(checkpoint: Callable[[str], Path], trained: Path) -> None:
    with pytest.raises(ValueError, match=r"J549.*num_beams"):
        JBertSeq2Seq(num_beams=0)
    for folder, code in ((checkpoint("bert-fast"), "J555.*bert"), (trained, "J003")):
        with pytest.raises(ValueError, match=code):
            JBertSeq2Seq().initialize(list, folder=str(folder))
    with pytest.raises(ValueError, match="J085"):
        JBertSeq2Seq(device="zz")


@pytest.mark.parametrize(
    "data",
    [b"\xc1", *(srsly.msgpack_dumps({name: b"x"}) for name in ("../out", "..", "/tmp/x", "con"))],
)
def test_bytes_that_are_no_model(data: bytes) -> None:
    with pytest.raises(ValueError, match="J061"):
        JBertSeq2Seq().from_bytes(data)


def test_a_batch_that_fails_is_the_error_handlers(
    nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = nlp.get_pipe("seq2seq")
    assert isinstance(pipe, JBertSeq2Seq)
    assert pipe.seq2seq is not None
    generate = pipe.seq2seq.generate

    def fail(docs: list, **settings: Any) -> list[str]:
        if any(doc.text == "東京" for doc in docs):
            raise RuntimeError("out of memory")
        return generate(docs, **settings)

    monkeypatch.setattr(pipe.seq2seq, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(nlp.pipe(["東京", "猫"], batch_size=1))
    failed: list[str] = []
    nlp.set_error_handler(lambda name, _, docs, error: failed.extend(doc.text for doc in docs))
    done = [doc.text for doc in nlp.pipe(["電車", "東京", "猫"], batch_size=1)]
    assert (done, failed) == (["電車", "猫"], ["東京"])


@pytest.mark.parametrize("part", [(), ("encoder",), ("decoder",)])
def test_code_that_a_model_names_is_refused(
    part: tuple[str, ...], nlp: Language, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path / "saved")
    file = tmp_path / "saved/seq2seq/model/config.json"
    config = json.loads(file.read_bytes())
    section = config[part[0]] if part else config
    section["auto_map"] = {"AutoModel": "evil.Model"}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="J060"):
        spacy.load(tmp_path / "saved")


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_settings_without_sense_are_refused(half: str, nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "saved")
    file = tmp_path / "saved/seq2seq/model/config.json"
    config = json.loads(file.read_bytes())
    config[half]["hidden_size"] = 10**9
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="J064"):
        spacy.load(tmp_path / "saved")


def test_a_damaged_model_is_refused(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "saved")
    weights = tmp_path / "saved/seq2seq/model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"J091|J002|J009"):
        spacy.load(tmp_path / "saved")
