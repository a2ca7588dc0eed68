from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from spacy.language import Language

from spacy_jbert.pretraining.batches import Batches
from spacy_jbert.pretraining.corpus import Corpus, prepare
from spacy_jbert.pretraining.text import Cleaning


@pytest.fixture
def corpus(nlp: Language, pipe: SimpleNamespace, text: Path, tmp_path: Path) -> Corpus:
    return prepare(
        nlp,
        pipe.encoder.tokenizer,
        words="doc",
        path=str(text),
        folder=tmp_path,
        cleaning=Cleaning(),
        length=61,
        held_out=0.0,
    )


def restored(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    ids = batch["input_ids"].flatten()
    ids[batch["positions"]] = batch["labels"]
    return ids.view_as(batch["input_ids"])


def test_each_pass_has_every_sample_once_in_another_order(
    corpus: Corpus, pipe: SimpleNamespace
) -> None:
    batches = Batches(corpus.train, pipe.encoder, size=200, n_batches=1000)
    passes = [
        [
            batches.members(position)
            for position in range(n * batches.per_pass, (n + 1) * batches.per_pass)
        ]
        for n in (0, 1)
    ]
    for epoch, members in enumerate(passes):
        assert {number for number, _ in members} == {epoch}
        assert sorted(int(i) for _, batch in members for i in batch) == list(
            range(len(corpus.train))
        )
    assert [batch.tolist() for _, batch in passes[0]] != [batch.tolist() for _, batch in passes[1]]


def test_a_batch_is_a_function_of_its_position(corpus: Corpus, pipe: SimpleNamespace) -> None:
    forth, back = (
        Batches(corpus.train, pipe.encoder, size=200, n_batches=20, rate=0.3, seed=5)
        for _ in range(2)
    )
    first = [forth[position] for position in range(20)]
    for position in reversed(range(20)):
        again = back[position]
        assert again.keys() == first[position].keys()
        assert all(torch.equal(again[name], first[position][name]) for name in again)
    other = Batches(corpus.train, pipe.encoder, size=200, n_batches=20, rate=0.3, seed=6)
    assert any(other[0][name].tolist() != first[0][name].tolist() for name in first[0])


def test_batches_keep_to_their_size_and_waste_little(corpus: Corpus, pipe: SimpleNamespace) -> None:
    batches = Batches(corpus.train, pipe.encoder, size=200)
    for position in range(len(batches)):
        batch = batches[position]
        assert batch["input_ids"].numel() <= 200
        assert ("attention_mask" in batch) == bool(
            (batch["input_ids"] == pipe.encoder.pad_id).any()
        )
    by_samples = Batches(corpus.train, pipe.encoder, size=4, size_by="samples")
    assert [len(by_samples[i]["input_ids"]) for i in range(2)] == [4, 4]


def test_special_pieces_frame_the_sample(corpus: Corpus, pipe: SimpleNamespace) -> None:
    batches = Batches(corpus.train, pipe.encoder, size=1, size_by="samples")
    tokenizer = pipe.encoder.tokenizer
    epoch, members = batches.members(0)
    assert (epoch, restored(batches[0])[0].tolist()) == (
        0,
        [tokenizer.cls_token_id, *corpus.train[int(members[0])]["ids"], tokenizer.sep_token_id],
    )


@pytest.mark.parametrize("objective", ["sop", "nsp"])
def test_pairs(corpus: Corpus, pipe: SimpleNamespace, objective: Any) -> None:
    tokenizer = pipe.encoder.tokenizer
    batches = Batches(
        corpus.train,
        pipe.encoder,
        size=1,
        size_by="samples",
        sentence_objective=objective,
        n_batches=60,
    )
    labels = []
    for position in range(60):
        batch = batches[position]
        row = corpus.train[int(batches.members(position)[1][0])]
        ids, types = restored(batch)[0], batch["token_type_ids"][0]
        labels.append(int(batch["sentence_labels"]))
        if labels[-1] == -100:
            assert len(row["sentences"]) == 1
            continue
        first, second = ids[types == 0].tolist(), ids[types == 1].tolist()
        assert first[0] == tokenizer.cls_token_id
        assert first[-1] == second[-1] == tokenizer.sep_token_id
        first, second = first[1:-1], second[:-1]
        assert (first + second == row["ids"]) == (labels[-1] == 0)
        if labels[-1] == 1 and objective == "sop":
            assert second + first == row["ids"]
            assert len(second) in row["sentences"]
        if labels[-1] == 1 and objective == "nsp":
            assert first == row["ids"][: len(first)]
            assert len(first) in row["sentences"]
    assert labels.count(0) > 5
    assert labels.count(1) > 5
