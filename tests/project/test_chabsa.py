"""chABSA's reports as records."""

import importlib.util
import json
import zipfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spacy_jbert.errors import DataError

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/corpora/chabsa/chabsa.jsonl"


def script(path: str) -> ModuleType:
    """A script of the project as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chabsa = script("project/scripts/convert_chabsa.py")


def report(code: str) -> dict[str, Any]:
    def opinion(start: int, end: int, polarity: str) -> dict[str, Any]:
        target = sentence[start:end]
        return {"target": target, "category": "NULL#general", "polarity": polarity} | {
            "from": start,
            "to": end,
        }

    sentence = "売上は増え、費用は減った"
    both = [opinion(0, 2, "positive"), opinion(6, 8, "negative")]
    one = [opinion(0, 2, "positive"), opinion(0, 2, "positive")]
    sentences = [
        {"sentence_id": n, "sentence": sentence, "opinions": opinions}
        for n, opinions in enumerate([both, one, []])
    ]
    header = {"edi_id": code, "document_name": f"{code}㈱", "security_code": "1"}
    return {"header": header | {"category33": "機械"}, "sentences": sentences}


REPORTS = [report(f"E{n:05}") for n in range(10)]


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_an_archive_a_folder_and_lines_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    lines = tmp_path / "reports.jsonl"
    texts = [json.dumps(report, ensure_ascii=False) for report in REPORTS]
    lines.write_text("\n".join(texts), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "reports.zip", "w") as archive:
        for n, text in enumerate(texts):
            (folder / f"{n}_ann.json").write_text(text, encoding="utf-8")
            archive.writestr(f"chABSA-dataset/{n}_ann.json", text)
    for number, source in enumerate((folder, lines, tmp_path / "reports.zip")):
        chabsa.main(source, tmp_path / str(number))
        for name in ("polarity", "targets"):
            assert records(tmp_path / str(number), name) == records(tmp_path / "0", name)
    polarity, targets = records(tmp_path / "0", "polarity"), records(tmp_path / "0", "targets")
    assert {(record["id"], record["label"]) for record in polarity} == {
        (f"E{n:05}:1", "positive") for n in range(10)
    }
    assert len(targets) == 30
    assert targets[0]["entities"] == [[0, 2, "positive"], [6, 8, "negative"]]
    assert targets[1]["entities"] == [[0, 2, "positive"]]
    assert targets[2]["entities"] == []


def test_companies_are_apart(tmp_path: Path) -> None:
    codes = [chabsa.company_code(report) for report in REPORTS]
    parts = chabsa.split_companies(codes, 42)
    assert sorted(parts.values()) == ["dev"] + ["test"] + ["train"] * 8
    assert parts == chabsa.split_companies(codes[::-1], 42)
    assert parts != chabsa.split_companies(codes, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"header": {}}', "J561"),
        ('{"header": ', "J204"),
        ("[]", "J561"),
        (json.dumps(REPORTS[0]).replace('"from": 6', '"from": 5'), "J561"),
    ],
)
def test_a_broken_report_is_refused(tmp_path: Path, content: str, code: str) -> None:
    file = tmp_path / "reports.jsonl"
    good = json.dumps(REPORTS[0])
    file.write_text(f"{good}\n{content}\n", encoding="utf-8")
    with pytest.raises(DataError, match=code) as error:
        chabsa.main(file, tmp_path / "out")
    assert error.value.line == 2
    assert not (tmp_path / "out").exists()


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="J560"):
        chabsa.main(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="J201"):
        chabsa.main(tmp_path / "missing", tmp_path / "out")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_the_real_reports(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    chabsa.main(SHARED, tmp_path)
    assert capsys.readouterr().out == "202 companies: 161 / 20 / 21\n"
    polarity, targets = records(tmp_path, "polarity"), records(tmp_path, "targets")
    assert len(polarity) == 2051
    assert len(targets) == 5380
    parts = defaultdict(set)
    for record in polarity + targets:
        parts[record["company"]].add(record["split"])
    assert all(len(found) == 1 for found in parts.values())
