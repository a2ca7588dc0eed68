"""The finance scenario: from news lines to alerts, each of them once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.corpora.values import seconds_since_1970
from spacy_jbert.errors import DataError
from spacy_jbert.streams import delivery
from spacy_jbert.streams.delivery import Outbox, Webhook
from spacy_jbert.streams.surges import SurgeSettings
from spacy_jbert.streams.tail import Line, Tail

from .test_chabsa import script
from .test_project import ROOT, run

SCENARIO = ROOT / "project/scenarios/finance"
FOLDER = "project/scenarios/finance/scripts"
finance, streams = script(f"{FOLDER}/watch.py"), script(f"{FOLDER}/make_stream.py")
measuring, preparing = script(f"{FOLDER}/measure.py"), script(f"{FOLDER}/prepare.py")


class Says:
    """Takes a text with 赤字 for bad news."""

    labels = ("negative", "positive")

    def __call__(self, doc: Doc) -> Doc:
        bad = float("赤字" in doc.text)
        doc.cats = {"negative": bad, "positive": 1 - bad}
        return doc


@Language.factory("says_whether_red")
def make_says(nlp: Language, name: str) -> Says:
    return Says()


@pytest.fixture(scope="module")
def nlp() -> Language:
    nlp = spacy.blank("ja")
    nlp.add_pipe("says_whether_red", name="sentiment")
    nlp.add_pipe("jbert_companies", name="companies").initialize(
        table=SCENARIO / "data/companies.csv"
    )
    return nlp


def news(hour: float, text: str, **others: Any) -> str:
    day, hour = divmod(hour, 24)
    minute = round(hour % 1 * 60)
    when = f"2026-01-{int(day) + 1:02}T{int(hour):02}:{minute:02}:00"
    return json.dumps({"time": when, "text": text, **others}, ensure_ascii=False)


LINES = [
    *(news(n, "㈱ミナト精機は赤字") for n in range(6)),
    *(news(6 + n, "青葉フーズは赤字") for n in range(8)),
    "{broken",
    *(news(100 + n, "東雲物流は黒字") for n in range(3)),
    *(news(200 + n, "ＭＩＮＡＴＯは赤字") for n in range(6)),
]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    file = tmp_path / "news.jsonl"
    file.write_text("".join(line + "\n" for line in LINES), encoding="utf-8")
    return file


def started(nlp: Language, stream: Path, **others: Any) -> Any:
    folder = stream.parent
    settings = others.pop("settings", SurgeSettings())
    where = (folder / "state.json", folder / "alerts.jsonl")
    return finance.Watch(nlp, *where, settings, source=str(stream), **others)


def go(nlp: Language, stream: Path, batch: int = 64, **others: Any) -> Any:
    """From where the state says to the end."""
    told = started(nlp, stream, **others)
    source = Tail(stream, told.position)
    finance.watch(source, told, batch=batch, once=True, stopped=lambda: False)
    return told


def alerts(stream: Path) -> list[dict[str, Any]]:
    text = (stream.parent / "alerts.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_surges_are_told(nlp: Language, stream: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = go(nlp, stream)
    found = alerts(stream)
    assert [(a["kind"], a["code"]) for a in found] == [
        ("surge", "A1010"),
        ("surge", "A1020"),
        ("end", "A1010"),
        ("end", "A1020"),
        ("surge", "A1010"),
    ]
    assert len({a["id"] for a in found}) == 5
    assert found[0]["name"] == "株式会社ミナト精機"
    assert found[0]["since"] == found[0]["time"] == found[0]["recent"][-1]["time"]
    assert found[0]["time"].endswith("+09:00")
    assert told.counts["lines"] == len(LINES)
    assert told.counts["broken"] == 1
    assert "line 15: [J573]" in caplog.text


class Kill(BaseException):
    """Instead of SIGKILL."""


@pytest.mark.parametrize("batch", [3, 8])
def test_killed_anywhere_each_alert_comes_once(
    nlp: Language, stream: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each saving of the state, and within each line of alerts."""
    go(nlp, stream, batch)
    expected = (stream.parent / "alerts.jsonl").read_bytes()
    kills = 0
    for point in ("before", "after", "half"):
        for count in range(100):
            for name in ("state.json", "alerts.jsonl"):
                (stream.parent / name).unlink(missing_ok=True)
            with monkeypatch.context() as patch:
                killing(patch, point, count)
                try:
                    go(nlp, stream, batch)
                    break
                except Kill:
                    kills += 1
            go(nlp, stream, batch)
            assert (stream.parent / "alerts.jsonl").read_bytes() == expected
    assert kills > 3 * len(LINES) / batch / 2


def killing(patch: pytest.MonkeyPatch, point: str, count: int) -> None:
    """Let the process die at the count-th saving, or delivery of anything."""
    left = [count]
    save, deliver = delivery.save_state, Outbox.deliver

    def dies() -> bool:
        left[0] -= 1
        return left[0] < 0

    def dying_save(*args: Any) -> None:
        died = dies()
        if died and point == "before":
            raise Kill
        save(*args)
        if died:
            raise Kill

    def dying_deliver(outbox: Outbox, path: Path) -> None:
        if outbox.text and dies():
            with path.open("ab") as file:
                file.write(outbox.text.encode()[: len(outbox.text) // 2])
            raise Kill
        deliver(outbox, path)

    if point == "half":
        patch.setattr(Outbox, "deliver", dying_deliver)
    else:
        patch.setattr(finance, "save_state", dying_save)


def test_a_webhook_is_told_at_least_once(
    nlp: Language, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[str] = []
    up = [False]

    def post(hook: Webhook, record: dict[str, Any]) -> None:
        if not up[0]:
            raise ConnectionRefusedError
        got.append(record["id"])

    monkeypatch.setattr(Webhook, "_post", post)
    hook = Webhook("http://localhost:1/")
    assert len(go(nlp, stream, webhook=hook).waiting) == 5
    up[0] = True
    assert go(nlp, stream, webhook=Webhook("http://localhost:1/")).waiting == []
    assert got == [alert["id"] for alert in alerts(stream)]


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b'{"text": "a"}',
        b'{"text": "a", "time": "yesterday"}',
        b"\xff",
        b'{"text": "a", "time": "2999-01-01"}',
        b'{"text": " ", "time": "2026-01-01"}',
        None,
        b'{"text": "\\ud800", "time": "2026-01-01"}',
        b"[" * 100000,
        b'{"text": 1, "time": 1}',
        b'{"text": "a", "time": "2026-01-01", "id": "\\ud800"}',
        b'{"text": "a", "time": "0001-01-01"}',
        b'{"text": "a", "time": "0001-01-01T00:00:00+23:00"}',
        b'{"text": "a", "time": "2026-01-01", "id": ["a"]}',
        b'{"text": "a", "time": "2026-01-01", "id": {"a": 1}}',
        b'{"text": "a", "time": "2026-01-01", "id": true}',
        b'{"text": "a", "time": "2026-01-01", "id": 1.5}',
        b'{"text": "a", "time": "2026-01-01", "id": NaN}',
    ],
)
def test_broken_lines(content: bytes | None) -> None:
    with pytest.raises(DataError, match=r"line 7: \[J573\]"):
        finance.parse(Line(7, content), "news.jsonl")


@pytest.mark.parametrize(
    ("id", "expected"),
    [("", "7"), (', "id": null', "7"), (', "id": "x-1"', "x-1"), (', "id": 0', "0")],
)
def test_ids(id: str, expected: str) -> None:
    line = f'{{"text": "a", "time": "2026-01-01"{id}}}'.encode()
    assert finance.parse(Line(7, line), "news.jsonl").id == expected


class Fails:
    """Fails on texts with 毒, or on all."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, doc: Doc) -> Doc:
        if self.broken or "毒" in doc.text:
            raise RuntimeError("it can't be had")
        return doc


@Language.factory("fails_at_poison")
def make_fails(nlp: Language, name: str) -> Fails:
    return Fails()


@pytest.fixture
def failing() -> Language:
    nlp = spacy.blank("ja")
    nlp.max_length = 60
    nlp.add_pipe("fails_at_poison", name="fails")
    nlp.add_pipe("says_whether_red", name="sentiment")
    nlp.add_pipe("jbert_companies", name="companies").initialize(
        table=SCENARIO / "data/companies.csv"
    )
    return nlp


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_texts_the_pipeline_cant_read_are_left_out(
    nlp: Language, failing: Language, stream: Path, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    go(nlp, stream)
    expected = alerts(stream)
    for name in ("state.json", "alerts.jsonl"):
        (stream.parent / name).unlink()
    poison, long = news(3, "㈱ミナト精機は赤字で毒"), news(3, "㈱ミナト精機は赤字" * 9)
    lines = [*LINES[:3], poison, poison, long, long, *LINES[3:], poison]
    stream.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    caplog.clear()
    told = go(failing, stream, batch)
    assert told.counts["broken"] == 6
    assert told.counts["items"] == len(LINES) - 1
    names = ("id", "kind", "code", "time", "since", "score", "items", "usual")
    assert [[a[n] for n in names] for a in alerts(stream)] == [
        [a[n] for n in names] for a in expected
    ]
    for line in (4, 5, len(lines)):
        assert f"line {line}: [J577]" in caplog.text
    assert "RuntimeError: it can't be had" in caplog.text
    for line in (6, 7):
        assert f"line {line}: [J573]" in caplog.text
    # Each start goes on.
    assert go(failing, stream, batch).counts == told.counts


@pytest.mark.parametrize("batch", [1, 64])
def test_a_pipeline_that_fails_on_all_does_nothing(
    failing: Language, stream: Path, batch: int
) -> None:
    """The news isn't at fault, and is read when it is mended."""
    failing.get_pipe("fails").broken = True
    with pytest.raises(RuntimeError, match="can't be had"):
        go(failing, stream, batch)
    assert not (stream.parent / "state.json").exists()
    failing.get_pipe("fails").broken = False
    assert go(failing, stream, batch).counts["items"] == len(LINES) - 1


def test_a_line_longer_than_any_pipeline_reads(nlp: Language, stream: Path) -> None:
    """Which the file's reader still takes."""
    long = news(3, "a" * (nlp.max_length + 1))
    stream.write_text(f"{long}\n{LINES[0]}\n", encoding="utf-8")
    told = go(nlp, stream)
    assert (told.counts["broken"], told.counts["items"]) == (1, 1)


def test_companies_may_have_codes_in_japanese(nlp: Language, stream: Path) -> None:
    """The webhook's header holds the alert's id."""
    told = started(nlp, stream)
    alert = told._alert(finance.Change("surge", "ミナト", 0.0, 0.0, 3.0, 2.0, 0.1))
    assert delivery.key_of(alert["id"]).endswith("-surge-1970-01-01T09:00:00+09:00")


def test_times() -> None:
    there = seconds_since_1970("2026-01-01T00:00:00Z")
    assert seconds_since_1970("2026-01-01T09:00:00") == there
    assert finance.iso(there) == "2026-01-01T09:00:00+09:00"


def test_other_settings_are_refused(nlp: Language, stream: Path) -> None:
    go(nlp, stream)
    with pytest.raises(DataError, match="J575"):
        go(nlp, stream, settings=SurgeSettings(half_life=1.0))
    go(nlp, stream, settings=SurgeSettings(on=9.0))
    with pytest.raises(DataError, match="J575"):
        go(nlp, shutil.copy(stream, stream.with_name("other.jsonl")))
    with pytest.raises(ValueError, match="J574"):
        started(nlp, stream, negative="bad")
    with pytest.raises(ValueError, match="J574"):
        started(spacy.blank("ja"), stream)


def test_a_stream_is_made_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = SCENARIO / "data"
    streams.main(data / "news.jsonl", tmp_path, data / "companies.csv", days=40.0, surges=8)
    first = (tmp_path / "stream.jsonl").read_bytes()
    streams.main(data / "news.jsonl", tmp_path, data / "companies.csv", days=40.0, surges=8)
    assert (tmp_path / "stream.jsonl").read_bytes() == first
    table = finance.Companies("companies", label="組織名", labels=[])
    table.initialize(table=data / "companies.csv")
    linked = []
    for line in first.decode().splitlines():
        record = json.loads(line)
        codes = {m.codes for m in table.index.find(record["text"])}
        linked.append(codes == {(record["gold"]["company"],)})
        assert linked[-1] or any(len(found) > 1 for found in codes), record
    assert sum(linked) > 0.9 * len(linked)
    measuring.main(tmp_path / "stream.jsonl", tmp_path / "surges.jsonl", thresholds="3")
    assert "8 of 8" in capsys.readouterr().out
    with pytest.raises(DataError, match="J576"):
        streams.main(data / "news.jsonl", tmp_path, data / "companies.csv", days=15.0)


def test_the_data(tmp_path: Path) -> None:
    data = SCENARIO / "data"
    sample = ROOT / "project/assets/sample/texts.jsonl"
    preparing.main(
        sample, data / "news.jsonl", data / "companies.csv", tmp_path / "sentiment.jsonl"
    )
    lines = (tmp_path / "sentiment.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["split"] for record in records} == {"train", "dev", "test"}
    assert {record["label"] for record in records} == {"positive", "negative", "neutral"}
    assert not any("{name}" in record["text"] for record in records)


@pytest.mark.slow
def test_from_the_sample_to_alerts_by_a_wheel(tmp_path: Path) -> None:
    """All steps in a copy; then the wheel in an empty environment, where the stream is killed, again
    and again, while it goes on."""
    scenario = copied(tmp_path)
    short = ["--vars.steps", "12", "--vars.days", "15", "--vars.surges", "3"]
    done = run("-m", "spacy", "project", "run", "build", ".", *short, cwd=scenario)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    python = installed(tmp_path, scenario)
    # Who learned for 12 steps takes nothing for bad news; so, everything.
    options = ["--threshold", "0", "--batch", "8"]
    whole = watching(python, scenario, tmp_path / "whole", options)
    assert whole.wait(timeout=600) == 0
    expected = (tmp_path / "whole/alerts.jsonl").read_bytes()
    assert expected.count(b'"surge"') >= 3
    kills = 0
    for number in range(9):
        process = watching(python, scenario, tmp_path / "killed", options)
        if number < 4:
            begun(process, tmp_path / "killed/state.json", seconds=0.2 * number)
            process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=600)
        kills += code == -signal.SIGKILL
        if code == 0:
            break
    assert kills >= 3
    assert (tmp_path / "killed/alerts.jsonl").read_bytes() == expected


def copied(folder: Path) -> Path:
    """A checkout with what the scenario needs of it."""
    for part in ("configs", "project/assets/sample", "project/assets/jbert-mini"):
        shutil.copytree(ROOT / part, folder / part)
    names = ("corpus", "training", "metrics", "packages", "stream", "__pycache__", "project.lock")
    scenario = folder / SCENARIO.relative_to(ROOT)
    shutil.copytree(SCENARIO, scenario, ignore=shutil.ignore_patterns(*names))
    return scenario


def installed(folder: Path, scenario: Path) -> Path:
    """RETURNS (Path): The Python of an environment with the library's and the pipeline's wheel,
    whose other packages are those of this one."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("spacy_jbert", "configs", "project"):
        shutil.copytree(ROOT / part, source / part, ignore=ignored, dirs_exist_ok=True)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / file, source / file)
    subprocess.run([*pip, "-w", wheels, source], check=True)
    found = [*wheels.glob("*.whl"), *scenario.glob("packages/*/dist/*.whl")]
    assert len(found) == 2
    # Isolated (-I), for pip not to take this checkout for the library.
    install = [python, "-I", "-m", "pip", "install", "-q", "--no-deps", "--no-index", *found]
    subprocess.run(install, check=True)
    site = next((folder / "venv/lib").glob("python*/site-packages"))
    others = Path(spacy.__file__).parents[1]
    (site / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    return python


def watching(python: Path, scenario: Path, out: Path, options: list[str]) -> subprocess.Popen:
    out.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, scenario / "scripts/watch.py", "ja_jbert_finance", "--once"]
    command += ["--follow", scenario / "stream/stream.jsonl", *options]
    command += ["--state", out / "state.json", "--alerts", out / "alerts.jsonl"]
    return subprocess.Popen(command, cwd=out, env=environment | {"OMP_NUM_THREADS": "1"})


def begun(process: subprocess.Popen, state: Path, *, seconds: float) -> None:
    """Wait until a process has saved its state anew, and then some seconds."""
    before = state.stat().st_mtime_ns if state.exists() else 0
    until = time.monotonic() + 300
    changed: Callable[[], bool] = lambda: state.exists() and state.stat().st_mtime_ns != before  # noqa: E731
    while process.poll() is None and not changed() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(seconds)
