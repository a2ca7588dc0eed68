"""Where the curves of pretraining are reported to: TensorBoard, W&B, MLflow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def reporting(names: str | list[str], logs: Path) -> Iterator[list[str]]:
    """Report one training, and leave what the process does next as it was: W&B and MLflow keep
    where they write in the environment, and W&B in a session that stays open.

    YIELDS (list[str]): Where to report to.
    RAISES: ImportError J131 if a package is missing.
    """
    chosen = [name for name in ([names] if isinstance(names, str) else names) if name != "none"]
    for name in chosen:
        if find_spec(name) is None:
            raise ImportError(Errors.J131.format(package=name))
        logs.mkdir(parents=True, exist_ok=True)
    before = _variables(chosen)
    has_session = getattr(sys.modules.get("wandb"), "run", None) is not None
    try:
        for name in chosen:
            for variable, value in REPORTERS[name].items():
                os.environ.setdefault(variable, value.format(logs=logs.resolve()))
        yield chosen
    finally:
        if "wandb" in chosen and "wandb" in sys.modules and not has_session:
            # The next session reads anew where to write only if this one is taken down.
            sys.modules["wandb"].finish()
            sys.modules["wandb"].teardown()
        for variable in _variables(chosen):
            del os.environ[variable]
        os.environ.update(before)


def _variables(names: list[str]) -> dict[str, str]:
    prefixes = tuple(f"{name.upper()}_" for name in names)
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
