"""Whole-word masking, vectorised over a batch, as a pure function of numbers drawn for each sample
apart.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A word of more pieces is left alone unless the share to be masked is larger: a URL would take up
# all of it.
_LONG = 10


def generator(seed: int, epoch: int, sample: int) -> np.random.Generator:
    """The random numbers of one sample in one pass over the data, whatever was drawn before.

    Philox is a counter-based generator (Salmon et al. 2011): no state goes from one to the next.
    """
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, epoch << 40 | sample], dtype=np.uint64))
    )


def rate_at(progress: float, rate: float, final_rate: float) -> float:
    """The masking rate, falling (or rising) linearly over training.

    0.15 is Devlin et al. 2019; Wettig et al. 2023 (arXiv:2202.08005) find more to be better; Ankner
    et al. 2024 (arXiv:2305.15096) find 0.30 falling linearly to 0.15 to be better than either.

    progress (float): The part of training that is done, 0 to 1.
    """
    return rate + (final_rate - rate) * min(max(progress, 0.0), 1.0)


class Masked(NamedTuple):
    """A batch to be restored. ids: *Shape:* `(n_samples, length)`. positions: where in the
    flattened ids a piece is to be
    predicted, labels: which. *Shape:* `(n_masked,)` each."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]


def mask(
    ids: NDArray[np.int64],
    words: NDArray[np.int32],
    draws: NDArray[np.float64],
    *,
    rate: float,
    mask_id: int,
    replacements: NDArray[np.int64],
) -> Masked:
    """Choose words and mask their pieces.

    Of the chosen pieces, 80 % become the mask piece, 10 % a random one, 10 % stay; decided for each
    piece apart, as BERT's own `create_masked_lm_predictions` does it (google-research/bert,
    create_pretraining_data.py).

    ids: *Shape:* `(n_samples, length)`.
    words: The word that a piece belongs to; neighbours with the same number are one word. -1:
        special or padding. *Shape:* as `ids`.
    draws: Uniform numbers: which words, what becomes of a piece, which piece replaces it. *Shape:*
        `(3, n_samples, length)`.
    replacements: The ids to choose random pieces from. *Shape:* `(n_ordinary,)`.
    RETURNS (Masked): The masked batch; at least one word of each sample that has any is masked.
    """
    chosen = choose(words, draws[0], rate)
    positions = np.flatnonzero(chosen)
    labels = ids.ravel()[positions]
    action, which = draws[1].ravel()[positions], draws[2].ravel()[positions]
    masked = ids.copy()
    masked.ravel()[positions] = np.where(
        action < 0.8,
        mask_id,
        np.where(action < 0.9, replacements[(which * len(replacements)).astype(np.int64)], labels),
    )
    return Masked(masked, positions, labels)


def choose(words: NDArray[np.int32], draws: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Take words in random order as long as the middle of the next one lies within the share, so
    that on average it is met.

    words, draws: *Shape:* `(n_samples, length)`.
    RETURNS: Whether a piece is to be predicted. *Shape:* as `words`.
    """
    length = words.shape[1]
    real = words >= 0
    begins = real.copy()
    begins[:, 1:] &= words[:, 1:] != words[:, :-1]
    first = np.flatnonzero(begins)
    row = first // max(length, 1)
    number = np.cumsum(begins.ravel()) - 1  # the word of each position, counted through the batch
    sizes = np.bincount(number[real.ravel()], minlength=len(first))
    budget = rate * real.sum(axis=1)
    too_long = sizes > np.maximum(budget, _LONG)[row]
    order = np.lexsort((draws.ravel()[first], too_long, row))
    size, owner = sizes[order], row[order]
    before = np.cumsum(size) - size
    before -= before[
        np.searchsorted(owner, owner)
    ]  # counted from the first word of the same sample
    taken = np.zeros(len(first), dtype=bool)
    taken[order] = (before == 0) | (~too_long[order] & (before + size / 2 <= budget[owner]))
    chosen: NDArray[np.bool_] = real.copy()
    chosen[real] = taken[number.reshape(real.shape)[real]]
    return chosen
