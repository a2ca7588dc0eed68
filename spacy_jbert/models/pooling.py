"""One vector of many: what a text's wordpieces come to, in NumPy for documents and in torch for
training."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ..types import Ints

Pooling = Literal["mean", "cls", "weighted"]
POOLINGS = ("mean", "cls", "weighted")


def pool_rows(rows: NDArray[np.float32], windows: Ints, pooling: Pooling) -> NDArray[np.float32]:
    """The vector of a document.

    rows (NDArray): Of its wordpieces, special ones included. *Shape:* `(n_rows, width)`.
    windows (Ints): Which window each row is in, rising. *Shape:* `(n_rows,)`.
    pooling (str): See `doc_vectors`.
    RETURNS (NDArray): *Shape:* `(width,)`.
    """
    if pooling == "mean":
        return cast(NDArray[np.float32], rows.mean(axis=0))
    _, begins, lengths = np.unique(windows, return_index=True, return_counts=True)
    if pooling == "cls":
        return cast(NDArray[np.float32], rows[begins].mean(axis=0))
    position = np.arange(1, len(rows) + 1) - np.repeat(begins, lengths)
    weights = (position / position.sum()).astype(np.float32)
    return weights @ rows


def pool_batch(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The vectors of a batch of texts, each in one window.

    hidden (Tensor): *Shape:* `(n_texts, longest, width)`.
    mask (Tensor): 1 for real pieces, 0 for padding. *Shape:* `(n_texts, longest)`.
    RETURNS (Tensor): *Shape:* `(n_texts, width)`.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.to(hidden.dtype)
    if pooling == "weighted":
        weights = weights * torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
    weights = weights / weights.sum(1, keepdim=True)
    return torch.einsum("nl,nlw->nw", weights, hidden)
