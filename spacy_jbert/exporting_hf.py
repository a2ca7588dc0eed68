"""A trained `jbert_ner`, or a head that was imported, as a folder that transformers' own classes
load."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from thinc.api import Model
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    PreTrainedModel,
)
from transformers.activations import ACT2FN

from .encoder.checkpoint import Encoder
from .encoder.heads import Head, Layers, head_layers
from .encoder.onnx_export import probes
from .errors import Errors
from .models.biluo import tag_names
from .models.shim import EncoderShim, encoder_parts
from .pipeline.ner import JBertNER
from .storage import replacing_folder, require_replaceable

# Logits may differ by this, as a share of the largest.
_TOLERANCE = 1e-5
_PROBLEMS = {
    "textcat": "single_label_classification",
    "textcat_multilabel": "multi_label_classification",
}
_IMPORTED = "spacy-jbert.ImportedTextCat.v1"


def export_hf(nlp: Language, out: Path) -> float:
    """Write what `AutoModelForTokenClassification` loads: a logit for each tag of each wordpiece,
    of which the mean over a token's pieces is the logit of the token here; a head that was imported
    has the tags that it came with. Categories of a head that was imported are for
    `AutoModelForSequenceClassification`. What a CRF has learned about neighbours, temperature and
    windows has no place there.

    out (Path): The folder; a folder of transformers that is there already is replaced.
    RETURNS (float): The largest difference between its logits and the head's own.
    RAISES: ValueError J430 if the head or the encoder can't be expressed, J433 if there isn't
        exactly one head; FileExistsError J519.
    """
    require_replaceable(out, "config.json", "folder of transformers")
    name = _only_head(nlp)
    pipe: Any = nlp.get_pipe(name)
    encoder = _encoder(nlp, pipe.model)
    head = _ner_head(pipe) if isinstance(pipe, JBertNER) else _textcat_head(nlp, name)
    model = _classifier(encoder, head)
    largest = _largest_difference(encoder, model, head)
    with replacing_folder(out) as new:
        model.save_pretrained(new, safe_serialization=True)
        encoder.tokenizer.save_pretrained(new)
    return largest


def _only_head(nlp: Language) -> str:
    """RETURNS (str): The name of the component that is to be exported.

    RAISES: ValueError J433.
    """
    textcats = [name for name, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    imported = [
        name
        for name in textcats
        if nlp.get_pipe_config(name)["model"]["@architectures"] == _IMPORTED
    ]
    heads = [name for name, pipe in nlp.pipeline if isinstance(pipe, JBertNER)] + imported
    if len(heads) == 1:
        return heads[0]
    if textcats and not heads:
        why = "transformers' sequence classifiers look at one piece through layers of their own"
        reason = f"{', '.join(textcats)}: {why}, and ours at the mean of all pieces."
    else:
        wanted = "exactly one jbert_ner or imported head is needed"
        reason = f"{wanted}, and it has {len(heads)}."
    raise ValueError(Errors.J433.format(model=nlp.meta["name"], reason=reason))


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


def _ner_head(pipe: JBertNER) -> Head:
    if pipe.model.name == "imported_tagger":
        return _imported("ner", pipe.model.attrs["tags"], pipe.model, "cls")
    output = _weights(pipe.model.get_ref("output_layer"))
    scales = [node.attrs["factor"] for node in pipe.model.walk() if node.name == "scale"]
    output["W"] = output["W"] * (scales[0] if scales else 1.0)
    return Head("ner", tag_names(pipe.labels), output, {}, None, None, "cls")


def _textcat_head(nlp: Language, name: str) -> Head:
    pipe: Any = nlp.get_pipe(name)
    config = nlp.get_pipe_config(name)["model"]
    task = "textcat" if config["exclusive_classes"] else "textcat_multilabel"
    return _imported(task, list(pipe.labels), pipe.model, config["tok2vec"]["pooling"])


def _imported(task: Any, labels: list[str], model: Model, pooling: str) -> Head:
    """A head as `spacy_jbert.encoder.heads.read_head` had read it, with the weights of now."""
    (output,) = (node for node in model.walk() if node.name == "linear")
    dense = next((node for node in model.walk() if node.name == "dense"), None)
    if dense is None:
        return Head(task, labels, _weights(output), {}, None, None, pooling)
    activation, norm_eps = dense.attrs["activation"], dense.attrs["norm_eps"]
    return Head(task, labels, _weights(output), _weights(dense), activation, norm_eps, pooling)


def _weights(node: Model) -> dict[str, NDArray]:
    return {name: node.ops.to_numpy(node.get_param(name)) for name in node.param_names}


def _classifier(encoder: Encoder, head: Head) -> PreTrainedModel:
    """RAISES: ValueError J430 if transformers has no such class, or one of another build."""
    config = copy.deepcopy(encoder.config)
    name = type(encoder.model).__name__
    kind = "token" if head.task == "ner" else "sequence"
    classes: Any = (
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
        if kind == "token"
        else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    )
    if type(config) not in classes:
        reason = f"transformers has no class for {kind} classification with it."
        raise ValueError(Errors.J430.format(model=name, reason=reason))
    layers = head_layers(config.model_type, kind) or Layers("classifier")
    if bool(layers.dense) != bool(head.dense):
        reason = f"its classifier is no single layer: {layers.dense}."
        raise ValueError(Errors.J430.format(model=name, reason=reason))
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: number for number, label in enumerate(head.labels)}
    config.problem_type = _PROBLEMS.get(head.task)
    if layers.activation.startswith("="):
        setattr(config, layers.activation[1:], head.activation)
    if hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean" if head.pooling == "window" else "cls"
    model = classes[type(config)](config).eval()
    model.base_model.load_state_dict(encoder.model.state_dict(), strict=False)
    dense = {name: head.dense[name] for name in ("W", "b") if head.dense}
    norm = {"W": head.dense["g"], "b": head.dense["c"]} if layers.norm else {}
    for layer, weights in (
        (layers.output, head.output),
        (layers.dense, dense),
        (layers.norm, norm),
    ):
        if layer is not None:
            _fill(model, layer, weights)
    return cast(PreTrainedModel, model)


def _fill(model: torch.nn.Module, layer: str, weights: dict[str, NDArray]) -> None:
    """RAISES: ValueError J430 if the model has no such layer."""
    parts = dict(model.named_modules())
    module: Any = parts.get(layer)
    weight = getattr(module, "weight", None)
    if weight is None or weight.shape != weights["W"].shape:
        reason = f"its classifier has no layer {layer!r} that the head's weights fit."
        raise ValueError(Errors.J430.format(model=type(model).__name__, reason=reason))
    with torch.no_grad():
        weight.copy_(torch.from_numpy(weights["W"]))
        if module.bias is not None:
            module.bias.copy_(torch.from_numpy(weights["b"]))


def _logits(head: Head, rows: torch.Tensor) -> torch.Tensor:
    """What the head says of vectors. *Shapes:* `(n, width)`, `(n, n_labels)`."""
    tensors = {name: torch.from_numpy(of).float() for name, of in head.dense.items()}
    if tensors:
        rows = torch.nn.functional.linear(rows, tensors["W"], tensors["b"])
        rows = ACT2FN[head.activation](rows)
    if head.norm_eps is not None:
        shape = rows.shape[-1:]
        rows = torch.nn.functional.layer_norm(
            rows, shape, tensors["g"], tensors["c"], head.norm_eps
        )
    weight, bias = (torch.from_numpy(head.output[name]).float() for name in ("W", "b"))
    return torch.nn.functional.linear(rows, weight, bias)


@contextmanager
def _uncompiled(config: Any) -> Iterator[None]:
    """ModernBERT would compile itself for a few small batches."""
    if not hasattr(config, "reference_compile"):
        yield
        return
    before, config.reference_compile = config.reference_compile, False
    try:
        yield
    finally:
        config.reference_compile = before


def _largest_difference(encoder: Encoder, model: PreTrainedModel, head: Head) -> float:
    """RAISES: ValueError J430 if the two say different things."""
    largest = top = 0.0
    encoder.model.eval()
    with _uncompiled(model.config), torch.inference_mode():
        for ids, mask in probes(encoder):
            vectors, real = encoder(ids, mask), mask.bool()
            found = model(input_ids=ids, attention_mask=mask).logits
            if head.task == "ner":
                found, rows = found[real], vectors[real]
            elif head.pooling == "window":
                weights = mask.unsqueeze(2).float()
                rows = (vectors * weights).sum(dim=1) / weights.sum(dim=1)
            else:
                rows = vectors[:, 0]
            wanted = _logits(head, rows)
            largest = max(largest, float((found - wanted).abs().max()))
            top = max(top, 1.0, float(wanted.abs().max()))
    if not largest <= _TOLERANCE * top:
        reason = (
            f"{type(model).__name__} has layers between encoder and labels, and gives other logits "
            f"(by {largest:.2g})."
        )
        raise ValueError(Errors.J430.format(model=type(encoder.model).__name__, reason=reason))
    return largest
