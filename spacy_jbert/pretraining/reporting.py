"""Where the curves of pretraining are reported to: TensorBoard, W&B, MLflow."""

import os
from importlib.util import find_spec
from pathlib import Path

from ..errors import Errors

# What keeps each it on this machine unless the user has said otherwise.
REPORTERS: dict[str, dict[str, str]] = {
    "tensorboard": {},
    "wandb": {
        "WANDB_MODE": "offline",
        "WANDB_DIR": "{logs}",
        "WANDB_PROJECT": "spacy-jbert",
        "WANDB_ERROR_REPORTING": "false",
    },
    "mlflow": {
        "MLFLOW_TRACKING_URI": "sqlite:///{logs}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "spacy-jbert",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    },
}


def reporters(names: str | list[str], logs: Path) -> list[str]:
    """RETURNS (list[str]): Where to report to.

    RAISES: ImportError J131 if a package is missing.
    """
    chosen = [name for name in ([names] if isinstance(names, str) else names) if name != "none"]
    for name in chosen:
        if find_spec(name) is None:
            raise ImportError(Errors.J131.format(package=name))
        logs.mkdir(parents=True, exist_ok=True)
        for variable, value in REPORTERS[name].items():
            os.environ.setdefault(variable, value.format(logs=logs.resolve()))
    return chosen
