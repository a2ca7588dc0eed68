"""The learning curve as a picture."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Of the curves, in the order of the panels: the entry of the log, its name in the legend.
_PANELS = {
    "loss": {"loss": "training", "eval_loss": "held out"},
    "masked accuracy": {"eval_masked_accuracy": "held out"},
    "learning rate": {"learning_rate": ""},
}


def can_draw() -> bool:
    """RETURNS (bool): Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(log: list[dict[str, Any]], path: Path) -> None:
    """Draw loss, accuracy and learning rate by step.

    log (list[dict[str, Any]]): Trainer's `log_history`.
    path (Path): An SVG, PNG or PDF file; replaced only by a complete one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 8), layout="constrained")
    for axes, (title, curves) in zip(
        figure.subplots(len(_PANELS), sharex=True), _PANELS.items(), strict=True
    ):
        axes.set_ylabel(title)
        for name, label in curves.items():
            points = [(entry["step"], entry[name]) for entry in log if name in entry]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    marker="." if len(points) < 50 else None,
                    label=label,
                )
        if len(curves) > 1:
            axes.legend()
    axes.set_xlabel("step")
    new = path.with_name(f".{path.name}")
    figure.savefig(new, format=path.suffix[1:])
    new.replace(path)
