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
_BERTS = (BertModel, CamembertModel, RobertaModel, XLMRobertaModel)


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
    if type(model) not in _BERTS or model.config.is_decoder:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return model(input_ids=input_ids, attention_mask=attention_mask, **types)
    embedded = model.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    added = None
    if attention_mask is not None:
        added = torch.zeros_like(attention_mask, dtype=embedded.dtype)
        added.masked_fill_(attention_mask == 0, torch.finfo(embedded.dtype).min)
        added = added[:, None, None]
    return model.encoder(embedded, attention_mask=added)
