"""What a component divides its scores by, wherever it keeps that; and what is left out where all
answers are looked at."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, cast

from spacy.language import Language
from spacy.pipeline import TextCategorizer


def threshold_pipes(nlp: Language) -> list[str]:
    """RETURNS (list[str]): The components that leave out what is under a threshold. What isn't
    found because of them would be missing in any fit.
    """
    return [name for name in nlp.pipe_names if nlp.get_pipe_meta(name).factory == "jbert_threshold"]


def is_pooled_textcat(pipe: Any) -> bool:
    """RETURNS (bool): Whether it is a stock component on `spacy-jbert.PooledTextCat.v1`."""
    return isinstance(pipe, TextCategorizer) and "probabilities" in pipe.model.ref_names


def _temperature_of(pipe: Any) -> MutableMapping[str, Any] | None:
    """RETURNS: What holds a component's temperature, under that name; None if it has none."""
    if is_pooled_textcat(pipe):
        return cast(MutableMapping[str, Any], pipe.model.get_ref("probabilities").attrs)
    cfg = getattr(pipe, "cfg", None)
    return cfg if isinstance(cfg, dict) and "temperature" in cfg else None


def temperature(pipe: Any) -> float | None:
    """RETURNS (float | None): What a component divides its scores by; None if it has no such."""
    holder = _temperature_of(pipe)
    return None if holder is None else float(holder["temperature"])


@contextmanager
def at_temperature(pipe: Any, value: float) -> Iterator[bool]:
    """Let a component predict at a temperature for a while.

    YIELDS (bool): Whether that makes a difference.
    """
    holder, kept = _temperature_of(pipe), temperature(pipe)
    if holder is None or kept is None:
        yield False
        return
    holder["temperature"] = value
    try:
        yield kept != value
    finally:
        holder["temperature"] = kept
