"""`python -m spacy jbert init`: somebody's data -> a project for them."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpora.readers import Format
from ..errors import Errors
from ..terminal import replace_unshowable
from .output import coded_errors

ProjectTask = Literal[
    "auto", "ner", "textcat", "textcat_multilabel", "joint", "text", "pretrain", "adapt"
]


def init_cli(
    folder: Annotated[Path, typer.Argument(help="The project to make")],
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Your data: any file `convert` reads")
    ] = None,
    task: Annotated[ProjectTask, typer.Option("--task", "-t", help="What is to be learned")] = (
        "auto"
    ),
    name: Annotated[
        str | None, typer.Option("--name", help="Of the package  [default: the folder's]")
    ] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="If it isn't found out")] = (
        "auto"
    ),
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="If it isn't found out, such as cp932")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option("--text-field", help="Field of the text; dots go down")
    ] = None,
    label_field: Annotated[
        str | None, typer.Option("--label-field", help="Field of the label, or the labels")
    ] = None,
    entities_field: Annotated[
        str | None, typer.Option("--entities-field", help="Field of the entities")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="Folder, or name on the Hugging Face hub  [default: the small one that comes "
            "along]",
        ),
    ] = None,
    lang: Annotated[
        Literal["ja", "en"] | None, typer.Option("--lang", help="[default: the system's]")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the project's files anew; yours stay")
    ] = False,
) -> None:
    """Look at data, say what is in it, and write a project: `spacy project run all` in it converts,
    trains, evaluates, reports, and builds a wheel."""
    from ..corpora.inspection import Inspection, inspect
    from ..project import create
    from ..project.wording import language, say

    replace_unshowable()
    with coded_errors():
        wanted = {"auto": None, "pretrain": "text", "adapt": "text"}.get(task, task)
        from_scratch = task == "pretrain" and encoder is None
        if not from_scratch:
            create.check_encoder(encoder)
        if data is not None:
            found = inspect(
                data,
                task=wanted,
                format=format,
                encoding=encoding,
                text_field=text_field,
                label_field=label_field,
                entities_field=entities_field,
            )
            create.check(found)
        elif wanted is not None:
            found = Inspection(Path(), "auto", None, "UTF-8", wanted)
            found.text_field, found.label_field = text_field, label_field
        else:
            raise ValueError(Errors.J326)
        folder = folder.absolute()
        called = package_name(name or folder.resolve().name)
        plan = create.Plan(folder, called, found, encoder, lang or language(), from_scratch)
        for line in create.described(plan):
            print(f"- {line}")
        files = create.write(plan, force=force)
    shown = [file for file in files if not file.startswith("assets/")]
    print(f"\n{say('done', plan.lang, folder=folder, files=', '.join(shown))}")
    print(say("next", plan.lang))
    for command in (f"cd {create.quoted(str(folder))}", "python -m spacy project run all"):
        print(f"    {command}")
    print("    python -m spacy project run demo")


def package_name(name: str) -> str:
    """RETURNS (str): A name as part of a Python package's. RAISES: ValueError J330."""
    called = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not called:
        raise ValueError(Errors.J330.format(name=name))
    return called
