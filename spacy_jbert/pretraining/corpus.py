"""The pretraining corpus: clean documents packed into samples of full length, on disk as
memory-mapped Arrow, made once.
"""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from datasets import Dataset
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import Errors, Warnings
from ..types import Ints, Pieces
from ..wordpieces.alignment import token_offsets
from ..wordpieces.segmentation import make_segmenter
from .once import file_fingerprint, fingerprint, first_rank, tokenizer_identity, write_manifest
from .parallel import Part, characters, in_processes, parts
from .progress import progress
from .text import Cleaning, Document, clean, find_files, read_documents

logger = logging.getLogger(__name__)

# To be raised whenever the same text and settings give other samples than before.
_FORMAT = 3
_COLUMNS = pa.schema(
    {
        "ids": pa.list_(pa.int32()),
        "words": pa.list_(pa.int32()),
        "sentences": pa.list_(pa.int32()),
        "length": pa.int32(),
        "document": pa.int64(),
    }
)


class Corpus(NamedTuple):
    """train, held_out (Dataset): Samples, a document never in both.

    key (str): Stands for all of it.
    counts (dict[str, int]).
    """

    train: Dataset
    held_out: Dataset
    key: str
    counts: dict[str, int]


class Sample(NamedTuple):
    """Consecutive sentences of one document, without special pieces.

    ids: *Shape:* `(n_pieces,)`. words: the word each piece belongs to, counted from 0. *Shape:*
        `(n_pieces,)`.
    sentences: where the sentences start. *Shape:* `(n_sentences,)`.
    """

    ids: Ints
    words: Ints
    sentences: list[int]


def prepare(
    nlp: Language,
    tokenizer: PreTrainedTokenizerBase,
    *,
    words: str,
    path: str | list[str],
    folder: Path,
    cleaning: Cleaning,
    length: int,
    held_out: float,
    text_field: str = "text",
    workers: int = 1,
) -> Corpus:
    """Read, clean, cut and pack the text, or take what an earlier run left in the folder for the
    same text and settings.

    An earlier run that was ended half-way is gone on with: the text is read and cleaned again,
    which is fast, but no part that is on the disk is cut again. Under torchrun the first process
    does it, the others wait.

    tokenizer (PreTrainedTokenizerBase): The encoder's; its vocabulary is a part of the corpus's
        key.
    words (str): What cuts a Doc into wordpieces: doc or native.
    folder (Path): Where corpora are kept, each in a folder named by its key.
    length (int): The most pieces of a sample, special ones not counted.
    held_out (float): The share of documents to be held out, chosen by their content.
    text_field (str): The field of a record that holds its text.
    workers (int): Processes that cut the text into words and pieces; they change nothing but the
        time it takes.
    RAISES: ValueError J101, J102; DataError for a file that can't be read.
    """
    files = find_files(path)
    key = fingerprint(
        _FORMAT,
        [file_fingerprint(file) for file in files],
        vars(cleaning),
        text_field,
        length,
        tokenizer_identity(nlp),
        tokenizer.backend_tokenizer.to_str()
        if isinstance(tokenizer, PreTrainedTokenizerFast)
        else tokenizer.get_vocab(),
        words,
    )
    place = folder / key

    def write() -> None:
        place.mkdir(parents=True, exist_ok=True)
        counts: Counter[str] = Counter()
        packer = Packer(place, nlp.tokenizer, tokenizer, words, length)
        try:
            _write_shards(
                packer, clean(read_documents(files, text_field), cleaning, counts), workers
            )
        except (
            ValueError
        ):  # the text is broken; mended, it has another key, and nobody comes back to these shards
            shutil.rmtree(place)
            raise
        _merge(place, tokenizer.unk_token_id, counts)
        if not counts["samples"]:
            shutil.rmtree(place)
            raise ValueError(Errors.J102.format(path=path, counts=dict(counts)))
        new = place / ".counts.json"
        new.write_text(json.dumps(counts, indent=2), encoding="utf-8")
        new.replace(place / "counts.json")
        for shard in [*_shards(place), *place.glob(".shard-*")]:
            shard.unlink()
        write_manifest(place, key)

    if not first_rank(place, write):
        logger.info("Using the corpus prepared earlier: %s", place)
    samples = Dataset.from_file(str(place / "samples.arrow"))
    counts: dict[str, int] = json.loads((place / "counts.json").read_text(encoding="utf-8"))
    logger.info("Corpus: %s", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    chosen = choose_held_out(samples.data.column("document").to_numpy(), held_out)
    train, evaluation = (samples.select(np.flatnonzero(part)) for part in (~chosen, chosen))
    return Corpus(train, evaluation, fingerprint(key, held_out), counts)


class Packer:
    """Documents to samples, written to a file.

    place (Path): The folder for the files, `shard-<number>.arrow`.
    make_doc (Callable[[str], Doc]): The pipeline's tokenizer. tokenizer (PreTrainedTokenizerBase),
        words (str): Give the wordpieces of a Doc.
    length (int): The most pieces of a sample.
    """

    def __init__(
        self,
        place: Path,
        make_doc: Callable[[str], Doc],
        tokenizer: PreTrainedTokenizerBase,
        words: str,
        length: int,
    ) -> None:
        self.settings = place, make_doc, tokenizer, words, length
        self.place, self.make_doc, self.length = place, make_doc, length
        self.segmenter = make_segmenter(tokenizer, words)

    def __reduce__(self) -> Any:
        return Packer, self.settings  # a segmenter has locks, and caches of its process

    def __call__(self, part: Part) -> int:
        """Write the samples as one Arrow record batch. The file appears under its name when it is
        complete.

        RETURNS (int): The characters that were cut.
        """
        number, documents = part
        samples: list[Sample] = []
        keys: list[int] = []
        for document in documents:
            samples += pack(self.cut(document.lines), self.length)
            keys += [document.key] * (len(samples) - len(keys))
        columns = list(map(list, zip(*samples, strict=True))) or [[], [], []]
        lengths = pa.array([len(ids) for ids in columns[0]], pa.int32())
        batch = pa.RecordBatch.from_arrays(
            [*map(_lists, columns), lengths, pa.array(keys, pa.int64())], schema=_COLUMNS
        )
        file = _shard(self.place, number)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        with pa.OSFile(str(new), "wb") as sink, pa.ipc.new_stream(sink, _COLUMNS) as writer:
            writer.write_batch(batch)
        new.replace(file)
        return characters(documents)

    def cut(self, lines: list[list[str]]) -> Iterator[tuple[Ints, Ints]]:
        """Cut lines into pieces, as a whole: where a sentence is no beginning, its first piece has
        no `▁`.

        YIELDS: The pieces of each sentence, and the word that each belongs to.
        """
        docs = [self.make_doc("".join(line)) for line in lines]
        for line, doc, pieces in zip(lines, docs, self.segmenter(docs), strict=True):
            words = word_numbers(*token_offsets(doc), pieces)
            borders = np.searchsorted(
                pieces.starts, np.cumsum([len(sentence) for sentence in line[:-1]])
            )
            yield from zip(np.split(pieces.ids, borders), np.split(words, borders), strict=True)


def _shard(place: Path, number: int) -> Path:
    return place / f"shard-{number:06}.arrow"


def _shards(place: Path) -> list[Path]:
    return sorted(place.glob("shard-*.arrow"))


def _lists(rows: list[Any]) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, rows)])
    values = np.concatenate([np.zeros(0), *rows]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _write_shards(packer: Packer, documents: Iterable[Document], workers: int) -> None:
    """Write a file for each part of the text, but for those that an earlier run has written."""
    with progress("Preparing the corpus", unit=" characters", unit_scale=True) as bar:

        def missing() -> Iterator[Part]:
            for number, part in parts(documents):
                if _shard(packer.place, number).exists():
                    bar.update(characters(part))
                else:
                    yield number, part

        for done in in_processes(packer, missing(), workers):
            bar.update(done)


def _merge(place: Path, unknown: int | None, counts: Counter[str]) -> None:
    """Join the shards into samples.arrow, and count what is in them."""
    new = place / ".samples.arrow"
    with pa.OSFile(str(new), "wb") as sink, pa.ipc.new_stream(sink, _COLUMNS) as writer:
        for shard in _shards(place):
            with pa.memory_map(str(shard)) as source:
                for batch in pa.ipc.open_stream(source):
                    writer.write_batch(batch)
                    counts["samples"] += batch.num_rows
                    ids, words = (batch[name].values.to_numpy() for name in ("ids", "words"))
                    ends = batch["words"].offsets.to_numpy()[1:]
                    counts["words"] += int((words[ends - 1] + 1).sum())
                    counts["pieces"] += len(ids)
                    counts["unknown pieces"] += (
                        int((ids == unknown).sum()) if unknown is not None else 0
                    )
    new.replace(place / "samples.arrow")


def word_numbers(token_starts: Ints, token_ends: Ints, pieces: Pieces) -> Ints:
    """Number the words of a text as the Doc's tokens have them; tokens that share a piece are one
    word.

    token_starts, token_ends: *Shape:* `(n_tokens,)`.
    RETURNS (Ints): The word of each piece, counted from 0. *Shape:* `(n_pieces,)`.
    """
    first = np.searchsorted(token_ends, pieces.starts, side="right")
    last = np.searchsorted(token_starts, pieces.ends, side="left") - 1
    return np.concatenate(([0], np.cumsum(first[1:] > last[:-1])))[: len(first)].astype(np.int32)


def pack(sentences: Iterable[tuple[Ints, Ints]], length: int) -> Iterator[Sample]:
    """Put the sentences of one document into samples, as many in each as fit; a sentence that is
    too long for one is cut between words.

    Never past the document's end (DOC-SENTENCES of Liu et al. 2019, arXiv:1907.11692, slightly
    better than filling up).

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


def choose_held_out(documents: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Choose the samples to hold out: of all documents whose hash lies within the share, so that a
    text's choice never changes, whatever is added to the corpus. One document is chosen, and one
    isn't, at least.

    documents: The hash of each sample's document; samples of one document are neighbours. *Shape:*
        `(n_samples,)`.
    RETURNS: *Shape:* `(n_samples,)`.
    """
    if not share or len(documents) == 1:
        return np.zeros(len(documents), dtype=bool)
    if (documents == documents[0]).all():
        logger.warning(Warnings.JW102)
        return np.arange(len(documents)) >= min(
            round((1 - share) * len(documents)), len(documents) - 1
        )
    place = documents.astype(np.float64) / 2**64 + 0.5  # 0 to 1
    chosen: NDArray[np.bool_] = place <= np.clip(
        share, place.min(), place[documents != documents.max()].max()
    )
    return chosen
