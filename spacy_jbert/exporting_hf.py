"""A trained `jbert_ner` as a folder that transformers' own classes load."""

import copy
from pathlib import Path
from typing import Any, cast

import torch
from spacy.language import Language
from thinc.api import Model
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, PreTrainedModel

from .encoder.checkpoint import Encoder
from .encoder.onnx_export import probes
from .errors import Errors
from .models.biluo import tag_names
from .models.shim import EncoderShim, encoder_parts
from .pipeline.ner import JBertNER
from .storage import replacing_folder

# Logits may differ by this, as a share of the largest.
_TOLERANCE = 1e-5


def export_hf(nlp: Language, out: Path) -> float:
    """Write what `AutoModelForTokenClassification` loads: a logit for each tag of each wordpiece,
    of which the mean over a token's pieces is the logit of the token here. What a CRF has learned
    about neighbours, temperature and windows has no place there.

    out (Path): The folder; one that is there already is replaced.
    RETURNS (float): The largest difference between its logits and the head's own.
    RAISES: ValueError J430 if the head or the encoder can't be expressed, J433 if there isn't
        exactly one head.
    """
    heads = [name for name, pipe in nlp.pipeline if isinstance(pipe, JBertNER)]
    others = [name for name in nlp.pipe_names if name.startswith("textcat")]
    if len(heads) != 1:
        why = "transformers' sequence classifiers look at one piece through layers of their own"
        reason = (
            f"{', '.join(others)}: {why}, and ours at the mean of all pieces."
            if others and not heads
            else f"exactly one jbert_ner is needed, and it has {len(heads)}."
        )
        raise ValueError(Errors.J433.format(model=nlp.meta["name"], reason=reason))
    head = cast(JBertNER, nlp.get_pipe(heads[0]))
    encoder = _encoder(nlp, head.model)
    weight, bias = _linear(head.model)
    model = _classifier(encoder, weight, bias, tag_names(head.labels))
    largest = _largest_difference(encoder, model, weight, bias)
    with replacing_folder(out) as new:
        model.save_pretrained(new, safe_serialization=True)
        encoder.tokenizer.save_pretrained(new)
    return largest


def _encoder(nlp: Language, head: Model) -> Encoder:
    """What the head listens to: its own encoder, or the pipeline's.

    RAISES: ValueError J031, J430.
    """
    models = [head, *(getattr(pipe, "model", None) for _, pipe in nlp.pipeline)]
    part = next(encoder_parts(models), None)
    if part is None:
        raise ValueError(Errors.J031.format(names=", ".join(nlp.pipe_names)))
    encoder = cast(EncoderShim, part.shims[0]).require_encoder()
    if not isinstance(encoder, Encoder):
        reason = "it is run by onnxruntime, and its weights can't be taken out."
        raise ValueError(Errors.J430.format(model="The encoder", reason=reason))
    return encoder


def _linear(head: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the head. *Shape:* `(n_tags, width)` and `(n_tags,)`."""
    output = head.get_ref("output_layer")
    scales = [node.attrs["factor"] for node in head.walk() if node.name == "scale"]
    factor = scales[0] if scales else 1.0
    W, b = (output.ops.to_numpy(output.get_param(name)) for name in ("W", "b"))
    return torch.from_numpy(W * factor).float(), torch.from_numpy(b.copy()).float()


def _classifier(
    encoder: Encoder, weight: torch.Tensor, bias: torch.Tensor, tags: list[str]
) -> PreTrainedModel:
    """RAISES: ValueError J430 if transformers has no such class, or one of another build."""
    config = copy.deepcopy(encoder.config)
    name = type(encoder.model).__name__
    if type(config) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        reason = "transformers has no class for token classification with it."
        raise ValueError(Errors.J430.format(model=name, reason=reason))
    config.id2label = dict(enumerate(tags))
    config.label2id = {tag: number for number, tag in enumerate(tags)}
    kind: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
    model = kind(config).eval()
    model.base_model.load_state_dict(encoder.model.state_dict(), strict=False)
    own = [
        module
        for part, module in model.named_children()
        if part != model.base_model_prefix and isinstance(module, torch.nn.Linear)
    ]
    if len(own) != 1 or own[0].weight.shape != weight.shape:
        raise ValueError(
            Errors.J430.format(model=name, reason="its classifier is no single layer.")
        )
    with torch.no_grad():
        own[0].weight.copy_(weight)
        if own[0].bias is not None:
            own[0].bias.copy_(bias)
    return cast(PreTrainedModel, model)


def _largest_difference(
    encoder: Encoder, model: PreTrainedModel, weight: torch.Tensor, bias: torch.Tensor
) -> float:
    """RAISES: ValueError J430 if the two say different things."""
    largest = top = 0.0
    encoder.model.eval()
    with torch.inference_mode():
        for ids, mask in probes(encoder):
            wanted = encoder(ids, mask) @ weight.T + bias
            found = model(input_ids=ids, attention_mask=mask).logits
            real = mask.bool()
            largest = max(largest, float((found - wanted)[real].abs().max()))
            top = max(top, 1.0, float(wanted[real].abs().max()))
    if not largest <= _TOLERANCE * top:
        reason = (
            f"{type(model).__name__} has layers between encoder and tags, and gives other logits "
            f"(by {largest:.2g})."
        )
        raise ValueError(Errors.J430.format(model=type(encoder.model).__name__, reason=reason))
    return largest
