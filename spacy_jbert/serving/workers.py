"""Processes with a loaded pipeline each, which annotate one batch after another."""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import active_children, get_context
from typing import Any, NamedTuple, Protocol, TypeVar

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from ..corpora.values import json_line, shortened
from ..errors import Errors
from ..evaluation.questions import Question, questions_of, set_questions
from ..evaluation.scorers import forget_vectors
from ..pretraining.parallel import end_with_parent
from .annotations import annotation, kinds_of
from .entries import Entry, reason_of
from .shards import OTHERS, OutputFormat, Part

RECORD = "record"
"""Where `doc.user_data` has the fields of a document's record."""
Tag = TypeVar("Tag")


class Job(NamedTuple):
    """What is to be done with each batch: see `bulk.annotate`."""

    model: str
    format: OutputFormat
    text_field: str
    prefix: str
    threads: int
    gpu_id: int
    questions: tuple[str, ...] = ()
    question_field: str | None = None


class Annotated(NamedTuple):
    """A batch, annotated: `Part` of a shard, how many documents, lines of JSON for the rest."""

    part: Part
    documents: int
    rejected: bytes


class Pool(Protocol):
    """What has workers for one job: processes of this machine, or actors of a cluster."""

    job: Job

    def kinds(self) -> list[str]:
        """RETURNS (list[str]): What the pipeline annotates."""

    def annotate(
        self, batches: Iterable[tuple[Tag, list[Entry]]]
    ) -> Iterator[tuple[Tag, Annotated]]:
        """YIELDS (tuple): What came of each batch, in their order."""

    def __enter__(self) -> "Pool": ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...


class Workers:
    """Processes for one job.

    job (Job): What they do.
    count (int): How many there are.
    """

    def __init__(self, job: Job, count: int) -> None:
        self.job, self.count = job, count
        self._others = set(active_children())
        # Spawned: each begins with the same settings of its libraries, however many there are, so
        # that they compute the same.
        self.pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin)

    def kinds(self) -> list[str]:
        """RETURNS (list[str]): What the pipeline annotates.

        RAISES: What loading it raises.
        """
        with _told_of_death():
            return self.pool.submit(kinds, self.job).result()

    def annotate(
        self, batches: Iterable[tuple[Tag, list[Entry]]]
    ) -> Iterator[tuple[Tag, Annotated]]:
        """YIELDS (tuple): What came of each batch, in their order. Few are in memory at a time.

        RAISES: ChildProcessError J457 if a process is killed, and what its pipeline raises.
        """
        running: deque[tuple[Tag, Future[Annotated]]] = deque()
        with _told_of_death():
            for tag, batch in batches:
                running.append((tag, self.pool.submit(annotate_batch, self.job, batch)))
                # Reading is faster: it must not run away.
                if len(running) > 2 * self.count:
                    first, future = running.popleft()
                    yield first, future.result()
            for first, future in running:
                yield first, future.result()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            # What they are at is done again: nobody waits for it.
            for process in set(active_children()) - self._others:
                process.kill()
        self.pool.shutdown(cancel_futures=True)


@contextmanager
def _told_of_death() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise ChildProcessError(Errors.J457) from None


# --- In a process of the pool -------------------------------------------------------------------


def _begin() -> None:
    # The main process says when to stop; a terminal's Ctrl-C reaches all of them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    end_with_parent()


@cache
def _pipeline(job: Job) -> Language:
    if job.gpu_id >= 0:
        spacy.require_gpu(job.gpu_id)
    nlp = spacy.load(job.model)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(job.threads)
    return nlp


def kinds(job: Job) -> list[str]:
    """RETURNS (list[str]): What the job's pipeline annotates."""
    return kinds_of(_pipeline(job))


def annotate_batch(job: Job, batch: list[Entry]) -> Annotated:
    """RETURNS (Annotated): What came of a batch, in a process that keeps the pipeline."""
    nlp = _pipeline(job)
    kinds = kinds_of(nlp)
    reasons: dict[int, str] = {
        i: entry.reason for i, entry in enumerate(batch) if entry.reason is not None
    }
    # What texts bring into the vocabulary goes with them.
    with nlp.memory_zone():
        docs = _run(nlp, job, kinds, batch, reasons)
        part = _part([(batch[i], doc) for i, doc in docs.items()], job, kinds)
    rejected = (
        json_line({"file": batch[i].file, "line": batch[i].line, "reason": reasons[i]})
        for i in sorted(reasons)
    )
    return Annotated(part, len(docs), b"".join(rejected))


def _run(
    nlp: Language, job: Job, kinds: list[str], batch: list[Entry], reasons: dict[int, str]
) -> dict[int, Doc]:
    """The Docs of a batch by their number in it; why others have none goes to `reasons`."""

    def make(i: int) -> Doc:
        return _make_doc(nlp, job, kinds, batch[i])

    docs: dict[int, Doc] = {}
    for i in [i for i in range(len(batch)) if i not in reasons]:
        try:
            docs[i] = make(i)
        except ValueError as error:
            reasons[i] = reason_of(error)
    try:
        return dict(zip(docs, nlp.pipe(docs.values(), batch_size=len(docs) or 1), strict=True))
    except Exception as error:
        # The fault of one text isn't that of the others, and the fault of all is no text's.
        found: dict[int, Doc] = {}
        for i in docs:
            try:
                found[i] = nlp(make(i))
            except Exception as alone:
                reasons[i] = reason_of(alone)
        if not found and len(docs) > 1:
            raise error from None
        return found


def _make_doc(nlp: Language, job: Job, kinds: list[str], entry: Entry) -> Doc:
    if entry.doc is not None:
        doc = Doc(nlp.vocab).from_bytes(entry.doc)
        entry = entry._replace(fields=_record(doc))
    else:
        doc = nlp.make_doc(entry.row().text(job.text_field))
    if job.format != "spacy":
        check_names(entry, kinds, job.prefix)
    if asked := [*questions_in(entry, job.question_field), *job.questions]:
        # A Doc may bring some along, those of a run before too.
        own = questions_of(doc)
        known = {question.question for question in own}
        new = [Question("", question, None) for question in asked if question not in known]
        set_questions(doc, [*own, *new])
    return doc


def questions_in(entry: Entry, field: str | None) -> list[str]:
    """RETURNS (list[str]): What a record asks of its text: a question, or several in a list.

    RAISES: DataError J206 without the field, J207 for anything else in it.
    """
    if field is None or entry.doc is not None:
        return []
    row = entry.row()
    found = row.get(field)
    questions = found if isinstance(found, list) else [found]
    for question in questions:
        if not isinstance(question, str) or not question.strip():
            value = shortened(question)
            raise row.error(Errors.J207.format(field=field, expected="a question", value=value))
    return questions


def check_names(entry: Entry, kinds: list[str], prefix: str) -> None:
    """RAISES: DataError J458 if a field has the name of annotation, which would replace it."""
    taken = {f"{prefix}{kind}" for kind in kinds} | {OTHERS}
    if names := taken & entry.fields.keys():
        raise entry.row().error(Errors.J458.format(names=", ".join(sorted(names))))


def _part(docs: list[tuple[Entry, Doc]], job: Job, kinds: list[str]) -> Part:
    if job.format == "spacy":
        packed = DocBin(store_user_data=True)
        for entry, doc in docs:
            forget_vectors(doc)
            if entry.doc is None:
                # A Doc holds what JSON knows.
                doc.user_data[RECORD] = _whole_characters(json.loads(json_line(entry.fields)))
            packed.add(doc)
        return packed.to_bytes()
    rows = [
        _fields(entry, doc, job.text_field) | annotation(doc, kinds, job.prefix)
        for entry, doc in docs
    ]
    return rows if job.format == "parquet" else b"".join(map(json_line, rows))


def _fields(entry: Entry, doc: Doc, text_field: str) -> dict[str, Any]:
    return entry.fields if entry.doc is None else _record(doc) or {text_field: doc.text}


def _record(doc: Doc) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): The fields that a Doc of an earlier run brings along."""
    record = doc.user_data.get(RECORD)
    return dict(record) if isinstance(record, dict) else {}


def _whole_characters(value: Any) -> Any:
    """RETURNS (Any): A value of JSON in which a half of a character (a lone surrogate), which a Doc
    can't store, is written as JSON does: \\ud83d.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_whole_characters(one) for one in value]
    if isinstance(value, dict):
        return {_whole_characters(name): _whole_characters(one) for name, one in value.items()}
    return value
