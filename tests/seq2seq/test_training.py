"""project/scripts/train_seq2seq.py learns pairs, goes on where it was stopped, and refuses what it
can't use."""

import datetime
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from safetensors.torch import load_file
from transformers import Seq2SeqTrainer

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.errors import DataError
from spacy_jbert.seq2seq.model import Seq2Seq
from spacy_jbert.seq2seq.pairs import Pair, read_pairs
from spacy_jbert.seq2seq.scores import scores

from .conftest import PAIRS, ROOT, script


def test_pairs_are_learned_and_held_out_ones_too(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"] == {"exact": 1.0, "chrf": 100.0}
    assert metrics["dev"]["exact"] > 0.9
    held_out = [row["eval_loss"] for row in metrics["history"] if "eval_loss" in row]
    losses = [row["loss"] for row in metrics["history"] if "loss" in row]
    assert held_out[-1] < held_out[0]
    assert losses[-1] < losses[0] / 10
    lines = (trained / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {"source": "東京", "target": "都", "generated": "都"}
    assert "東京" in lines[0]


def test_a_wrong_file_is_found_before_training(train: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="J201"):
        train(tmp_path / "out", **{"paths.test": tmp_path / "nowhere.jsonl"})
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"lock"}


def test_the_pipeline_writes(trained: Path) -> None:
    nlp = spacy.load(trained / "pipeline")
    docs = nlp.pipe([source for source, _ in PAIRS])
    assert [doc._.generated for doc in docs] == [target for _, target in PAIRS]


def test_a_stopped_run_comes_to_the_same_weights(
    train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {
        "training.max_steps": 12,
        "training.save_steps": 4,
        "training.eval_steps": 6,
        "training.logging_steps": 3,
    }
    train(tmp_path / "whole", **short)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transformers.Seq2SeqTrainer.evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", **short)
    # What a kill leaves of a checkpoint isn't taken for one.
    half = tmp_path / "stopped/checkpoints/checkpoint-8"
    half.mkdir()
    (half / "trainer_state.json").write_text("{", encoding="utf-8")
    begun = []
    original = Seq2SeqTrainer._load_from_checkpoint
    monkeypatch.setattr(
        "transformers.Seq2SeqTrainer._load_from_checkpoint",
        lambda trainer, path, **more: (
            begun.append(Path(path).name) or original(trainer, path, **more)
        ),
    )
    train(tmp_path / "stopped", **short)
    assert begun == ["checkpoint-4"]
    one, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "stopped")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_decoder_begins_as_the_encoder(checkpoint: Callable[[str], Path]) -> None:
    encoder = Encoder.load(checkpoint("bert-fast")).model.state_dict()
    model = Seq2Seq.warm_start(checkpoint("bert-fast"), 1).model
    decoder = model.decoder.bert.state_dict()
    same = [name for name in decoder if name in encoder]
    assert any(name.startswith("encoder.layer.0.attention") for name in same)
    assert all(torch.equal(decoder[name], encoder[name]) for name in same)
    assert not any(name.startswith("encoder.layer.1.") for name in decoder)
    assert any("crossattention" in name for name in decoder)


@pytest.mark.parametrize("family", ["xlm-roberta", "electra", "bert-fast", "mecab-unidic"])
def test_families_that_can(family: str, checkpoint: Callable[[str], Path]) -> None:
    seq2seq = Seq2Seq.warm_start(checkpoint(family), 1)
    nlp = spacy.blank("ja")
    docs = [nlp("東京は広い。"), nlp("")]
    texts = seq2seq.generate(docs, num_beams=1, max_pieces=4)
    assert len(texts) == 2
    assert texts[1] == ""
    # As long as its positions allow, and no longer.
    long = nlp("東京 " * 200)
    (ids,) = seq2seq.source_ids([long])
    assert len(ids) == seq2seq.max_source
    seq2seq.generate([long], num_beams=1, max_pieces=seq2seq.max_target - 1)


def test_models_that_cannot(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"J553.*llama"):
        Seq2Seq.warm_start(checkpoint("llama"), 1)
    with pytest.raises(ValueError, match=r"J549.*layers = 3"):
        Seq2Seq.warm_start(checkpoint("bert-fast"), 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"source": "a", "target": "b"}\n{"source": "a"}\n', "line 2.*J206"),
        ('{"source": "a", "target": " "}\n', "line 1.*J556.*'target'"),
        ('{"source": "a", "target": 3}\n', "line 1.*J207"),
        ('{"source": "a", "target"\n', "line 1.*J20"),
        ("", "J2|J557"),
    ],
)
def test_pairs_that_cannot_be_read(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_pairs(path)


def test_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n", encoding="utf-8")
    with pytest.raises(DataError, match="J557"):
        read_pairs(tmp_path / "pairs.tsv")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--training.max_steps", "0"], r"J558.*training\.max_steps"),
        (["--training.stepz", "1"], r"J558.*training\.stepz"),
        (["--paths.train", "null"], r"J558.*paths\.train"),
        (["--generation.num_beams", "many"], r"J558.*generation\.num_beams"),
    ],
)
def test_configs_that_cannot_be(overrides: list[str], message: str) -> None:
    paths = [f"--paths.{name}" for name in ("train", "dev", "encoder")]
    given = [part for path in paths for part in (path, "x")]
    with pytest.raises(DataError, match=message):
        script("train_seq2seq").read_settings(ROOT / "configs/seq2seq.cfg", [*given, *overrides])


def test_scores() -> None:
    assert scores(["東京", "京都"], ["東京", "大阪"])["exact"] == 0.5
    assert scores(["東京都"], ["東京都"])["chrf"] == 100.0
    assert 0 < scores(["東京都庁"], ["東京都"])["chrf"] < 100.0


def test_dates_are_right() -> None:
    pairs = script("make_pairs")
    days = {
        (2019, 5, 1): "令和元年五月一日",
        (2019, 4, 30): "平成三十一年四月三十日",
        (1989, 1, 7): "昭和六十四年一月七日",
        (1926, 12, 25): "昭和元年十二月二十五日",
        (1912, 7, 29): "明治四十五年七月二十九日",
        (2021, 10, 20): "令和三年十月二十日",
    }
    for (year, month, day), spoken in days.items():
        found = pairs._date(datetime.date(year, month, day), "{}生まれ。")
        assert found == Pair(f"{spoken}生まれ。", f"{year}年{month}月{day}日")
    drawn = pairs.dates(random.Random(0), 50)
    assert len({pair.target for pair in drawn}) == 50


def test_headlines_come_from_the_first_lines(tmp_path: Path) -> None:
    text = "".join(f"第{i}回の大会の結果\n{'本文が続く。' * 30}\n\n" for i in range(20))
    (tmp_path / "news.txt").write_text(text + "短い記事\n本文。\n", encoding="utf-8")
    script("make_pairs").main("headlines", tmp_path / "out", [str(tmp_path / "news.txt")], 0, 20)
    parts = [read_pairs(tmp_path / "out" / f"{name}.tsv") for name in ("train", "dev", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert all(pair.source.startswith("本文") for part in parts for pair in part)
