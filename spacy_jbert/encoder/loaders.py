"""`spacy-jbert.HFEncoder.v1` and `spacy-jbert.NewEncoder.v1`: an encoder from a checkpoint, or
built from sizes and a vocabulary.

Both are registered for `[initialize.components.transformer.encoder]`, so a packaged config never
holds their names or paths."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language
from transformers import (
    BertConfig,
)

from ..errors import Errors
from .checkpoint import Encoder, EncoderLoader, VocabularyLoader, build_model
from .files import load_tokenizer
from .settings import (
    check_size,
)

logger = logging.getLogger(__name__)


def hf_encoder(
    name: str | None,
    revision: str | None = None,
    layers: int | None = None,
    attention_dropout: float = 0.0,
    hidden_dropout: float | None = None,
) -> EncoderLoader:
    """Load a pretrained encoder: `@misc = "spacy-jbert.HFEncoder.v1"`.

    name (str | None): A folder, or the name of a model on the Hugging Face hub (looked up in the
        local cache first; HF_HUB_OFFLINE=1 works). None, as in the configs before a name is given
        and in those of trained pipelines, can't be loaded.
    revision (str | None): The commit, tag or branch on the hub.
    layers (int | None): Keep the first layers only (Sajjad et al. 2023, "On the effect of dropping
        layers of pre-trained transformer models", arXiv:2004.03844): faster in training and use, by
        as much as is left out. The last layers of an encoder are made for what it was pretrained
        for. None: all.
    attention_dropout (float): 0 by default: dropout inside attention keeps torch from using its
        fused kernel, which costs more than half of the training speed on a CPU at length 512.
    hidden_dropout (float | None): None keeps what the checkpoint's config says.
    RETURNS (EncoderLoader): Called with the `nlp` object when the transformer is initialised.
    RAISES: ValueError J016; the loader J002-J004 and J301, also if the checkpoint has fewer layers.
    """
    if layers is not None and layers < 1:
        raise ValueError(Errors.J016.format(layers=layers))
    settings: dict[str, Any] = {
        "attention_probs_dropout_prob": attention_dropout,
        "attention_dropout": attention_dropout,
    }
    if hidden_dropout is not None:
        settings["hidden_dropout_prob"] = hidden_dropout
    if layers is not None:
        settings["num_hidden_layers"] = layers

    def load(nlp: Language) -> Encoder:
        if name is None:
            raise ValueError(Errors.J301)
        path = Path(name)
        if path.is_dir():
            encoder = Encoder.load(path, **settings)
        elif path.is_absolute() or name.startswith("."):
            raise ValueError(Errors.J002.format(name=name, reason="There is no such folder."))
        else:
            try:
                encoder = Encoder.from_pretrained(
                    name, local_files_only=True, revision=revision, **settings
                )
            except ValueError as error:
                # Not in the cache, or not all of it. What is wrong with it isn't better on the hub.
                if not isinstance(error.__cause__, OSError):
                    raise
                encoder = Encoder.from_pretrained(
                    name, local_files_only=False, revision=revision, **settings
                )
        logger.info("Loaded encoder %s: %d layers, width %d", name, encoder.depth, encoder.width)
        return encoder

    return load


# Layers, width, heads: the sizes of Turc et al. 2019, "Well-Read Students Learn Better"
# (arXiv:1908.08962), and BERT's own.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def new_encoder(
    vocabulary: str | VocabularyLoader,
    size: str | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    max_pieces: int = 512,
    hidden_dropout: float = 0.1,
    attention_dropout: float = 0.0,
    seed: int | None = None,
) -> EncoderLoader:
    """Build a BERT encoder with random weights: `@misc = "spacy-jbert.NewEncoder.v1"`.

    Its position embeddings begin as sinusoids, and are learned from there: attention finds
    neighbours sooner than from random ones.

    vocabulary (str | VocabularyLoader): A folder with a tokenizer, or what
        `spacy-jbert.TrainedVocabulary.v1` gives.
    size (str | None): tiny, mini, small, medium, base or large.
    layers (int | None): Instead of, or on top of, `size`; likewise `width` and `heads`.
    max_pieces (int): The most wordpieces in one window.
    seed (int | None): Of the weights. None: whatever torch's generator gives, which `spacy train`
        seeds and `spacy assemble` doesn't.
    RETURNS (EncoderLoader): Called with the `nlp` object when the transformer is initialised.
    """
    if size is not None and size not in SIZES:
        raise ValueError(
            Errors.J008.format(reason=f"size = '{size}' is not one of {', '.join(SIZES)}.")
        )
    default_layers, default_width, default_heads = SIZES[size] if size else (None, None, None)
    layers, width, heads = layers or default_layers, width or default_width, heads or default_heads
    if not layers or not width or not heads:
        raise ValueError(Errors.J008.format(reason="give a size, or layers, width and heads."))
    if width % heads:
        raise ValueError(
            Errors.J008.format(reason=f"width = {width} can't be divided among {heads} heads.")
        )

    def build(nlp: Language) -> Encoder:
        tokenizer = load_tokenizer(vocabulary) if isinstance(vocabulary, str) else vocabulary(nlp)
        tokenizer.model_max_length = max_pieces
        config = BertConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,  # matrix products like multiples of 64
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=max_pieces,
            hidden_dropout_prob=hidden_dropout,
            attention_probs_dropout_prob=attention_dropout,
            pad_token_id=tokenizer.pad_token_id,
        )
        check_size(config, "spacy-jbert.NewEncoder.v1")
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            encoder = Encoder(model=build_model(config), tokenizer=tokenizer)
        positions = encoder.model.embeddings.position_embeddings.weight
        positions.data = (
            _sinusoids(max_pieces, width) * config.initializer_range * math.sqrt(2)
        )  # the spread of the other weights
        logger.info(
            "Built a new encoder: %d layers, width %d, %d wordpieces", layers, width, len(tokenizer)
        )
        return encoder

    return build


def _sinusoids(n_positions: int, width: int) -> torch.Tensor:
    """Sines and cosines of growing wavelengths (Vaswani et al.

    2017, arXiv:1706.03762, section 3.5). *Shape:* `(n_positions, width)`.
    """
    waves = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(n_positions)[:, None] * waves
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]
