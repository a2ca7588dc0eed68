"""Document scores from the mean of everything a document has: the model behind stock `textcat` and `textcat_multilabel`."""

from functools import partial

from thinc.api import Dropout, Linear, Logistic, Model, Softmax_v2, chain, list2ragged, reduce_mean, zero_init
from thinc.layers.resizable import resizable, resize_linear_weighted, resize_model
from thinc.types import Floats2d

from ..types import TextCatModel, Tok2VecModel
from .scale import scale


def build_pooled_textcat(
    tok2vec: Tok2VecModel, exclusive_classes: bool, dropout: float = 0.1, learn_rate_factor: float = 10.0, nO: int | None = None
) -> TextCatModel:
    """`spacy-jbert.PooledTextCat.v1`. However long a document is, all its windows count.

    tok2vec (Tok2VecModel): `spacy-jbert.TransformerListener.v1` with pooling "mean" for the mean over all tokens, "cls" for the mean of
        the [CLS] vectors of all windows. Any other tok2vec layer works too.
    exclusive_classes (bool): One label a document (softmax), or any number (a logistic for each).
    dropout (float): Of the document vector, in training.
    learn_rate_factor (float): How many times faster than the encoder the output layer learns.
    nO (int | None): The number of labels; set by the component.
    RETURNS (TextCatModel): `List[Doc] -> Floats2d`, *shape* `(n_docs, n_labels)`.
    """
    linear: Model[Floats2d, Floats2d] = Softmax_v2(nO=nO) if exclusive_classes else Linear(nO=nO, init_W=zero_init)
    output = resizable(linear, resize_layer=partial(resize_linear_weighted, fill_defaults={"b": 0.0}))
    activation = [] if exclusive_classes else [Logistic()]
    model: TextCatModel = chain(tok2vec, list2ragged(), reduce_mean(), Dropout(dropout), scale(learn_rate_factor), output, *activation)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", linear)
    # What the stock component asks of its models.
    model.attrs["multi_label"] = not exclusive_classes
    model.attrs["resize_output"] = partial(_resize, output=output)
    if nO is not None:
        model.set_dim("nO", nO)
    return model


def _resize(model: TextCatModel, new_nO: int, *, output: Model) -> TextCatModel:
    resized = resize_model(output, new_nO)
    model.set_ref("output_layer", resized.layers[0])
    model.set_dim("nO", new_nO, force=True)
    return model
