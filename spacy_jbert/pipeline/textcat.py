"""`jbert_textcat`: stock `textcat_multilabel`, which also learns from probabilities."""

from collections.abc import Callable, Iterable

from spacy.language import Language
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.training import Example
from thinc.api import Config

from ..errors import Errors
from ..types import TextCatModel

DEFAULT_CONFIG = Config().from_str(
    """
[textcat]
threshold = 0.5
scorer = {"@scorers": "spacy-jbert.textcat_scorer.v1", "exclusive_classes": true}

[textcat.model]
@architectures = "spacy-jbert.PooledTextCat.v1"
exclusive_classes = true

[textcat.model.tok2vec]
@architectures = "spacy-jbert.TransformerListener.v1"
"""
)


@Language.factory(
    "jbert_textcat",
    assigns=["doc.cats"],
    default_config=DEFAULT_CONFIG["textcat"],
    default_score_weights={"cats_macro_f": 1.0, "cats_ece": None, "cats_f_per_type": None},
)
def make_textcat(
    nlp: Language,
    name: str,
    model: TextCatModel,
    threshold: float,
    scorer: Callable | None,
) -> "JBertTextCat":
    """Construct a text classifier that can be taught.

    model (TextCatModel): `spacy-jbert.PooledTextCat.v1`. Its `exclusive_classes` says whether a
        text has one category or any number.
    threshold (float): From which probability a category is said to be there.
    scorer (Callable | None): `spacy-jbert.textcat_scorer.v1`, with the model's `exclusive_classes`.
    """
    return JBertTextCat(nlp.vocab, model, name, threshold=threshold, scorer=scorer)


class JBertTextCat(MultiLabel_TextCategorizer):
    """Stock `textcat_multilabel`, but the values of `reference.cats` may be anything from 0 to 1:
    how probable a teacher, or people who disagree, find each category. What is missing teaches
    nothing.
    """

    def _validate_categories(self, examples: Iterable[Example]) -> None:
        """RAISES: ValueError J547 for a value that is no probability."""
        for eg in examples:
            for label, value in eg.reference.cats.items():
                if not 0.0 <= value <= 1.0:
                    message = Errors.J547.format(
                        label=label, value=value, text=eg.reference.text[:40]
                    )
                    raise ValueError(message)
