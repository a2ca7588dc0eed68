"""The head of a fine-tuned checkpoint: which layers it has, their weights, and what it says."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..errors import DataError, Errors

Task = Literal["ner", "textcat", "textcat_multilabel"]
_CLASSES = {"ForTokenClassification": "token", "ForSequenceClassification": "sequence"}


class Layers(NamedTuple):
    """Names of a head's layers.

    output: The last, linear layer. dense: The one before it, if there is one; `activation` is its,
    or the setting that names it. norm: The layer norm behind that.
    """

    output: str
    dense: str | None = None
    activation: str = "tanh"
    norm: str | None = None


_LINEAR = Layers("classifier")
_ROBERTA = Layers("classifier.out_proj", "classifier.dense")
_DEBERTA = Layers("classifier", "pooler.dense", "=pooler_hidden_act")
_MODERN = Layers("classifier", "head.dense", "=classifier_activation", "head.norm")
# By model_type: of tokens, of sequences.
_FAMILIES: dict[str, dict[str, Layers]] = {
    "bert": {"token": _LINEAR, "sequence": Layers("classifier", "bert.pooler.dense")},
    "roberta": {"token": _LINEAR, "sequence": _ROBERTA},
    "xlm-roberta": {"token": _LINEAR, "sequence": _ROBERTA},
    "camembert": {"token": _LINEAR, "sequence": _ROBERTA},
    "electra": {"token": _LINEAR, "sequence": _ROBERTA._replace(activation="gelu")},
    "albert": {"token": _LINEAR, "sequence": Layers("classifier", "albert.pooler")},
    "deberta": {"token": _LINEAR, "sequence": _DEBERTA},
    "deberta-v2": {"token": _LINEAR, "sequence": _DEBERTA},
    "distilbert": {"token": _LINEAR, "sequence": Layers("classifier", "pre_classifier", "relu")},
    "modernbert": {"token": _MODERN, "sequence": _MODERN},
    "llama": {"token": Layers("score")},
}


def head_layers(model_type: str, kind: str) -> Layers | None:
    """RETURNS (Layers | None): Of the "token" or "sequence" head of a family; None: not known."""
    return _FAMILIES.get(model_type, {}).get(kind)


class Head(NamedTuple):
    """A fine-tuned head.

    task: Which component it is for.
    labels: Of its logits, in their order.
    weights: By the names of `spacy_jbert.models.imported`: W and b of the last layer, "dense" has
        those of the one before it. *Shapes:* `(n_labels, width)`, `(n_labels,)`.
    dense: `{}` if there is none; g and c are of a layer norm behind it.
    activation, norm_eps: Of the dense layer.
    pooling: What stands for a sequence: "cls" or "window".
    """

    task: Task
    labels: list[str]
    output: dict[str, NDArray]
    dense: dict[str, NDArray]
    activation: str | None
    norm_eps: float | None
    pooling: str


def read_head(folder: Path, labels: list[str] | None = None) -> Head:
    """Read the head of a folder that `save_pretrained` of a model for token or sequence
    classification wrote. No code of it is run, and nothing is unpickled but tensors.

    folder (Path): Its config.json and weights.
    labels (list[str] | None): In place of those that it names.
    RETURNS (Head): The head.
    RAISES: DataError J464 if it is none that is known, or damaged.
    """
    path = folder / "config.json"
    config = _read_config(path)
    model_type, kind = config.get("model_type"), _kind(config, path)
    layers = head_layers(str(model_type), kind)
    if layers is None:
        known = ", ".join(name for name, kinds in _FAMILIES.items() if kind in kinds)
        raise _fault(path, f"model_type {model_type!r} isn't known with a {kind} head ({known}).")
    task = _task(config, path) if kind == "sequence" else "ner"
    weights = _Weights(folder)
    output = weights.layer(layers.output)
    dense, activation, eps = {}, None, None
    if layers.dense is not None:
        dense = weights.layer(layers.dense)
        activation = _activation(config, layers.activation)
        if layers.norm is not None:
            eps = _epsilon(config, path)
            norm = weights.layer(layers.norm, dimensions=1)
            dense |= {"g": norm["W"], "c": norm["b"]}
    return Head(
        task,
        _labels(config, path, len(output["W"]), labels),
        output,
        dense,
        activation,
        eps,
        "window" if config.get("classifier_pooling") == "mean" else "cls",
    )


def _fault(path: Path, reason: str) -> DataError:
    return DataError(Errors.J464.format(reason=reason), path=path)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _fault(path, "There is no such file.") from None
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"It is damaged ({error}).") from None
    if not isinstance(config, dict):
        raise _fault(path, "It holds no settings.")
    return config


def _kind(config: dict[str, Any], path: Path) -> str:
    names = config.get("architectures")
    for name in names if isinstance(names, list) else []:
        for ending, kind in _CLASSES.items():
            if isinstance(name, str) and name.endswith(ending):
                return kind
    wanted = " or ".join(_CLASSES)
    raise _fault(path, f"architectures is {names!r}, and none of it is a model {wanted}.")


def _task(config: dict[str, Any], path: Path) -> Task:
    match config.get("problem_type"):
        case None | "single_label_classification":
            return "textcat"
        case "multi_label_classification":
            return "textcat_multilabel"
        case other:
            raise _fault(path, f"problem_type is {other!r}: it gives no labels.")


def _activation(config: dict[str, Any], name: str) -> str:
    return str(config.get(name[1:], "gelu")) if name.startswith("=") else name


def _epsilon(config: dict[str, Any], path: Path) -> float:
    eps = config.get("norm_eps", 1e-5)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise _fault(path, f"norm_eps is {eps!r}.")
    return eps


def _labels(config: dict[str, Any], path: Path, count: int, given: list[str] | None) -> list[str]:
    """RAISES: DataError J464 for labels that are missing, too few, too many, or numbers."""
    named = config.get("id2label")
    if given is not None:
        found = given
    elif isinstance(named, dict) and all(isinstance(label, str) for label in named.values()):
        numbers = sorted(named, key=lambda key: (len(str(key)), str(key)))
        if numbers != [str(i) for i in range(len(numbers))]:
            raise _fault(path, f"id2label has the numbers {', '.join(numbers[:5])} …")
        found = [named[number] for number in numbers]
    else:
        raise _fault(path, "There is no id2label. Name the labels in their order: --labels A,B,C")
    if len(found) != count:
        raise _fault(path, f"There are {len(found)} labels, and the head gives {count} scores.")
    if count < 2:
        raise _fault(path, "The head gives one score, which is no label.")
    if all(label.startswith("LABEL_") for label in found):
        names = ", ".join(found[:3])
        reason = f"Its labels have no names ({names}). Name them in their order: --labels A,B,C"
        raise _fault(path, reason)
    if len(set(found)) < count or not all(label.strip() for label in found):
        raise _fault(path, "Labels are empty, or there twice. Name them: --labels A,B,C")
    return found


class _Weights:
    """The weights of a folder, read one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readers: dict[str, Callable[[], torch.Tensor]] = {}
        files = sorted(folder.glob("*.safetensors"))
        for file in files:
            self._index(file)
        for file in [] if files else sorted(folder.glob("pytorch_model*.bin")):
            self._unpack(file)

    def _index(self, file: Path) -> None:
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    self.readers[name] = partial(_read, file, name)
        except (SafetensorError, OSError) as error:
            raise _fault(file, f"It is damaged ({error}).") from None

    def _unpack(self, file: Path) -> None:
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle, zipfile and torch each have their own for damage
            first = str(error).partition("\n")[0]
            raise _fault(file, f"It is damaged, or holds more than weights ({first}).") from None
        if not isinstance(tensors, dict):
            raise _fault(file, "It holds no weights by their names.")
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor):
                self.readers[name] = tensor.clone

    def layer(self, name: str, *, dimensions: int = 2) -> dict[str, NDArray]:
        """RETURNS (dict): W and b of a layer; zeros where it has no bias.

        dimensions (int): Of W: 2 for a linear layer, 1 for a norm.
        RAISES: DataError J464 if there is no such layer, or if it isn't made of such numbers.
        """
        if f"{name}.weight" not in self.readers:
            raise _fault(self.folder, f"Its weights lack {name}.weight: there is no head in it.")
        W = self.readers[f"{name}.weight"]().float()
        bias = self.readers.get(f"{name}.bias")
        if W.dim() != dimensions:
            raise _fault(self.folder, f"{name}.weight has the shape {tuple(W.shape)}.")
        b = torch.zeros(len(W)) if bias is None else bias().float()
        if b.shape != W.shape[:1] or not (W.isfinite().all() and b.isfinite().all()):
            raise _fault(self.folder, f"The weights of {name} are damaged.")
        return {"W": W.numpy(), "b": b.numpy()}


def _read(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, "pt") as tensors:
        return tensors.get_tensor(name)
