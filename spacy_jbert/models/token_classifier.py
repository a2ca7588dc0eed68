"""A linear layer over token vectors, and what may follow what: the model of `jbert_ner`."""

from collections.abc import Callable

from thinc.api import Dropout, Linear, Model, chain, with_array, zero_init
from thinc.layers.resizable import resize_linear_weighted
from thinc.types import Floats2d

from ..errors import Errors
from ..types import TaggerModel, TagScores, Tok2VecModel, UnitVectors
from .listener import is_units
from .scale import scale

DECODERS = ("softmax", "crf")

# The score that tags of a label start with that is added to a trained model: e^-20 as likely as one
# of score 0.
_NEVER = -20.0


def build_token_classifier(
    tok2vec: Tok2VecModel,
    learn_rate_factor: float = 10.0,
    decoder: str = "crf",
    nO: int | None = None,
) -> TaggerModel:
    """`spacy-jbert.TokenClassifier.v1`: scores (logits) for each tag of each token.

    tok2vec (Tok2VecModel): Token vectors, normally `spacy-jbert.TransformerListener.v1`. If its
        pooling is "units", each unit has scores.
    learn_rate_factor (float): How many times faster than the encoder this layer, which starts from
        nothing, learns.
    decoder (str): "crf": the whole sequence is learned, and which label, or O, follows which;
        "softmax": each token's tag by itself, up to a tenth faster. Both predict the best
        well-formed sequence.
    nO (int | None): The number of tags; set by the component.
    RETURNS (TaggerModel): `List[Doc] -> TagScores`.
    RAISES: ValueError J040.
    """
    if decoder not in DECODERS:
        raise ValueError(
            Errors.J040.format(name="decoder", value=decoder, choices=", ".join(DECODERS))
        )
    output = Linear(nO=nO, init_W=zero_init)
    last = transitions(decoder == "crf", learn_rate_factor, nO)
    each = with_array(chain(Dropout(0.0), scale(learn_rate_factor), output))
    model: TaggerModel = chain(tok2vec, with_units(each) if is_units(tok2vec) else each, last)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    model.set_ref("transitions", last)
    model.attrs["resize_output"] = resize_output
    return model


def with_units(layer: Model[list[Floats2d], list[Floats2d]]) -> Model[UnitVectors, UnitVectors]:
    """Applies a layer to vectors of units and leaves beside the result where these end."""

    def forward(
        model: Model, X: UnitVectors, is_train: bool
    ) -> tuple[UnitVectors, Callable[[list[Floats2d]], list[Floats2d]]]:
        Y, backprop = model.layers[0](X.vectors, is_train)
        return UnitVectors(Y, X.ends), backprop

    def init(model: Model, X: UnitVectors | None = None, Y: UnitVectors | None = None) -> None:
        model.layers[0].initialize(X=None if X is None else X.vectors)

    return Model("with_units", forward, init=init, layers=[layer])


def transitions(
    learned: bool, learn_rate_factor: float, nO: int | None = None
) -> Model[list[Floats2d], TagScores]:
    """Puts the scores of transitions beside those of tokens. They start at 0.

    learned (bool): Whether there are any.
    learn_rate_factor (float): How many times faster than the rest they learn.
    nO (int | None): The number of tags.
    RETURNS (Model[list[Floats2d], TagScores]): The layer.
    """
    params = {"T": None} if learned else {}
    return Model(
        "transitions",
        forward,
        init=init,
        dims={"nO": nO},
        params=params,
        attrs={"factor": learn_rate_factor},
    )


def init(
    model: Model[list[Floats2d], TagScores],
    X: list[Floats2d] | None = None,
    Y: TagScores | None = None,
) -> None:
    if "T" in model.param_names:
        width = 1 + (model.get_dim("nO") - 1) // 4
        model.set_param("T", model.ops.alloc2f(width, width))


def forward(
    model: Model[list[Floats2d], TagScores], X: list[Floats2d] | UnitVectors, is_train: bool
) -> tuple[TagScores, Callable[[TagScores], list[Floats2d]]]:
    rows, ends = X if isinstance(X, UnitVectors) else (X, None)
    if "T" not in model.param_names:
        return TagScores(rows, None, ends), lambda d_scores: d_scores.tokens
    factor = model.attrs["factor"]

    def backprop(d_scores: TagScores) -> list[Floats2d]:
        model.inc_grad("T", d_scores.transitions * factor)
        return d_scores.tokens

    return TagScores(rows, model.get_param("T") * factor, ends), backprop


def resize_output(model: TaggerModel, nO: int) -> TaggerModel:
    """Make room for the tags of more labels. What was learned about the others stays.

    model (TaggerModel): From `build_token_classifier`, initialised.
    nO (int): The number of tags.
    RETURNS (TaggerModel): The same model.
    """
    old, old_last = model.get_ref("output_layer"), model.get_ref("transitions")
    # New layers rather than larger parameters: an optimizer keeps its moments by layer.
    output = resize_linear_weighted(old, nO, fill_defaults={"W": 0.0, "b": _NEVER})
    last = transitions("T" in old_last.param_names, old_last.attrs["factor"], nO)
    last.initialize()
    if "T" in old_last.param_names:
        learned = old_last.get_param("T")
        last.get_param("T")[: len(learned), : len(learned)] = learned
    for node in list(model.walk()):
        if node.layers and old in node.walk() and node.has_dim("nO"):
            node.set_dim("nO", nO, force=True)
    model.replace_node(old, output)
    model.replace_node(old_last, last)
    return model
