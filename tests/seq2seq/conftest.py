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
FRAMES = ["{}", "この{}は", "{}です。", "その{}も", "{}が", "私の{}を"]
HELD_OUT_FRAMES = ["この{}が", "その{}です。", "私の{}は"]


def in_frames(frames: list[str]) -> list[tuple[str, str]]:
    return [(frame.format(word), target) for word, target in WORDS.items() for frame in frames]


PAIRS, HELD_OUT = in_frames(FRAMES), in_frames(HELD_OUT_FRAMES)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "project/scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and dev.jsonl, whose words stand in other sentences."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, some in (("train", PAIRS), ("dev", HELD_OUT)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for source, target in some:
                record = {"source": source, "target": target}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture(scope="session")
def train(checkpoint: Callable[[str], Path], pairs: Path) -> Callable[..., None]:
    """Run the script with settings for a tiny encoder."""
    main = script("train_seq2seq").main

    def run(out: Path, **settings: object) -> None:
        given = {
            "paths.train": pairs / "train.jsonl",
            "paths.dev": pairs / "dev.jsonl",
            "paths.test": pairs / "train.jsonl",
            "paths.encoder": checkpoint("bert-fast"),
            "paths.output": out,
            "training.max_steps": 300,
            "training.batch_size": 9,
            "training.learn_rate": 1e-2,
            "training.eval_steps": 100,
            "training.save_steps": 150,
            "training.logging_steps": 50,
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
