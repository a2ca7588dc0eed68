"""Annotation of any amount of text: a stream of entries -> batches -> workers -> shards.

What is written depends on nothing but the input, the pipeline and the settings in the manifest.
Batches never reach over the end of a shard, and each is computed in a process that begins as all
others do, so neither the number of workers nor an interruption changes a byte."""

import logging
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..corpora.readers import REJECTED
from ..errors import DataError, Errors
from .entries import Entry, InputFormat, Source, estimated_count, find_inputs, identity
from .manifest import Done, Manifest, alone_in, is_begun, require_own
from .provenance import provenance
from .ray_workers import RayWorkers
from .shards import Columns, OutputFormat, size_and_hash, writing
from .workers import Job, Pool, Workers, check_names, questions_in

logger = logging.getLogger(__name__)

# A batch ends with either: the vectors of so many characters are some hundred megabytes.
BATCH_ENTRIES, BATCH_CHARACTERS = 256, 100_000


class _Batch(NamedTuple):
    """Which shard it is in, how many entries it has, and the position behind the last of them."""

    shard: int
    entries: int
    file: int
    number: int


def annotate(
    inputs: list[Path],
    *,
    model: str,
    out: Path,
    format: OutputFormat = "jsonl",
    input_format: InputFormat = "auto",
    text_field: str = "text",
    encoding: str | None = None,
    prefix: str = "",
    shard_size: int = 10_000,
    workers: int = 1,
    ray: str | None = None,
    threads: int = 1,
    gpu_id: int = -1,
    questions: tuple[str, ...] = (),
    question_field: str | None = None,
) -> Done:
    """Annotate files, and write numbered shards, `rejected.jsonl` and `manifest.jsonl`. A run that
    was stopped goes on when it is called again with the same arguments.

    inputs (list[Path]): Files and folders of them: text (one a line), JSONL, JSON, CSV, TSV,
        Parquet, Excel, folders that `datasets` saved, DocBins; text packed or not.
    model (str): Folder or package of a spaCy pipeline.
    out (Path): The folder to write to.
    format (str): Of the shards.
    input_format, encoding: Of the input, where that isn't found out.
    text_field (str): The field with a record's text; dots go down. All fields are kept.
    prefix (str): Before the names of the fields with annotation.
    shard_size (int): How many entries a shard is made of, those that can't be read included.
    workers (int): Processes, each with the whole pipeline. It changes nothing of what is written.
    ray (str | None): The address of a Ray cluster that has the workers instead: `auto`, HOST:PORT,
        ray://HOST:PORT, or `local` for one that begins here. Its nodes have the same pipeline in
        the same place, and the same libraries.
    threads (int): Of torch in each process. Other sums of floats: last digits can change.
    gpu_id (int): The GPU, -1 for the CPU.
    questions (tuple[str, ...]): What is asked of every text, of a pipeline with `jbert_qa`.
    question_field (str | None): The field with the question, or questions, of a record.
    RETURNS (Done): What there is now.
    RAISES: ValueError J438, J450 to J461, J489, J490, J492, J525 and DataError J2xx;
        ChildProcessError J457; ImportError J469.
    """
    for question in questions:
        if not question.strip():
            raise ValueError(Errors.J525.format(what=repr(question), wanted="a question"))
    for path in inputs:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ValueError(Errors.J460.format(path=out, source=path))
    require_own(out)
    with alone_in(out):
        source = Source(find_inputs(inputs, input_format), input_format, text_field, encoding)
        settings: dict[str, Any] = {
            "format": format,
            "input_format": input_format,
            "text_field": text_field,
            "encoding": encoding,
            "prefix": prefix,
            "shard_size": shard_size,
            "batch": [BATCH_ENTRIES, BATCH_CHARACTERS],
            "threads": threads,
            "gpu": gpu_id >= 0,
        }
        if questions or question_field is not None:
            settings |= {"questions": list(questions), "question_field": question_field}
        made_by = provenance(model)
        run = {
            "settings": settings,
            "inputs": [identity(path) for path in _shown(source.files, "Looking at the input")],
            **made_by,
        }
        asked = (questions, question_field)
        job = Job(model, format, text_field, prefix, threads, gpu_id, *asked)
        chosen: Pool = (
            Workers(job, workers) if ray is None else RayWorkers(job, workers, ray, made_by)
        )
        with chosen as pool:
            if any(asked) and "answers" not in pool.kinds():
                raise ValueError(Errors.J438)
            if not is_begun(out):
                _check_first(source, job, pool.kinds())
            manifest = Manifest(out, run)
            if not manifest.finished:
                _run(source, manifest, pool, shard_size)
        done = manifest.done
    if done.entries and not done.documents:
        raise ValueError(Errors.J461.format(count=done.entries, path=out / REJECTED))
    return done


def _run(source: Source, manifest: Manifest, pool: Pool, shard_size: int) -> None:
    kinds, job = pool.kinds(), pool.job
    done = manifest.done
    columns = Columns(kinds, job.prefix) if job.format == "parquet" else None
    if columns is not None:
        for shard in manifest.shards:
            columns.read(manifest.folder / shard["shard"])
    counts = [estimated_count(path, source) for path in source.files]
    total = None if None in counts else sum(count or 0 for count in counts)
    bar = tqdm(total=total, initial=done.entries, unit=" docs", desc=job.model, disable=None)
    annotated = pool.annotate(_batches(source, done, shard_size))
    with bar:
        for number, of_shard in groupby(annotated, lambda item: item[0].shard):
            path = manifest.folder / f"part-{number:05}.{job.format}"
            entries = documents = 0
            last = None
            # If it is stopped here, what was rejected is cut off when it goes on.
            with writing(path, columns) as writer:
                for last, batch in of_shard:
                    writer.add(batch.part)
                    if batch.rejected:
                        manifest.reject(batch.rejected)
                    entries += last.entries
                    documents += batch.documents
                    bar.update(last.entries)
            assert last is not None
            manifest.add(
                shard=path.name,
                entries=entries,
                documents=documents,
                file=last.file,
                number=last.number,
                **size_and_hash(path),
            )
            logger.info("%s: %d documents", path, documents)
    manifest.finish()


def _batches(source: Source, done: Done, shard_size: int) -> Iterator[tuple[_Batch, list[Entry]]]:
    """What is still to be done. Each batch is in one shard, and always the same."""
    shard, left, room = done.shards, shard_size, BATCH_CHARACTERS
    batch: list[Entry] = []
    file, number = done.file, done.number
    for file, number, entry in source.entries(done.file, done.number):
        batch.append(entry)
        left -= 1
        room -= _characters(entry, source.text_field)
        if not left or room <= 0 or len(batch) == BATCH_ENTRIES:
            yield _Batch(shard, len(batch), file, number), batch
            batch, room = [], BATCH_CHARACTERS
        if not left:
            shard, left = shard + 1, shard_size
    if batch:
        yield _Batch(shard, len(batch), file, number), batch


def _characters(entry: Entry, text_field: str) -> int:
    """About how long a text is."""
    if entry.doc is not None:
        return len(entry.doc) // 100
    text = entry.fields.get(text_field)
    # One that lies deeper may be all there is.
    return len(text if isinstance(text, str) else str(entry.fields))


def _check_first(source: Source, job: Job, kinds: list[str]) -> None:
    """Settings that fit no record are found before anything is written.

    RAISES: DataError: what is wrong with the first record that can be read; with the first of all,
        if none can.
    """
    unreadable: Entry | None = None
    for _, _, entry in source.entries(0, 0):
        if entry.reason is not None:
            unreadable = unreadable or entry
            continue
        if entry.doc is None:
            entry.row().text(job.text_field)
            questions_in(entry, job.question_field)
            if job.format != "spacy":
                check_names(entry, kinds, job.prefix)
        return
    if unreadable is not None:
        raise DataError(unreadable.reason or "", path=unreadable.file, line=unreadable.line)


def _shown(files: Iterable[Path], what: str) -> Iterable[Path]:
    return tqdm(files, desc=what, unit=" files", delay=2, disable=None)
