import lzma
import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.pretraining import corpus as corpora
from spacy_jbert.pretraining import parallel
from spacy_jbert.pretraining.corpus import (
    Corpus,
    Packer,
    choose_held_out,
    pack,
    prepare,
    word_numbers,
)
from spacy_jbert.pretraining.parallel import Part
from spacy_jbert.pretraining.text import Cleaning
from spacy_jbert.types import Pieces
from spacy_jbert.wordpieces.alignment import token_offsets


def make(nlp: Language, pipe: SimpleNamespace, text: Path, folder: Path, **settings: Any) -> Corpus:
    settings = {"words": "doc", "length": 62, "held_out": 0.2, "cleaning": Cleaning()} | settings
    return prepare(nlp, pipe.encoder.tokenizer, path=str(text), folder=folder, **settings)


def test_documents_are_packed_apart(
    nlp: Language, pipe: SimpleNamespace, documents: list[list[str]], text: Path, tmp_path: Path
) -> None:
    corpus = make(nlp, pipe, text, tmp_path)
    assert corpus.counts["documents"] == 12
    assert corpus.counts["sentences"] == 60
    assert corpus.counts["samples"] == len(corpus.train) + len(corpus.held_out)
    found: dict[int, str] = {}
    for row in [*corpus.train, *corpus.held_out]:
        pieces = pipe.encoder.tokenizer.convert_ids_to_tokens(row["ids"])
        found[row["document"]] = found.get(row["document"], "") + "".join(
            piece.removeprefix("##") for piece in pieces
        )
        assert row["length"] == len(row["ids"]) == len(row["words"]) <= 62
    assert sorted(found.values()) == sorted("".join(document) for document in documents)
    assert not set(corpus.train["document"]) & set(corpus.held_out["document"])
    assert len(corpus.held_out) > 0


def test_words_are_the_tokens(
    nlp: Language, pipe: SimpleNamespace, text: Path, tmp_path: Path
) -> None:
    row = make(nlp, pipe, text, tmp_path).train[0]
    pieces = pipe.encoder.tokenizer.convert_ids_to_tokens(row["ids"])
    words: dict[int, str] = {}
    for piece, number in zip(pieces, row["words"], strict=True):
        words[number] = words.get(number, "") + piece.removeprefix("##")
    sentences = "".join(words.values()).replace("。", "。\n").split("\n")[:-1]
    assert list(words.values()) == [token.text for sentence in sentences for token in nlp(sentence)]
    assert len(row["sentences"]) == len(sentences)


def test_tokens_that_share_a_piece_are_one_word(nlp: Language) -> None:
    doc = Doc(nlp.vocab, words=["東京", "都", "知事", "  ", "㍿"], spaces=[False] * 5)
    starts, ends = np.array([0, 1, 3, 4, 7, 7]), np.array([1, 3, 4, 5, 8, 8])
    pieces = Pieces(np.zeros(6, dtype=np.int32), starts.astype(np.int32), ends.astype(np.int32))
    # 東 | 京都 joins two tokens; 知, 事 are one; the pieces of ㍿ share its only character.
    assert word_numbers(*token_offsets(doc), pieces).tolist() == [0, 0, 1, 1, 2, 2]


def test_packing() -> None:
    def sentence(n: int, word: int = 1) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(n, dtype=np.int32), (np.arange(n) // word).astype(np.int32)

    samples = list(pack([sentence(4), sentence(5), sentence(2), sentence(0)], 10))
    assert [sample.sentences for sample in samples] == [[0, 4], [0]]
    assert samples[0].words.tolist() == list(range(9))
    long = list(pack([sentence(25, word=3)], 10))
    assert [len(sample.ids) for sample in long] == [9, 9, 7]
    assert all(sample.words[0] == 0 for sample in long)
    giant = list(pack([sentence(25, word=25)], 10))
    assert [len(sample.ids) for sample in giant] == [10, 10, 5]


def test_a_second_run_reads_nothing_again(
    nlp: Language,
    pipe: SimpleNamespace,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = make(nlp, pipe, text, tmp_path)
    monkeypatch.setattr(corpora, "_write_shards", None)
    again = make(nlp, pipe, text, tmp_path, workers=3)
    assert again.key == first.key
    assert again.train[:] == first.train[:]
    assert make(nlp, pipe, text, tmp_path, held_out=0.3).key != first.key
    with pytest.raises(TypeError):  # other settings: to be written anew
        make(nlp, pipe, text, tmp_path, cleaning=Cleaning(min_characters=11))


def folders(path: Path) -> list[Path]:
    """Without the locks, which stay."""
    return [entry for entry in path.iterdir() if entry.is_dir()]


def rows(corpus: Corpus) -> list[dict[str, Any]]:
    return [*corpus.train, *corpus.held_out]


def test_a_run_that_was_killed_goes_on(
    nlp: Language,
    pipe: SimpleNamespace,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = make(nlp, pipe, text, tmp_path / "whole")
    monkeypatch.setattr(parallel, "_PART", 300)

    def prepare_until_killed() -> None:
        def in_this_process(work: Packer, stream: Iterable[Part], workers: int) -> Iterator[int]:
            for part in stream:
                if part[0] == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield work(part)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(corpora, "in_processes", in_this_process)
            make(nlp, pipe, text, tmp_path / "parts")

    process = multiprocessing.get_context("fork").Process(target=prepare_until_killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (place,) = folders(tmp_path / "parts")
    assert sorted(path.name for path in place.iterdir()) == [
        "shard-000000.arrow",
        "shard-000001.arrow",
    ]
    done = []

    def recorded(work: Packer, stream: Iterable[Part], workers: int) -> Iterator[int]:
        for part in stream:
            done.append(part[0])
            yield work(part)

    monkeypatch.setattr(corpora, "in_processes", recorded)
    parts = make(nlp, pipe, text, tmp_path / "parts")
    assert done
    assert min(done) == 2
    assert rows(parts) == rows(whole)
    assert parts.counts == whole.counts
    names = sorted(path.name for path in place.iterdir())
    assert names == ["COMPLETE", "counts.json", "samples.arrow"]


@pytest.mark.slow
def test_processes_change_nothing(
    nlp: Language,
    pipe: SimpleNamespace,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = make(nlp, pipe, text, tmp_path / "alone")
    monkeypatch.setattr(parallel, "_PART", 300)
    together = make(nlp, pipe, text, tmp_path / "together", workers=2)
    assert rows(together) == rows(alone)
    assert together.counts == alone.counts


def test_a_text_stays_held_out(
    nlp: Language, pipe: SimpleNamespace, documents: list[list[str]], text: Path, tmp_path: Path
) -> None:
    corpus = make(nlp, pipe, text, tmp_path / "corpus", held_out=0.3)
    more = tmp_path / "more.txt"
    new = [[f"{number}番目の新しい文書はこれです。"] for number in range(20)]
    more.write_text(
        "\n\n".join("\n".join(document) for document in [*new, *reversed(documents)]),
        encoding="utf-8",
    )
    larger = make(nlp, pipe, more, tmp_path / "corpus", held_out=0.3)
    assert set(corpus.held_out["document"]) <= set(larger.held_out["document"])
    assert not set(corpus.train["document"]) & set(larger.held_out["document"])
    assert 3 <= len(set(larger.held_out["document"]) - set(corpus.held_out["document"])) <= 9


def test_held_out_is_the_share_of_documents() -> None:
    keys = np.random.default_rng(0).integers(-(2**63), 2**63, size=10_000)
    chosen = choose_held_out(np.repeat(keys, 3), 0.02)
    assert chosen.mean() == pytest.approx(0.02, abs=0.005)
    assert (chosen.reshape(-1, 3).any(1) == chosen.reshape(-1, 3).all(1)).all()
    assert choose_held_out(keys[:2], 1e-9).sum() == 1
    assert choose_held_out(keys[:2], 1.0).sum() == 1
    assert not choose_held_out(keys, 0.0).any()


def test_a_sentence_within_a_line_is_no_beginning(
    checkpoint: Callable[[str], Path], japanese: Language, tmp_path: Path
) -> None:
    """A SentencePiece model marks where a text begins; cut one by one, each sentence of a line
    would seem to begin one.
    """
    tokenizer = Encoder.load(checkpoint("xlm-roberta")).tokenizer
    line = "吾輩は猫である。名前はまだ無い。電車が遅れたせいで、大事な会議に間に合わなかった。"
    (tmp_path / "text.txt").write_text(line, encoding="utf-8")
    settings: dict[str, Any] = {
        "path": str(tmp_path / "text.txt"),
        "folder": tmp_path,
        "cleaning": Cleaning(),
        "length": 100,
    }
    corpus = prepare(japanese, tokenizer, words="native", held_out=0.0, **settings)
    row = corpus.train[0]
    assert row["ids"] == tokenizer(line, add_special_tokens=False)["input_ids"]
    assert len(row["sentences"]) == 3


def test_a_failure_leaves_nothing_behind(
    nlp: Language, pipe: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("nothing Japanese here\n短い\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"\[J102\].*not Japanese': 1"):
        make(nlp, pipe, path, tmp_path / "corpus")
    assert not folders(tmp_path / "corpus")


BROKEN: dict[str, tuple[bytes, str]] = {
    "b.txt": (b"", r": \[J202\]"),
    "b.txt.xz": (
        lzma.compress("一行目の文はこれです。\n".encode() * 9999)[:-40],
        r", line \d+: \[J216\]",
    ),
    "b.txt.gz": (b"not packed\n", r", line 1: \[J216\]"),
    "b.jsonl": ('{"text": "一行目の文はこれです。"}\n{"text": '.encode(), r", line 2: \[J204\]"),
    "b.csv": ("body\n一行目の文はこれです。\n".encode(), r", line 2: \[J206\]"),
    "wiki_00": (
        "一行目の文はこれです。\n二行目\n".encode() + "三行目".encode("shift_jis"),
        r", line 3: \[J228\]",
    ),
    "c.txt": ("一行目\n".encode("shift_jis"), r", line 1: \[J203\]"),
    "b.parquet": (b"PAR1", r".*"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_leaves_nothing_behind(
    nlp: Language,
    pipe: SimpleNamespace,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(corpora, "in_processes", lambda work, stream, workers: map(work, stream))
    monkeypatch.setattr(parallel, "_PART", 300)
    content, message = BROKEN[name]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_bytes(text.read_bytes())
    (tmp_path / "text" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(name)}{message}"):
        make(nlp, pipe, tmp_path / "text", tmp_path / "corpus")
    assert not folders(tmp_path / "corpus")


def test_one_single_document(
    nlp: Language,
    pipe: SimpleNamespace,
    documents: list[list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        "\n".join(line for document in documents for line in document), encoding="utf-8"
    )
    corpus = make(nlp, pipe, path, tmp_path / "corpus", held_out=0.1)
    assert len(corpus.train) > len(corpus.held_out) > 0
    assert "[JW102]" in caplog.text
