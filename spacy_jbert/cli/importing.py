"""`python -m spacy jbert import`: a fine-tuned checkpoint -> a pipeline."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DataError, Errors
from ..terminal import replace_unshowable
from .output import coded_errors


def import_cli(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with a model for token or sequence classification"),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the pipeline")],
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Names in place of its own, in their order: A,B,C"),
    ] = None,
    level: Annotated[
        Literal["pieces", "first"],
        typer.Option(help="Entities by each wordpiece's tag, or by that of a token's first"),
    ] = "pieces",
    force: Annotated[bool, typer.Option("--force", help="Write over a pipeline")] = False,
) -> None:
    """Make a pipeline of a checkpoint that is fine-tuned already: entities, or categories."""
    from ..importing import import_checkpoint

    replace_unshowable()
    with coded_errors():
        if out.exists() and not force and (not out.is_dir() or any(out.iterdir())):
            raise DataError(Errors.J324.format(path=out))
        named = None if labels is None else [label.strip() for label in labels.split(",")]
        nlp = import_checkpoint(folder, labels=named, level=level)
        nlp.to_disk(out)
    head = nlp.pipe_names[-1]
    found = ", ".join(nlp.get_pipe(head).labels)
    print(f"{out}: {', '.join(nlp.pipe_names)} ({found})")
