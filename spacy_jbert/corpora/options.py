"""What every converter has in common on the command line: its options, and how it ends."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DataError
from ..terminal import replace_unshowable
from .readers import Quoting

# The options that every converter has.
Source = Annotated[Path | None, typer.Argument(help="One file, to be split", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for {train,dev,test}.spacy")]
Train = Annotated[
    Path | None,
    typer.Option("--train", help="File of the training split, where the data come split"),
]
Dev = Annotated[Path | None, typer.Option("--dev", help="File of the development split")]
Test = Annotated[Path | None, typer.Option("--test", help="File of the test split")]
Ratio = Annotated[
    str, typer.Option("--split", help="How one file is shared out: percentages for train/dev/test")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the shuffle before the split")]
SplitField = Annotated[
    str | None,
    typer.Option("--split-field", help="Field that names each record's split, instead of --split"),
]
TableQuoting = Annotated[
    Quoting,
    typer.Option(
        "--quoting",
        help='How cells of CSV and TSV are quoted: as in CSV ("a ""b"" c"), not at all (none), or '
        "as the file shows",
    ),
]
SplitMode = Annotated[
    Literal["A", "B", "C"],
    typer.Option("--split-mode", help="Sudachi's split mode for the reference tokens"),
]


def run(command: Callable[..., None]) -> None:
    """Run a script's command; a DataError, or a file that the system won't open, is one line on
    stderr and exit status 1. What the terminal can't show is escaped.
    """
    replace_unshowable()
    try:
        typer.run(command)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
