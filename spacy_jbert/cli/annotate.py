"""`python -m spacy jbert annotate`: a pipeline over files of any size."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from ..errors import Warnings
from ..serving.shards import OutputFormat
from ..terminal import replace_unshowable
from .output import coded_errors

InputFormat = Literal[
    "auto", "text", "jsonl", "json", "csv", "tsv", "parquet", "excel", "datasets", "docbin"
]


def annotate_cli(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text (one a line), JSONL, JSON, CSV, TSV, Parquet, Excel, "
            "DocBins; text also packed (.gz, .xz, .bz2, .zst)",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Folder or package of a trained pipeline")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the shards; a run in it goes on")
    ],
    format: Annotated[OutputFormat, typer.Option("--format", "-f", help="Of the shards")] = "jsonl",
    workers: Annotated[
        int,
        typer.Option(
            "--workers", "-w", min=1, help="Processes, each with the pipeline: as many as cores"
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster that has the workers: auto, HOST:PORT, ray://HOST:PORT, or local",
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each process")] = 1,
    text_field: Annotated[
        str, typer.Option("--text-field", help="Dots go down: utterances.0.text")
    ] = "text",
    input_format: Annotated[
        InputFormat,
        typer.Option("--input-format", help="What the input is, if that isn't found out"),
    ] = "auto",
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text that isn't UTF-8, such as cp932")
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", help="Before the names of the fields with annotation")
    ] = "",
    shard_size: Annotated[
        int, typer.Option("--shard-size", min=1, help="Records in a shard")
    ] = 10_000,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
    question: Annotated[
        list[str] | None,
        typer.Option("--question", "-q", help="Asked of each text; may be given several times"),
    ] = None,
    question_field: Annotated[
        str | None, typer.Option("--question-field", help="The field with a record's questions")
    ] = None,
) -> None:
    """Annotate files, however large, into numbered shards. Stopped or killed, the same command goes
    on, and what comes out is the same to the byte."""
    from ..serving.bulk import annotate

    replace_unshowable()
    with coded_errors(), _stopping(out):
        done = annotate(
            inputs,
            model=model,
            out=out,
            format=format,
            input_format=input_format,
            text_field=text_field,
            encoding=encoding,
            prefix=prefix,
            shard_size=shard_size,
            workers=workers,
            ray=ray,
            threads=threads,
            gpu_id=gpu_id,
            questions=tuple(question or ()),
            question_field=question_field,
        )
    print(f"{out}: {done.documents:,} documents in {done.shards:,} shards")
    if done.rejected:
        print(Warnings.JW451.format(count=done.rejected, path=out), file=sys.stderr)


@contextmanager
def _stopping(out: Path) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run with a line that says how it goes on, and the exit status of
    that signal.
    """
    received = signal.SIGINT

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        print(Warnings.JW452.format(path=out), file=sys.stderr)
        raise typer.Exit(128 + received) from None
    finally:
        signal.signal(signal.SIGTERM, before)
