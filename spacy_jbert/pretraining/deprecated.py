"""`spacy-jbert.pretrain_mlm.v1`: the settings of `spacy-jbert.pretrain_mlm.v2` by their names of
before, for configs that have them."""

import warnings
from collections.abc import Callable
from inspect import Signature, signature
from typing import Any

from spacy.language import Language

from ..errors import Warnings
from .callback import pretrain_mlm
from .settings import OLD_NAMES

# What was the default before there was "auto".
_DEFAULTS = {"batch_size": 8192, "num_workers": 0}


def pretrain_mlm_v1(**settings: Any) -> Callable[[Language], Language]:
    """Pretrain an encoder as `spacy-jbert.pretrain_mlm.v2` does: what is trained, and where it is
    found again, is the same. JW139 names the settings that are called otherwise there.

    RETURNS (Callable[[Language], Language]): The callback.
    """
    new_names = {old: new for new, old in OLD_NAMES.items()}
    changed = ", ".join(f"{old} = {new}" for old, new in sorted(new_names.items()))
    warnings.warn(Warnings.JW139.format(names=changed), FutureWarning, stacklevel=2)
    renamed = {new_names.get(name, name): value for name, value in settings.items()}
    return pretrain_mlm(**_DEFAULTS | renamed)


def _signature_of_before() -> Signature:
    """That of v2 with the names of before: spaCy checks and fills configs by it."""
    new = signature(pretrain_mlm)
    parameters = [
        parameter.replace(
            name=OLD_NAMES.get(name, name), default=_DEFAULTS.get(name, parameter.default)
        )
        for name, parameter in new.parameters.items()
    ]
    return new.replace(parameters=parameters)


pretrain_mlm_v1.__signature__ = _signature_of_before()  # type: ignore[attr-defined]
