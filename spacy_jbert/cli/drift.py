"""`python -m spacy jbert drift`: whether texts, and what is found in them, have changed."""

import sys
from pathlib import Path
from typing import Annotated

import spacy
import typer
from rich.console import Console
from rich.table import Table

from ..errors import Errors
from ..terminal import replace_unshowable
from .output import coded_errors, print_json

DRIFTED = 3
"""The exit status where something has changed; 1 is for errors."""


def drift_cli(
    reference: Annotated[
        Path,
        typer.Argument(help="Annotated documents: .spacy, .jsonl, .parquet, or a folder of them"),
    ],
    new: Annotated[Path, typer.Argument(help="The same of today")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Compare the unknown wordpieces of its encoder too"),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="How often chance alone may raise the alarm")
    ] = 0.01,
    least: Annotated[
        float, typer.Option(min=0, max=1, help="Distances below it don't matter")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines")] = False,
) -> None:
    """Compare two annotated sets: labels, confidence, unknown wordpieces, length. The exit status
    is 3 where they differ by more than chance, and enough to matter.
    """
    from ..evaluation.drift import Difference, compare, count_unknown, read

    replace_unshowable()
    with coded_errors():
        both = [read(reference), read(new)]
        counts = [sum(doc.looked_at for doc in docs) for docs in both]
        if not all(counts):
            raise ValueError(
                Errors.J439.format(
                    reference=reference,
                    count_reference=counts[0],
                    new=new,
                    count_new=counts[1],
                )
            )
        if model is not None:
            nlp = spacy.load(model)
            for docs in both:
                count_unknown(docs, nlp)
        found: list[Difference] = compare(*both, alpha=alpha, least=least)
        drifted = any(one.drifted for one in found)
        if as_json:
            documents = {"reference": len(both[0]), "new": len(both[1])}
            figures = [one._asdict() for one in found]
            print_json({"drifted": drifted, "documents": documents, "figures": figures})
        else:
            table = Table()
            for name in ("", "reference", "new", "distance", "p", ""):
                table.add_column(name, overflow="fold")
            for one in found:
                means = ("" if mean is None else f"{mean:.3g}" for mean in (one.reference, one.new))
                sign = "DRIFT " if one.drifted else ""
                table.add_row(
                    one.what, *means, f"{one.distance:.3f}", f"{one.p:.3f}", sign + one.note
                )
            Console(width=None if sys.stdout.isatty() else 140).print(table)
    if drifted:
        raise typer.Exit(DRIFTED)
