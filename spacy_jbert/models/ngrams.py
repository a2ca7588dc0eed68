"""A linear classifier of hashed character n-grams: what a text classifier can say of a document
without an encoder.
"""

import unicodedata
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model, SparseLinear_v2, chain, get_current_ops, with_cpu
from thinc.layers.resizable import resizable, resize_linear_weighted

from ..types import TextCatModel

# Keys of all documents, the weight of each, and how many each document has.
Ngrams: TypeAlias = tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int32]]

# What is multiplied before a character is added to an n-gram (the prime of 64-bit FNV-1a).
_PRIME = np.uint64(0x100000001B3)


def ngram_classifier(
    longest: int, bits: int, factor: float, nO: int | None
) -> tuple[TextCatModel, Model]:
    """Scores that are linear in the character n-grams of a document.

    The vector of a document has length 1, and in it an n-gram that occurs k times counts 1 + log k,
    as in a TF-IDF without the IDF: Adam moves the weights of rare n-grams further instead.

    longest (int): N-grams of 1 to so many characters.
    bits (int): 2 ** bits weights a label; every n-gram has two of them (Weinberger et al. 2009,
        arXiv:0902.2206).
    factor (float): How many times faster than the rest of the pipeline it learns.
    nO (int | None): The number of labels.
    RETURNS (tuple[TextCatModel, Model]): `List[Doc] -> Floats2d`, *shape* `(n_docs, n_labels)`; and
        the part of it that `resize_model` gives more labels. It runs on the CPU wherever the rest
        does.
    """
    linear: Model = SparseLinear_v2(nO=nO, length=2**bits)
    output = resizable(linear, resize_layer=partial(resize_linear_weighted, fill_defaults={}))
    layer = chain(character_ngrams(longest, factor), output)
    return with_cpu(layer, get_current_ops()), output


def character_ngrams(longest: int, factor: float = 1.0) -> Model[list[Doc], Ngrams]:
    """See `ngram_classifier`.

    factor (float): The length of a document's vector.
    """
    return Model("character_ngrams", forward, attrs={"longest": longest, "factor": factor})


def forward(model: Model[list[Doc], Ngrams], docs: list[Doc], is_train: bool) -> tuple:
    longest, factor = model.attrs["longest"], model.attrs["factor"]
    found = [count_ngrams(doc.text, longest) for doc in docs]
    keys = [of_doc for of_doc, _ in found]
    values = [weigh(counts, factor) for _, counts in found]
    lengths = np.array([len(of_doc) for of_doc in keys], dtype=np.int32)
    ngrams = np.concatenate(keys), np.concatenate(values), lengths
    return ngrams, lambda d_ngrams: []


def count_ngrams(text: str, longest: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The n-grams of a text after NFKC and without case.

    RETURNS: A hash for each different n-gram of 1 to `longest` characters, and how often it occurs.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    codes = np.frombuffer(plain.encode("utf-32-le", "replace"), dtype=np.uint32)
    characters = codes.astype(np.uint64) + np.uint64(1)  # none is 0, or it would add nothing
    ngrams, found = characters, [characters]
    for n in range(2, longest + 1):
        ngrams = ngrams[:-1] * _PRIME + characters[n - 1 :]
        found.append(ngrams)
    return np.unique(np.concatenate(found), return_counts=True)


def weigh(counts: NDArray[np.int64], factor: float) -> NDArray[np.float32]:
    """RETURNS: 1 + log of the counts, as a vector of length `factor`."""
    weights = 1.0 + np.log(counts)
    length = np.sqrt(np.square(weights).sum())
    return (weights * (factor / max(length, 1.0))).astype(np.float32)
