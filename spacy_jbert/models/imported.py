"""Heads that others have fine-tuned, as models of `jbert_ner`, `textcat` and `textcat_multilabel`:
the layers are theirs, so the logits are."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Linear, Model, chain, reduce_mean, with_array
from thinc.layers import list2ragged
from thinc.types import Floats2d
from transformers.activations import ACT2FN

from ..errors import Errors
from ..types import Ints, TaggerModel, TagScores, TextCatModel, Tok2VecModel
from ..wordpieces.alignment import token_offsets
from ..wordpieces.units import unit_starts, units
from .biluo import tag_names
from .listener import is_units
from .textcat import documents, probabilities

# What never happens, as a number that sums bear.
_NEVER = -1e4
_SCHEMES = {
    "IO": {"I": "BILU"},
    "BIO": {"B": "BU", "I": "IL"},
    "BILUO": {"B": "B", "I": "I", "L": "L", "U": "U"},
}
_BEHIND = re.compile(r"[-_][BILUESMW]$")
# Letters that nobody means for a part of the label, written as no scheme has them.
_ELSEWHERE = re.compile(r"[biluesmw][-_:.|/].|[BILUESMW][:.|/].")
# Other letters for the same: end, single, middle, whole.
_LETTERS = {"E": "L", "S": "U", "M": "I", "W": "U"}


class Tags(NamedTuple):
    """What the tags of a head mean.

    scheme: IO, BIO or BILUO (which BIOES and BMES are too).
    labels: Of the entities, in the order of the tags.
    columns: For each BILUO tag of these labels the number of the head's tag that has its score; -1
        for what can't be. *Shape:* `(1 + 4 * n_labels,)`.
    """

    scheme: str
    labels: list[str]
    columns: NDArray[np.int64]


def read_tags(tags: list[str]) -> Tags:
    """Find out what tags mean: O, and B-PERSON, I-PERSON … or PERSON alone.

    Each well-formed sequence of them is one of BILUO tags and the other way round (of IO, those in
    which no entity follows one of the same label at once), and has the same score.

    RAISES: ValueError J462.
    """
    if tags.count("O") != 1:
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason="One has to be O."))
    if len(set(tags)) < len(tags):
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason="Some are there twice."))
    split = {tag: _split(tag) for tag in tags if tag != "O"}
    letters = {letter for letter, _ in split.values()}
    if len(split) > 1 and all(_BEHIND.search(tag) for tag in split):
        reason = "Their letters stand behind the labels, not before."
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason=reason))
    if len(split) > 1 and all(_ELSEWHERE.match(tag) for tag in split):
        reason = "Their letters have to be large, with - or _ behind them."
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason=reason))
    if not letters:
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason="There is no label."))
    if letters <= {"", "I"}:
        scheme = "IO"
    elif letters <= {"B", "I"}:
        scheme = "BIO"
    elif letters <= {"B", "I", "L", "U"} and {"B", "L", "U"} <= letters:
        scheme = "BILUO"
    else:
        reason = f"{', '.join(sorted(letters)) or 'none'} are no scheme of prefixes that is known."
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason=reason))
    labels = list(dict.fromkeys(label for _, label in split.values()))
    if scheme == "IO" and len(labels) < len(split):
        raise ValueError(Errors.J462.format(tags=_shown(tags), reason="Some mean the same."))
    columns = {"O": tags.index("O")}
    for tag, (letter, label) in split.items():
        for biluo in _SCHEMES[scheme][letter or "I"]:
            columns[f"{biluo}-{label}"] = tags.index(tag)
    names = tag_names(labels)
    for label in labels:
        there = {letter for letter in "BLU" if f"{letter}-{label}" in columns}
        if "U" not in there and not {"B", "L"} <= there:
            reason = f"Nothing begins or ends {label}. If its I- does, as in IOB1, it isn't known."
            raise ValueError(Errors.J462.format(tags=_shown(tags), reason=reason))
    return Tags(scheme, labels, np.array([columns.get(name, -1) for name in names]))


def _split(tag: str) -> tuple[str, str]:
    letter, mark, label = tag[:1], tag[1:2], tag[2:]
    letter = _LETTERS.get(letter, letter)
    return (letter, label) if letter in "BILU" and mark in ("-", "_") and label else ("", tag)


def _shown(tags: list[str]) -> str:
    return ", ".join(tags[:12]) + (" …" if len(tags) > 12 else "")


def build_imported_tagger(
    tok2vec: Tok2VecModel,
    tags: list[str],
    activation: str | None = None,
    norm_eps: float | None = None,
) -> TaggerModel:
    """`spacy-jbert.ImportedTagger.v1`: the token classification head of a checkpoint as it was
    fine-tuned, its tags as BILUO tags. `python -m spacy jbert import` writes it.

    tok2vec (Tok2VecModel): `spacy-jbert.TransformerListener.v1` with pooling "units" (and
        misaligned = "split" in `jbert_ner`): each wordpiece has the tag that the checkpoint gives
        it; or "first": each token has the tag of its first wordpiece.
    tags (list[str]): The head's, in the order of its logits.
    activation (str | None): Behind a dense layer before the last one, a name of transformers'; None
        if there is no such layer.
    norm_eps (float | None): Epsilon of a layer norm behind that; None if there is none.
    RETURNS (TaggerModel): `List[Doc] -> TagScores`. Its part "output_layer" gives the head's own
        logits.
    RAISES: ValueError J462.
    """
    read = read_tags(tags)
    head = _head(len(tags), activation, norm_eps)
    model: TaggerModel = Model(
        "imported_tagger",
        forward_tagger,
        init=init_tagger,
        dims={"nO": len(tag_names(read.labels))},
        layers=[tok2vec, with_array(head)],
        attrs={"columns": read.columns.tolist(), "scheme": read.scheme, "tags": tags},
    )
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("logits", head)
    # `jbert_ner` asks these for the number of tags.
    model.set_ref("output_layer", model)
    model.set_ref("transitions", model)
    model.attrs["resize_output"] = partial(_refuse, tags=tags)
    return model


def _refuse(model: Model, size: int, *, tags: list[str]) -> Model:
    raise ValueError(Errors.J463.format(tags=_shown(tags)))


def init_tagger(model: TaggerModel, X: Any = None, Y: Any = None) -> None:
    tok2vec, head = model.layers
    tok2vec.initialize(X=X)
    head.initialize()


def forward_tagger(
    model: TaggerModel, docs: list[Doc], is_train: bool
) -> tuple[TagScores, Callable[[TagScores], list[Doc]]]:
    tok2vec, head = model.layers
    columns = np.array(model.attrs["columns"])
    ends: list[Ints] | None = None
    if is_units(tok2vec):
        vectors, pool = tok2vec.layers
        datas, backprop_vectors = vectors(docs, is_train)
        cut = [units(doc, data) for doc, data in zip(docs, datas, strict=True)]
        rows, backprop_rows = pool([data for _, data in cut], is_train)
        ends = [of for of, _ in cut]
        inside = [_inside(doc, *of) for doc, of in zip(docs, cut, strict=True)]
    else:
        rows, backprop_rows = tok2vec(docs, is_train)
        inside = [np.zeros((2, len(doc)), dtype=bool) for doc in docs]
    logits, backprop_head = head(rows, is_train)
    xp = model.ops.xp
    picks = xp.asarray(np.eye(int(columns.max()) + 1, dtype="f")[:, np.maximum(columns, 0)])
    picks[:, columns < 0] = 0.0
    masks = [_masks(of, len(columns)) for of in inside]
    never = np.where(columns < 0, _NEVER, 0.0).astype("f")
    width = picks.shape[0]
    if not is_train and model.attrs["scheme"] == "BILUO":
        logits = [
            _of_several(of, columns, *which) for of, which in zip(logits, inside, strict=True)
        ]
    scores = [
        (of[:, :width] @ picks) * xp.asarray(keep) + xp.asarray(add + never)
        for of, (keep, add) in zip(logits, masks, strict=True)
    ]

    def backprop(d_scores: TagScores) -> list[Doc]:
        d_logits = []
        for d, of, (keep, _) in zip(d_scores.tokens, logits, masks, strict=True):
            d_of = xp.zeros_like(of)
            d_of[:, :width] = (d * xp.asarray(keep)) @ picks.T
            d_logits.append(d_of)
        d_rows = backprop_rows(backprop_head(d_logits))
        return backprop_vectors(d_rows) if ends is not None else d_rows

    return TagScores(scores, _transitions(model, len(columns)), ends), backprop


def _of_several(logits: Floats2d, columns: NDArray, goes_on: NDArray, bare: NDArray) -> Floats2d:
    """Where tokens end in a wordpiece, the first of its units begins what the wordpiece begins,
    whether it ends it too or not.
    """
    (at,) = np.nonzero(np.append(goes_on[1:], False) & ~goes_on)
    logits = logits.copy()
    for open_, closed in ((1, 4), (2, 3)):
        for first, last in zip(columns[open_::4], columns[closed::4], strict=True):
            if min(first, last) >= 0:
                logits[at, first] = logits[at][:, [first, last]].max(axis=1)
    return logits


def _transitions(model: TaggerModel, n_tags: int) -> Floats2d | None:
    """Of IO, nothing ends where the same begins."""
    if model.attrs["scheme"] != "IO":
        return None
    width = 1 + (n_tags - 1) // 4
    never = np.diag(np.array([0.0, *[_NEVER] * (width - 1)], dtype="f"))
    table: Floats2d = model.ops.asarray2f(never)
    return table


def _inside(doc: Doc, ends: Ints, data: Any) -> NDArray[np.bool_]:
    """Which units go on with the wordpiece of the one before, and which have none.

    RETURNS: *Shape:* `(2, n_units)`.
    """
    goes_on = np.zeros(len(ends), dtype=bool)
    if "offsets" in data.model_output:
        starts = unit_starts(*token_offsets(doc), ends)
        offsets = data.model_output["offsets"]
        piece_starts, piece_ends = offsets[offsets[:, 0] >= 0].T
        before = np.searchsorted(piece_starts, starts) - 1
        goes_on = (before >= 0) & (np.append(piece_ends, 0)[before] > starts)
    return np.stack((goes_on, np.asarray(data.align.lengths) == 0))


def _masks(inside: NDArray[np.bool_], n_tags: int) -> tuple[NDArray, NDArray]:
    """What the scores of each unit are multiplied with, and what is added to them, so that what a
    wordpiece stands for stays together though tokens end in it. *Shapes:* `(n_units, n_tags)`.
    """
    goes_on, bare = inside
    stays = np.append(goes_on[1:], False)
    keep = np.where((goes_on | bare)[:, None], 0.0, 1.0).astype("f") * np.ones(n_tags, dtype="f")
    add = np.zeros(keep.shape, dtype="f")
    begins, ends_ = np.zeros((2, n_tags), dtype=bool)
    begins[1::4] = begins[4::4] = True
    ends_[3::4] = ends_[4::4] = True
    add[np.outer(goes_on, begins) | np.outer(stays, ends_)] = _NEVER
    return keep, add


def build_imported_textcat(
    tok2vec: Tok2VecModel,
    exclusive_classes: bool,
    nO: int,
    activation: str | None = None,
    norm_eps: float | None = None,
) -> TextCatModel:
    """`spacy-jbert.ImportedTextCat.v1`: the sequence classification head of a checkpoint as it was
    fine-tuned. `python -m spacy jbert import` writes it. Of a text of several windows it is the
    mean of their logits.

    tok2vec (Tok2VecModel): `spacy-jbert.TransformerListener.v1`, pooling "cls" or "window".
    exclusive_classes (bool): One label a document (softmax), or any number (a logistic for each).
    nO (int): The number of labels.
    activation, norm_eps: As in `spacy-jbert.ImportedTagger.v1`.
    RETURNS (TextCatModel): `List[Doc] -> Floats2d`, *shape* `(n_docs, n_labels)`. Its part "logits"
        gives the head's own.
    """
    head = _head(nO, activation, norm_eps)
    # The mean over windows of the last, linear layer's output.
    logits: TextCatModel = chain(tok2vec, with_array(head), list2ragged(), reduce_mean())
    activate = probabilities(exclusive_classes)
    model = documents(chain(logits, activate))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", head)
    model.set_ref("logits", logits)
    model.set_ref("probabilities", activate)
    model.attrs["multi_label"] = not exclusive_classes
    return model


def _head(n_out: int, activation: str | None, norm_eps: float | None) -> Model[Floats2d, Floats2d]:
    output: Model[Floats2d, Floats2d] = Linear(nO=n_out)
    return chain(dense(activation, norm_eps), output) if activation else output


def dense(activation: str, norm_eps: float | None = None) -> Model[Floats2d, Floats2d]:
    """A layer as wide as what it gets: linear, activation, layer norm where there is one.

    RAISES: ValueError J040.
    """
    if activation not in ACT2FN:
        raise ValueError(
            Errors.J040.format(name="activation", value=activation, choices=", ".join(ACT2FN))
        )
    names = ["W", "b"] if norm_eps is None else ["W", "b", "g", "c"]
    return Model(
        "dense",
        forward_dense,
        init=init_dense,
        dims={"nO": None},
        params=dict.fromkeys(names),
        attrs={"activation": activation, "norm_eps": norm_eps},
    )


def init_dense(model: Model, X: Floats2d | None = None, Y: Floats2d | None = None) -> None:
    if X is not None and not model.has_dim("nO"):
        model.set_dim("nO", X.shape[1])
    if not model.has_dim("nO"):
        return
    width = model.get_dim("nO")
    for name in model.param_names:
        value = np.eye(width) if name == "W" else np.full(width, float(name == "g"))
        model.set_param(name, model.ops.asarray(value, dtype="f"))


def forward_dense(
    model: Model, X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    ops, eps = model.ops, model.attrs["norm_eps"]
    tensors = {
        name: torch.as_tensor(model.get_param(name)).requires_grad_(is_train)
        for name in model.param_names
    }
    inputs = torch.as_tensor(X).requires_grad_(is_train)
    with torch.set_grad_enabled(is_train):
        output = torch.nn.functional.linear(inputs, tensors["W"], tensors["b"])
        output = ACT2FN[model.attrs["activation"]](output)
        if eps is not None:
            shape = (output.shape[1],)
            output = torch.nn.functional.layer_norm(output, shape, tensors["g"], tensors["c"], eps)

    def backprop(dY: Floats2d) -> Floats2d:
        gradients = torch.autograd.grad(output, [inputs, *tensors.values()], torch.as_tensor(dY))
        d_inputs, *d_params = [ops.asarray(gradient.numpy(force=True)) for gradient in gradients]
        for name, gradient in zip(tensors, d_params, strict=True):
            model.inc_grad(name, gradient)
        found: Floats2d = d_inputs
        return found

    Y: Floats2d = ops.asarray(output.numpy(force=True))
    return Y, backprop
