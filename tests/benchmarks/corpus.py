"""Memory and speed of preparing a pretraining corpus, in a process of its own: resident memory
against bytes of text.

Of more text than there is in `../shared`, each further copy of a line ends with the copy's number,
so that none is dropped as a repetition. Rows compare a text with one a quarter as long: memory that
is flat has a ratio near 1. Nothing here has a stock part. For a larger text set CORPUS_MB (30 by
default), the megabytes of text:

    CORPUS_MB=1000 python -m tests.benchmarks corpus
"""

import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil

from .measure import Row, Settings, compare, real_lines

_BYTES_A_CHARACTER = 2.9


def run(settings: Settings) -> Iterator[Row]:
    megabytes = float(os.environ.get("CORPUS_MB", "30"))
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for share in (4, 1):
            path = Path(folder, f"text-{share}.txt")
            _write(path, int(megabytes * 1e6 / share))
            results.append(_in_a_process(path))
            path.unlink()
    small, large = results
    sizes = f"{large['megabytes']:.0f} MB of text, against {small['megabytes']:.0f} MB"
    for name in ("peak", "workers"):
        what = "the reading process" if name == "peak" else "the processes that cut"
        yield compare(
            f"peak memory of {what}: {sizes}",
            "MB",
            [(large[name], small[name])],
            less_is_better=True,
        )
    yield compare(
        f"preparing a corpus, one process: {sizes}",
        "s/GB",
        [(large["time"], small["time"])],
        less_is_better=True,
    )


def _write(path: Path, size: int) -> None:
    """Write so many bytes of text in documents of ten lines."""
    lines = real_lines(int(size / _BYTES_A_CHARACTER))
    with path.open("wb") as file:
        for copy in count():
            for i, line in enumerate(lines):
                file.write(f"{line}{copy or ''}\n{'' if i % 10 else chr(10)}".encode())
                if file.tell() >= size:
                    return


def _in_a_process(path: Path) -> dict[str, float]:
    result = path.with_suffix(".json")
    process = multiprocessing.get_context("spawn").Process(target=_prepare, args=(path, result))
    process.start()
    process.join()
    figures: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return figures


def _prepare(path: Path, result: Path) -> None:
    import spacy

    from spacy_jbert.pretraining.corpus import prepare
    from spacy_jbert.pretraining.text import Cleaning
    from spacy_jbert.pretraining.vocabulary import trained_vocabulary

    nlp = spacy.blank(
        "ja",
        config={
            "nlp": {
                "tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "split_mode": "A"}
            }
        },
    )
    head = path.with_suffix(".head.txt")
    with path.open(encoding="utf-8") as file:
        head.write_text(file.read(200_000), encoding="utf-8")
    tokenizer = trained_vocabulary(str(head), size=8192, workers=1)(nlp)
    largest = {"peak": 0, "workers": 0}
    threading.Thread(target=_watch, args=(largest,), daemon=True).start()
    begun = time.perf_counter()
    prepare(
        nlp,
        tokenizer,
        words="doc",
        path=str(path),
        folder=path.parent,
        cleaning=Cleaning(),
        length=510,
        held_out=0.01,
    )
    seconds = time.perf_counter() - begun
    megabytes = path.stat().st_size / 1e6
    figures = {"megabytes": megabytes, "time": seconds / megabytes * 1e3} | {
        name: size / 1e6 for name, size in largest.items()
    }
    result.write_text(json.dumps(figures), encoding="utf-8")


def _watch(largest: dict[str, int]) -> None:
    """Note the memory of this process, and of the largest that it has begun.

    getrusage won't do: a new process begins with its parent's.
    """
    this = psutil.Process()
    while True:
        largest["peak"] = max(largest["peak"], this.memory_info().rss)
        for child in this.children():
            try:
                largest["workers"] = max(largest["workers"], child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.2)
