"""Every family cuts every text into pieces that leave no character out, and into those that its own
tokenizer gives.
"""

import lzma
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertJapaneseTokenizer

from spacy_jbert.types import Pieces
from spacy_jbert.wordpieces.alignment import align, align_docs, spaced_tokens, token_offsets
from spacy_jbert.wordpieces.cache import WordCache
from spacy_jbert.wordpieces.segmentation import (
    DocPieces,
    Segmenter,
    choose_words,
    make_segmenter,
)

from ..conftest import FAMILIES, SENTENCES, SHARED

characters = st.one_of(
    st.sampled_from("東京は、ﾊﾟ か\u3099Aa #▁々\ufe0f\u200d["),
    st.characters(exclude_categories=["Cs"]),
)
FEW = ["mecab-unidic", "mecab-character", "sudachi", "basic", "bert-fast", "xlm-roberta", "llama"]
WAYS = [(family, words) for family in FAMILIES for words in ("doc", "native")]

FOREVER = {
    "company": "㍿日本",
    "half-width": "ｶﾞｷﾞｸﾞとﾊﾟﾝ",
    "combining": "か\u3099き\u3099",
    "ogai": "森鷗外の鷗",
    "yoshinoya": "𠮷野家で食べた",
    "family": "家族👨‍👩‍👧‍👦です",
    "long": "あ" + "ー" * 1000,
    "url": "https://example.com/?q=東京&a=b#c を見て",
    "iteration": "時々、佐々木さんはいすゞと学問のすゝめ",
    "empty": "",
    "space": " ",
    "spaces": " \u3000\n\t  ",
    "control": "東\x01京\x7f\x1b[0m",
    "null": "東\0京",
    "selectors only": "\ufe0f\ufe0f\U000e0100",
    "selector": "葛\U000e0100城市",
    "special": "[MASK] <s> [CLS] </s> [SEP] <pad> <mask>",
    "joiner and mark": "か\u200d\u3099",
    "sigma": "ΟΔΟΣ İstanbul straße",
    "unassigned": "a\u0378b\ue000c\ufffd",
    "bom": "\ufeff東京",
    "mixed": "Ｐｙｔｈｏｎ3.11　は ﾀﾉｼｲ ①②",
}


def check(doc: Doc, pieces: Pieces) -> None:
    """What has to hold for any text."""
    starts, ends = pieces.starts, pieces.ends
    assert len(pieces.ids) == len(starts) == len(ends)
    assert np.all(np.diff(starts) >= 0)
    assert np.all(np.diff(ends) >= 0)
    assert np.all((starts >= 0) & (starts <= ends) & (ends <= len(doc.text)))
    covered = np.zeros(len(doc.text) + 1, dtype=bool)
    for start, end in zip(starts, ends, strict=True):
        covered[start:end] = True
    assert all(char.isspace() or covered[i] for i, char in enumerate(doc.text))
    _, lengths = align(*token_offsets(doc), starts, ends)
    assert all(length > 0 or token.is_space for token, length in zip(doc, lengths, strict=True))


def same(a: Pieces, b: Pieces) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def caches(segmenter: Any) -> list[WordCache]:
    return [part.cache for part in (segmenter, segmenter.cut) if hasattr(part, "cache")]


@pytest.fixture(scope="module")
def segmenters(tokenizers: Callable[[str], Any]) -> dict[tuple[str, str], Segmenter]:
    return {(family, words): make_segmenter(tokenizers(family), words) for family, words in WAYS}


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_forever(
    way: tuple, segmenters: dict, tokenizers: Callable, make_doc: Callable[[str], Doc]
) -> None:
    tokenizer = tokenizers(way[0])
    for name, text in FOREVER.items():
        doc = make_doc(text)
        pieces = segmenters[way]([doc])[0]
        check(doc, pieces)
        assert len(pieces.ids) > 0 or not text.strip(), name
        assert not set(pieces.ids.tolist()) & (
            set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        ), name


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(st.text(characters, min_size=1), min_size=1, max_size=6), data=st.data())
def test_any_text_alone_in_a_batch_and_cached(
    way: tuple, words: list[str], data: st.DataObject, segmenters: dict, japanese: Language
) -> None:
    spaces = [data.draw(st.booleans()) for _ in words]
    doc = Doc(japanese.vocab, words=words, spaces=spaces)
    segmenter = segmenters[way]
    alone = segmenter([doc])[0]
    check(doc, alone)
    others = [
        japanese.make_doc(text)
        for text in data.draw(st.lists(st.sampled_from(["", " ", *SENTENCES]), max_size=3))
    ]
    assert same(segmenter([*others, doc, *others])[len(others)], alone)
    for cache in caches(segmenter):
        cache.clear()
    assert same(segmenter([*others, doc])[-1], alone)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_exact_where_nothing_is_normalised(
    way: tuple, segmenters: dict, tokenizers: Callable, make_doc: Callable
) -> None:
    tokenizer = tokenizers(way[0])
    if tokenizer.is_fast and "Ġ" in "".join(tokenizer.get_vocab()):
        pytest.skip("bytes of one character share it")
    text = "田中さんは昨日、東京で新しい図書館を見学しました。"
    ids, starts, ends = segmenters[way]([make_doc(text)])[0]
    for name, start, end in zip(
        tokenizer.convert_ids_to_tokens(ids.tolist()), starts, ends, strict=True
    ):
        bare = name.removeprefix("##").lstrip("▁")
        if way[0] != "basic-lower" and name != tokenizer.unk_token and not name.startswith("<0x"):
            assert bare in ("", text[start:end])


@pytest.mark.parametrize("family", FAMILIES)
def test_native_ids_are_the_checkpoints_own(
    family: str, segmenters: dict, tokenizers: Callable, make_doc: Callable
) -> None:
    texts = [
        *SENTENCES,
        "ｶﾞｷﾞｸﾞ㍿鷗外",
        "👨‍👩‍👧 が か\u3099",
        "İstanbul ΣΑΣ Ｐｙｔｈｏｎ",
        "a\tb\nc　d",
        "a\u0378b\x0bc\x85d",
    ]
    for text, pieces in zip(
        texts, segmenters[family, "native"]([make_doc(text) for text in texts]), strict=True
    ):
        assert (
            pieces.ids.tolist() == tokenizers(family)(text, add_special_tokens=False)["input_ids"]
        ), text


@pytest.mark.parametrize(
    ("family", "words"),
    [("mecab-unidic", "native"), ("sudachi", "native"), ("mecab-unidic", "doc")],
)
def test_words_whose_hashes_are_the_same(
    family: str, words: str, segmenters: dict, japanese: Language
) -> None:
    """Python hashes the bytes of a string, and 千 (U+5343) has those of CS: a cache mustn't take the
    hash for the word.
    """
    docs = [Doc(japanese.vocab, words=[text], spaces=[False]) for text in ("千", "CS", "六", "mQ")]
    assert hash("千") == hash("CS")
    together = segmenters[family, words](docs)
    for pieces, alone in zip(together[::2], together[1::2], strict=True):
        assert pieces.ids.tolist() != alone.ids.tolist()
    for doc, pieces in zip(docs, together, strict=True):
        for cache in caches(segmenters[family, words]):
            cache.clear()
        assert same(segmenters[family, words]([doc])[0], pieces)


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] in FEW], ids="-".join)
def test_a_batch_is_aligned_like_each_of_its_documents(
    way: tuple[str, str], segmenters: dict, make_doc: Callable
) -> None:
    docs = [
        make_doc(text)
        for text in ("", "東京タワー と 大阪城。", "  ", "", "㍿ニホンの鷗外", "\n", "ｶﾞｷﾞｸﾞ", "")
    ]
    pieces = segmenters[way](docs)
    aligned = align_docs(docs, pieces)
    for doc, of, (indices, lengths) in zip(docs, pieces, aligned, strict=True):
        alone = align(*token_offsets(doc), of.starts, of.ends)
        assert indices.tolist() == alone[0].tolist()
        assert lengths.tolist() == alone[1].tolist()
    assert aligned[1][1].sum() > 0
    assert align_docs([], []) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_doc_mode_cuts_each_token_as_if_it_stood_in_the_text(
    family: str, segmenters: dict, tokenizers: Callable, make_doc: Callable
) -> None:
    segmenter = segmenters[family, "doc"]
    doc = make_doc("東京タワー と 大阪城。")
    pieces = segmenter([doc])[0]
    indices, lengths = align(*token_offsets(doc), pieces.starts, pieces.ends)
    assert indices.tolist() == list(range(len(pieces.ids)))  # no piece belongs to two tokens
    names = tokenizers(family).convert_ids_to_tokens(pieces.ids.tolist())
    # One mark of a word's beginning for each space (and the text's beginning), not for each token.
    if "▁" in tokenizers(family).get_vocab():
        assert sum(name.count("▁") for name in names) == 3
    assert lengths.sum() == len(names)


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] in FEW], ids="-".join)
@pytest.mark.parametrize("characters", ["東京", "鷗外"])
def test_one_token_of_100_000_characters(
    way: tuple, characters: str, segmenters: dict, japanese: Language
) -> None:
    text = characters * 50_000
    doc = Doc(japanese.vocab, words=[text], spaces=[False])
    pieces = segmenters[way]([doc])[0]
    assert pieces.starts[0] == 0
    assert pieces.ends[-1] == len(text)
    _, lengths = align(*token_offsets(doc), pieces.starts, pieces.ends)
    assert lengths[0] == len(pieces.ids)


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_long_text(way: tuple, segmenters: dict, japanese: Language) -> None:
    words = [word.text for sentence in SENTENCES for word in japanese(sentence)] * 30
    doc = Doc(japanese.vocab, words=words, spaces=[False] * len(words))
    once = segmenters[way](
        [Doc(japanese.vocab, words=words[: len(words) // 30], spaces=[False] * (len(words) // 30))]
    )[0]
    pieces = segmenters[way]([doc])[0]
    check(doc, pieces)
    assert len(pieces.ids) == pytest.approx(30 * len(once.ids), rel=0.02)


@pytest.mark.parametrize("family", ["sudachi", "mecab-unidic", "bert-fast"])
def test_threads_get_what_one_thread_gets(
    family: str, tokenizers: Callable, make_doc: Callable
) -> None:
    docs = [make_doc(sentence) for sentence in SENTENCES]
    alone = make_segmenter(tokenizers(family), "native")(docs)
    segmenter = make_segmenter(tokenizers(family), "native")
    failures: list[Any] = []

    def work(order: Sequence[int]) -> None:
        try:
            failures.extend(
                i for i in order for pieces in segmenter([docs[i]]) if not same(pieces, alone[i])
            )
        except Exception as error:
            failures.append(error)

    rng = np.random.default_rng(0)
    threads = [
        threading.Thread(target=work, args=(rng.integers(0, len(docs), 50),)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_cache_is_bounded(
    tokenizers: Callable, japanese: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spacy_jbert.wordpieces.cache._CACHE_SIZE", 10)
    segmenter = make_segmenter(tokenizers("bert-fast"), "doc")
    assert isinstance(segmenter, DocPieces)
    docs = [japanese(sentence) for sentence in SENTENCES]
    fresh = [make_segmenter(tokenizers("bert-fast"), "doc")([doc])[0] for doc in docs]
    for doc, expected in zip(docs, fresh, strict=True):
        assert same(segmenter([doc])[0], expected)
        assert len(segmenter.cache.index) <= 10 + len(doc)


def test_choice_of_words(tokenizers: Callable, checkpoint: Callable) -> None:
    for family in FAMILIES:
        assert choose_words(tokenizers(family), "auto")[0] == "native"
        assert choose_words(tokenizers(family), "doc") == ("doc", "set in the config")
    with pytest.raises(ValueError, match="J005"):
        choose_words(tokenizers("bert-fast"), "sometimes")


@pytest.mark.parametrize(
    "settings",
    [{"word_tokenizer_type": "jumanpp"}, {"sudachi_kwargs": {"sudachi_projection": "normalized"}}],
)
def test_segmenters_that_give_no_offsets_are_refused(settings: dict, tokenizers: Callable) -> None:
    tokenizer = copy(tokenizers("sudachi"))
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    with pytest.raises(ValueError, match="J006"):
        make_segmenter(tokenizer, "native")


def test_slow_tokenizers_of_other_kinds(checkpoint: Callable, make_doc: Callable) -> None:
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(str(checkpoint("bert-fast") / "vocab.txt"), do_lower_case=False)
    assert choose_words(tokenizer, "auto")[0] == "doc"
    with pytest.raises(ValueError, match="J006"):
        make_segmenter(tokenizer, "native")
    segmenter = make_segmenter(tokenizer)
    for text in FOREVER.values():
        doc = make_doc(text)
        check(doc, segmenter([doc])[0])


def test_offsets_of_a_doc(japanese: Language) -> None:
    doc = Doc(japanese.vocab, words=["東京", " ", "と", "𠮷野"], spaces=[True, False, True, False])
    starts, ends = token_offsets(doc)
    assert starts.tolist() == [token.idx for token in doc]
    assert [doc.text[start:end] for start, end in zip(starts, ends, strict=True)] == [
        token.text for token in doc
    ]
    assert spaced_tokens(doc).tolist() == [True, True, True, True]


def real_sentences(count: int) -> list[str]:
    """Every tenth line of each corpus, cut into sentences, in equal parts."""
    files = sorted((SHARED / "corpora" / "pretrain").glob("*.txt.xz"))
    if not files:
        pytest.skip("../shared/corpora/pretrain is not here")
    sentences = []
    for file in files:
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            found = (
                sentence
                for line in islice(lines, 0, None, 10)
                for sentence in re.findall(r"[^。]+。?", line.strip())
            )
            sentences += islice(found, -(-count // len(files)))
    return sentences


def trained_on(sentences: Sequence[str], tiny: Any, folder: Path) -> Any:
    """A tokenizer of the same kind with a vocabulary of 4,000 pieces of these sentences, so that
    words fall into several.
    """
    if not isinstance(tiny, BertJapaneseTokenizer):
        return tiny.train_new_from_iterator(sentences, 4000, show_progress=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words = (" ".join(tiny.word_tokenizer.tokenize(sentence)) for sentence in sentences)
    model.train_from_iterator(
        words,
        trainers.WordPieceTrainer(vocab_size=4000, special_tokens=special, show_progress=False),
    )
    (folder / "vocab.txt").write_text(
        "\n".join(sorted(model.get_vocab(), key=model.get_vocab().get)) + "\n", encoding="utf-8"
    )
    names = (
        "word_tokenizer_type",
        "subword_tokenizer_type",
        "mecab_kwargs",
        "sudachi_kwargs",
        "do_lower_case",
    )
    return BertJapaneseTokenizer(
        str(folder / "vocab.txt"),
        **{name: tiny.init_kwargs[name] for name in names if name in tiny.init_kwargs},
    )


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "me5-small-ja"])
def test_ids_of_10_000_real_sentences(
    family: str,
    tokenizers: Callable,
    japanese: Language,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Not one differs: neither by normalisation, nor white space, nor unknown characters. A text
    that spells out a special piece (`[MASK]`, `</s>`) would differ, as it is only text for us, and
    no sentence here does."""
    sentences = real_sentences(10_000)
    if family in FAMILIES:
        tokenizer = trained_on(sentences[::5], tokenizers(family), tmp_path)
    else:
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("real_encoder"))
    docs = [Doc(japanese.vocab, words=[sentence], spaces=[False]) for sentence in sentences]
    segmenter, different, n_pieces = make_segmenter(tokenizer, "native"), [], 0
    for start in range(0, len(docs), 500):
        batch = docs[start : start + 500]
        for doc, pieces in zip(batch, segmenter(batch), strict=True):
            n_pieces += len(pieces.ids)
            if pieces.ids.tolist() != tokenizer(doc.text, add_special_tokens=False)["input_ids"]:
                different.append(doc.text)
    assert len(sentences) >= 10_000
    assert n_pieces > len(sentences)
    assert different == []


@pytest.mark.parametrize("family", FAMILIES)
def test_special_pieces_that_a_text_spells_out_are_text(
    family: str, segmenters: dict, tokenizers: Callable, make_doc: Callable
) -> None:
    """The one difference to the checkpoint's own tokenizer: a user can't put a `[MASK]` into the
    encoder.
    """
    tokenizer = tokenizers(family)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    text = f"東京{tokenizer.convert_ids_to_tokens(max(special))}大阪"
    pieces = segmenters[family, "native"]([make_doc(text)])[0]
    assert special & set(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert not special & set(pieces.ids.tolist())


@pytest.mark.shared
def test_the_real_tokenizer(real_encoder: Any, make_doc: Callable) -> None:
    tokenizer = AutoTokenizer.from_pretrained(real_encoder)
    native, doc_mode = make_segmenter(tokenizer, "native"), make_segmenter(tokenizer, "doc")
    for text in [*SENTENCES, *FOREVER.values()]:
        doc = make_doc(text)
        for segmenter in (native, doc_mode):
            pieces = segmenter([doc])[0]
            check(doc, pieces)
            assert not set(pieces.ids.tolist()) & (
                set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
            )


def test_segmenters_of_one_tokenizer_serve_threads(tokenizers: Callable[[str], Any]) -> None:
    """Threads that begin together may each make a segmenter for the pipeline's tokenizer."""
    tokenizer = tokenizers("sudachi")
    segmenters = [make_segmenter(tokenizer, "native") for _ in range(4)]
    docs = [Doc(Vocab(), words=[sentence], spaces=[False]) for sentence in SENTENCES * 20]
    expected = [pieces.ids.tolist() for pieces in segmenters[0](docs)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda segmenter: segmenter(docs), segmenters * 5))
    assert all([pieces.ids.tolist() for pieces in one] == expected for one in found)
