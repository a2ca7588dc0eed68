"""Checkpoints that are fine-tuned already, as pipelines."""

from pathlib import Path
from typing import Any, Literal

import spacy
from spacy.language import Language
from spacy_transformers.layers import TransformerListener
from thinc.api import Model

from .encoder.checkpoint import Encoder
from .encoder.heads import Head, read_head
from .errors import DataError, Errors
from .models.imported import read_tags
from .packaging import portable

Level = Literal["pieces", "first"]
_LISTENER = "spacy-jbert.TransformerListener.v1"


def import_checkpoint(
    folder: Path, *, labels: list[str] | None = None, level: Level = "pieces"
) -> Language:
    """Make a pipeline of a folder with a model for token or sequence classification.

    folder (Path): As `save_pretrained` writes it, with its tokenizer.
    labels (list[str] | None): Names for its labels, or tags, in their order.
    level (str): What has a tag: each of the "pieces"; or each token, that of its "first" piece, as
        heads are used that were trained on the first pieces of words alone.
    RETURNS (Language): `jbert_transformer` and `jbert_ner`, `textcat` or `textcat_multilabel`,
        ready to annotate and to be saved.
    RAISES: DataError J464, ValueError J462 for the head; J002, J003, J06x for the encoder.
    """
    head = read_head(folder, labels)
    encoder = Encoder.load(folder)
    _require_fit(head, encoder.width, folder)
    nlp = spacy.blank(
        "ja", config={"nlp": {"tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1"}}}
    )
    transformer: Any = nlp.add_pipe("jbert_transformer", name="transformer")
    transformer.encoder = encoder
    pipe = _add_ner(nlp, head, level) if head.task == "ner" else _add_textcat(nlp, head)
    _set_weights(pipe.model, head)
    for node in pipe.model.walk():
        if isinstance(node, TransformerListener):
            node.set_dim("nO", encoder.width)
    transformer.find_listeners(pipe)
    return portable()(nlp)


def _require_fit(head: Head, width: int, folder: Path) -> None:
    """RAISES: DataError J464 if the head takes vectors of another width than the encoder gives."""
    taken = [head.output["W"].shape[1], *(head.dense["W"].shape if head.dense else ())]
    if set(taken) != {width}:
        reason = f"Its layers take {taken} numbers, and the encoder gives {width}."
        raise DataError(Errors.J464.format(reason=reason), path=folder)


def _add_ner(nlp: Language, head: Head, level: Level) -> Any:
    by_pieces = level == "pieces"
    model = {
        "@architectures": "spacy-jbert.ImportedTagger.v1",
        "tok2vec": {"@architectures": _LISTENER, "pooling": "units" if by_pieces else "first"},
        "tags": head.labels,
        "activation": head.activation,
        "norm_eps": head.norm_eps,
    }
    misaligned = "split" if by_pieces else "count"
    ner: Any = nlp.add_pipe(
        "jbert_ner", name="ner", config={"model": model, "misaligned": misaligned}
    )
    _name_labels(nlp, ner, read_tags(head.labels).labels)
    return ner


def _add_textcat(nlp: Language, head: Head) -> Any:
    model = {
        "@architectures": "spacy-jbert.ImportedTextCat.v1",
        "tok2vec": {"@architectures": _LISTENER, "pooling": head.pooling},
        "exclusive_classes": head.task == "textcat",
        "nO": len(head.labels),
        "activation": head.activation,
        "norm_eps": head.norm_eps,
    }
    scorer = {
        "@scorers": "spacy-jbert.textcat_scorer.v1",
        "exclusive_classes": head.task == "textcat",
    }
    textcat = nlp.add_pipe(head.task, name="textcat", config={"model": model, "scorer": scorer})
    _name_labels(nlp, textcat, head.labels)
    return textcat


def _name_labels(nlp: Language, pipe: Any, labels: list[str]) -> None:
    pipe.cfg["labels"] = list(labels)
    for label in labels:
        nlp.vocab.strings.add(label)


def _set_weights(model: Model, head: Head) -> None:
    for node in model.walk():
        if node.name == "dense":
            _set(node, head.dense)
        elif node.name == "linear":
            node.set_dim("nI", head.output["W"].shape[1])
            _set(node, head.output)


def _set(node: Model, weights: dict[str, Any]) -> None:
    node.set_dim("nO", len(weights["W"]))
    for name, weight in weights.items():
        node.set_param(name, node.ops.asarray(weight, dtype="f"))
