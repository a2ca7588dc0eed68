"""Wordpieces and their alignment with the tokens: ours against spacy-transformers' tokenizing and
aligning.

The Docs are there before the clock starts. Stock cuts and aligns each Doc whole (its `doc_spans`,
less work for it than its windows with strides), 64 Docs at a time, like ours. The slow tokenizer
has a vocabulary trained on the same text, as no real one is at hand."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import spacy
from spacy.tokens import Doc
from spacy.util import minibatch
from spacy_transformers.align import get_alignment, get_alignment_via_offset_mapping
from spacy_transformers.layers.transformer_model import huggingface_tokenize
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertJapaneseTokenizer

from spacy_jbert.wordpieces.alignment import align_docs
from spacy_jbert.wordpieces.segmentation import Segmenter, make_segmenter

from .measure import Row, Settings, race, real_lines

_CHARACTERS = 100_000
_LONG = 5_000
_BATCH = 64


def run(settings: Settings) -> Iterator[Row]:
    lines = [line for line in real_lines(_CHARACTERS) if len(line) <= 200]
    tokenizer = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}}).tokenizer
    texts = {"sentences": lines, "long": list(_joined(lines))}
    docs = {name: [tokenizer(text) for text in of] for name, of in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        mecab = _mecab(lines, Path(folder))
    yield from _rows("MeCab", mecab, docs, settings, words=("doc", "native"))
    if settings.encoder is not None:
        yield from _rows(
            settings.encoder.name,
            AutoTokenizer.from_pretrained(settings.encoder),
            docs,
            settings,
            words=("doc", "native"),
        )


def _rows(
    name: str,
    tokenizer: Any,
    docs: dict[str, list[Doc]],
    settings: Settings,
    *,
    words: Sequence[str],
) -> Iterator[Row]:
    for mode in words:
        segmenter = make_segmenter(tokenizer, mode)
        caches = [part.cache for part in (segmenter, segmenter.cut) if hasattr(part, "cache")]
        for kind, of in docs.items():
            for cold in (False, True) if caches else (False,):
                yield race(
                    f"{name}, {mode}, {kind}" + (", cold" if cold else ", warm" if caches else ""),
                    work=sum(len(doc.text) for doc in of),
                    unit="characters/s",
                    ours=_ours(segmenter, of, caches if cold else []),
                    stock=_stock(tokenizer, of),
                    settings=settings,
                    goal=10.0 if mode == "doc" and not tokenizer.is_fast else None,
                )


def _ours(segmenter: Segmenter, docs: list[Doc], caches: list[Any]) -> Callable[[], None]:
    def cut_and_align() -> None:
        for cache in caches:
            cache.clear()
        for batch in minibatch(docs, _BATCH):
            align_docs(batch, segmenter(batch))

    return cut_and_align


def _stock(tokenizer: Any, docs: list[Doc]) -> Callable[[], None]:
    def cut_and_align() -> None:
        for batch in minibatch(docs, _BATCH):
            spans = [doc[:] for doc in batch]
            pieces = huggingface_tokenize(tokenizer, [span.text for span in spans])
            if "offset_mapping" in pieces:
                get_alignment_via_offset_mapping(spans, pieces["offset_mapping"])
            else:
                get_alignment(spans, pieces["input_texts"], tokenizer.all_special_tokens)

    return cut_and_align


def _joined(lines: list[str]) -> Iterator[str]:
    """Texts of at least `_LONG` characters."""
    text = ""
    for line in lines:
        text += line
        if len(text) >= _LONG:
            yield text
            text = ""


def _mecab(lines: list[str], folder: Path) -> BertJapaneseTokenizer:
    """As Tohoku University's BERT v2 and v3: MeCab with unidic-lite, then WordPiece."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    settings = {"word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "unidic_lite"}}
    file = folder / "vocab.txt"
    file.write_text("\n".join(special), encoding="utf-8")
    segment = BertJapaneseTokenizer(str(file), **settings).word_tokenizer.tokenize
    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=8000, special_tokens=special, show_progress=False
    )
    model.train_from_iterator((" ".join(segment(line)) for line in lines), trainer)
    file.write_text(
        "\n".join(sorted(model.get_vocab(), key=model.get_vocab().__getitem__)), encoding="utf-8"
    )
    return BertJapaneseTokenizer(str(file), **settings)
