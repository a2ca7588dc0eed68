"""Pairs of texts: how they are read, what an encoder learns from them, runs that are killed."""

import errno
import json
import os
import signal
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from scipy.stats import pearsonr, spearmanr
from spacy.language import Language
from transformers import TrainerCallback

from spacy_jbert.errors import DataError
from spacy_jbert.search import trainer
from spacy_jbert.search.callback import _held_out, tune_pairs
from spacy_jbert.search.contrastive import PairBatches, _cosent, _ranking, correlations, retrieval
from spacy_jbert.search.pairs import Fields, Pair, read_pairs

from ..conftest import SENTENCES
from .test_index import make

PLACES = ["東京", "京都", "大阪", "札幌市"]
DEEDS = ["で図書館を見学しました。", "の桜はもう満開だ。", "へ出張すると聞いた。"]
SMALL: dict[str, Any] = {
    "batch_size": 8,
    "max_steps": 8,
    "learn_rate": 5e-3,
    "save_steps": 2,
    "device": "cpu",
}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts about the same place are alike, whatever is said of it."""
    texts = [(place, place + deed) for place, deed in product(PLACES, DEEDS)]
    records = [
        {"first": one, "second": other, "score": 5.0 if here == there else 0.0}
        for (here, one), (there, other) in product(texts, texts)
        if one != other
    ]
    return write(tmp_path_factory.mktemp("pairs") / "scored.jsonl", records)


@pytest.fixture(scope="module")
def clicked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = [
        {"first": place + deed, "second": f"{place}とは"} for place, deed in product(PLACES, DEEDS)
    ]
    return write(tmp_path_factory.mktemp("pairs") / "clicked.jsonl", records)


@pytest.fixture
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return make(checkpoint("bert-fast"), prefix="東京", index_prefix="京都")


def weights(nlp: Language) -> dict[str, torch.Tensor]:
    encoder: Any = nlp.get_pipe("transformer")
    return {name: w.clone() for name, w in encoder.encoder.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_reading(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", [{"a": "一", "b": "二", "s": 3}, {"a": "三", "b": "四", "s": "0.5"}]
    )
    assert read_pairs(path, Fields("a", "b", "s")) == [Pair("一", "二", 3.0), Pair("三", "四", 0.5)]
    assert read_pairs(path, Fields("a", "b"))[0].score is None
    table = tmp_path / "a.tsv"
    table.write_text("first\tsecond\n一\t二\n三\t四\n", encoding="utf-8")
    assert read_pairs(table) == [Pair("一", "二"), Pair("三", "四")]


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ({"first": "一"}, "J206"),
        ({"first": "一", "second": 2, "score": 1}, "J207"),
        ({"first": "一", "second": " ", "score": 1}, "J501"),
        ({"first": "一", "second": "二", "score": "高い"}, "J502"),
        ({"first": "一", "second": "二", "score": True}, "J502"),
        ({"first": "一", "second": "二", "score": "nan"}, "J502"),
        ({"first": "一", "second": "二"}, "J503"),
        (None, "J504"),
    ],
)
def test_pairs_that_cannot_be_read(second: Any, code: str, tmp_path: Path) -> None:
    good = {"first": "一", "second": "二", "score": 1}
    path = write(tmp_path / "pairs.jsonl", [good] + ([second] if second else []))
    with pytest.raises(DataError, match=code) as caught:
        read_pairs(path)
    assert second is None or "line 2" in str(caught.value)


def test_what_is_held_out_is_not_trained_on() -> None:
    clicks = [Pair(f"問い{i % 8}", f"答え{i % 8}", None) for i in range(80)]
    train, held_out = _held_out(clicks, 0.25)
    assert len(held_out) == len(set(held_out)) == 2
    assert len(train) == 60
    assert not set(train) & set(held_out)
    # Of different pairs, as many as the share says.
    different = [Pair(f"問い{i}", "答え", None) for i in range(40)]
    assert [len(part) for part in _held_out(different, 0.1)] == [36, 4]


@pytest.mark.parametrize("count", [2, 3])
def test_few_pairs_are_all_trained_on(count: int) -> None:
    clicks = [Pair(f"問い{i % count}", "答え", None) for i in range(20)]
    assert _held_out(clicks, 0.05) == (clicks, [])
    assert _held_out(clicks, 0.0) == (clicks, [])


def test_losses() -> None:
    """Of three pairs in the right order nothing is to be learnt, of the wrong order much."""
    scores = torch.tensor([0.0, 2.0, 5.0])
    right, wrong = torch.tensor([-20.0, 0.0, 20.0]), torch.tensor([20.0, 0.0, -20.0])
    assert _cosent(right, scores) < 1e-6 < 39 < _cosent(wrong, scores)
    assert _cosent(wrong, torch.ones(3)) == 0
    cosines = torch.tensor([[5.0, 9.0], [0.0, 5.0]])
    assert _ranking(cosines, torch.zeros(2, 2, dtype=torch.bool)) > 2
    # What is the same text is no wrong answer.
    assert _ranking(cosines, torch.tensor([[False, True], [True, False]])) == 0


def test_figures() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, 50).astype("f"), rng.normal(size=50).astype("f")
    found = correlations(other, one)
    assert found["pearson"] == pytest.approx(pearsonr(other, one)[0], abs=1e-6)
    assert found["spearman"] == pytest.approx(spearmanr(other, one)[0], abs=1e-6)
    assert correlations(np.ones(3, "f"), np.arange(3, dtype="f"))["pearson"] == 0.0
    queries, texts = np.eye(3, dtype="f"), np.eye(3, dtype="f")[[1, 0, 2]]
    assert retrieval(queries, texts, np.array([1, 0, 0])) == pytest.approx(
        {"accuracy": 2 / 3, "mrr": (1 + 1 + 1 / 3) / 3}, abs=0.2
    )


def test_batches_are_a_function_of_the_position() -> None:
    def batches(seed: int) -> PairBatches:
        texts = [[2] * (1 + i % 5) for i in range(40)]
        numbers = np.arange(20)
        scores = np.zeros(20, dtype=np.float32)
        return PairBatches(texts, numbers, numbers + 20, scores, pad_id=0, size=6, seed=seed)

    one, other = batches(0), batches(0)
    assert one.per_pass == 4
    passes = [np.concatenate([one.members(4 * i + j) for j in range(4)]) for i in range(2)]
    for members in passes:
        assert sorted(members) == list(range(20))
    assert list(passes[0]) != list(passes[1])
    np.testing.assert_array_equal(other.members(6), one.members(6))
    batch = one[5]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert (batch["input_ids"].ne(0) == batch["attention_mask"].bool()).all()


def test_scores_are_learned(
    checkpoint: Callable[[str], Path], scored: Path, tmp_path: Path
) -> None:
    nlp = make(checkpoint("bert-fast"))
    settings = SMALL | {"max_steps": 50, "batch_size": 16, "dev": str(scored)}
    tune_pairs(str(scored), str(tmp_path), **settings)(nlp)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["objective"] == "cosent"
    assert metrics["after"]["spearman"] > max(0.6, metrics["before"]["spearman"] + 0.2)
    # What was measured in training is what documents have.
    one, other = (nlp(text) for text in ("東京" + DEEDS[0], "東京" + DEEDS[1]))
    assert one.similarity(other) > one.similarity(nlp("大阪" + DEEDS[0]))


def test_clicks_are_learned(nlp: Language, clicked: Path, tmp_path: Path) -> None:
    settings = SMALL | {"max_steps": 40, "dev": str(clicked)}
    tune_pairs(str(clicked), str(tmp_path), **settings)(nlp)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["objective"] == "negatives"
    assert metrics["after"]["accuracy"] > max(0.7, metrics["before"]["accuracy"])
    assert metrics["after"]["mrr"] >= metrics["after"]["accuracy"]
    assert (tmp_path / "encoder" / "model.safetensors").is_file()


def test_what_is_done_is_loaded(
    nlp: Language, checkpoint: Callable[[str], Path], clicked: Path, tmp_path: Path
) -> None:
    tune_pairs(str(clicked), str(tmp_path), **SMALL)(nlp)
    trained, written = weights(nlp), (tmp_path / "metrics.json").stat().st_mtime_ns
    again = make(checkpoint("bert-fast"), prefix="東京", index_prefix="京都")
    assert not same(weights(again), trained)
    tune_pairs(str(clicked), str(tmp_path), **SMALL)(again)
    assert same(weights(again), trained)
    assert (tmp_path / "metrics.json").stat().st_mtime_ns == written
    tune_pairs(str(clicked), str(tmp_path), **SMALL | {"seed": 1})(again)
    assert (tmp_path / "metrics.json").stat().st_mtime_ns > written


def test_what_was_stopped_goes_on(
    checkpoint: Callable[[str], Path],
    clicked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, stopped = make(checkpoint("bert-fast")), make(checkpoint("bert-fast"))
    tune_pairs(str(clicked), str(tmp_path / "whole"), **SMALL)(whole)

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    class Stopped(trainer.PairTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Stop())

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "PairTrainer", Stopped)
        with pytest.raises(SystemExit, match="J110"):
            tune_pairs(str(clicked), str(tmp_path / "stopped"), **SMALL)(stopped)
    stopped = make(checkpoint("bert-fast"))
    tune_pairs(str(clicked), str(tmp_path / "stopped"), **SMALL)(stopped)
    assert same(weights(stopped), weights(whole))


def test_ctrl_c_and_a_full_disk_are_one_line(
    nlp: Language, clicked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, error, code in (
        ("spacy_jbert.search.callback.make_batches", KeyboardInterrupt(), "J097"),
        ("spacy_jbert.encoder.checkpoint.Encoder.save", OSError(errno.ENOSPC, "full"), "J134"),
    ):

        def fail(*_: Any, error: BaseException = error, **settings: Any) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            with pytest.raises((SystemExit, OSError), match=code):
                tune_pairs(str(clicked), str(tmp_path / "out"), **SMALL)(nlp)
    assert not (tmp_path / "out/metrics.json").exists()


def test_a_pipeline_from_the_config(
    checkpoint: Callable[[str], Path], clicked: Path, tmp_path: Path
) -> None:
    config = spacy.util.load_config(
        Path(__file__).parents[2] / "configs" / "pairs.cfg",
        overrides={
            "paths.encoder": str(checkpoint("bert-fast")),
            "paths.pairs": str(clicked),
            "paths.output": str(tmp_path / "out"),
            "initialize.after_init.max_steps": 2,
            "initialize.after_init.device": "cpu",
        },
    )
    nlp = spacy.util.load_model_from_config(config, auto_fill=False)
    nlp.initialize()
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    np.testing.assert_allclose(loaded(SENTENCES[0]).vector, nlp(SENTENCES[0]).vector, atol=1e-6)
    assert str(tmp_path) not in (tmp_path / "nlp" / "config.cfg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"batch_size": 1}, {"seed": -1}, {"first_field": " "}, {"path": None}],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="J505"):
        tune_pairs(**{"path": "pairs.jsonl", "output": "out"} | wrong)


def test_what_it_needs(nlp: Language, clicked: Path, tmp_path: Path) -> None:
    bare = spacy.blank("ja")
    bare.add_pipe("jbert_transformer", name="transformer")
    for of in (spacy.blank("ja"), bare):
        with pytest.raises(ValueError, match="J506"):
            tune_pairs(str(clicked), str(tmp_path))(of)
    with pytest.raises(ValueError, match="J507"):
        tune_pairs(str(clicked), str(tmp_path), objective="cosent")(nlp)
    before = weights(nlp)
    tune_pairs(None, str(tmp_path), enabled=False)(nlp)
    assert same(weights(nlp), before)
