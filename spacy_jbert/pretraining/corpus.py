"""The pretraining corpus: clean documents packed into samples of full length, on disk as memory-mapped Arrow, made once."""

import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, Features, Sequence, Value
from datasets.arrow_writer import ArrowWriter
from numpy.typing import NDArray
from spacy.language import Language
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import Errors, Warnings
from ..pieces import Segmenter, token_offsets
from ..types import Ints, Pieces
from .text import Cleaning, clean, find_files, read_documents

logger = logging.getLogger(__name__)

# To be raised whenever the same text and settings give other samples than before.
_FORMAT = 1
_COLUMNS = Features(
    {
        "ids": Sequence(Value("int32")),
        "words": Sequence(Value("int32")),
        "sentences": Sequence(Value("int32")),
        "length": Value("int32"),
        "document": Value("int64"),
    }
)


class Corpus(NamedTuple):
    """train, held_out (Dataset): Samples, a document never in both. key (str): Stands for all of it. counts (dict[str, int])."""

    train: Dataset
    held_out: Dataset
    key: str
    counts: dict[str, int]


class Sample(NamedTuple):
    """Consecutive sentences of one document, without special pieces.

    ids: *Shape:* `(n_pieces,)`. words: the word each piece belongs to, counted from 0. *Shape:* `(n_pieces,)`.
    sentences: where the sentences start. *Shape:* `(n_sentences,)`.
    """

    ids: Ints
    words: Ints
    sentences: list[int]


def fingerprint(*parts: Any) -> str:
    """RETURNS (str): The same for the same values (JSON), on any machine."""
    return blake2b(json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode(), digest_size=10).hexdigest()


def file_fingerprint(path: Path) -> str:
    """RETURNS (str): The same for the same content."""
    digest = blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def prepare(
    nlp: Language,
    tokenizer: PreTrainedTokenizerBase,
    segmenter: Segmenter,
    *,
    path: str | list[str],
    folder: Path,
    cleaning: Cleaning,
    length: int,
    held_out: float,
    seed: int,
) -> Corpus:
    """Read, clean, cut and pack the text, or take what an earlier run left in the folder for the same text and settings.

    tokenizer (PreTrainedTokenizerBase): The encoder's; its vocabulary is a part of the corpus's key.
    segmenter (Segmenter): Gives the wordpieces of a Doc.
    folder (Path): Where corpora are kept, each in a folder named by its key.
    length (int): The most pieces of a sample, special ones not counted.
    held_out (float): The share of samples, whole documents, to be held out; seed (int): chooses them.
    RAISES: ValueError J101, J102; DataError for a file that can't be read.
    """
    files = find_files(path)
    key = fingerprint(
        _FORMAT,
        [file_fingerprint(file) for file in files],
        vars(cleaning),
        length,
        nlp.config["nlp"]["tokenizer"],
        tokenizer.backend_tokenizer.to_str() if isinstance(tokenizer, PreTrainedTokenizerFast) else tokenizer.get_vocab(),
        type(segmenter).__name__,
    )
    place = folder / key
    if (place / "counts.json").is_file():
        logger.info("Using the corpus prepared earlier: %s", place)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            counts: Counter[str] = Counter()
            documents = clean(read_documents(files), cleaning, counts)
            _write(Path(unfinished) / "samples.arrow", nlp, documents, segmenter, tokenizer.unk_token_id, length, counts)
            if not counts["samples"]:
                raise ValueError(Errors.J102.format(path=path, counts=dict(counts)))
            (Path(unfinished) / "counts.json").write_text(json.dumps(counts, indent=2), encoding="utf-8")
            os.rename(unfinished, place)
            os.mkdir(unfinished)  # for TemporaryDirectory to remove
    samples = Dataset.from_file(str(place / "samples.arrow"))
    counts_: dict[str, int] = json.loads((place / "counts.json").read_text(encoding="utf-8"))
    logger.info("Corpus: %s", ", ".join(f"{name} {count:,}" for name, count in counts_.items()))
    chosen = _choose_held_out(np.asarray(samples.with_format("numpy")["document"][:]), held_out, seed)
    train, evaluation = (samples.select(np.flatnonzero(part)) for part in (~chosen, chosen))
    return Corpus(train, evaluation, fingerprint(key, held_out, seed), counts_)


def _write(
    file: Path,
    nlp: Language,
    documents: Iterable[list[str]],
    segmenter: Segmenter,
    unknown: int | None,
    length: int,
    counts: Counter[str],
) -> None:
    with ArrowWriter(path=str(file), features=_COLUMNS) as writer:
        for number, sentences in enumerate(tqdm(documents, desc="Preparing the corpus", unit=" documents", disable=None)):
            docs = [nlp.make_doc(sentence) for sentence in sentences]
            cut = [(pieces.ids, word_numbers(*token_offsets(doc), pieces)) for doc, pieces in zip(docs, segmenter(docs), strict=True)]
            for sample in pack(cut, length):
                counts["samples"] += 1
                counts["words"] += int(sample.words[-1]) + 1
                counts["pieces"] += len(sample.ids)
                counts["unknown pieces"] += int((sample.ids == unknown).sum()) if unknown is not None else 0
                writer.write({**sample._asdict(), "length": len(sample.ids), "document": number})
        writer.finalize()


def word_numbers(token_starts: Ints, token_ends: Ints, pieces: Pieces) -> Ints:
    """Number the words of a text as the Doc's tokens have them; tokens that share a piece are one word.

    token_starts, token_ends: *Shape:* `(n_tokens,)`.
    RETURNS (Ints): The word of each piece, counted from 0. *Shape:* `(n_pieces,)`.
    """
    first = np.searchsorted(token_ends, pieces.starts, side="right")
    last = np.searchsorted(token_starts, pieces.ends, side="left") - 1
    return np.concatenate(([0], np.cumsum(first[1:] > last[:-1])))[: len(first)].astype(np.int32)


def pack(sentences: Iterable[tuple[Ints, Ints]], length: int) -> Iterator[Sample]:
    """Put the sentences of one document into samples, as many in each as fit; a sentence that is too long for one is cut between words.

    Never past the document's end (DOC-SENTENCES of Liu et al. 2019, arXiv:1907.11692, slightly better than filling up).

    sentences: The pieces of each sentence and their words.
    length (int): The most pieces of a sample.
    """
    parts = [part for ids, words in sentences for part in _cut(ids, words, length)]
    start = total = 0
    for end, (ids, _) in enumerate(parts):
        if total + len(ids) > length:
            yield _join(parts[start:end])
            start, total = end, 0
        total += len(ids)
    if parts:
        yield _join(parts[start:])


def _cut(ids: Ints, words: Ints, length: int) -> Iterator[tuple[Ints, Ints]]:
    start = 0
    while start < len(ids):
        end = start + length
        if end < len(ids):
            # Back to where the word begins, unless it fills the sample alone.
            begin = int(np.searchsorted(words, words[end]))
            end = begin if begin > start else end
        yield ids[start:end], words[start:end]
        start = end


def _join(parts: list[tuple[Ints, Ints]]) -> Sample:
    words, starts, next_word = [], [], 0
    for _, numbers in parts:
        words.append(numbers - numbers[0] + next_word)
        next_word = int(words[-1][-1]) + 1
    starts = np.cumsum([0, *(len(ids) for ids, _ in parts[:-1])]).tolist()
    return Sample(np.concatenate([ids for ids, _ in parts]), np.concatenate(words), starts)


def _choose_held_out(documents: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose the samples to hold out: documents in an order that the seed gives, each that still fits into the share.

    documents: The document of each sample, ascending. *Shape:* `(n_samples,)`.
    """
    target, taken = share * len(documents), 0
    chosen = np.zeros(len(documents), dtype=bool)
    if not share or len(documents) == 1:
        return chosen
    numbers, starts, sizes = np.unique(documents, return_index=True, return_counts=True)
    if len(numbers) == 1:
        logger.warning(Warnings.JW102)
        chosen[-max(1, round(target)) :] = True
        return chosen
    order = sorted(range(len(numbers)), key=lambda i: blake2b(f"{seed} {numbers[i]}".encode(), digest_size=8).digest())
    for i in order:
        if taken + sizes[i] <= max(target, 1):
            chosen[starts[i] : starts[i] + sizes[i]] = True
            taken += sizes[i]
    if not taken:  # every document is larger than the share
        i = min(order, key=lambda i: sizes[i])
        chosen[starts[i] : starts[i] + sizes[i]] = True
    return chosen
