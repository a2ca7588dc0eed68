"""Weights that are numbers: those with NaN or infinity in them predict nothing of any sense."""

import math
from typing import Any

from thinc.api import Model

from ..errors import Errors


def finite(array: Any) -> bool:
    """RETURNS (bool): Whether an array holds only numbers, on whatever device it is."""
    # Arrays of NumPy and CuPy answer alike; their module needn't be known.
    return bool((abs(array) < math.inf).all())


def finite_weights(model: Model) -> bool:
    """RETURNS (bool): Whether all of a model's own weights are numbers; those behind its shims, an
    encoder's, are not looked at.
    """
    return all(
        finite(node.get_param(name))
        for node in model.walk()
        for name in node.param_names
        if node.has_param(name)
    )


def require_factor(name: str, value: float) -> None:
    """RAISES: ValueError J058 if it is not a number above 0."""
    if not 0.0 < value < math.inf:
        raise ValueError(Errors.J058.format(name=name, value=value))
