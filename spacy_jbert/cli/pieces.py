"""`python -m spacy jbert pieces`: what the encoder sees of a text."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import spacy
import typer
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from spacy.language import Language
from spacy.util import is_package

from ..errors import Errors
from ..terminal import replace_unshowable
from .output import coded_errors, print_json

if TYPE_CHECKING:
    from ..types import TransformerModel

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Folder or package of a spaCy pipeline, or a Hugging Face checkpoint folder",
    ),
]


def pieces_cli(
    text: Annotated[str, typer.Argument(help="The text; - reads it from stdin")],
    model: Model,
    words: Annotated[
        Literal["auto", "doc", "native"] | None,
        typer.Option(help="Who segments before the subword model [default: as the pipeline says]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines")] = False,
) -> None:
    """Show what the encoder sees of a text: tokens, wordpieces, their ids and the characters they
    stand for.
    """
    with coded_errors():
        nlp = load(model)
        seen = look(nlp, _read_stdin() if text == "-" else text, words=words)
        if as_json:
            print_json({"model": model, **seen})
        else:
            replace_unshowable()
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
    from ..wordpieces.alignment import align, token_offsets
    from ..wordpieces.segmentation import choose_words

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
