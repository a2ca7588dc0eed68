"""`python -m spacy jbert convert`: corpora of any kind -> spaCy's DocBins."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from confection import Config

from ..corpora.delimited import Quoting
from ..corpora.lines import check_file
from ..corpora.readers import Format, Shuffle
from ..corpora.values import shortened
from ..errors import DataError, Errors
from ..terminal import replace_unshowable
from .output import coded_errors

ConversionTask = Literal["ner", "textcat", "textcat_multilabel", "joint", "qa", "text"]


def settings_of(context: typer.Context, path: Path | None) -> Path | None:
    """Take the settings of a config's [convert] section where the command line says nothing.

    RAISES: DataError J263 for a file without that section, J264 for settings that there aren't.
    """
    if path is None:
        return None
    with coded_errors():
        check_file(path)
        try:
            section = Config().from_disk(path)["convert"]
        except (ValueError, KeyError) as error:
            raise DataError(Errors.J263.format(reason=shortened(str(error))), path=path) from None
        known = [name for parameter in context.command.params if (name := parameter.name)]
        if unknown := set(section) - set(known) | {"config"} & set(section):
            message = Errors.J264.format(
                names=", ".join(sorted(unknown)), known=", ".join(sorted(known))
            )
            raise DataError(message, path=path)
    context.default_map = {**(context.default_map or {}), **section}
    return path


def convert_cli(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            help="One file, which is split; for running text files and folders; for --task joint "
            "also two folders of converted corpora",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for {train,dev,test}.spacy, or a text file")
    ],
    task: Annotated[ConversionTask, typer.Option("--task", "-t", help="What is to be learned")],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            is_eager=True,
            callback=settings_of,
            help="Config whose section [convert] has any of these settings",
        ),
    ] = None,
    train: Annotated[
        Path | None, typer.Option("--train", help="The training part, where data come split")
    ] = None,
    dev: Annotated[Path | None, typer.Option("--dev", help="The development part")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="The test part")] = None,
    split: Annotated[
        str, typer.Option("--split", help="How one file is shared out: per cent train/dev/test")
    ] = "80/10/10",
    seed: Annotated[int, typer.Option("--seed", help="Of the shuffle before the split")] = 42,
    shuffle: Annotated[
        Shuffle,
        typer.Option(
            "--shuffle", help="By labels, identical texts together; or as they come (plain)"
        ),
    ] = "stratified",
    split_field: Annotated[
        str | None, typer.Option("--split-field", help="Field that names each record's part")
    ] = None,
    group_field: Annotated[
        str | None,
        typer.Option("--group-field", help="Records with the same value here stay in one part"),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="What the data is, if that isn't found out")
    ] = "auto",
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text that isn't UTF-8, such as cp932")
    ] = None,
    sheet: Annotated[int, typer.Option("--sheet", min=1, help="Excel: which sheet, from 1")] = 1,
    quoting: Annotated[
        Quoting,
        typer.Option(
            "--quoting",
            help='How cells of CSV and TSV are quoted: as in CSV ("a ""b"" c"), not at all (none)',
        ),
    ] = "auto",
    text_field: Annotated[
        str, typer.Option("--text-field", help="Dots go down: utterances.0.text")
    ] = "text",
    label_field: Annotated[
        str, typer.Option("--label-field", help="Field of the label, or the labels")
    ] = "label",
    entities_field: Annotated[
        str | None,
        typer.Option("--entities-field", help="[default: entities, labels or label]"),
    ] = None,
    separator: Annotated[
        str, typer.Option("--separator", help="Between several labels that aren't a JSON list")
    ] = ",",
    overlaps: Annotated[
        Literal["refuse", "longest"],
        typer.Option("--overlaps", help="What to do with entities that overlap"),
    ] = "refuse",
    skip_unlabelled: Annotated[
        bool, typer.Option("--skip-unlabelled", help="Leave out records without annotation")
    ] = False,
    label_map: Annotated[
        Path | None,
        typer.Option("--label-map", help="JSON, CSV or TSV of old and new labels"),
    ] = None,
    exclude_label_containing: Annotated[
        str | None,
        typer.Option("--exclude-label-containing", help="Leave out records with such a label"),
    ] = None,
    split_mode: Annotated[
        Literal["A", "B", "C"], typer.Option("--split-mode", help="Sudachi's, for the tokens")
    ] = "A",
    delimiter: Annotated[
        Literal["auto", "tab", "comma", "space"],
        typer.Option("--delimiter", help="Tagged tokens: what stands between columns"),
    ] = "auto",
    token_column: Annotated[
        int, typer.Option("--token-column", help="Tagged tokens: from 0; -1 is the last")
    ] = 0,
    tag_column: Annotated[
        int, typer.Option("--tag-column", help="Tagged tokens: from 0; -1 is the last")
    ] = -1,
    sentences_per_doc: Annotated[
        int, typer.Option("--sentences-per-doc", min=1, help="Tagged tokens: so many a document")
    ] = 1,
    sentences: Annotated[
        bool, typer.Option("--sentences", help="Running text: a new line after each sentence")
    ] = False,
    min_characters: Annotated[
        int, typer.Option("--min-characters", help="Running text: leave out shorter lines")
    ] = 1,
) -> None:
    """Convert records with entities or labels, tagged tokens, DocBins, exports of annotation tools,
    questions and answers, or running text. What can't be right ends with file and line, and nothing
    is written."""
    from ..corpora.combine import combine
    from ..corpora.docbins import convert_docbin
    from ..corpora.formats import converted_parts, is_docbin, is_tagged_file
    from ..corpora.iob import convert_iob
    from ..corpora.records import convert_records
    from ..corpora.squad import convert_squad
    from ..pretraining.running_text import convert_text

    replace_unshowable()
    sources = sources or []
    source = sources[0] if sources else None
    with coded_errors():
        if task == "text":
            unused = {
                "--format": None if format in ("auto", "text") else format,
                "--train": train,
                "--dev": dev,
                "--test": test,
                "--split-field": split_field,
                "--group-field": group_field,
                "--label-map": label_map,
            }
            if options := [name for name, value in unused.items() if value is not None]:
                raise DataError(Errors.J265.format(options=" and ".join(options)))
            convert_text(
                sources,
                out=out,
                text_field=text_field,
                sentences=sentences,
                min_characters=min_characters,
                encoding=encoding,
            )
            return
        if task == "qa":
            if len(sources) > 1:
                raise DataError(Errors.J221)
            convert_squad(
                source,
                out=out,
                train=train,
                dev=dev,
                test=test,
                split=split,
                seed=seed,
                shuffle=shuffle,
                split_mode=split_mode,
                format=format,
                encoding=encoding,
            )
            return
        if len(sources) > 1 or (source and task == "joint" and converted_parts(source)):
            combine(sources, out=out)
            return
        parts = {"train": train, "dev": dev, "test": test}
        given = next((path for path in (source, *parts.values()) if path is not None), None)
        if given is None:
            raise DataError(Errors.J221)
        found = format
        if format == "auto" and is_docbin(given):
            found = "docbin"
        elif format == "auto" and is_tagged_file(given, task, encoding):
            found = "iob"
        common: dict[str, Any] = {"out": out, **parts, "split": split, "seed": seed}
        if found != "auto" and format == "auto":
            print(f"{given}: read as {found}", file=sys.stderr)
        common["shuffle"] = shuffle
        common["label_map"] = label_map
        common["skip_unlabelled"] = skip_unlabelled
        common["exclude_label_containing"] = exclude_label_containing
        if found in ("docbin", "iob"):
            fields = {"--split-field": split_field, "--group-field": group_field}
            if options := [name for name, value in fields.items() if value is not None]:
                message = Errors.J262.format(options=" and ".join(options), format=found)
                raise DataError(message, path=given)
        if found == "docbin":
            if source is not None and source.is_dir():
                common |= converted_parts(source)
                source = None
            convert_docbin(source, **common)
        elif found == "iob":
            if task != "ner":
                reason = "Tagged tokens hold entities and no labels of whole texts."
                raise DataError(Errors.J259.format(task=task, format=found, reason=reason))
            convert_iob(
                source,
                **common,
                delimiter=delimiter,
                token_column=token_column,
                tag_column=tag_column,
                sentences_per_doc=sentences_per_doc,
                encoding=encoding,
            )
        else:
            convert_records(
                source,
                **common,
                task=task,
                split_field=split_field,
                group_field=group_field,
                text_field=text_field,
                label_field=label_field,
                entities_field=entities_field,
                separator=separator,
                overlaps=overlaps,
                split_mode=split_mode,
                format=found,
                encoding=encoding,
                quoting=quoting,
                sheet=sheet,
            )
    print(f"{out}: {', '.join(sorted(path.name for path in out.glob('*.spacy')))}", file=sys.stderr)
