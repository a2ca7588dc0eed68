from itertools import product
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language
from spacy.tokens import Doc
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spacy_jbert.pretraining import vocabulary
from spacy_jbert.pretraining.vocabulary import trained_vocabulary
from spacy_jbert.wordpieces.segmentation import choose_words, make_segmenter


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_round_trip_through_auto_tokenizer(
    nlp: Language, documents: list[list[str]], text: Path, tmp_path: Path, kind: Any
) -> None:
    tokenizer = trained_vocabulary(str(text), size=512, kind=kind)(nlp)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert choose_words(loaded, "auto")[0] == "doc"
    sentence = documents[0][0]
    doc = nlp(sentence)
    words = [token.text for token in doc]
    assert (
        loaded(words, is_split_into_words=True)["input_ids"]
        == tokenizer(" ".join(words))["input_ids"]
    )
    marks = loaded("あ", return_special_tokens_mask=True)["special_tokens_mask"]
    assert (marks[0], marks[-1]) == (1, 1)
    pieces = make_segmenter(loaded)([doc])[0]
    assert loaded.unk_token_id not in pieces.ids
    assert (
        "".join(sentence[start:end] for start, end in zip(pieces.starts, pieces.ends, strict=True))
        == sentence
    )


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_doc_and_native_read_it_the_same_way(
    nlp: Language, documents: list[list[str]], text: Path, tmp_path: Path, kind: Any
) -> None:
    """Where spaces separate the words, as in what the vocabulary was trained on."""
    trained_vocabulary(str(text), size=512, kind=kind)(nlp).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    words = [token.text for token in nlp(documents[0][0])]
    docs = [Doc(nlp.vocab, words=words)]
    doc, native = (make_segmenter(loaded, mode)(docs)[0] for mode in ("doc", "native"))
    assert [part.tolist() for part in doc] == [part.tolist() for part in native]
    assert [2, *doc.ids.tolist(), 3] == loaded(" ".join(words))["input_ids"]


def test_a_vocabulary_is_kept(
    nlp: Language,
    text: Path,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = trained_vocabulary(str(text), size=512, folder=str(tmp_path))(nlp)
    assert first.get_vocab() == tokenizer.get_vocab()
    with monkeypatch.context() as patch:
        patch.setattr(vocabulary, "_count_words", None)
        again = trained_vocabulary(str(text), size=512, folder=str(tmp_path), workers=3)(nlp)
        assert again.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()
        assert choose_words(again, "auto")[0] == "doc"
        with pytest.raises(TypeError):
            trained_vocabulary(str(text), size=320, folder=str(tmp_path))(nlp)
    assert len([place for place in tmp_path.iterdir() if place.is_dir()]) == 1


@pytest.mark.parametrize("name", ["tokenizer.json", "COMPLETE"])
def test_a_damaged_vocabulary_is_made_anew(
    nlp: Language, text: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = trained_vocabulary(str(text), size=512, folder=str(tmp_path))(nlp)
    (damaged,) = tmp_path.glob(f"*/{name}")
    damaged.write_bytes(bytes(damaged.stat().st_size))
    again = trained_vocabulary(str(text), size=512, folder=str(tmp_path))(nlp)
    assert again.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()
    assert "[JW133]" in caplog.text


def test_the_same_text_gives_the_same_vocabulary(
    nlp: Language, text: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    again = trained_vocabulary(str(text), size=512)(nlp)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_every_character_has_both_forms(tokenizer: PreTrainedTokenizerFast) -> None:
    pieces = tokenizer.get_vocab()
    characters = {piece for piece in pieces if len(piece) == 1}
    assert characters >= set("東京都は、。")
    assert all(f"##{char}" in pieces for char in characters)
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(5)] == [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
    ]


def test_size_is_rounded_up(nlp: Language, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    letters = "ハヒフヘホマミムメモ"
    path.write_text(
        "\n".join(
            "・".join(a + b + c + d for d in letters) + "が"
            for a, b, c in product(letters, repeat=3)
        ),
        encoding="utf-8",
    )
    assert len(trained_vocabulary(str(path), size=70)(nlp)) == 128


def test_case_and_marks_stay(tmp_path: Path, nlp: Language) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        "SpaCyでガギグのカキクを処理する。\nSpaCyのガギグでカキクを処理した。", encoding="utf-8"
    )
    tokenizer = trained_vocabulary(str(path), size=256, normalization=None)(nlp)
    ids = tokenizer("SpaCy ガ")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "SpaCy ガ"


def test_text_without_words(tmp_path: Path, nlp: Language) -> None:
    path = tmp_path / "text.txt"
    path.write_text("only English\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"\[J102\]"):
        trained_vocabulary(str(path))(nlp)
    with pytest.raises(ValueError, match=r"\[J108\]"):
        trained_vocabulary(str(path), size=0)
