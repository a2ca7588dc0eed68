"""Document scores from everything a document has: the model behind stock `textcat` and
`textcat_multilabel`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import (
    Dropout,
    Linear,
    Model,
    ParametricAttention,
    add,
    chain,
    list2ragged,
    reduce_mean,
    reduce_sum,
    zero_init,
)
from thinc.layers.resizable import resizable, resize_linear_weighted, resize_model
from thinc.types import Floats2d

from ..errors import Errors
from ..types import TextCatModel, Tok2VecModel
from .crf import require_temperature
from .finite import finite
from .listener import take_part
from .ngrams import ngram_classifier
from .scale import scale

POOLINGS = ("mean", "attention")
# Of a label's n-gram weights: from a thousand to 16 million.
_LEAST_BITS, _MOST_BITS = 10, 24
_LONGEST_NGRAM = 8


def build_pooled_textcat(
    tok2vec: Tok2VecModel,
    exclusive_classes: bool,
    pooling: str = "mean",
    dropout: float = 0.1,
    learn_rate_factor: float = 10.0,
    ngrams: int = 0,
    ngram_bits: int = 16,
    nO: int | None = None,
) -> TextCatModel:
    """`spacy-jbert.PooledTextCat.v1`. However long a document is, all its windows count.

    tok2vec (Tok2VecModel): `spacy-jbert.TransformerListener.v1` with pooling "mean" for a row a
        token, "cls" for the [CLS] vector of each window. Any other tok2vec layer works too.
    exclusive_classes (bool): One label a document (softmax), or any number (a logistic for each).
    pooling (str): What makes one vector of a document's rows: their "mean", or "attention", a mean
        with weights from a learned query.
    dropout (float): Of the document vector, in training.
    learn_rate_factor (float): How many times faster than the encoder the output layer learns.
    ngrams (int): The longest character n-grams of a linear classifier beside the encoder, whose
        scores are added to the encoder's; 0 for none.
    ngram_bits (int): It has 2 ** ngram_bits weights for each label.
    nO (int | None): The number of labels; set by the component.
    RETURNS (TextCatModel): `List[Doc] -> Floats2d`, *shape* `(n_docs, n_labels)`. Its part "logits"
        gives the scores that its part "probabilities" makes the probabilities of.
    RAISES: ValueError J015, J486.
    """
    if pooling not in POOLINGS:
        raise ValueError(Errors.J015.format(pooling=pooling, choices=", ".join(POOLINGS)))
    _check_range("ngrams", ngrams, 0, _LONGEST_NGRAM)
    _check_range("ngram_bits", ngram_bits, _LEAST_BITS, _MOST_BITS)
    take_part(tok2vec)
    pool = chain(ParametricAttention(), reduce_sum()) if pooling == "attention" else reduce_mean()
    linear: Model[Floats2d, Floats2d] = Linear(nO=nO, init_W=zero_init)
    output = resizable(
        linear, resize_layer=partial(resize_linear_weighted, fill_defaults={"b": 0.0})
    )
    logits: TextCatModel = chain(
        tok2vec, list2ragged(), pool, Dropout(dropout), scale(learn_rate_factor), output
    )
    outputs = [output]
    if ngrams:
        beside, beside_output = ngram_classifier(ngrams, ngram_bits, learn_rate_factor, nO)
        logits = add(logits, beside)
        outputs.append(beside_output)
    activation = probabilities(exclusive_classes)
    model = documents(chain(logits, activation))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", linear)
    model.set_ref("logits", logits)
    model.set_ref("probabilities", activation)
    # What the stock component asks of its models.
    model.attrs["multi_label"] = not exclusive_classes
    model.attrs["resize_output"] = partial(_resize, outputs=outputs)
    return model


def _check_range(name: str, value: int, least: int, most: int) -> None:
    """RAISES: ValueError J486 for a number out of its range, or none."""
    if not (isinstance(value, int) and least <= value <= most):
        raise ValueError(Errors.J486.format(name=name, value=value, least=least, most=most))


def documents(scores: TextCatModel) -> TextCatModel:
    """The layers of a chain, with zeros for documents without tokens: what the stock component says
    of them where there are no others in a batch.

    scores (TextCatModel): The chain. Saved models have as many layers as it.
    RETURNS (TextCatModel): *Shape:* `(n_docs, n_labels)`.
    """
    dims = {name: scores.maybe_get_dim(name) for name in scores.dim_names}
    return Model(
        scores.name, forward_documents, init=init_documents, dims=dims, layers=scores.layers
    )


def init_documents(model: TextCatModel, X: list[Doc] | None = None, Y: Any = None) -> None:
    logits, activation = model.layers
    logits.initialize(X=X, Y=Y)
    activation.initialize()


def forward_documents(
    model: TextCatModel, docs: list[Doc], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], list[Doc]]]:
    logits, activation = model.layers
    X, backprop_logits = logits(docs, is_train)
    Y, backprop_activation = activation(X, is_train)
    empty = [i for i, doc in enumerate(docs) if not len(doc)]
    Y[empty] = 0.0

    def backprop(dY: Floats2d) -> list[Doc]:
        dY[empty] = 0.0
        return backprop_logits(backprop_activation(dY))

    return Y, backprop


def _resize(model: TextCatModel, new_nO: int, *, outputs: list[Model]) -> TextCatModel:
    resized = [resize_model(output, new_nO) for output in outputs]
    model.set_ref("output_layer", resized[0].layers[0])
    return model


def probabilities(exclusive_classes: bool) -> Model[Floats2d, Floats2d]:
    """Softmax or logistic, at a temperature.

    The gradient is the stock layers': of the cross-entropy for the softmax, of the squared error
    for the logistic (with which ASDC's 60 labels were learned as well as with the cross-entropy, or
    better). But it is that of the mean over documents: of their sum, seven times as much as from
    `jbert_ner` reached a shared encoder.

    Predictions are made at attrs["temperature"], see `spacy_jbert.evaluation.calibration`. Training
    is at 1 and goes back to it: what was fitted to other weights says nothing of these.

    exclusive_classes (bool): Which of the two.
    RETURNS (Model[Floats2d, Floats2d]): *Shape:* `(n_docs, n_labels)`, both. It raises ValueError
        J056 for a temperature that is none, J057 for scores or gradients that are no numbers.
    """
    return Model(
        "probabilities", forward, attrs={"exclusive_classes": exclusive_classes, "temperature": 1.0}
    )


def forward(
    model: Model[Floats2d, Floats2d], X: Floats2d, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Floats2d]]:
    if is_train:
        model.attrs["temperature"] = 1.0
    exclusive = model.attrs["exclusive_classes"]
    require_temperature(model.attrs["temperature"])
    if not finite(X):
        raise ValueError(Errors.J057.format(what="its scores are"))
    X = X / model.attrs["temperature"]
    Y = model.ops.softmax(X) if exclusive else model.ops.sigmoid(X)

    def backprop(dY: Floats2d) -> Floats2d:
        if not finite(dY):
            raise ValueError(Errors.J057.format(what="its gradient is"))
        # What comes in is probability minus truth: behind a softmax, that is the gradient of the
        # cross-entropy already.
        return (dY if exclusive else dY * model.ops.dsigmoid(Y)) / len(dY)

    return Y, backprop
