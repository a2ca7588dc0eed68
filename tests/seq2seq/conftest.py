"""A model trained on a few pairs by the script of the project."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# What each word becomes, whatever stands around it.
WORDS = {"東京": "都", "京都": "市", "猫": "名前", "犬": "名前", "電車": "Rail Way", "桜": "満開"}
PAIRS = [
    (f"{before}{word}{after}", target)
    for word, target in WORDS.items()
    for before, after in (("", ""), ("この", "は"), ("", "です。"))
]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "project/scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for source, target in PAIRS:
            file.write(json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n")
    return path


@pytest.fixture(scope="session")
def train(checkpoint: Callable[[str], Path], pairs: Path) -> Callable[..., None]:
    """Run the script with settings for a tiny encoder."""
    main = script("train_seq2seq").main

    def run(out: Path, **settings: object) -> None:
        given = {
            "paths.train": pairs,
            "paths.dev": pairs,
            "paths.encoder": checkpoint("bert-fast"),
            "paths.output": out,
            "training.max_steps": 240,
            "training.batch_size": 9,
            "training.learn_rate": 1e-2,
            "training.eval_steps": 120,
            "training.save_steps": 120,
            "training.logging_steps": 40,
            "generation.max_pieces": 12,
            "generation.num_beams": 2,
        } | settings
        overrides = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        main(ROOT / "configs/seq2seq.cfg", overrides)

    return run


@pytest.fixture(scope="session")
def trained(train: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seq2seq")
    train(out)
    return out
