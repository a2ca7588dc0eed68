"""How improbable an annotation is to a tagger: the loss of `jbert_ner`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from thinc.api import Ops
from thinc.types import Floats2d

from ..types import TagScores
from .crf import log_shares


def tag_loss(
    ops: Ops,
    scores: TagScores,
    tags: Sequence[NDArray],
    incorrect: Sequence[tuple[int, NDArray]],
) -> tuple[float, TagScores]:
    """A negative logarithm: of each known tag's probability by itself, or, with transitions, of
    that of all sequences which agree with what is known of a document (Lafferty et al. 2001; with
    missing tags, Tsuboi et al. 2008). What is known to be wrong adds how improbable it is that it
    isn't so.

    The mean over what is known. With spaCy's sum over tokens the gradient's norm is some hundred,
    so that `grad_clip` cuts each step (on UD_Japanese-GSD F was 2 points lower) and classification
    beside it in one pipeline hardly reaches the encoder.

    scores (TagScores): What the model says of each document.
    tags (Sequence[NDArray]): The number of each tag, -1 for an unknown one. *Shape:* `(n_tokens,)`.
    incorrect (Sequence[tuple]): The number of a document, and the tags of sequences that are wrong.
        *Shape:* `(n_tokens, n_tags)`.
    RETURNS (tuple[float, TagScores]): The loss and its gradient by the scores.
    """
    xp = ops.xp
    flat = xp.concatenate(scores.tokens)
    d_transitions = None if scores.transitions is None else xp.zeros_like(scores.transitions)
    if scores.transitions is None:
        loss, d_flat = _token_loss(ops, flat, np.concatenate(tags))
        right = []
    else:
        loss, d_flat = 0.0, xp.zeros_like(flat)
        right = [
            (i, _sequences(known, flat.shape[1]))
            for i, known in enumerate(tags)
            if (known >= 0).any()
        ]
    if right or incorrect:
        borders = np.cumsum([len(doc) for doc in scores.tokens])[:-1]
        shares, gradient = log_shares(
            np.split(ops.to_numpy(flat), borders),
            None if scores.transitions is None else ops.to_numpy(scores.transitions),
            [*right, *incorrect],
        )
        d_shares = np.full(len(shares), -1.0)
        # -log(1 - p) and its derivative by log p, finite where p is 1.
        wrong = np.minimum(shares[len(right) :], -1e-9)
        d_shares[len(right) :] = 1.0 / np.expm1(-wrong)
        d_tokens, d_pairs = gradient(d_shares)
        loss += -float(shares[: len(right)].sum()) - float(np.log(-np.expm1(wrong)).sum())
        d_flat += xp.asarray(np.concatenate(d_tokens), dtype=flat.dtype)
        if d_transitions is not None:
            d_transitions += xp.asarray(d_pairs, dtype=flat.dtype)
    n_known = max(1, sum(int((known >= 0).sum()) for known in tags) + len(incorrect))
    d_flat /= n_known
    if d_transitions is not None:
        d_transitions /= n_known
    by_doc = xp.split(d_flat, np.cumsum([len(doc) for doc in scores.tokens])[:-1])
    return loss / n_known, TagScores(by_doc, d_transitions)


def _sequences(known: NDArray, n_tags: int) -> NDArray:
    """The sequences that agree with the known tags, as `log_shares` takes them: where all are
    known, that is a single one.
    """
    if known.min() >= 0:
        return known
    every = np.arange(n_tags)
    return (known[:, None] == every) | (known[:, None] < 0)


def _token_loss(ops: Ops, flat: Floats2d, tags: NDArray) -> tuple[float, Floats2d]:
    """The cross-entropy of the tags that are known, each by itself.

    *Shapes:* `(n_tokens, n_tags)`, `(n_tokens,)`.
    """
    xp = ops.xp
    (at,) = np.nonzero(tags >= 0)
    known, gold = xp.asarray(at), xp.asarray(tags[at])
    probabilities = ops.softmax(flat)
    d_flat = xp.zeros_like(flat)
    picked = probabilities[known, gold]
    d_flat[known] = probabilities[known]
    d_flat[known, gold] -= 1.0
    return -float(xp.log(xp.maximum(picked, 1e-12)).sum()), d_flat
