"""`spacy-jbert.distill.v1`: gold examples, and raw text that a teacher labelled, in one corpus.

The teacher labels before training rather than in it: each text once, however many passes are made,
and another student takes the same folder."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.training import Example

from ..errors import Errors
from ..pipeline.soft_tags import soft_components
from ..pipeline.textcat import JBertTextCat
from ..pretraining.once import file_fingerprint
from ..pretraining.text import find_files
from .raw_texts import draw_sentences
from .teacher import fingerprint, label, read_labelled, soft_ners

Corpus = Callable[[Language], Iterable[Example]]


def distill(
    gold: Corpus,
    teacher: str,
    text: str | list[str],
    folder: str,
    limit: int = 20000,
    min_characters: int = 15,
    max_characters: int = 150,
    text_field: str = "text",
    gold_repeats: int = 1,
    seed: int = 0,
) -> Corpus:
    """`spacy-jbert.distill.v1`, a reader for [corpora.train]: gold examples, and sentences of raw
    text with how sure a teacher is of their entities and categories (Hinton et al. 2015,
    "Distilling the Knowledge in a Neural Network").

    The teacher labels when the corpus is first read. A `jbert_ner` of the student learns from the
    teacher's of the same name, a `jbert_textcat` from all the teacher's categories.

    gold (Corpus): Another reader, as `spacy.Corpus.v1`.
    teacher (str): The folder or the package of a trained pipeline.
    text (str | list[str]): Files or folders of raw text, as for pretraining.
    folder (str): What the teacher says is kept here; a run that was killed goes on, others with the
        same settings don't ask the teacher again.
    limit (int): The most sentences, drawn by chance.
    min_characters, max_characters (int): How long sentences are.
    text_field (str): Where records have their text.
    gold_repeats (int): How often each gold example comes in a pass over the corpus.
    seed (int): Another one draws other sentences.
    RETURNS (Corpus): The reader.
    RAISES: ValueError J549; when it reads, J101, J542 to J546, J548, J550 to J552.
    """
    _require(limit >= 1, "limit", limit, "1 or more")
    _require(gold_repeats >= 0, "gold_repeats", gold_repeats, "0 or more")
    in_order = 1 <= min_characters <= max_characters
    _require(in_order, "min_characters", min_characters, f"1 to max_characters ({max_characters})")
    where = Path(folder)
    done = False

    def labelled() -> None:
        nonlocal done
        if done:
            return
        files = find_files(text)
        of_draw: dict[str, Any] = {
            "limit": limit,
            "min_characters": min_characters,
            "max_characters": max_characters,
            "text_field": text_field,
            "seed": seed,
        }
        settings = of_draw | {
            "teacher": fingerprint(teacher),
            "text": [[file.name, file_fingerprint(file)] for file in files],
        }
        label(where, settings, teacher, lambda: draw_sentences(files, **of_draw))
        done = True

    def read(nlp: Language) -> Iterator[Example]:
        labelled()
        for _ in range(gold_repeats):
            yield from gold(nlp)
        for number, doc in enumerate(read_labelled(where, nlp.vocab)):
            if not number:
                _require_student(nlp, soft_components(doc), bool(doc.cats))
            yield Example(nlp.make_doc(doc.text), doc)

    return read


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    """RAISES: ValueError J549."""
    if not holds:
        where = "spacy-jbert.distill.v1"
        raise ValueError(Errors.J549.format(where=where, name=name, value=value, wanted=wanted))


def _require_student(nlp: Language, soft: list[str], categories: bool) -> None:
    """What a teacher says is learned.

    soft (list[str]): The names of the teacher's components that have soft tags.
    categories (bool): Whether it says something of categories.
    RAISES: ValueError J546, J550.
    """
    taught = {ner.name for ner in soft_ners(nlp)} & set(soft)
    if categories:
        for name, pipe in nlp.pipeline:
            if isinstance(pipe, TextCategorizer) and not isinstance(pipe, JBertTextCat):
                raise ValueError(Errors.J546.format(name=name))
            if isinstance(pipe, JBertTextCat):
                taught.add(name)
    if not taught:
        others = [*soft, *(["categories"] if categories else [])]
        raise ValueError(
            Errors.J550.format(names=", ".join(nlp.pipe_names), others=", ".join(others))
        )
