"""The settings of pretraining: their old names, their ranges, and which change the result."""

from typing import Any

from ..errors import Errors
from .reporting import REPORTERS

OLD_NAMES = {
    "decay_ratio": "decay",
    "final_mlm_probability": "final_rate",
    "fsdp": "shard",
    "gradient_accumulation_steps": "accumulate",
    "logging_steps": "log_steps",
    "max_epochs": "epochs",
    "max_grad_norm": "clip",
    "max_length": "max_pieces",
    "max_steps": "steps",
    "mlm_probability": "rate",
    "num_workers": "loader_workers",
    "preprocessing_workers": "workers",
    "save_total_limit": "keep",
    "validation_fraction": "held_out",
    "warmup_ratio": "warmup",
}
"""What the settings were called in `spacy-jbert.pretrain_mlm.v1`. Keys of runs and corpora are made
with these, so that what was trained with them is still found."""

# Settings that change neither what comes out nor how a checkpoint goes on; of the text its content
# counts, not its path. Of `gradient_accumulation_steps` and the processes their product counts:
# eight GPUs can go on with what four began.
INDIFFERENT = {
    "path",
    "output",
    "corpus",
    "max_steps",  # stand in the key by their number
    "max_epochs",
    "enabled",
    "component",
    "device",
    "resume",
    "report_to",
    "portable",
    "gradient_accumulation_steps",
    "fsdp",
}
INDIFFERENT |= {
    "eval_steps",
    "eval_samples",
    "save_steps",
    "logging_steps",
    "save_total_limit",
    "preprocessing_workers",
    "num_workers",
}

_MANY = 10**9

_RANGES = {
    "max_epochs": (0.001, _MANY),
    **dict.fromkeys(
        (
            "max_steps",
            "batch_size",
            "gradient_accumulation_steps",
            "eval_steps",
            "eval_samples",
            "save_steps",
            "logging_steps",
            "save_total_limit",
            "preprocessing_workers",
        ),
        (1, _MANY),
    ),
    **dict.fromkeys(("validation_fraction", "warmup_ratio", "decay_ratio"), (0, 1)),
    **dict.fromkeys(("mlm_probability", "final_mlm_probability"), (0.01, 0.99)),
    **dict.fromkeys(("learn_rate", "weight_decay", "max_grad_norm", "num_workers"), (0, _MANY)),
    **dict.fromkeys(("seed", "min_characters"), (0, 2**32 - 1)),
    "max_length": (8, _MANY),
}


def check(settings: dict[str, Any]) -> None:
    """Refuse settings before hours are spent on the corpus.

    RAISES: ValueError J108.
    """
    for name, (low, high) in _RANGES.items():
        value = settings[name]
        if value is not None and not low <= value <= high:
            raise _unusable(name, value, f"it has to be between {low} and {high}.")
    if settings["batch_by"] == "samples" and settings["batch_size"] is None:
        raise _unusable("batch_size", "auto", "with batch_by = 'samples' it has to be a number.")
    if settings["warmup_ratio"] + settings["decay_ratio"] > 1:
        raise _unusable(
            "decay_ratio", settings["decay_ratio"], "together with warmup_ratio it is more than 1."
        )
    for name in ("path", "output", "corpus", "component", "text_field"):
        value = settings[name]
        entries = value if isinstance(value, list) else [value]
        if not entries or any(isinstance(entry, str) and not entry.strip() for entry in entries):
            raise _unusable(name, value, "it must not be empty.")
    names = settings["report_to"]
    if set([names] if isinstance(names, str) else names) - {"none", *REPORTERS}:
        raise _unusable("report_to", names, f"choose none, {', '.join(REPORTERS)}.")


def _unusable(name: str, value: object, reason: str) -> ValueError:
    reason += " It stands in [initialize.after_init]."
    return ValueError(Errors.J108.format(setting=name, value=value, reason=reason))
