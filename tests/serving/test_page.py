"""The page in a browser, at the widths of a telephone and a desk."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import spacy
import uvicorn

from spacy_jbert.serving.app import build
from spacy_jbert.serving.pipelines import Pipeline

from ..pipeline.asked import ASKED, examples, make, train

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
EVIL = '<img src=x onerror="document.title=1">'
WAIT = 60_000


@pytest.fixture
def address(checkpoint: Callable) -> Iterator[str]:
    """A service with rules, one of them with a label that is HTML, and one that answers."""
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "地名", "pattern": "京都"}, {"label": EVIL, "pattern": "大阪"}])
    answering = make(checkpoint("bert-fast"))
    train(answering, examples(answering), 60)
    app = build([Pipeline("rules", nlp), Pipeline("qa", answering)], key="key")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_text_is_never_html(address: str, width: int) -> None:
    wrong: list[str] = []
    with playwright.sync_playwright() as starting:
        browser = starting.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, locale="ja-JP")
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((address, "data:")) else wrong.append(asked.url)
            ),
        )
        page.goto(address)
        # The key is asked for.
        page.wait_for_selector("#key")
        page.fill("#key", "key")
        # 𠮷 is two of JavaScript's characters.
        page.fill("#text", f"𠮷野さんは京都へ、{EVIL}と大阪へ")
        page.focus("#text")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("mark")
        marks = [
            mark.evaluate("mark => mark.firstChild.textContent")
            for mark in page.query_selector_all("mark")
        ]
        assert marks == ["京都", "大阪"]
        assert EVIL in page.inner_text("#marked")
        assert page.query_selector("#answer img") is None
        assert page.title() == "spacy-jbert"
        # Two labels, two colours.
        colours = page.eval_on_selector_all(
            "mark", "found => found.map(one => getComputedStyle(one).backgroundColor)"
        )
        assert len(set(colours)) == 2
        # By keyboard: the box of the wordpieces, then the language.
        page.focus("#pieces")
        page.keyboard.press("Space")
        page.wait_for_selector("#pieces-section:not([hidden])")
        page.focus("#language")
        page.keyboard.press("Enter")
        assert page.inner_text("#analyze") == "Analyse"
        assert page.get_attribute("html", "lang") == "en"
        # Nothing is wider than the screen.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Questions are there for the pipeline that answers.
        assert page.is_hidden("#questions")
        text, question, answer = ASKED[0]
        page.select_option("#model", "qa")
        page.fill("#text", text)
        page.fill("#questions", f"{question}\n\n{EVIL}？\n")
        page.focus("#questions")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#answers h3")
        asked = page.query_selector_all("#answers h3")
        assert [one.inner_text() for one in asked] == [question, f"{EVIL}？"]
        assert page.inner_text("#answers mark") == answer
        assert page.query_selector("#answer img") is None
        assert page.is_hidden("#entities-section")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/questions-{width}.png", full_page=True)
        page.select_option("#model", "rules")
        assert page.is_hidden("#questions")
        page.fill("#text", "あ" * 30_000)
        page.click("#analyze")
        page.wait_for_selector("#status.wrong")
        assert "J442" in page.inner_text("#status")
        page.goto(f"{address}/docs")
        page.wait_for_selector(".opblock")
        browser.close()
    assert not wrong, json.dumps(wrong)
