"""How improbable an annotation is to a tagger: the loss of `jbert_ner`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from thinc.api import Ops
from thinc.types import Floats2d

from ..types import TagScores
from .crf import Expected, log_shares


def tag_loss(
    ops: Ops,
    scores: TagScores,
    tags: Sequence[NDArray | Expected],
    incorrect: Sequence[tuple[int, NDArray]],
) -> tuple[float, TagScores]:
    """A negative logarithm: of each known tag's probability by itself, or, with transitions, of
    that of all sequences which agree with what is known of a document (Lafferty et al. 2001; with
    missing tags, Tsuboi et al. 2008). What is known to be wrong adds how improbable it is that it
    isn't so. Of what a teacher expects of a document it is the cross-entropy of the teacher's
    distribution and this one (Hinton et al. 2015; with transitions, Wang et al. 2021).

    The mean over what is known. With spaCy's sum over tokens the gradient's norm is some hundred,
    so that `grad_clip` cuts each step (on UD_Japanese-GSD F was 2 points lower) and classification
    beside it in one pipeline hardly reaches the encoder.

    scores (TagScores): What the model says of each document.
    tags (Sequence[NDArray | Expected]): The number of each tag, -1 for an unknown one, *shape*
        `(n_tokens,)`; or what a teacher expects.
    incorrect (Sequence[tuple]): The number of a document, and the tags of sequences that are wrong.
        *Shape:* `(n_tokens, n_tags)`.
    RETURNS (tuple[float, TagScores]): The loss and its gradient by the scores.
    """
    xp = ops.xp
    flat = xp.concatenate(scores.tokens)
    d_transitions = None if scores.transitions is None else xp.zeros_like(scores.transitions)
    if scores.transitions is None:
        loss, d_flat = _token_loss(ops, flat, _weights(tags, flat.shape[1]))
        right = []
    else:
        loss, d_flat = 0.0, xp.zeros_like(flat)
        right = [
            (i, known if isinstance(known, Expected) else _sequences(known, flat.shape[1]))
            for i, known in enumerate(tags)
            if _n_known(known)
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
    n_known = max(1, sum(map(_n_known, tags)) + len(incorrect))
    d_flat /= n_known
    if d_transitions is not None:
        d_transitions /= n_known
    by_doc = xp.split(d_flat, np.cumsum([len(doc) for doc in scores.tokens])[:-1])
    return loss / n_known, TagScores(by_doc, d_transitions)


def _n_known(tags: NDArray | Expected) -> int:
    """RETURNS (int): Of how many tokens the tag is known, or how probable each is."""
    return len(tags.tags) if isinstance(tags, Expected) else int((tags >= 0).sum())


def _sequences(known: NDArray, n_tags: int) -> NDArray:
    """The sequences that agree with the known tags, as `log_shares` takes them: where all are
    known, that is a single one.
    """
    if known.min() >= 0:
        return known
    every = np.arange(n_tags)
    return (known[:, None] == every) | (known[:, None] < 0)


def _weights(tags: Sequence[NDArray | Expected], n_tags: int) -> NDArray:
    """RETURNS (NDArray): How probable each tag is: 1 for a known one; all are 0 where nothing is
    known. *Shape:* `(n_tokens, n_tags)`.
    """
    # The last row is for -1.
    known = np.vstack((np.eye(n_tags, dtype="f"), np.zeros(n_tags, dtype="f")))
    return np.concatenate([of.tags if isinstance(of, Expected) else known[of] for of in tags])


def _token_loss(ops: Ops, flat: Floats2d, weights: NDArray) -> tuple[float, Floats2d]:
    """The cross-entropy of the tags that are known, each by itself.

    *Shapes:* `(n_tokens, n_tags)`, both.
    """
    xp = ops.xp
    wanted = xp.asarray(weights, dtype=flat.dtype)
    probabilities = ops.softmax(flat)
    d_flat = wanted.sum(axis=1, keepdims=True) * probabilities - wanted
    return -float((wanted * xp.log(xp.maximum(probabilities, 1e-12))).sum()), d_flat
