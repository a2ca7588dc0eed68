"""The report page in a browser: what its script does, and that nothing leaves it."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spacy_jbert.evaluation.comparison import Comparison
from spacy_jbert.evaluation.coverage import Group, Point
from spacy_jbert.evaluation.intervals import Difference
from spacy_jbert.evaluation.mistakes import Label, Mistake
from spacy_jbert.evaluation.outcome import Outcome, Reliability, Task
from spacy_jbert.evaluation.page import page
from spacy_jbert.evaluation.significance import Interval
from spacy_jbert.tuning.page import write_page
from spacy_jbert.tuning.search import open_study

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="window.evil=1"></script><script>window.evil=1</script>'
LABELS = [f"大分類::小分類{number}" for number in range(46)]


def chromium() -> str | None:
    given = os.environ.get("CHROMIUM")
    names = ("chromium", "chromium-browser", "google-chrome")
    return given or next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


def outcome(count: int = 300) -> Outcome:
    """Many mistakes of 46 labels, with hostile texts, formulas, and characters of two units."""
    records, mistakes = {}, []
    for number in range(1, count + 1):
        text = f"𠮷野家{number}で鷗外に会う"
        if number == 2:
            text = f"{EVIL}𠮷野家"
        if number == 3:
            text = "=1+cmd|' /C calc'!A0,\"x\"\n𠮷野家"
        start = text.index("𠮷野家")
        gold, found = LABELS[number % 46], LABELS[(number * 7 + 1) % 46]
        if number == 3:
            gold = "@label"
        records[number] = {"id": number, "text": text, "entities": [[start, start + 3, gold]]}
        kind = "wrong type" if number % 2 else "wrong border"
        sides = Label(gold, start, start + 3), Label(found, start, start + 3 - (number + 1) % 2)
        mistakes.append(Mistake(kind, text, *sides, 1 - number / (count + 1), number, "entities"))
    confusion = [(LABELS[i], LABELS[(i * 7 + 1) % 46], 9) for i in range(46)]
    confusion += [(label, label, 50) for label in LABELS]
    points = [Point(0.9, 0.5, 0.9, 10), Point(0.1, 1.0, 0.7, 20)]
    task = Task(
        name="entities",
        exclusive=None,
        headline={name: Interval(0.7, 0.6, 0.8) for name in "prf"},
        labels=[
            {"label": label, "p": 0.5, "r": 0.5, "f": 0.5, "support": 59, "found": 59}
            for label in LABELS
        ],
        confusion=confusion,
        semeval={
            "strict": dict.fromkeys(
                ("correct", "incorrect", "partial", "missed", "spurious", *"prf"), 1
            )
        },
        curve=points,
        table=points,
        kept=points[0],
        before=Reliability(0.2, [Group(0.9, 0.7, 10)]),
        after=Reliability(0.1, [Group(0.8, 0.7, 10)]),
    )
    part = {"documents": count, "characters": 9, "median": 9, "long": 9, "longest": 9}
    return Outcome(
        title=f"モデル {EVIL}",
        documents=count,
        characters=9999,
        tokens=5000,
        seconds=1.5,
        tasks=[task],
        mistakes=mistakes,
        suspects=[0, 4],
        records=records,
        corpus={
            "parts": {"test": {**part, "labels": {EVIL: 3}, "lengths": [(0, 9, count)]}},
            "duplicates": [("train", "test", 1, [EVIL])],
            "contradictory": [(EVIL, [EVIL, "x"])],
            "misaligned": [EVIL],
            "entities": 9,
        },
        facts={
            "name": EVIL,
            "version": "1",
            "licence": EVIL,
            "author": "",
            "sources": [{"name": EVIL, "license": EVIL}],
            "pipeline": [EVIL],
            "temperatures": {EVIL: 1.5},
            "encoders": [],
            "parameters": 5,
            "bytes": 5_000_000,
            "versions": {"x": "1"},
            "machine": "m",
            "config": EVIL,
        },
        training=[{"step": 0, "score": 0.1}, {"step": 100, "score": 0.7}],
    )


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page; afterwards nothing may have gone wrong in it, or left it."""
    wrong: list[str] = []
    contexts = []

    def opened(
        content: str, *, width: int = 1280, dark: bool = False, locale: str = "en-US"
    ) -> Any:
        file = tmp_path / "報告.html"
        file.write_text(content, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            locale=locale,
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on(
            "request",
            lambda request: request.url.startswith(("file:", "blob:")) or wrong.append(request.url),
        )
        tab.goto(file.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def shown(tab: Any, count: int) -> None:
    """Wait until so many mistakes are shown. The page's policy lets no test run code in it."""
    expect(tab.locator("#count")).to_have_text(str(count))


def count(tab: Any) -> int:
    return int(tab.inner_text("#count").replace(",", ""))


def test_filters(show: Callable[..., Any]) -> None:
    tab = show(page([outcome()]))
    assert count(tab) == 300
    tab.select_option("#kind", "wrong type")
    assert count(tab) == 150
    tab.select_option("#label", LABELS[0])
    assert 0 < count(tab) < 20
    tab.click("#clear")
    shown(tab, 300)
    tab.fill("#search", "野家12で")
    shown(tab, 1)
    assert "𠮷野家" in tab.inner_text("#list")
    # A character of two UTF-16 units doesn't move what is marked.
    assert tab.inner_text("#list mark >> nth=0") == "𠮷野"
    tab.click("#clear")
    shown(tab, 300)
    tab.check("#suspects")
    assert count(tab) == 2
    tab.click("#clear")
    shown(tab, 300)
    button = tab.locator(".matrix button").first
    button.focus()
    tab.keyboard.press("Enter")
    assert 0 < count(tab) < 300
    assert tab.evaluate("document.activeElement.id") == "pair"
    tab.keyboard.press("Enter")
    assert count(tab) == 300


def test_hostile_texts_do_nothing(show: Callable[..., Any]) -> None:
    tab = show(page([outcome()]))
    tab.fill("#search", "onerror")
    shown(tab, 1)
    tab.click("#list button")
    assert EVIL in tab.inner_text("#list")
    assert tab.evaluate("window.evil") is None
    assert tab.locator("img").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_in_both_colours(width: int, dark: bool, show: Callable[..., Any]) -> None:
    tab = show(page([outcome()]), width=width, dark=dark, locale="ja-JP" if dark else "en-US")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    assert tab.inner_text("#mistakes h2") == ("間違い" if dark else "Mistakes")
    tab.click("#language")
    assert tab.inner_text("#mistakes h2") == ("Mistakes" if dark else "間違い")
    tab.click("#theme")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != colour
    # All 46 rows are there, and as high as a line.
    heights = tab.evaluate(
        "[...document.querySelectorAll('.matrix tbody tr')].map(row => row.offsetHeight)"
    )
    assert len(heights) == 46
    assert max(heights) < 60


@pytest.mark.parametrize(("lang", "locale"), [("ja", "en-US"), ("en", "ja-JP")])
def test_the_language_that_is_set(lang: str, locale: str, show: Callable[..., Any]) -> None:
    tab = show(page([outcome(5)], lang=lang), locale=locale)
    assert tab.evaluate("document.documentElement.lang") == lang


def test_ten_thousand_mistakes_scroll(show: Callable[..., Any]) -> None:
    tab = show(page([outcome(10_000)]))
    assert count(tab) == 10_000
    assert tab.locator("#list > li").count() < 300
    for _ in range(3):
        before = tab.locator("#list > li").count()
        tab.evaluate("document.getElementById('more').scrollIntoView()")
        expect(tab.locator("#list > li")).not_to_have_count(before)
    # And without a mouse.
    tab.focus("#more")
    before = tab.locator("#list > li").count()
    tab.keyboard.press("Enter")
    assert tab.locator("#list > li").count() > before
    tab.fill("#search", "野家9999で")
    shown(tab, 1)


def test_files(show: Callable[..., Any], tmp_path: Path) -> None:
    tab = show(page([outcome(60)]))
    with tab.expect_download() as saved:
        tab.click("#csv")
    content = Path(saved.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert len(rows) == 60
    formula = next(row for row in rows if row["record"] == "3")
    assert formula["text"].startswith("'=1+cmd")
    assert "\n" in formula["text"]
    assert formula["annotated"] == "'@label"
    assert all(not value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    assert rows[0]["annotated_text"] == "𠮷野家"
    tab.select_option("#kind", "wrong border")
    with tab.expect_download() as saved:
        tab.click("#jsonl")
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 30
    assert [json.loads(line) for line in lines] == [
        record for number, record in outcome(60).records.items() if number % 2 == 0
    ]


def test_what_is_uncertain_was_not_said(show: Callable[..., Any]) -> None:
    one = outcome(10)
    first = one.mistakes[0]
    one.mistakes[0] = first._replace(kind="uncertain")
    one.tasks[0].confusion.append((first.gold.label, "", 1))
    one.tasks[0].withheld = Point(0.0, 0.1, 0.5, 4)
    tab = show(page([one]))
    assert "Under a threshold: 4, Accuracy 50.0" in tab.inner_text("#task1")
    tab.select_option("#kind", "uncertain")
    shown(tab, 1)
    # What was found there is shown; of the matrix it is with what isn't found.
    assert first.predicted.label in tab.text_content("#list")
    tab.click(f'.matrix button[data-gold="{first.gold.label}"][data-found=""]')
    shown(tab, 1)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_a_study(
    width: int, dark: bool, show: Callable[..., Any], tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("matplotlib")
    study = open_study(tmp_path, "sqlite")
    distributions = {
        "training.optimizer.learn_rate.initial_rate": optuna.distributions.FloatDistribution(0, 1),
        "components.ner.model.decoder": optuna.distributions.CategoricalDistribution([EVIL, "b"]),
    }
    for number in range(12):
        params = dict(zip(distributions, [number / 12, (EVIL, "b")[number % 2]], strict=True))
        trial = {"params": params, "distributions": distributions}
        study.add_trial(optuna.trial.create_trial(**trial, value=number / 20))
    write_page(study, tmp_path / "study.html", f"ner {EVIL}")
    content = (tmp_path / "study.html").read_text(encoding="utf-8")
    tab = show(content, width=width, dark=dark, locale="ja-JP" if dark else "en-US")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    assert tab.locator("svg").count() == 3
    assert ("履歴" if dark else "History") in tab.inner_text("main")
    assert ("History" if dark else "履歴") not in tab.inner_text("main")
    tab.click("#language")
    assert ("History" if dark else "履歴") in tab.inner_text("main")
    tab.click("#theme")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != colour
    assert EVIL in tab.inner_text("h1")
    assert tab.locator("img").count() == 0


def test_two_pipelines(show: Callable[..., Any]) -> None:
    first, second = outcome(10), outcome(10)
    second.mistakes = second.mistakes[4:]
    second.records = {number: one for number, one in second.records.items() if number > 4}
    difference = Difference(0.1, 0.05, 0.2, 0.01)
    comparison = Comparison(
        {"entities": dict.fromkeys("prf", difference)},
        {"entities": [(EVIL, 3, 0.1, 0.2)]},
        {str(number): "A" if number <= 4 else "AB" for number in range(1, 11)},
    )
    tab = show(page([first, second], comparison=comparison))
    assert count(tab) == 10
    tab.select_option("#whose", "A")
    assert count(tab) == 4
    tab.select_option("#whose", "AB")
    assert count(tab) == 6


def of_classes(letter: str) -> Outcome:
    """An entity and two categories of the same labels, each taken for another, in some texts."""
    one = outcome(8)
    tasks, mistakes = [], []
    for number, name in enumerate(("entities", "one", "two")):
        count = 2 + number + (letter == "B")
        kind = "wrong type" if name == "entities" else "wrong class"
        sides = Label("x", 0, 3), Label("y", 0, 3)
        for record in range(1, count + 1):
            text = one.records[record]["text"]
            mistakes.append(Mistake(kind, text, *sides, 0.5, record, name))
        mistakes.append(Mistake("invented", "", None, sides[1], 0.4, 8, name))
        confusion = [("x", "y", count), ("", "y", 1), ("x", "x", 9)]
        tasks.append(replace(one.tasks[0], name=name, confusion=confusion, labels=[]))
    return replace(one, tasks=tasks, mistakes=mistakes, suspects=[])


@pytest.mark.parametrize("two", [False, True])
def test_a_number_shows_its_own_mistakes(two: bool, show: Callable[..., Any]) -> None:
    sides = [of_classes(letter) for letter in ("AB" if two else "A")]
    difference = {name: {} for name in ("entities", "one", "two")}
    wrong = {str(number): "AB" for number in range(1, 9)}
    labels = {name: [] for name in difference}
    comparison = Comparison(difference, labels, wrong) if two else None
    tab = show(page(sides, comparison=comparison))
    buttons = tab.locator(".matrix button").all()
    assert len(buttons) == (12 if two else 6)
    for button in buttons:
        # Whatever was looked for before.
        tab.select_option("#label", "y")
        tab.fill("#search", "no such text")
        shown(tab, 0)
        number = button.inner_text()
        button.click()
        shown(tab, int(number))
