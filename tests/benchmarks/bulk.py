"""`jbert annotate`: documents a second and memory, by workers and by size of the input. Linux only.

    python -m tests.benchmarks.bulk MODEL --megabytes 200,2000 --workers 1,2

The input is JSONL of the sample's texts; each gets a number of its own, so that no two are the
same. With --others, a record has a second field of so many texts, which goes through as it is: more
bytes for the same annotation. MODEL "blank" is a pipeline that only cuts at punctuation. Both are
for the memory of what is around a pipeline.

    python -m tests.benchmarks.bulk MODEL --documents 1024

measures what one worker does, without its start, in CPU time: on a machine that others use too, all
that means anything.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Annotated

import spacy
import torch
import typer

from spacy_jbert.serving.bulk import _batches
from spacy_jbert.serving.entries import Source
from spacy_jbert.serving.manifest import Done
from spacy_jbert.serving.workers import Job, annotate_batch

from .measure import ROOT

SAMPLE = ROOT / "project" / "assets" / "sample" / "texts.jsonl"


def main(
    model: Annotated[str, typer.Argument(help="Folder of a pipeline, or blank")],
    megabytes: Annotated[str, typer.Option(help="Sizes of the input")] = "200,2000",
    workers: Annotated[str, typer.Option(help="Numbers of workers")] = "1,2",
    others: Annotated[int, typer.Option(help="Texts in the other field of a record")] = 0,
    documents: Annotated[int, typer.Option(help="Only a worker's work on so many")] = 0,
    ray: Annotated[
        bool, typer.Option(help="Workers of a local Ray, whose CPU time and memory aren't counted")
    ] = False,
) -> None:
    if documents:
        print(f"{alone(model, documents):,.0f} documents in a second of CPU time")
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, megabytes.split(",")):
            source = Path(folder) / f"{size}.jsonl"
            documents = generate(source, size * 1_000_000, others)
            for number in map(int, workers.split(",")):
                out = Path(folder) / f"{size}-{number}"
                found = measured(source, _model(model, Path(folder)), out, number, ray)
                seconds, cpu, peaks = found
                print(
                    f"{size} MB, {documents:,} documents, {number} workers: {seconds:,.0f} s, "
                    f"{documents / seconds:,.0f} documents/s; {cpu:,.0f} s of CPU time, "
                    f"{documents / cpu:,.0f} documents/s of it; peak memory, MB: "
                    + ", ".join(f"{name} {peak / 1000:,.0f}" for name, peak in peaks.items()),
                    flush=True,
                )
            source.unlink()


def _model(model: str, folder: Path) -> str:
    if model != "blank":
        return model
    nlp = spacy.blank("xx")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(folder / "blank")
    return str(folder / "blank")


def alone(model: str, documents: int) -> float:
    """RETURNS (float): Documents in a second of CPU time, of one worker on one thread."""
    torch.set_num_threads(1)
    job = Job(model, "jsonl", "text", "", 1, -1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.jsonl"
        lines = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
        some = "".join(lines[i % len(lines)] for i in range(documents))
        source.write_text(some, encoding="utf-8")
        # Of the sample's records only the texts count: they come annotated.
        batches = [
            [entry._replace(fields={"text": entry.fields["text"]}) for entry in batch]
            for _, batch in _batches(Source([source]), Done(), documents)
        ]
    annotate_batch(job, batches[0])
    began = time.process_time()
    done = sum(annotate_batch(job, batch).documents for batch in batches)
    return done / (time.process_time() - began)


def generate(path: Path, size: int, others: int) -> int:
    """Write a file of about so many bytes. RETURNS (int): How many documents it has."""
    texts = [json.loads(line)["text"] for line in SAMPLE.open(encoding="utf-8")]
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for number in count():
            if written >= size:
                return number
            record = {"id": number, "text": f"{number}番。{texts[number % len(texts)]}"}
            if others:
                record["page"] = "".join(
                    texts[(number + i) % len(texts)] for i in range(1, others + 1)
                )
            line = json.dumps(record, ensure_ascii=False)
            written += len(line.encode()) + 1
            file.write(line + "\n")
    raise AssertionError


def measured(
    source: Path, model: str, out: Path, workers: int, ray: bool = False
) -> tuple[float, float, dict[str, int]]:
    """RETURNS: Seconds and seconds of CPU time of all processes, the start included, and the highest
    kilobytes of each.
    """
    command = [sys.executable, "-m", "spacy", "jbert", "annotate", str(source)]
    command += ["--model", model, "--out", str(out), "--workers", str(workers)]
    command += ["--ray", "local"] if ray else []
    began, used = time.perf_counter(), _cpu()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in [process.pid, *_children(process.pid)]:
            peaks[pid] = max(peaks.get(pid, 0), _peak(pid))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds = time.perf_counter() - began
    main_peak = peaks.pop(process.pid)
    return seconds, _cpu() - used, {"main": main_peak, "worker": max(peaks.values())}


def _cpu() -> float:
    """RETURNS (float): Seconds of CPU time of processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:  # it has ended
        return []


def _peak(pid: int) -> int:
    """The most memory that a process has had, in kilobytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(next((line.split()[1] for line in status.splitlines() if "VmHWM" in line), 0))


if __name__ == "__main__":
    typer.run(main)
