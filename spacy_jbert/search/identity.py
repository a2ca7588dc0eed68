"""Which pipeline made the vectors of an index: two that differ in this give others."""

from hashlib import blake2b
from typing import Any

import torch
from spacy.language import Language

from ..encoder.onnx import OnnxEncoder
from ..errors import Errors
from ..pipeline.transformer import JBertTransformer
from ..pretraining.once import fingerprint


def transformer_of(nlp: Language) -> JBertTransformer:
    """RETURNS (JBertTransformer): The one that gives documents their vectors.

    RAISES: ValueError J510 if there is none.
    """
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, JBertTransformer) and pipe.vectors is not None:
            return pipe
    raise ValueError(Errors.J510.format(names=", ".join(nlp.pipe_names) or "none"))


def name_of(nlp: Language) -> str:
    """RETURNS (str): What a person calls a pipeline: language, name and version of its meta."""
    return f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}"


def identity(nlp: Language) -> str:
    """RETURNS (str): The same for pipelines whose vectors and words are the same: of the encoder's
    weights and wordpieces, how texts are read, cut and pooled, and the tokenizer's settings.
    """
    pipe = transformer_of(nlp)
    vectors = pipe.vectors
    assert vectors is not None
    reading = ("window", "overlap", "predict_windows")
    return fingerprint(
        _weights(pipe),
        [vectors.pooling, vectors.prefix, vectors.index_prefix],
        [pipe.model.attrs[name] for name in reading],
        type(pipe.segmenter).__name__,
        nlp.config["nlp"]["tokenizer"],
    )


def _weights(pipe: JBertTransformer) -> str:
    """RETURNS (str): The hash of an encoder's weights and vocabulary."""
    encoder: Any = pipe.encoder
    digest = blake2b(digest_size=20)
    for piece, number in sorted(encoder.tokenizer.get_vocab().items()):
        digest.update(f"{piece}\0{number}\0".encode("utf-8", "surrogatepass"))
    if isinstance(encoder, OnnxEncoder):
        digest.update(encoder.facts["sha256"].encode())
        return digest.hexdigest()
    for name, tensor in encoder.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
