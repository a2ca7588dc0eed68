"""Questions about texts in the format of SQuAD (JaQuAD, JSQuAD), or as flat records of the same ->
one DocBin a split, a document a text, with its questions in `doc._.jbert_questions`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from spacy.tokens import Doc
from tqdm import tqdm

from ..errors import DataError, Errors, Warnings
from . import lines
from .docs import QUESTIONS_KEY, japanese_tokenizer
from .json_records import decode
from .lines import kind
from .readers import Format, Shuffle, files_in, read_rows
from .splits import Splits, shared_out, write_splits
from .values import Notes, encodable, shortened, trimmed

_FLAT = {".jsonl", ".ndjson", ".parquet"}


@dataclass
class Text:
    """A text and what is asked of it.

    context (str): The text.
    title (str): Of the article that it is of; may be empty.
    questions (list): As `doc._.jbert_questions` has them.
    """

    context: str
    title: str
    questions: list[dict[str, Any]]


def convert_squad(
    source: Path | None = None,
    *,
    out: Path,
    train: Path | None = None,
    dev: Path | None = None,
    test: Path | None = None,
    split: str = "80/10/10",
    seed: int = 42,
    shuffle: Shuffle = "stratified",
    split_mode: str = "A",
    format: Format = "auto",
    encoding: str | None = None,
) -> None:
    """Convert questions and answers. Each file is one in the format of SQuAD (1.1 or 2.0), or a
    table (JSONL, Parquet) of `context`, `question` and `answers`, as the hub's data sets have it;
    or a folder of such files.

    An answer has to be in the text where `answer_start` says. One that isn't, but is in just one
    place of it, is taken from there (JW521); else it is left out, and so is a question that has
    no other (JW523). A question whose `is_impossible` is true, or whose answers are empty, has
    none.

    source, out, train, dev, test, split, seed, shuffle, split_mode, encoding: As in
        `convert_records`. Texts of an article go to one split.
    RAISES: DataError J201-J230, J254 for files that can't be read, J521 with the place in it, J522.
    """
    given = {"train": train, "dev": dev, "test": test}
    files = {name: path for name, path in given.items() if path is not None}
    if (source is None) == (not files):
        raise DataError(Errors.J221)
    tokenizer, notes = japanese_tokenizer(split_mode), Notes()

    def read(path: Path) -> list[Doc]:
        found = list(_read(path, notes, format, encoding))
        if not any(text.questions for text in found):
            count = notes[Warnings.JW523]
            reason = "no answer is in its text" if count else "there are none"
            raise DataError(Errors.J522.format(count=count, reason=reason), path=path)
        return [_doc(tokenizer(of.context), of) for of in tqdm(found, unit=" texts", delay=2)]

    if source is not None:
        splits = shared_out(read(source), split, seed, shuffle)
        if empty := [name for name, docs in splits.items() if not docs]:
            raise DataError(Errors.J219.format(name=empty[0]), path=source)
    else:
        splits = {name: read(path) for name, path in files.items()}
    write_splits(out, splits, sources=[source, *files.values()])
    _report(splits, notes)


def _doc(doc: Doc, text: Text) -> Doc:
    doc.user_data[QUESTIONS_KEY] = text.questions
    if text.title:
        doc.user_data["group"] = text.title
    return doc


def _read(path: Path, notes: Notes, format: Format, encoding: str | None) -> Iterator[Text]:
    """The texts of a file, or of all files of a folder."""
    files = files_in(path, {".json", *_FLAT}) if path.is_dir() else [path]
    if not files:
        raise DataError(Errors.J201, path=path)
    ids: set[str] = set()
    for file in files:
        is_flat = format in ("jsonl", "parquet") or (format == "auto" and kind(file) in _FLAT)
        texts = _flat(file, notes, encoding) if is_flat else _nested(file, notes, encoding)
        for text in texts:
            for question in text.questions:
                notes[Warnings.JW525] += question["id"] != "" and question["id"] in ids
                ids.add(question["id"])
            if text.questions:
                yield text


def _nested(path: Path, notes: Notes, encoding: str | None) -> Iterator[Text]:
    """RAISES: DataError J204 with the line, J521."""
    whole = "".join(lines.read_text(path, encoding))
    try:
        content = decode(whole)
    except (ValueError, RecursionError) as error:
        line = whole.count("\n", 0, error.pos) + 1 if isinstance(error, json.JSONDecodeError) else 1
        raise DataError(Errors.J204.format(reason=error), path=path, line=line) from None
    articles = content.get("data") if isinstance(content, dict) else None
    for i, article in enumerate(_list(articles, "data", path)):
        at = f"data[{i}]"
        title = _field(article, "title", at, path, str, "")
        for j, paragraph in enumerate(_list(_get(article, "paragraphs"), f"{at}.paragraphs", path)):
            place = f"{at}.paragraphs[{j}]"
            context = _field(paragraph, "context", place, path, str)
            asked = _list(_get(paragraph, "qas"), f"{place}.qas", path)
            text = Text(context, title, [])
            for k, qa in enumerate(asked):
                if question := _question(qa, context, f"{place}.qas[{k}]", path, notes):
                    text.questions.append(question)
            yield text


def _flat(path: Path, notes: Notes, encoding: str | None) -> Iterator[Text]:
    """Records of one question each; those of the same text are put together."""
    texts: dict[str, Text] = {}
    for row in read_rows(path, encoding=encoding):
        place = f"the record of line {row.line}"
        context = _field(row.fields, "context", place, path, str)
        title = _field(row.fields, "title", place, path, str, "")
        question = _question(row.fields, context, place, path, notes)
        text = texts.setdefault(context, Text(context, title, []))
        if question:
            text.questions.append(question)
    yield from texts.values()


def _question(qa: Any, context: str, place: str, path: Path, notes: Notes) -> dict[str, Any] | None:
    """RETURNS (dict | None): A question as the Doc keeps it; None where none of its answers is in
    the text.
    """
    question = _field(qa, "question", place, path, str).strip()
    if not question:
        raise _fault("has an empty question", place, path)
    name = qa.get("id", "")
    answers = qa.get("answers")
    if isinstance(answers, dict):  # the hub's: a list of texts and a list of places
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise _fault("has answers without as many text as answer_start", place, path)
        answers = [
            {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
        ]
    impossible = qa.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise _fault(f"has is_impossible = {shortened(impossible)}, not true or false", place, path)
    answers = [] if impossible or answers is None else answers
    given = _list(answers, f"{place}.answers", path)
    # An empty text is how some write that there is no answer.
    given = [answer for answer in given if _get(answer, "text") != ""]
    spans: set[tuple[int, int]] = set()
    for i, answer in enumerate(given):
        at = f"{place}.answers[{i}]"
        text = _field(answer, "text", at, path, str)
        start = _field(answer, "answer_start", at, path, int)
        span = _place(context, text, start, notes)
        if span is not None:
            spans.add(span)
    if given and not spans:
        return None
    return {"id": str(name), "question": question, "answers": sorted(map(list, spans))}


def _place(context: str, text: str, start: int, notes: Notes) -> tuple[int, int] | None:
    """RETURNS (tuple | None): Where an answer is in its text, without white space at its ends."""
    if not text.strip():
        notes[Warnings.JW523] += 1
        return None
    if start < 0 or context[start : start + len(text)] != text:
        start = context.find(text)
        # Places may overlap: あいあ stands in あいあいあ twice.
        if start < 0 or context.find(text, start + 1) >= 0:
            notes[Warnings.JW523] += 1
            return None
        notes[Warnings.JW521] += 1
    first, last = trimmed(context, start, start + len(text))
    notes[Warnings.JW524] += (first, last) != (start, start + len(text))
    return (first, last) if first < last else None


def _fault(reason: str, place: str, path: Path) -> DataError:
    return DataError(Errors.J521.format(where=place, reason=reason), path=path)


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any, place: str, path: Path) -> Sequence[Any]:
    if not isinstance(value, list):
        found = "missing" if value is None else shortened(value)
        raise _fault(f"is {found}, not a list", place, path)
    return value


def _field(value: Any, name: str, place: str, path: Path, wanted: type, default: Any = None) -> Any:
    """RAISES: DataError J521 for a field that is missing or of another type, J215."""
    if not isinstance(value, dict):
        raise _fault(f"is {shortened(value)}, not an object", place, path)
    found = value.get(name, default)
    found = default if found is None else found
    if type(found) is not wanted:
        is_what = "is missing" if found is None else f"is {shortened(found)}"
        kind_of = "text" if wanted is str else "a whole number"
        raise _fault(f"has no good {name}: it {is_what}, and has to be {kind_of}", place, path)
    return encodable(found, path, None) if isinstance(found, str) else found


def _report(splits: Splits, notes: Notes) -> None:
    """Show on stdout what each split holds."""
    table = Table("", *splits)
    asked = {
        name: [question for doc in docs for question in doc.user_data[QUESTIONS_KEY]]
        for name, docs in splits.items()
    }
    rows: dict[str, Iterable[int]] = {
        "texts": map(len, splits.values()),
        "questions": map(len, asked.values()),
        "without an answer": (sum(not of["answers"] for of in all_) for all_ in asked.values()),
        "tokens": (sum(map(len, docs)) for docs in splits.values()),
    }
    for title, counts in rows.items():
        table.add_row(title, *(f"{count:,}" for count in counts))
    Console(markup=False, highlight=False, width=140).print(table)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    for note, count in notes.items():
        if count:
            console.print(note.format(count=count))
