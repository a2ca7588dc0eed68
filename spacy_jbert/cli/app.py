"""`python -m spacy jbert …`: what spaCy's own commands can't do. spaCy reads this module for each
of its commands, to find ours, so what takes long to import is imported where it is needed."""

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import spacy
import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from spacy.cli import app as spacy_app
from spacy.language import Language
from spacy.util import is_package

from ..errors import DataError, Errors, Warnings

if TYPE_CHECKING:
    from ..types import TransformerModel

app = typer.Typer(
    name="jbert",
    help="Commands for pipelines with a Japanese BERT.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
spacy_app.add_typer(app)


@contextmanager
def coded_errors() -> Iterator[None]:
    """Show an error that has a code (ours, or spaCy's) as one line on stderr, with exit status 1,
    and any other one with its traceback.
    """
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        if not isinstance(error, DataError) and not re.match(r"\[[A-Z]+\d+\]", str(error)):
            raise
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def _print_json(value: Any) -> None:
    """Print JSON, without what the terminal's encoding (CP932, ASCII) may lack: escapes mean the
    same in all.
    """
    utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not utf_8, indent=2))


def _show_anywhere() -> None:
    """Let stdout replace what its encoding can't show: half a table is worse."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Folder or package of a spaCy pipeline, or a Hugging Face checkpoint folder",
    ),
]


@app.command("pieces")
def pieces_cli(
    text: Annotated[str, typer.Argument(help="The text; - reads it from stdin")],
    model: Model,
    words: Annotated[
        Literal["auto", "doc", "native"] | None,
        typer.Option(help="Who segments before the subword model [default: as the pipeline says]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines")] = False,
) -> None:
    """Show what the encoder sees of a text:

    tokens, wordpieces, their ids and the characters they stand for.
    """
    with coded_errors():
        nlp = load(model)
        seen = look(nlp, _read_stdin() if text == "-" else text, words=words)
    if as_json:
        _print_json({"model": model, **seen})
    else:
        _show_anywhere()
        Console().print(show(seen))


def _read_stdin() -> str:
    data = typer.get_binary_stream("stdin").read()
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        message = Errors.J315 if _is_cut(data) else Errors.J033
        raise ValueError(message.format(position=error.start)) from None


def _is_cut(data: bytes) -> bool:
    """Whether bytes are UTF-8 but begin or end inside a character."""
    # The second to fourth byte of a character.
    start = next((i for i, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 4)
    if start == 4:
        return False
    try:
        data[start:].decode("utf-8")
    except UnicodeDecodeError as other:
        # Of other encodings, a few bytes may look like the first ones of a character too.
        return other.reason == "unexpected end of data" and other.start >= min(3, len(data) - 1)
    return True


def load(model: str) -> Language:
    """Load a spaCy pipeline, or put a Hugging Face checkpoint behind a Japanese tokenizer that
    takes texts of any length.

    model (str): A folder, or the name of an installed package.
    RETURNS (Language): The pipeline.
    RAISES: ValueError J030 if there is no such model; J002, J003 for a checkpoint that can't be
        read.
    """
    path = Path(model)
    if (path / "meta.json").is_file() or (not path.exists() and is_package(model)):
        return spacy.load(model)
    if not (path / "config.json").is_file():
        raise ValueError(Errors.J030.format(model=model))
    from ..encoder.checkpoint import Encoder

    nlp = spacy.blank(
        "ja", config={"nlp": {"tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1"}}}
    )
    transformer: Any = nlp.add_pipe("jbert_transformer", name="transformer")
    transformer.encoder = Encoder.load(path)
    return nlp


def look(nlp: Language, text: str, *, words: str | None = None) -> dict[str, Any]:
    """Run a text through a pipeline up to its encoder, and keep what went into that.

    words (str | None): Instead of what the pipeline says: auto, doc or native.
    RETURNS (dict): For JSON. Pieces are numbered from 0, offsets count characters, `end` is behind
        the last. A piece has the window that answers for it; its neighbours see it too where
        windows overlap.
    RAISES: ValueError J031 if there is no encoder in the pipeline, J032 for an empty text.
    """
    from ..wordpieces.alignment import align
    from ..wordpieces.segmentation import choose_words, token_offsets

    before, node = _find_encoder(nlp)
    if not text:
        raise ValueError(Errors.J032)
    shim: Any = node.shims[0]
    encoder = shim.require_encoder()
    shim.words = words or shim.words
    mode, why = choose_words(encoder.tokenizer, shim.words)
    doc = nlp.make_doc(text)
    for name in before:
        doc = nlp.get_pipe(name)(doc)
    pieces = shim.segmenter([doc])[0]
    starts, ends = token_offsets(doc)
    aligned, lengths = align(starts, ends, pieces.starts, pieces.ends)
    at = lengths.cumsum() - lengths
    strings = shim.strings(pieces.ids)

    windows: list[dict[str, Any]] = []
    done = 0
    sent = node.predict([doc]).doc_data[0].wordpieces
    n_before, n_behind = map(len, encoder.special_ids)
    for _, rows in groupby(
        zip(sent.token_type_ids[0].tolist(), sent.strings[0], strict=True), key=lambda row: row[0]
    ):
        names = [name for _, name in rows]
        n_own = min(len(names) - n_before - n_behind, len(strings) - done)
        windows.append(
            {
                "start": done,
                "end": done + n_own,
                "before": names[:n_before],
                "behind": names[n_before + n_own :],
            }
        )
        done += n_own
    return {
        "tokenizer": type(encoder.tokenizer).__name__,
        "words": mode,
        "why": why if words in (None, "auto") else "asked for with --words",
        "max_pieces": min(node.attrs["window"] or encoder.max_pieces, encoder.max_pieces),
        "tokens": [
            {
                "text": token.text,
                "start": int(start),
                "end": int(end),
                "pieces": aligned[i : i + n].tolist(),
            }
            for token, start, end, i, n in zip(doc, starts, ends, at, lengths, strict=True)
        ],
        "pieces": [
            {
                "piece": string,
                "id": int(id_),
                "start": int(start),
                "end": int(end),
                "text": text[start:end],
                "unknown": bool(id_ == encoder.tokenizer.unk_token_id),
                "window": next(i for i, window in enumerate(windows) if number < window["end"]),
            }
            for number, (string, id_, start, end) in enumerate(zip(strings, *pieces, strict=True))
        ],
        "windows": windows,
    }


def _find_encoder(nlp: Language) -> tuple[list[str], "TransformerModel"]:
    """The first encoder of a pipeline, be it a component of its own or inside one.

    RETURNS: The components before it, and its model.
    """
    for i, (_, pipe) in enumerate(nlp.pipeline):
        model = getattr(pipe, "model", None)
        for node in model.walk() if model is not None else ():
            if node.name == "jbert_transformer":
                return nlp.pipe_names[:i], node
    raise ValueError(Errors.J031.format(names=", ".join(nlp.pipe_names) or "none"))


def show(seen: dict[str, Any]) -> Group:
    """What `look` found, as a table with a line for each piece, and what is to be said about it in
    words.
    """
    table = Table(header_style="bold")
    for name in ("token", "piece", "id", "characters", "text"):
        right = name in ("id", "characters")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    tokens = iter(seen["tokens"])
    token, number = next(tokens, None), 0
    for window in seen["windows"]:
        for name in window["before"]:
            table.add_row("", Text(name, "dim"))
        for i in range(window["start"], window["end"]):
            piece, begun = seen["pieces"][i], []
            # A piece may stand for several tokens, and white space has none.
            while token is not None and (not token["pieces"] or token["pieces"][0] <= i):
                if token["pieces"]:
                    begun.append(_visible(token["text"]))
                    number += 1
                else:
                    table.add_row(
                        Text(_visible(token["text"]), "dim"), "", "", _characters(token), ""
                    )
                token = next(tokens, None)
            style = "bold white on red" if piece["unknown"] else ("cyan", "green")[number % 2]
            text = Text(_visible(piece["text"]), style if piece["unknown"] else "")
            table.add_row(
                Text(" | ".join(begun), "bold"),
                Text(piece["piece"], style),
                str(piece["id"]),
                _characters(piece),
                text,
            )
        for name in window["behind"]:
            table.add_row("", Text(name, "dim"))
        table.add_section()
    while token is not None:
        table.add_row(Text(_visible(token["text"]), "dim"), "", "", _characters(token), "")
        token = next(tokens, None)
    return Group(table, *_remarks(seen))


def _remarks(seen: dict[str, Any]) -> Iterator[Text]:
    pieces, windows = seen["pieces"], seen["windows"]
    yield Text(f"words = {seen['words']}: {seen['why']}")
    yield Text(
        f"{len(seen['tokens'])} tokens, {len(pieces)} pieces, "
        f"of which {sum(piece['unknown'] for piece in pieces)} unknown"
    )
    if unknown := list(
        dict.fromkeys(_visible(piece["text"]) for piece in pieces if piece["unknown"])
    ):
        yield Text.assemble("unknown: ", (" ".join(unknown), "bold red"))
    if len(windows) > 1:
        parts = ", ".join(f"{window['start']}–{window['end']}" for window in windows)
        yield Text(
            f"{len(windows)} windows of at most {seen['max_pieces']} pieces, "
            f"the special ones included; they answer for {parts}"
        )


def _characters(of: dict[str, Any]) -> str:
    return f"{of['start']}–{of['end']}"


def _visible(text: str) -> str:
    """A text in which white space and what doesn't print can be seen."""
    return "".join(
        "␣"
        if char == " "
        else char
        if char.isprintable()
        else char.encode("unicode_escape").decode()
        for char in text
    )


@app.command("errors")
def errors_cli(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline")],
    data: Annotated[
        Path, typer.Argument(help="Annotated documents: a DocBin, or a folder of them", exists=True)
    ],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", help="Only mistakes with this label; can be given several times"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="At most so many mistakes, the worst first  [default: 50 here, all elsewhere]",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with the scores by label and the mistakes instead"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines")] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """List what a pipeline gets wrong, the mistakes that it was surest of first."""
    from spacy.training import Corpus

    from ..corpora.data import find_docbins, read_docbin
    from ..evaluation.report import as_dict, html_report, print_mistakes
    from ..evaluation.scorers import about, evaluate, labels_of
    from ..storage import replacing

    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    with coded_errors():
        nlp = spacy.load(model)
        docs = chain.from_iterable(read_docbin(path, nlp.vocab) for path in find_docbins(data))
        examples = list(Corpus(data).make_examples(nlp, docs))
        scores, mistakes = evaluate(nlp, examples)
        kinds = labels_of(nlp, examples)
        if not kinds:
            raise ValueError(Errors.J310.format(names=", ".join(nlp.pipe_names) or "none"))
        if not any(kind.annotated for kind in kinds):
            names = " and ".join(kind.kind for kind in kinds)
            raise ValueError(Errors.J311.format(path=data, kinds=names, count=len(examples)))
        if not any(kind.annotated & kind.known for kind in kinds):
            raise ValueError(
                Errors.J312.format(
                    known=_listed(set().union(*(kind.known for kind in kinds))),
                    annotated=_listed(set().union(*(kind.annotated for kind in kinds))),
                )
            )
        if strange := set(label or ()).difference(*(kind.known | kind.annotated for kind in kinds)):
            raise ValueError(Errors.J313.format(labels=_listed(strange)))
    for kind in kinds:
        if not kind.annotated:
            print(Warnings.JW301.format(kind=kind.kind), file=sys.stderr)
        elif strange := kind.annotated - kind.known:
            print(Warnings.JW302.format(kind=kind.kind, labels=_listed(strange)), file=sys.stderr)
    if label:
        mistakes = about(mistakes, label)
    if html:
        _show_anywhere()
        with replacing(html) as (part,):
            title = (
                f"{Path(model).parent.name}/{Path(model).name} on {data.parent.name}/{data.name}"
            )
            part.write_text(html_report(title, scores, mistakes[:limit]), encoding="utf-8")
        print(f"{len(mistakes[:limit])} mistakes listed in {html}")
    elif as_json:
        _print_json([as_dict(mistake) for mistake in mistakes[:limit]])
    else:
        _show_anywhere()
        # Where there is no terminal, rich would take it for 80 columns wide.
        print_mistakes(
            Console(width=None if sys.stdout.isatty() else 140),
            mistakes,
            50 if limit is None else limit,
        )


def _listed(labels: set[str]) -> str:
    return ", ".join(sorted(labels))
