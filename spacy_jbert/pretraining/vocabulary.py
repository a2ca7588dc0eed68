"""Wordpieces trained on the words that the pipeline's own tokenizer gives."""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from spacy.language import Language
from spacy.tokens import Doc
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from ..encoder.checkpoint import VocabularyLoader
from ..errors import Errors
from ..storage import remove
from ..wordpieces.segmentation import TRAINED_ON
from .once import file_fingerprint, fingerprint, first_rank, tokenizer_identity, write_manifest
from .parallel import Part, characters, cores, in_processes, parts
from .progress import progress
from .text import Cleaning, clean, find_files, read_documents

logger = logging.getLogger(__name__)

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NORMALIZERS = {
    "NFC": normalizers.NFC,
    "NFKC": normalizers.NFKC,
    "NFD": normalizers.NFD,
    "NFKD": normalizers.NFKD,
}


def trained_vocabulary(
    path: str | list[str],
    size: int = 32768,
    kind: Literal["wordpiece", "unigram"] = "wordpiece",
    min_frequency: int = 2,
    limit_alphabet: int = 8000,
    normalization: Literal["NFC", "NFKC", "NFD", "NFKD"] | None = "NFKC",
    min_characters: int = 10,
    text_field: str = "text",
    folder: str | None = None,
    workers: int | None = None,
) -> VocabularyLoader:
    """Train a vocabulary on text: `@misc = "spacy-jbert.TrainedVocabulary.v1"`.

    path (str | list[str]): Files or folders of text, as for `spacy-jbert.pretrain_mlm.v2`.
    size (int): The number of wordpieces, special ones included, rounded up to a multiple of 64. A
        small text may give fewer.
    kind (str): wordpiece (Devlin et al. 2019, arXiv:1810.04805) or unigram (Kudo 2018,
        arXiv:1804.10959), which has no `##`.
    min_frequency (int): Characters, and pairs of pieces to be joined, that occur less often get no
        piece.
    limit_alphabet (int): The most characters that get a piece; of a small vocabulary they take half
        at most.
    normalization (str | None): The Unicode form in which a word is cut; the Doc's text stays as it
        is.
    min_characters (int): Shorter lines aren't read, as in pretraining.
    text_field (str): Of a record, likewise.
    folder (str | None): Where vocabularies are kept, each in a folder named by its text and
        settings, and found again. None: every run, and under torchrun every process, trains its
        own, all the same.
    workers (int | None): Processes that look for words; None: one for each core.
    RETURNS (VocabularyLoader): Called with `nlp`, whose tokenizer finds the words; gives a fast
        tokenizer.
    """
    if size < 64:
        raise ValueError(
            Errors.J108.format(
                setting="size",
                value=size,
                reason="a vocabulary has 64 pieces at least. It stands in "
                "[initialize.components.<name>.encoder.vocabulary].",
            )
        )
    size = -(-size // 64) * 64
    normalizer = normalizers.Sequence([_NORMALIZERS[normalization]()] if normalization else [])
    settings = [
        size,
        kind,
        min_frequency,
        limit_alphabet,
        normalization,
        min_characters,
        text_field,
    ]

    def load(nlp: Language) -> PreTrainedTokenizerFast:
        if folder is None:
            return train(nlp)
        content = [file_fingerprint(file) for file in find_files(path)]
        place = Path(folder) / fingerprint(content, settings, tokenizer_identity(nlp))

        def write() -> None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as room:
                train(nlp).save_pretrained(f"{room}/new")
                write_manifest(Path(room, "new"), place.name)
                remove(place)
                Path(room, "new").rename(place)

        if not first_rank(place, write):
            logger.info("Using the vocabulary trained earlier: %s", place)
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            place, local_files_only=True, trust_remote_code=False
        )
        return tokenizer

    def train(nlp: Language) -> PreTrainedTokenizerFast:
        words = _count_words(nlp, path, min_characters, text_field, normalizer, workers or cores())
        alphabet = _alphabet(words, min_frequency, min(limit_alphabet, (size - len(_SPECIAL)) // 4))
        words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
        with progress(
            "Training the vocabulary", bar_format="{desc}: {elapsed}"
        ):  # says that it begins, and how long it took
            model = (_wordpiece if kind == "wordpiece" else _unigram)(
                words, sorted(alphabet), size, min_frequency
            )
        tokenizer = _tokenizer(model, normalizer)
        logger.info(
            "Trained a %s vocabulary: %d pieces, %d characters, from %d words",
            kind,
            len(tokenizer),
            len(alphabet),
            len(words),
        )
        return tokenizer

    return load


class WordCounter:
    """Counts the words of documents.

    make_doc (Callable[[str], Doc]): The pipeline's tokenizer.
    """

    def __init__(self, make_doc: Callable[[str], Doc]) -> None:
        self.make_doc = make_doc

    def __call__(self, part: Part) -> tuple[int, Counter[str]]:
        """RETURNS (tuple[int, Counter[str]]): The characters read, and the words."""
        _, documents = part
        words = Counter(
            token.text
            for document in documents
            for line in document.lines
            for token in self.make_doc("".join(line))
        )
        return characters(documents), words


def _count_words(
    nlp: Language,
    path: str | list[str],
    min_characters: int,
    text_field: str,
    normalizer: normalizers.Normalizer,
    workers: int,
) -> dict[str, int]:
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    documents = clean(
        read_documents(find_files(path), text_field),
        Cleaning(min_characters=min_characters),
        dropped,
    )
    with progress("Counting words", unit=" characters", unit_scale=True) as bar:
        for size, found in in_processes(WordCounter(nlp.tokenizer), parts(documents), workers):
            counts.update(found)
            bar.update(size)
    words: Counter[str] = Counter()
    for word, count in counts.items():
        # Normalisation can put spaces into a word (´ -> space, combining acute): the pieces are cut
        # between them.
        for part in normalizer.normalize_str(word).split():
            words[part] += count
    if not words:
        raise ValueError(Errors.J102.format(path=path, counts=dict(dropped)))
    return words


def _alphabet(words: dict[str, int], min_frequency: int, limit: int) -> set[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    # Ties by code point: the same text has to give the same vocabulary.
    common = sorted(
        (char for char, count in counts.items() if count >= min_frequency),
        key=lambda char: (-counts[char], char),
    )
    if len(common) > limit:
        logger.info(
            "%d of %d characters get a wordpiece; words with one of the others become [UNK]",
            limit,
            len(common),
        )
    return set(common[:limit])


def _repeated(words: dict[str, int]) -> Iterator[str]:
    for word, count in words.items():
        for done in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - done))


def _wordpiece(
    words: dict[str, int], alphabet: list[str], size: int, min_frequency: int
) -> models.Model:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        show_progress=False,
        # Characters given here get both forms, known position or not, and fixed ids: the trainer
        # itself numbers the ## forms in the order of a hash table, and then even the pieces differ
        # from run to run.
        special_tokens=[*_SPECIAL, *alphabet, *(f"##{char}" for char in alphabet)],
    )
    tokenizer.train_from_iterator(_repeated(words), trainer)
    return models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=100)


def _unigram(
    words: dict[str, int], alphabet: list[str], size: int, min_frequency: int
) -> models.Model:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        show_progress=False,
        special_tokens=_SPECIAL,
        unk_token="[UNK]",
        initial_alphabet=alphabet,
    )
    tokenizer.train_from_iterator(_repeated(words), trainer)
    return tokenizer.model


def _tokenizer(model: models.Model, normalizer: normalizers.Normalizer) -> PreTrainedTokenizerFast:
    """The tokenizer as BERT's, but for words that are found already: spaces separate them, nothing
    else is split or changed.
    """
    backend = Tokenizer(model)
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = (
        decoders.WordPiece() if isinstance(model, models.WordPiece) else decoders.Fuse()
    )
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, backend.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")],
    )
    settings = {
        "do_lower_case": False,
        "strip_accents": False,
        "tokenize_chinese_chars": False,
        TRAINED_ON: "doc",
    }
    names = {f"{piece.strip('[]').lower()}_token": piece for piece in _SPECIAL}
    # Not BERT's class: transformers 5 gives that BERT's own normalizer and pre-tokenizer.
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **settings)
