"""How benchmarks are measured: ours and the stock part in turns, in one process, the median of
several pairs, as a ratio.
"""

import lzma
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import srsly
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "project" / "assets" / "sample" / "texts.jsonl"


@dataclass(frozen=True)
class Settings:
    """What the command line sets for every benchmark.

    repeats (int): Pairs of measurements.
    encoder (Path | None): A checkpoint folder with real weights; None where there is none.
    backend (str): What runs our encoder in `inference`: torch, onnx or onnx-int8.
    precision (str): That of our encoder in `inference` and `training` with torch: fp32 or bf16.
    seconds (float): How long each run of `serve` lasts.
    """

    repeats: int
    encoder: Path | None
    backend: str = "torch"
    precision: str = "fp32"
    seconds: float = 10.0


class Row(NamedTuple):
    """One line of the table.

    what: What is measured. unit: Of `ours` and `stock`, for example "tokens/s". ours, stock:
        Medians. ratio: The median over the pairs;
    how many times better ours is. low, high: The least and the greatest ratio of a pair. goal: The
    ratio to reach, None if there is none."""

    what: str
    unit: str
    ours: float
    stock: float
    ratio: float
    low: float
    high: float
    goal: float | None = None


Benchmark = Callable[[Settings], Iterator[Row]]


def race(
    what: str,
    *,
    work: float,
    unit: str,
    ours: Callable[[], Any],
    stock: Callable[[], Any],
    settings: Settings,
    stock_work: float | None = None,
    goal: float | None = None,
    warm_up: bool = True,
) -> Row:
    """Time both in turns, so that what else the machine does meets both alike.

    work (float): How many units one call does: characters, tokens, wordpieces.
    stock_work (float | None): The same of stock, if it differs.
    RETURNS (Row): Units a second.
    """
    if warm_up:
        ours()
        stock()
    seconds: list[tuple[float, float]] = []
    for i in tqdm(range(settings.repeats), desc=what, leave=False):
        # Whoever comes first changes from pair to pair.
        first, second = (ours, stock) if i % 2 == 0 else (stock, ours)
        times = _time(first), _time(second)
        seconds.append(times if i % 2 == 0 else times[::-1])
    stock_work = work if stock_work is None else stock_work
    return compare(what, unit, [(work / a, stock_work / b) for a, b in seconds], goal=goal)


def compare(
    what: str,
    unit: str,
    pairs: list[tuple[float, float]],
    *,
    goal: float | None = None,
    less_is_better: bool = False,
) -> Row:
    """The row of pairs (ours, stock) that were measured otherwise."""
    ratios = [stock / ours if less_is_better else ours / stock for ours, stock in pairs]
    ours, stock = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row(what, unit, ours, stock, statistics.median(ratios), min(ratios), max(ratios), goal)


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def real_lines(characters: int) -> list[str]:
    """Lines of real text, in turns from all corpora of ../shared, of at least so many characters;
    the embedded sample's texts, again and again, where ../shared is missing."""
    files = sorted((SHARED / "corpora" / "pretrain").glob("*.txt.xz"))
    if not files:
        texts = [row["text"] for row in srsly.read_jsonl(SAMPLE)]
        return texts * (characters // sum(map(len, texts)) + 1)
    lines: list[str] = []
    for file in files:
        with lzma.open(file, "rt", encoding="utf-8") as stream:
            room = characters // len(files) + 1
            for line in islice(stream, 10_000_000):
                if text := line.strip():
                    lines.append(text)
                    room -= len(text)
                    if room < 0:
                        break
    return lines
