"""Callbacks of training that are about no room in particular."""

from collections.abc import Callable

from spacy.language import Language

Callback = Callable[[Language], Language]


def chain_callbacks(*callbacks: Callback) -> Callback:
    """`spacy-jbert.chain_callbacks.v1`: several callbacks where the config has room for one.

    callbacks (Callback): Called in order, each with what the one before returned.
    RETURNS (Callback): All of them as one.
    """

    def call_all(nlp: Language) -> Language:
        for callback in callbacks:
            nlp = callback(nlp)
        return nlp

    return call_all
