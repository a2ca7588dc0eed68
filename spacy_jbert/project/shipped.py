"""Where the configs and the small encoder are: in a wheel beside this file, in a checkout where
they are kept."""

from pathlib import Path

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parents[1]

ENCODER = "jbert-mini"


def configs() -> Path:
    """RETURNS (Path): The folder of the configs (ner.cfg, textcat.cfg …)."""
    return _in_wheel_or_checkout("configs", "configs", "ner.cfg")


def small_encoder() -> Path | None:
    """RETURNS (Path | None): The encoder that comes along; None if it was left out."""
    folder = _in_wheel_or_checkout("jbert_mini", "project/assets/jbert-mini", "config.json")
    return folder if (folder / "model.safetensors").is_file() else None


def _in_wheel_or_checkout(name: str, kept: str, file: str) -> Path:
    folder = _HERE / name
    return folder if (folder / file).is_file() else _CHECKOUT / kept
