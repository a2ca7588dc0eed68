"""`python -m spacy jbert doctor`: what is wrong with annotated data, record by record."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from ..errors import DataError, Errors
from ..terminal import replace_unshowable
from .output import coded_errors, print_json

if TYPE_CHECKING:
    from spacy.tokens import Doc

    from ..corpora.doctor import Finding

Task = Literal["ner", "textcat", "textcat_multilabel", "joint"]


def doctor_cli(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of converted data, a DocBin, or with --task a file of records; each "
            "file is a part",
            exists=True,
        ),
    ],
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="One more of these", exists=True)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Training config, to find labels that are likely wrong"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for what is trained, with --config")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", "--k", min=3, help="How many parts")] = 5,
    task: Annotated[
        Task | None, typer.Option("--task", "-t", help="Of files of records: what is annotated")
    ] = None,
    text_field: Annotated[str, typer.Option("--text-field")] = "text",
    label_field: Annotated[str, typer.Option("--label-field")] = "label",
    entities_field: Annotated[str | None, typer.Option("--entities-field")] = None,
    group_field: Annotated[
        str | None, typer.Option("--group-field", help="Records of one group belong in one part")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many of a kind")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines, all of it")] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Find contradictions, leaks between parts, rare labels, strings annotated now so, now
    otherwise; and with --config and --out labels that are likely wrong, by training folds. What is
    stopped goes on with the next fold. Settings of the config follow as for `spacy train`."""
    from spacy.cli._util import parse_config_overrides

    from ..corpora.doctor import examine, recorded
    from ..tuning.suspects import find_suspects

    replace_unshowable()
    with coded_errors():
        if (config is None) != (out is None):
            raise typer.BadParameter("--config and --out need each other")
        overrides = parse_config_overrides(context.args)
        parts = _read(
            [data, *(also or ())],
            task,
            text_field=text_field,
            label_field=label_field,
            entities_field=entities_field,
            group_field=group_field,
            encoding=encoding,
        )
        found = examine(parts)
        if config is not None and out is not None:
            # What training prints would be no JSON.
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                found += find_suspects(
                    config,
                    recorded(parts),
                    out,
                    count=folds,
                    overrides=overrides,
                    gpu_id=gpu_id,
                )
        if as_json:
            print_json([_row(one) for one in found])
        else:
            _show(found, limit)
            if config is None:
                print("Labels that are likely wrong: --config CONFIG --out FOLDER")


def _read(data: Sequence[Path], task: Task | None, **fields: Any) -> "dict[str, list[Doc]]":
    """The documents of each file, by its name."""
    from ..corpora.docs import find_docbins, japanese_tokenizer, labels_of, read_docbin
    from ..corpora.formats import is_docbin
    from ..corpora.records import complete_categories

    vocab = japanese_tokenizer().vocab
    parts: dict[str, list[Doc]] = {}
    for path in data:
        if task is None or is_docbin(path):
            read = {file.stem: read_docbin(file, vocab) for file in find_docbins(path)}
        else:
            read = {path.stem: _read_records(path, task, **fields)}
        for name, docs in read.items():
            parts.setdefault(name, []).extend(docs)
    if task in ("textcat", "textcat_multilabel"):
        complete_categories(parts, unlabelled=task == "textcat_multilabel")
    if not any(labels_of(doc) for docs in parts.values() for doc in docs):
        raise DataError(Errors.J476, path=data[0])
    return parts


def _read_records(path: Path, task: Task, **fields: Any) -> "list[Doc]":
    from ..corpora.labels import LabelMap
    from ..corpora.records import Reader

    reader = Reader(
        task=task,
        format="auto",
        quoting="auto",
        sheet=1,
        separator=",",
        overlaps="longest",
        exclude_label_containing=None,
        skip_unlabelled=True,
        label_map=LabelMap(None),
        split_field=None,
        split_mode="A",
        **fields,
    )
    return list(reader.read(path))


def _row(one: "Finding") -> dict[str, Any]:
    records = [{"part": part, "id": name} for part, name in one.records]
    return {**one._asdict(), "records": records}


def _show(found: "Sequence[Finding]", limit: int) -> None:
    from ..corpora.doctor import KINDS

    # Where there is no terminal, rich would take it for 80 columns wide.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 140)
    for kind, title in KINDS.items():
        of_kind = [one for one in found if one.kind == kind]
        if not of_kind:
            continue
        table = Table("", "", "records", title=f"{title}: {len(of_kind)}", title_justify="left")
        for one in of_kind[:limit]:
            places = [f"{part} {name}" for part, name in one.records]
            more = f" … ({len(places)})" if len(places) > 3 else ""
            table.add_row(_shortened(one.what), one.detail, ", ".join(places[:3]) + more)
        console.print(table)
        if len(of_kind) > limit:
            console.print(f"{len(of_kind) - limit} more: --limit {len(of_kind)}, or --json")
    if not found:
        console.print("Nothing was found.")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
