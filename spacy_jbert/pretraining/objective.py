"""The module that is pretrained: an encoder, BERT's masked-LM head on masked positions only, and a
sentence head by setting.
"""

import copy
import logging
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, BertForPreTraining, PretrainedConfig
from transformers.activations import ACT2FN
from transformers.utils import cached_file

from ..encoder.checkpoint import Encoder
from ..encoder.forward import run_model
from ..storage import replacing_folder

logger = logging.getLogger(__name__)

# Of families whose masked-LM class has BERT's head, by `model_type`: the class, the encoder's
# prefix in it, and its names for the dense layer, the LayerNorm and the bias.
_HEADS = {
    "bert": (
        "BertForMaskedLM",
        "bert.",
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "deberta-v2": (
        "DebertaV2ForMaskedLM",
        "deberta.",
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.bias",
    ),
    "electra": (
        "ElectraForMaskedLM",
        "electra.",
        "generator_predictions.dense",
        "generator_predictions.LayerNorm",
        "generator_lm_head.bias",
    ),
    "albert": (
        "AlbertForMaskedLM",
        "albert.",
        "predictions.dense",
        "predictions.LayerNorm",
        "predictions.bias",
    ),
    "roberta": (
        "RobertaForMaskedLM",
        "roberta.",
        "lm_head.dense",
        "lm_head.layer_norm",
        "lm_head.bias",
    ),
    "xlm-roberta": (
        "XLMRobertaForMaskedLM",
        "roberta.",
        "lm_head.dense",
        "lm_head.layer_norm",
        "lm_head.bias",
    ),
    "camembert": (
        "CamembertForMaskedLM",
        "roberta.",
        "lm_head.dense",
        "lm_head.layer_norm",
        "lm_head.bias",
    ),
    "modernbert": (
        "ModernBertForMaskedLM",
        "model.",
        "head.dense",
        "head.norm",
        "decoder.bias",
    ),
    "distilbert": (
        "DistilBertForMaskedLM",
        "distilbert.",
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector.bias",
    ),
}
# Where the head of any other family is kept.
_HEAD_FILE = "masked_lm_head.safetensors"


class MaskedLM(nn.Module):
    """Predicts masked pieces, and whether two segments belong together, as BERT does (Devlin et al.
    2019, arXiv:1810.04805).

    The head is a dense layer, GELU and LayerNorm, then the input embeddings once more (Press & Wolf
    2017, arXiv:1608.05859) and a bias. It runs on masked positions only: the same loss for a
    seventh of the largest matrix product.

    encoder (Encoder): Trained in place.
    sentences (bool): Whether there is a sentence objective: BERT's pooler and two classes.
    seed (int): For the weights of a new head.
    """

    # transformers' Trainer then tells how many pieces are masked in all accumulated batches.
    accepts_loss_kwargs = True

    def __init__(self, encoder: Encoder, *, sentences: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder.model
        # Fine-tuning with train_layers, or frozen, leaves weights behind that would learn nothing.
        self.encoder.requires_grad_(True)
        config = encoder.model.config
        vocabulary, width = self._embeddings().shape
        # ModernBERT chooses its biases, and has names of its own for the rest.
        self.dense = nn.Linear(encoder.width, width, bias=getattr(config, "classifier_bias", True))
        self.norm = nn.LayerNorm(
            width,
            eps=_setting(config, ("layer_norm_eps", "norm_eps"), 1e-12),
            bias=getattr(config, "norm_bias", True),
        )
        has_bias = getattr(config, "decoder_bias", True)
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if has_bias else None
        self.pooler = nn.Linear(encoder.width, encoder.width) if sentences else None
        self.pair = nn.Linear(encoder.width, 2) if sentences else None
        self.activation = ACT2FN[
            _setting(config, ("hidden_act", "classifier_activation", "activation"), "gelu")
        ]
        random = torch.Generator().manual_seed(seed)
        for layer in (self.dense, self.pooler, self.pair):
            if layer is not None:
                nn.init.normal_(
                    layer.weight, std=getattr(config, "initializer_range", 0.02), generator=random
                )
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self._load_head(str(config._name_or_path))

    def _embeddings(self) -> Tensor:
        weight: Tensor = self.encoder.get_input_embeddings().weight
        return weight

    def forward(
        self,
        input_ids: Tensor,
        positions: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        sentence_labels: Tensor | None = None,
        num_items_in_batch: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        input_ids, attention_mask, token_type_ids: *Shape:* `(n_samples, length)`.
        positions: Masked positions in the flattened batch; labels: the pieces there. *Shape:*
            `(n_masked,)`.
        sentence_labels: 0: as in the text, 1: not, -100: no pair. *Shape:* `(n_samples,)`.
        num_items_in_batch: The masked pieces of all batches that make up one step; None: this is
            the only one.
        RETURNS: loss; in evaluation also the sum of the loss over masked pieces and the number of
            those predicted right, and the same for pairs.
        """
        hidden = run_model(
            self.encoder, input_ids, attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        logits = self.logits(hidden.flatten(0, 1)[positions])  # (n_masked, n_vocabulary)
        total = F.cross_entropy(logits, labels, reduction="sum")
        n_masked = max(len(labels), 1)
        loss = total / (n_masked if num_items_in_batch is None else num_items_in_batch)
        output = (
            {}
            if self.training
            else {"masked_loss": total, "masked_right": (logits.argmax(-1) == labels).sum()}
        )
        if sentence_labels is not None and self.pooler is not None and self.pair is not None:
            scores = self.pair(torch.tanh(self.pooler(hidden[:, 0])))  # (n_samples, 2)
            pairs = F.cross_entropy(scores, sentence_labels, reduction="sum", ignore_index=-100)
            n_pairs = (sentence_labels >= 0).sum()
            # Weighted as this batch's masked pieces are among the step's.
            weight = 1.0 if num_items_in_batch is None else n_masked / num_items_in_batch
            loss = loss + weight * pairs / n_pairs.clamp(min=1)
            if not self.training:
                output |= {
                    "pairs": n_pairs,
                    "pairs_right": (scores.argmax(-1) == sentence_labels).sum(),
                }
        return {"loss": loss, **output}

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all pieces.

        hidden: *Shape:* `(n, width)`.
        RETURNS: *Shape:* `(n, n_vocabulary)`.
        """
        return F.linear(
            self.norm(self.activation(self.dense(hidden))), self._embeddings(), self.bias
        )

    def head(self) -> dict[str, Tensor]:
        """RETURNS (dict[str, Tensor]): The heads, under the names that the family's own masked-LM
        class has for them, else under BERT's.
        """
        _, _, dense, norm, bias = _HEADS.get(self.encoder.config.model_type, _HEADS["bert"])
        layers: dict[str, nn.Module] = {dense: self.dense, norm: self.norm}
        if self.pooler is not None and self.pair is not None:
            layers |= {"bert.pooler.dense": self.pooler, "cls.seq_relationship": self.pair}
        named: dict[str, Tensor] = {
            f"{name}.{kind}": tensor
            for name, layer in layers.items()
            for kind, tensor in layer.named_parameters()
        }
        return named if self.bias is None else named | {bias: self.bias}

    @torch.no_grad()
    def _load_head(self, checkpoint: str) -> None:
        """Go on with the heads that the encoder's checkpoint was pretrained with, and say which of
        them it had.
        """
        head = self.head()
        stored = self._stored_head(checkpoint) if checkpoint else {}
        loaded = [
            name for name in head if name in stored and stored[name].shape == head[name].shape
        ]
        for name in loaded:
            head[name].copy_(stored[name])
        logger.info(
            "Masked-LM head: loaded from '%s': %s; new: %s",
            checkpoint,
            ", ".join(loaded) or "nothing",
            ", ".join(name for name in head if name not in loaded) or "nothing",
        )

    def _stored_head(self, checkpoint: str) -> dict[str, Tensor]:
        """The weights of a checkpoint's masked-LM model, by name; without those it lacks."""
        model_type = self.encoder.config.model_type
        try:
            if model_type not in _HEADS:
                return load_file(cached_file(checkpoint, _HEAD_FILE, local_files_only=True))
            sentences = model_type == "bert" and self.pair is not None
            family = BertForPreTraining if sentences else AutoModelForMaskedLM
            # What a checkpoint lacks is made at random: not from the generator of the training.
            with torch.random.fork_rng(devices=[]):
                model, report = family.from_pretrained(
                    checkpoint,
                    config=self.encoder.config,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, ValueError):  # a checkpoint that is gone, or has no such file
            return {}
        missing = set(report["missing_keys"])
        return {name: w for name, w in model.state_dict().items() if name not in missing}

    def save(self, encoder: Encoder, path: Path) -> None:
        """Write a plain Hugging Face folder: with the heads where the family has a masked-LM class
        like BERT's, else with these apart.

        path (Path): The folder; replaced only by a complete one.
        """
        with replacing_folder(path) as new:
            encoder.save(new)
            head = {name: tensor.detach().contiguous() for name, tensor in self.head().items()}
            model_type = encoder.model.config.model_type
            if model_type not in _HEADS:
                save_file(head, new / _HEAD_FILE, {"format": "pt"})
                return
            architecture, prefix, *_ = _HEADS[model_type]
            weights = {
                f"{prefix}{name}": tensor.contiguous()
                for name, tensor in encoder.model.state_dict().items()
            }
            save_file(weights | head, new / "model.safetensors", {"format": "pt"})
            config = copy.deepcopy(encoder.model.config)
            with_pairs = self.pooler is not None and model_type == "bert"
            config.architectures = ["BertForPreTraining" if with_pairs else architecture]
            config.save_pretrained(new)


def _setting(config: PretrainedConfig, names: tuple[str, ...], default: Any) -> Any:
    """The first of these settings that a family has."""
    return next((getattr(config, name) for name in names if hasattr(config, name)), default)


def perplexity(loss: float) -> float:
    """RETURNS (float): e to the loss, infinite where that is out of range."""
    return math.exp(loss) if loss < 700 else math.inf
