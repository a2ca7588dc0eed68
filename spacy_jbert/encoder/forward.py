"""Running an encoder without what its own `forward` does besides."""

from typing import Any

import torch
from transformers import (
    BertModel,
    CamembertModel,
    PreTrainedModel,
    RobertaModel,
    XLMRobertaModel,
)

# Their `forward` makes a mask where none is given, and then asks the device whether it masks
# anything: all wait until a GPU has done what it was given. Of a mask that does, it makes one of
# the square of the longest window.
PLAIN_BERTS = (BertModel, CamembertModel, RobertaModel, XLMRobertaModel)


def run_model(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    token_type_ids: torch.Tensor | None = None,
) -> Any:
    """Run a batch of windows.

    attention_mask (Tensor | None): 1 for real pieces; None where nothing is padded. *Shape:* that
        of `input_ids`.
    token_type_ids (Tensor | None): Which segment a piece is in, for models that know segments; None
        for the first. *Shape:* that of `input_ids`.
    RETURNS: What the model's own `forward` returns, as far as `last_hidden_state` goes.
    """
    if type(model) not in PLAIN_BERTS or model.config.is_decoder:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return model(input_ids=input_ids, attention_mask=attention_mask, **types)
    embedded = model.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    added = None
    if attention_mask is not None:
        added = added_to_scores(attention_mask, embedded.dtype)
    return model.encoder(embedded, attention_mask=added)


def added_to_scores(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What a mask adds to the scores of attention.

    mask (Tensor): 1 for real pieces. *Shape:* `(n_windows, n_pieces)`.
    dtype: Of the vectors; under autocast it is that of the products, so that no layer casts again.
    RETURNS (Tensor): *Shape:* `(n_windows, 1, 1, n_pieces)`.
    """
    device = mask.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    added = torch.zeros_like(mask, dtype=dtype)
    added.masked_fill_(mask == 0, torch.finfo(dtype).min)
    return added[:, None, None]
