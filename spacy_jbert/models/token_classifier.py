"""A linear layer over token vectors: the model of `jbert_ner`."""

from thinc.api import Dropout, Linear, chain, with_array, zero_init

from ..types import TaggerModel, Tok2VecModel
from .scale import scale


def build_token_classifier(tok2vec: Tok2VecModel, learn_rate_factor: float = 10.0, nO: int | None = None) -> TaggerModel:
    """`spacy-jbert.TokenClassifier.v1`: scores (logits) for each tag of each token.

    tok2vec (Tok2VecModel): Token vectors, normally `spacy-jbert.TransformerListener.v1`.
    learn_rate_factor (float): How many times faster than the encoder this layer, which starts from nothing, learns.
    nO (int | None): The number of tags; set by the component.
    RETURNS (TaggerModel): `List[Doc] -> List[Floats2d]`, *shape* `(n_tokens, n_tags)` each.
    """
    output = Linear(nO=nO, init_W=zero_init)
    model: TaggerModel = chain(tok2vec, with_array(chain(Dropout(0.0), scale(learn_rate_factor), output)))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    return model
