"""`spacy-jbert.pretrain_mlm.v1`: the settings of `spacy-jbert.pretrain_mlm.v2` by their names of
before, for configs that have them."""

import warnings
from collections.abc import Callable
from typing import Literal

from spacy.language import Language

from ..errors import Warnings
from .callback import OLD_NAMES, pretrain_mlm


def pretrain_mlm_v1(
    path: str | list[str],
    output: str,
    component: str = "transformer",
    enabled: bool = True,
    corpus: str | None = None,
    normalization: Literal["NFC", "NFKC"] | None = None,
    min_characters: int = 10,
    text_field: str = "text",
    workers: int | None = None,
    max_pieces: int | None = None,
    held_out: float = 0.02,
    rate: float = 0.30,
    final_rate: float = 0.15,
    sentence_objective: Literal["none", "nsp", "sop"] = "none",
    steps: int | None = None,
    epochs: float = 1.0,
    batch_size: int = 8192,
    batch_by: Literal["pieces", "samples"] = "pieces",
    accumulate: int = 1,
    learn_rate: float = 5e-4,
    warmup: float = 0.05,
    decay: float = 0.2,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    precision: Literal["fp32", "bf16"] = "fp32",
    torch_compile: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    shard: bool = False,
    loader_workers: int = 0,
    seed: int = 0,
    eval_steps: int | None = None,
    eval_samples: int = 500,
    save_steps: int = 500,
    log_steps: int = 50,
    keep: int = 2,
    resume: Literal["auto", "never"] = "auto",
    report_to: str | list[str] = "none",
    portable: bool = False,
) -> Callable[[Language], Language]:
    """Pretrain an encoder as `spacy-jbert.pretrain_mlm.v2` does: what is trained, and where it is
    found again, is the same. JW139 names the settings that are called otherwise there.

    RETURNS (Callable[[Language], Language]): The callback.
    """
    settings = dict(locals())
    new_names = {old: new for new, old in OLD_NAMES.items()}
    changed = ", ".join(f"{old} = {new}" for old, new in sorted(new_names.items()))
    warnings.warn(Warnings.JW139.format(names=changed), FutureWarning, stacklevel=2)
    return pretrain_mlm(**{new_names.get(name, name): value for name, value in settings.items()})
