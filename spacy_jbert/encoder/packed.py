"""Windows of unequal length through a BERT without padding.

All but attention looks at one wordpiece at a time: it runs over the pieces of all windows, one
after the other. Attention runs over groups of windows, padded to the longest of each: its own
products are a small part of the work where windows are short, and long ones are mostly of one
length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from ..wordpieces.alignment import ragged_ranges
from .forward import PLAIN_BERTS, added_to_scores


def can_be_packed(model: PreTrainedModel) -> bool:
    """Whether an encoder is one whose layers `run_packed` knows."""
    return (
        type(model) in PLAIN_BERTS
        and not model.config.is_decoder
        and getattr(model.config, "position_embedding_type", "absolute") == "absolute"
    )


@dataclass
class Group:
    """Windows that attention sees side by side.

    n_windows, longest (int): How many there are, and the pieces of the longest.
    begin, end (int): Their pieces among those of all windows.
    place (Tensor | None): Where each piece lies in the padded table, row by row; None where nothing
        is padded. *Shape:* `(end - begin,)`.
    mask (Tensor | None): 1 for what is no padding. *Shape:* `(n_windows, longest)`.
    """

    n_windows: int
    longest: int
    begin: int
    end: int
    place: torch.Tensor | None = None
    mask: torch.Tensor | None = None


def padding(lengths: NDArray) -> tuple[NDArray, NDArray] | None:
    """What a group of windows needs of `Group` where they differ in length.

    RETURNS: `place` and `mask`; None where nothing is padded.
    """
    longest = int(lengths.max())
    if (lengths == longest).all():
        return None
    mask = np.arange(longest) < lengths[:, None]
    return np.flatnonzero(mask), mask.astype(np.int64)


def positions(model: PreTrainedModel, ids: NDArray, lengths: NDArray) -> NDArray:
    """The number of each piece's row among the embeddings of positions.

    ids: Of the pieces of all windows. *Shape:* `(n_pieces,)`.
    lengths: Of the windows.
    """
    in_window = ragged_ranges(np.zeros(len(lengths), dtype=np.int64), lengths)
    if model.config.model_type == "bert":
        return in_window
    # RoBERTa's family counts from behind the padding's own position, and padding not at all.
    pad_id = int(model.config.pad_token_id)
    is_real = ids != pad_id
    counted = np.cumsum(is_real)
    before = np.repeat((counted - is_real)[np.cumsum(lengths) - lengths], lengths)
    return np.where(is_real, counted - before, 0) + pad_id


def run_packed(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    groups: Sequence[Group],
    token_type_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run the pieces of all windows.

    input_ids, position_ids (Tensor): *Shape:* `(n_pieces,)`.
    groups (Sequence[Group]): All windows in order.
    token_type_ids (Tensor | None): None for the first type. *Shape:* as `input_ids`.
    RETURNS (Tensor): The last layer. *Shape:* `(n_pieces, width)`.
    """
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    (hidden,) = model.embeddings(
        input_ids=input_ids[None], position_ids=position_ids[None], token_type_ids=types[None]
    )
    added = [None if of.mask is None else added_to_scores(of.mask, hidden.dtype) for of in groups]
    for layer in model.encoder.layer:
        seen = _attend(layer.attention.self, hidden, groups, added)
        attended = layer.attention.output(seen, hidden)
        hidden = layer.output(layer.intermediate(attended), attended)
    return hidden


def _attend(
    own: Any,
    hidden: torch.Tensor,
    groups: Sequence[Group],
    added: Sequence[torch.Tensor | None],
) -> torch.Tensor:
    """What each piece sees of its window, before it is projected. *Shape:* as `hidden`.

    own: The layer's self-attention.
    added: What each group's mask adds to scores.
    """
    projected = own.query(hidden), own.key(hidden), own.value(hidden)
    dropout = own.dropout.p if own.training else 0.0
    seen = []
    for of, mask in zip(groups, added, strict=True):
        query, key, value = (
            _table(rows[of.begin : of.end], of, own.num_attention_heads) for rows in projected
        )
        found = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        rows = found.transpose(1, 2).reshape(of.n_windows * of.longest, -1)
        seen.append(rows if of.place is None else rows.index_select(0, of.place))
    return seen[0] if len(seen) == 1 else torch.cat(seen)


def _table(rows: torch.Tensor, of: Group, heads: int) -> torch.Tensor:
    """RETURNS (Tensor): *Shape:* `(n_windows, heads, longest, width / heads)`."""
    if of.place is not None:
        empty = rows.new_zeros((of.n_windows * of.longest, rows.shape[1]))
        rows = empty.index_copy(0, of.place, rows)
    return rows.view(of.n_windows, of.longest, heads, -1).transpose(1, 2)
