"""chABSA, opinions in annual reports -> the records that `jbert convert` reads, one file a task.

`polarity.jsonl`: sentences whose opinions all have one polarity. `targets.jsonl`: all sentences,
with what each opinion is of as a span that is labelled with its polarity. Each record names its
company, and the part that all records of this company belong to.
"""

import hashlib
import json
import random
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import srsly

from spacy_jbert.corpora.json_records import read_jsonl
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

MEASURED = "a28dbe7ed6b011ddaeea0930fc726f08"
"""MD5 of the 202 reports, one JSON object a line, that docs/benchmarks.md is about."""

Report = dict[str, Any]


def main(source: Path, out: Path, seed: int = 42) -> None:
    """Write polarity.jsonl and targets.jsonl.

    source (Path): The archive with one *_ann.json a company, a folder of them, or a file with one
        of their objects a line.
    out (Path): The folder to write to.
    seed (int): Of the shuffle of companies, 80/10/10 of which are train, dev and test.
    """
    reports = sorted(read_reports(source), key=company_code)
    parts = split_companies([company_code(report) for report in reports], seed)
    with replacing(out / "polarity.jsonl", out / "targets.jsonl") as (polarity, targets):
        srsly.write_jsonl(polarity, polarity_records(reports, parts))
        srsly.write_jsonl(targets, target_records(reports, parts))
    counts = [list(parts.values()).count(part) for part in ("train", "dev", "test")]
    print(f"{len(reports)} companies: {' / '.join(map(str, counts))}")
    if source.is_dir() or hashlib.md5(source.read_bytes()).hexdigest() != MEASURED:
        print("Not the 202 companies of docs/benchmarks.md: scores may differ from those there.")


def read_reports(source: Path) -> Iterator[Report]:
    """YIELDS (dict): Each company's report: header and sentences with opinions.
    RAISES: DataError J201, J204, J560, J561.
    """
    found = False
    for place, line, report in _objects(source):
        check_report(report, place, line)
        found = True
        yield report
    if not found:
        raise DataError(Errors.J560, path=source)


def _objects(source: Path) -> Iterator[tuple[Path, int | None, Any]]:
    if not source.exists():
        raise DataError(Errors.J201, path=source)
    if source.is_dir():
        for file in sorted(source.rglob("*_ann.json")):
            yield file, None, _decoded(file.read_bytes(), file)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith("_ann.json") and "__MACOSX" not in name:
                    yield source / name, None, _decoded(archive.read(name), source / name)
    else:
        for number, report in read_jsonl(source):
            yield source, number, report


def _decoded(content: bytes, place: Path) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DataError(Errors.J204.format(reason=error), path=place) from None


def check_report(report: Any, place: Path, line: int | None = None) -> None:
    """RAISES: DataError J561 for a report without what is read of it, or with a target that isn't
    where it is said to be."""
    try:
        company_code(report), report["header"]["document_name"], report["header"]["category33"]
        for sentence in report["sentences"]:
            for opinion in sentence["opinions"]:
                span = sentence["sentence"][opinion["from"] : opinion["to"]]
                if span != opinion["target"] or not opinion["polarity"]:
                    reason = f"sentence {sentence['sentence_id']}: {opinion}"
                    raise DataError(Errors.J561.format(reason=reason), path=place, line=line)
    except (KeyError, TypeError) as error:
        raise DataError(Errors.J561.format(reason=repr(error)), path=place, line=line) from None


def company_code(report: Report) -> str:
    """RETURNS (str): The company's code at EDINET, such as "E00008"."""
    return str(report["header"]["edi_id"])


def split_companies(codes: list[str], seed: int) -> dict[str, str]:
    """RETURNS (dict): The part of each company: train, dev or test."""
    shuffled = sorted(codes)
    random.Random(seed).shuffle(shuffled)
    first, second = len(codes) * 80 // 100, len(codes) * 90 // 100
    parts = ["train"] * first + ["dev"] * (second - first) + ["test"] * (len(codes) - second)
    return dict(zip(shuffled, parts, strict=True))


def polarity_records(reports: Iterable[Report], parts: dict[str, str]) -> Iterator[Report]:
    """YIELDS (dict): text, label, and what `_sentences` says."""
    for sentence, common in _sentences(reports, parts):
        polarities = {opinion["polarity"] for opinion in sentence["opinions"]}
        if len(polarities) == 1:
            yield {"text": sentence["sentence"], "label": polarities.pop(), **common}


def target_records(reports: Iterable[Report], parts: dict[str, str]) -> Iterator[Report]:
    """YIELDS (dict): text, entities ([start, end, polarity]), and what `_sentences` says."""
    for sentence, common in _sentences(reports, parts):
        spans = {(o["from"], o["to"], o["polarity"]) for o in sentence["opinions"]}
        yield {"text": sentence["sentence"], "entities": sorted(spans), **common}


def _sentences(
    reports: Iterable[Report], parts: dict[str, str]
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Sentences with an id, their company by code and name, its sector and part."""
    for report in reports:
        header, code = report["header"], company_code(report)
        for sentence in report["sentences"]:
            yield (
                sentence,
                {
                    "id": f"{code}:{sentence['sentence_id']}",
                    "company": code,
                    "name": header["document_name"],
                    "security": header["security_code"],
                    "sector": header["category33"],
                    "split": parts[code],
                },
            )


if __name__ == "__main__":
    run(main)
