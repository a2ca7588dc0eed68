"""What `jbert export --backend onnx` makes, against stock with the same weights: text to entities
in a stream, one call, memory, and the size of the wheels. Called by `inference --backend`."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from spacy.language import Language

from spacy_jbert.exporting import export_onnx

from .loading import _in_a_process
from .measure import ROOT, Row, Settings, compare, race
from .pipelines import OURS, STOCK, articles, build, gsd, queries, stockmark


def run(settings: Settings) -> Iterator[Row]:
    """`ours` is run by onnxruntime, in fp32 or (onnx-int8) int8, with as many threads as torch."""
    assert settings.encoder is not None
    int8 = settings.backend == "onnx-int8"
    ours, stock = (build(config, settings.encoder, gsd)[0] for config in (OURS, STOCK))
    export_onnx(ours, int8=int8)
    goal = 3.0 if int8 else 2.0
    sentences = [eg.text for eg in stockmark(ours, 48)]
    long = articles(1)
    window = ours.get_pipe("transformer").model.attrs
    for name, texts, limit in (
        ("Stockmark sentences", sentences, None),
        ("ASDC queries", queries(96), None),
        ("articles", long, None),
        ("articles, windows of 128", long, 128),
    ):
        window["window"] = limit
        yield race(
            f"{settings.backend}: pipe: {name}, as text",
            work=sum(len(ours.make_doc(text)) for text in texts),
            unit="tokens/s",
            ours=lambda texts=texts: list(ours.pipe(texts)),
            stock=lambda texts=texts: list(stock.pipe(texts)),
            settings=settings,
            goal=goal,
        )
    window["window"] = None
    yield from _calls(ours, stock, sentences, settings)
    with tempfile.TemporaryDirectory() as folder:
        yield from _sizes(ours, stock, Path(folder), settings)


def _calls(ours: Language, stock: Language, texts: list[str], settings: Settings) -> Iterator[Row]:
    """One `nlp(text)` after another, ours and stock in turns."""
    times = []
    for _ in range(settings.repeats):
        pair = np.zeros((len(texts), 2))
        for i, text in enumerate(texts):
            for side, nlp in enumerate((ours, stock)):
                start = time.perf_counter()
                nlp(text)
                pair[i, side] = time.perf_counter() - start
        times.append(pair)
    for what, quantile in (("median", 0.5), ("p99", 0.99)):
        pairs = [tuple(1e3 * np.quantile(pair, quantile, axis=0)) for pair in times]
        name = f"{settings.backend}: one call, {what} of {len(texts)} sentences"
        yield compare(name, "ms", pairs, less_is_better=True)


def _sizes(ours: Language, stock: Language, folder: Path, settings: Settings) -> Iterator[Row]:
    """Peak memory above that of the imports, with one text; the wheels."""
    pipelines = {"ours": ours, "stock": stock}
    for name, nlp in pipelines.items():
        nlp.to_disk(folder / name)
    loads = [
        [_in_a_process(folder / name) for name in pipelines]
        for _ in range(min(settings.repeats, 3))
    ]
    for moment, when in (("loaded", "loaded"), ("used", "after a text")):
        pairs = [tuple(getattr(load, moment) / 1e6 for load in pair) for pair in loads]
        name = f"{settings.backend}: peak memory, {when}"
        yield compare(name, "MB", pairs, less_is_better=True)
    seconds = [tuple(load.seconds for load in pair) for pair in loads]
    yield compare(f"{settings.backend}: spacy.load", "s", seconds, less_is_better=True)
    wheels = tuple(_wheel(folder, name) / 1e6 for name in pipelines)
    yield compare(f"{settings.backend}: wheel", "MB", [wheels], less_is_better=True)


def _wheel(folder: Path, name: str) -> int:
    """RETURNS (int): The bytes of a packaged pipeline."""
    out = folder / f"{name}-package"
    out.mkdir()
    command = [sys.executable, "-m", "spacy", "package", str(folder / name), str(out)]
    command += ["--name", name, "--build", "wheel"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(out.rglob("*.whl")).stat().st_size
