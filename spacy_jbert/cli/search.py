"""`python -m spacy jbert search`: the texts of an index that fit best."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DataError, Errors
from ..terminal import replace_unshowable
from .output import coded_errors, print_json

By = Literal["vectors", "words", "hybrid"]


def search_cli(
    index: Annotated[Path, typer.Argument(help="Folder of an index", show_default=False)],
    queries: Annotated[
        list[str] | None,
        typer.Argument(help="What to search for; none: a line each on standard input"),
    ] = None,
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The pipeline that made the index")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many texts")] = 5,
    by: Annotated[
        By | None,
        typer.Option(
            "--by", help="Vectors, words (BM25), or both fused; hybrid if the index has words"
        ),
    ] = None,
    weight: Annotated[
        float, typer.Option("--weight", min=0.0, max=1.0, help="Of vectors in hybrid")
    ] = 0.5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Everything about each text, as JSON")
    ] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Search an index that `jbert index` made."""
    replace_unshowable()
    with coded_errors():
        from ..search.index import Index
        from .evaluated import load

        found = Index.load(index, load(model, gpu_id))
        for query in queries or _lines():
            hits = found.search(query, n, by=by, weight=weight)
            if as_json:
                print_json({"query": query, "hits": [hit._asdict() for hit in hits]})
                continue
            print(query)
            for hit in hits:
                print(f"  {hit.score:.4f}  {hit.id}  {hit.text}")


def _lines() -> Iterator[str]:
    try:
        yield from filter(None, map(str.strip, sys.stdin))
    except UnicodeDecodeError as error:
        message = Errors.J203.format(
            byte=f"0x{error.object[error.start]:02x}", position=error.start, guess="cp932"
        )
        raise DataError(message, path="stdin") from None
