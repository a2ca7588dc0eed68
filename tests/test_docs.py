"""The documents: every block of code runs as it stands, every link leads somewhere, and both
languages say the same.

A page runs from top to bottom in a folder of its own, in which there is what a checkout has
beside the package (configs, the sample, the small encoder) and data of a user. What can't be
run stands under a comment that says why: <!-- not run: needs a network -->.
"""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import pytest
import spacy

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TRANSLATED = ["tutorial", "corpora", "ner", "textcat", "tokenizer", "packaging", "python"]
TRANSLATED += [
    "pretraining",
    "project",
    "troubleshooting",
    "annotate",
    "import",
    "serving",
    "report",
    "export",
    "tuning",
    "selection",
    "finance",
    "qa",
    "search",
    "applications",
    "support",
    "recommendation",
    "distillation",
    "seq2seq",
    "dialogue",
]
PAGES = [ROOT / "README.md", *(DOCS / f"{name}.md" for name in TRANSLATED)]
# For those who work on the project, in English alone.
INTERNAL = [
    "architecture",
    "benchmarks",
    "development",
    "errors",
    "registry",
    "security",
    "settings",
]

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

DRIVER = """
import json, os, subprocess, sys
namespace = {"__name__": "__main__"}
folder_file = os.path.abspath(".folder")
for language, code in json.load(open(sys.argv[1], encoding="utf-8")):
    print("---", code, sep="\\n", flush=True)
    if language == "python":
        exec(compile(code, "<document>", "exec"), namespace)
    else:
        script = code + f"\\npwd > {folder_file}"
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)
        os.chdir(open(folder_file, encoding="utf-8").read().strip())
"""


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    return [
        Block(found["language"], found["code"], found["reason"])
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def commands(code: str) -> str:
    """What follows the prompts, with continued lines."""
    lines: list[str] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            lines.append(line[2:])
        elif lines and lines[-1].endswith("\\"):
            lines.append(line)
    return "\n".join(lines)


def sample() -> Iterator[dict]:
    with (ROOT / "project/assets/sample/texts.jsonl").open(encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout without the package in it, and what a user has."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "project/assets/sample", tmp_path / "project/assets/sample")
    shutil.copytree(ROOT / "project/assets/jbert-mini", tmp_path / "project/assets/jbert-mini")
    for scenario in ("support", "finance"):
        data = f"project/scenarios/{scenario}/data"
        shutil.copytree(ROOT / data, tmp_path / data)
    records = list(sample())
    with (tmp_path / "topics.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for record in records[:300]:
            text = record["text"].replace('"', '""')
            file.write(f'"{text}",{record["topic"]}\n')
    with (tmp_path / "reviews.jsonl").open("w", encoding="utf-8") as file:
        for record in records[:300]:
            entry = {"text": record["text"], "entities": record["entities"]}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    with (tmp_path / "aspects.jsonl").open("w", encoding="utf-8") as file:
        for record in records[:300]:
            entry = {"text": record["text"], "labels": [record["topic"], record["sentiment"]]}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    with (tmp_path / "sentences.bio").open("w", encoding="utf-8") as file:
        for number in range(10):
            file.write(f"客{number}\tO\nは\tO\n京都\tB-地名\nへ\tO\n\n")
    shutil.copy(ROOT / "project/assets/sample/pretrain.txt", tmp_path / "running.txt")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_runs_as_it_stands(page: Path, folder: Path) -> None:
    steps = [
        (block.language, commands(block.code) if block.language == "console" else block.code)
        for block in blocks(page)
        if block.reason is None and block.language in ("console", "python")
    ]
    if not steps:
        pytest.skip("nothing to run on this page")
    (folder / ".steps.json").write_text(json.dumps(steps), encoding="utf-8")
    (folder / ".driver.py").write_text(DRIVER, encoding="utf-8")
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, ".driver.py", ".steps.json"],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.language in ("console", "python", "ini") or block.reason, block.code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_configs_name_settings_that_there_are(page: Path) -> None:
    known = settings()
    for block in blocks(page):
        if block.language != "ini":
            continue
        config = ConfigParser(interpolation=None)
        # Names of settings are told apart by case.
        config.optionxform = str  # type: ignore[assignment]
        config.read_string(block.code)
        for section in config.sections():
            names = dict(config[section])
            register = next(
                (name for name in names if name.startswith("@") or name == "factory"), ""
            )
            if register:
                name = json.loads(names.pop(register))
                assert name in known, (section, name)
                assert set(names) <= known[name], (section, name, set(names) - known[name])


def settings() -> dict[str, set[str]]:
    """The settings of each registered name."""
    known: dict[str, set[str]] = {}
    for point in distribution("spacy-jbert").entry_points:
        if point.group.startswith("spacy_") and point.group != "spacy_cli":
            known[point.name] = set(inspect.signature(point.load()).parameters)
    nlp = spacy.blank("ja")
    for name in ("textcat", "textcat_multilabel"):
        known[name] = set(nlp.get_factory_meta(name).default_config)
    return known


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in found]
    return {title.replace(" ", "-") for title in plain}


EVERY_PAGE = [ROOT / "README.md", ROOT / "README.ja.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_every_page_is_known() -> None:
    assert {page.stem for page in DOCS.glob("*.md")} == {*TRANSLATED, *INTERNAL}
    assert {page.stem for page in (DOCS / "ja").glob("*.md")} == set(TRANSLATED)


def without_comments(code: str) -> str:
    return re.sub(r"(?m)[ \t]*(?<![\w'\"])#.*$", "", code)


@pytest.mark.parametrize("name", ["README", *TRANSLATED])
def test_both_languages_show_the_same_code(name: str) -> None:
    english, japanese = (
        (ROOT / "README.md", ROOT / "README.ja.md")
        if name == "README"
        else (DOCS / f"{name}.md", DOCS / "ja" / f"{name}.md")
    )
    ours, theirs = (
        [(block.language, without_comments(block.code)) for block in blocks(page)]
        for page in (english, japanese)
    )
    assert ours == theirs


def test_readmes_are_short() -> None:
    assert (ROOT / "README.md").stat().st_size < 8_000
    assert len((ROOT / "README.ja.md").read_text(encoding="utf-8")) < 8_000


def test_generated_pages_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import reference, json; print(json.dumps(reference.pages()))"],
        cwd=DOCS,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    for name, page in json.loads(done.stdout.splitlines()[-1]).items():
        assert (DOCS / name).read_text(encoding="utf-8") == page, "run: python docs/reference.py"
