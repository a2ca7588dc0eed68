"""`python -m spacy jbert demo`: type texts, see what a pipeline says."""

import io
import sys
from collections.abc import Iterator
from typing import Annotated

import spacy
import typer
from spacy.tokens import Doc

from ..terminal import replace_unshowable
from .output import coded_errors


def demo_cli(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, the lines of stdin")
    ] = None,
) -> None:
    """Show the entities and categories of each text, with how sure the pipeline is of them."""
    replace_unshowable()
    with coded_errors():
        nlp = spacy.load(model)
        for text in texts or typed():
            if text.strip():
                print("\n".join(said(nlp(text))), flush=True)


def typed() -> Iterator[str]:
    """YIELDS (str): The lines of stdin, asked for where somebody sits before a terminal."""
    asking = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper) and not asking:
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="replace")
    if asking:
        print(
            "A text and Enter; Ctrl-D or an empty line ends. / 文を入力してください（空行で終了）"
        )
    while True:
        if asking:
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or (asking and not line.strip()):
            return
        yield line.rstrip("\r\n")


def said(doc: Doc) -> Iterator[str]:
    """YIELDS (str): A text, then an entity or a category a line, with its confidence."""
    yield doc.text
    for entity in doc.ents:
        score = entity._.jbert_score if entity.has_extension("jbert_score") else None
        yield f"    {entity.text}\t{entity.label_}" + ("" if score is None else f"\t{score:.2f}")
    for label, score in sorted(doc.cats.items(), key=lambda item: -item[1])[:5]:
        yield f"    {label}\t{score:.2f}"
    if not doc.ents and not doc.cats:
        yield "    –"
