"""`python -m spacy jbert index`: texts to a folder that is searched."""

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import replace_unshowable
from .output import coded_errors


def index_cli(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text (one a line), JSONL, JSON, CSV, TSV, Parquet, Excel",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Folder or package of a pipeline with vectors")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the index")],
    add: Annotated[
        bool, typer.Option("--add", help="To the texts that the index has already")
    ] = False,
    text_field: Annotated[str, typer.Option("--text-field", help="Where records have it")] = "text",
    id_field: Annotated[
        str | None, typer.Option("--id-field", help="Where they have their name, if not in id")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words/--no-words", help="For search by words (BM25) too")
    ] = True,
    stop_words: Annotated[
        str,
        typer.Option(
            "--stop-words", help="Words that don't count: default, none, or a file, one a line"
        ),
    ] = "default",
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text that isn't UTF-8, such as cp932")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts at once")] = 256,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Make an index of texts, for `jbert search`: their vectors, their words, and what else their
    records hold."""
    replace_unshowable()
    with coded_errors():
        from ..search.entries import read_entries
        from ..search.index import Index
        from ..search.words import read_stop_words
        from .evaluated import load

        left_out = read_stop_words(stop_words)
        nlp = load(model, gpu_id)
        entries = read_entries(inputs, text_field=text_field, id_field=id_field, encoding=encoding)
        if add:
            index = Index.load(out, nlp)
            index.add(entries, batch_size=batch_size)
        else:
            index = Index.build(
                nlp, entries, out, words=words, stop_words=left_out, batch_size=batch_size
            )
    print(f"{out}: {len(index):,} texts")
