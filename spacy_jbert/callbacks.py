"""Callbacks of a config that are about no room in particular."""

from collections.abc import Callable
from functools import partial

from spacy.language import Language
from spacy.util import registry
from thinc.api import Optimizer

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


def resolved_optimizer() -> Callback:
    """`spacy-jbert.resolved_optimizer.v1`, a callback for [nlp.after_pipeline_creation].

    Lets [training.optimizer] have variables. spaCy's `nlp.create_optimizer`, and so
    `resume_training`, `initialize` and `update` without `sgd`, reads that section by itself, where
    `total_steps = ${training.max_steps}` has nothing to refer to. The config keeps its variables.

    RETURNS (Callback): The callback.
    """

    def let_resolve(nlp: Language) -> Language:
        nlp.create_optimizer = partial(_create_optimizer, nlp)
        return nlp

    return let_resolve


def _create_optimizer(nlp: Language) -> Optimizer:
    settings = nlp.config.interpolate()["training"]["optimizer"]
    optimizer: Optimizer = registry.resolve({"optimizer": settings})["optimizer"]
    return optimizer
