"""Windows of questions and texts in, two scores of each wordpiece out: that an answer begins there,
and that it ends there."""

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import torch
from thinc.api import Linear, Model, chain
from thinc.types import Floats2d

from ..encoder.windows import WordpieceEncoder
from ..errors import Errors
from ..types import PairWindow, SpanModel
from ..wordpieces.alignment import ragged_ranges
from ..wordpieces.pairs import PairShape
from .run import Inputs, run_windows, send_back
from .scale import scale
from .shim import EncoderShim, check_range, make_shim
from .transformer import to_array

# With fewer wordpieces of it nobody knows what is asked.
_LEAST_QUESTION = 4


def build_span_qa(
    words: str = "auto",
    window: int | None = 384,
    overlap: int = 128,
    train_window: int | None = None,
    max_question: int = 64,
    max_answer: int = 40,
    max_batch_pieces: int | Literal["auto"] = "auto",
    device: str = "auto",
    precision: str = "fp32",
    storage: str = "fp32",
    layer_decay: float = 1.0,
    train_layers: int | None = None,
    unfreeze_steps: int = 0,
    gradient_checkpointing: bool = False,
    tf32: bool = True,
    learn_rate_factor: float = 10.0,
    nO: int | None = None,
) -> SpanModel:
    """`spacy-jbert.SpanQA.v1`: an encoder that reads a question and a text together, and a linear
    layer (Devlin et al. 2019, arXiv:1810.04805, section 4.2). Holds no name or path: the encoder
    comes from [initialize] or from disk.

    window (int | None): The most wordpieces of one window, question and special pieces included;
        None for the encoder's own limit.
    overlap (int): How many pieces of a long text neighbouring windows share. Twice `max_answer`
        finds every answer whole in some window.
    train_window (int | None): The same in training, where one stretch of the text is read for each
        question, cut at random around the answer. Shorter learns faster. None: as `window`.
    max_question (int): Wordpieces. Of a longer question the rest isn't read, nor what takes more
        than half of a window.
    max_answer (int): Wordpieces of an answer; a longer one isn't found.
    learn_rate_factor (float): See `scale`.
    nO (int | None): Not to be set.
    words, max_batch_pieces, device, precision, storage, layer_decay, train_layers, unfreeze_steps,
        gradient_checkpointing, tf32: As in `spacy-jbert.JapaneseTransformer.v1`.
    RETURNS (SpanModel): `List[PairWindow] -> Floats2d`, *shape* `(n_pieces of all windows, 2)`.
    RAISES: ValueError J005, J010, J040, J058, J085, J087.
    """
    for name, number, least in (
        ("window", window, 1),
        ("overlap", overlap, 0),
        ("train_window", train_window, 1),
        ("max_question", max_question, 1),
        ("max_answer", max_answer, 1),
        ("max_batch_pieces", None if max_batch_pieces == "auto" else max_batch_pieces, 1),
    ):
        check_range(name, number, least, None)
    shim = make_shim(
        words=words,
        device=device,
        precision=precision,
        storage=storage,
        layer_decay=layer_decay,
        train_layers=train_layers,
        unfreeze_steps=unfreeze_steps,
        gradient_checkpointing=gradient_checkpointing,
        tf32=tf32,
    )
    vectors: Model[list[PairWindow], Floats2d] = Model(
        "pair_vectors",
        forward,
        init=init,
        dims={"nO": None},
        shims=[shim],
        attrs={"max_batch_pieces": max_batch_pieces},
    )
    output = Linear(nO=2)
    model: SpanModel = chain(vectors, scale(learn_rate_factor), output)
    model.attrs["window"] = window
    model.attrs["train_window"] = window if train_window is None else train_window
    model.attrs["overlap"] = overlap
    model.attrs["max_question"] = max_question
    model.attrs["max_answer"] = max_answer
    model.set_ref("vectors", vectors)
    model.set_ref("output_layer", output)
    model.init = init_all
    return model


def pair_shape(encoder: WordpieceEncoder, window: int | None, longest_question: int) -> PairShape:
    """How an encoder is given pairs, in windows of so many pieces at most.

    window (int | None): None for the encoder's own limit.
    longest_question (int): Less where that would take more than half of a window.
    RAISES: ValueError J530 where only a few pieces would fit.
    """
    most = min(window or encoder.max_pieces, encoder.max_pieces)
    before, behind = encoder.special_ids
    between = encoder.between_ids
    room = most - len(before) - len(between) - len(behind)
    # Half of it is the text's at least.
    longest = min(longest_question, room // 2)
    if longest < _LEAST_QUESTION:
        least = most - room + 2 * _LEAST_QUESTION
        raise ValueError(Errors.J530.format(window=most, least=least))
    return PairShape(before, between, behind, most, longest)


def init_all(model: SpanModel, X: Any = None, Y: Any = None) -> None:
    vectors, output = model.get_ref("vectors"), model.get_ref("output_layer")
    vectors.initialize()
    output.set_dim("nI", vectors.get_dim("nO"), force=True)
    output.initialize()


def init(model: Model[list[PairWindow], Floats2d], X: Any = None, Y: Any = None) -> None:
    encoder = cast(EncoderShim, model.shims[0]).require_encoder()
    model.set_dim("nO", encoder.width, force=True)


def forward(
    model: Model[list[PairWindow], Floats2d], windows: list[PairWindow], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[PairWindow]]]:
    """Run the encoder over windows, batches of at most `max_batch_pieces` at a time. What training
    doesn't keep within this is computed again for the backward pass.

    RETURNS: Rows of all windows, one after the other. *Shape:* `(n_pieces, width)`.
    """
    shim = cast(EncoderShim, model.shims[0])
    lengths = np.array([len(window.ids) for window in windows], dtype=np.int64)
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *(window.ids for window in windows)])
    first_type, second_type = shim.require_encoder().pair_types
    types = None
    if first_type or second_type:
        n_first = np.array([window.n_first for window in windows])
        in_text = ragged_ranges(np.zeros_like(lengths), lengths) >= np.repeat(n_first, lengths)
        types = np.where(in_text, second_type, first_type)
    hidden, parts = run_windows(
        shim,
        Inputs(ids, lengths, np.arange(len(ids)), len(ids), types),
        budget=shim.budget(model.attrs["max_batch_pieces"]),
        learn=is_train and shim.learns(),
    )

    def backprop(d_rows: Floats2d) -> list[PairWindow]:
        if parts:
            send_back(shim, parts, torch.as_tensor(d_rows).to(hidden.device))
        return []

    return to_array(model.ops, hidden), backprop
