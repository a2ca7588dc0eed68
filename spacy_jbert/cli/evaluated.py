"""A pipeline and the documents it is judged by: what the commands that evaluate share."""

import sys
from itertools import chain
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.training import Corpus, Example

from ..corpora.docs import find_docbins, read_docbin
from ..errors import Errors, Warnings
from ..evaluation.mistakes import Labels, labels_of


def load(model: str, gpu_id: int) -> Language:
    """RETURNS (Language): The pipeline, on a GPU if one is named."""
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    return spacy.load(model)


def read_examples(nlp: Language, data: Path) -> list[Example]:
    """RETURNS (list[Example]): The documents of a DocBin, or of a folder of them."""
    docs = chain.from_iterable(read_docbin(path, nlp.vocab) for path in find_docbins(data))
    return list(Corpus(data).make_examples(nlp, docs))


def check_labels(nlp: Language, examples: list[Example], data: Path) -> list[Labels]:
    """Refuse to judge a pipeline by documents that say nothing of what it finds.

    examples (list[Example]): The pipeline has annotated them.
    RETURNS (list[Labels]): See `labels_of`. What is annotated and not known is told on stderr.
    RAISES: ValueError J310, J311, J312.
    """
    kinds = labels_of(nlp, examples)
    if not kinds:
        raise ValueError(Errors.J310.format(names=", ".join(nlp.pipe_names) or "none"))
    if not any(kind.annotated for kind in kinds):
        names = " and ".join(kind.kind for kind in kinds)
        raise ValueError(Errors.J311.format(path=data, kinds=names, count=len(examples)))
    if not any(kind.annotated & kind.known for kind in kinds):
        raise ValueError(
            Errors.J312.format(
                known=listed(set().union(*(kind.known for kind in kinds))),
                annotated=listed(set().union(*(kind.annotated for kind in kinds))),
            )
        )
    for kind in kinds:
        if not kind.annotated:
            print(Warnings.JW301.format(kind=kind.kind), file=sys.stderr)
        elif strange := kind.annotated - kind.known:
            print(Warnings.JW302.format(kind=kind.kind, labels=listed(strange)), file=sys.stderr)
    return kinds


def title(model: str | Path, data: Path) -> str:
    """RETURNS (str): Of what on what: the last two parts of each path."""
    return " on ".join("/".join(Path(path).parts[-2:]) for path in (model, data))


def listed(labels: set[str]) -> str:
    """RETURNS (str): Labels for a message, in order."""
    return ", ".join(sorted(labels))
