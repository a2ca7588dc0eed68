"""News lines -> alerts: which companies have a surge of bad news.

A line is JSON with `text`, `time` and, where wanted, `id`. The pipeline finds the companies of a
table in it, its polarity and its topic. Where a company has more negative items than is usual for
it, an alert is appended to a file of JSON lines, exactly once even if this process is killed; a
webhook is told at least once.

What was done is saved batch by batch, in this order: the state, with the alerts that are to be
appended (spacy_jbert/streams/delivery.py); then the alerts. Rates go by the time of the news.
"""

import json
import logging
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.corpora.values import JAPAN, seconds_since_1970
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.pipeline.companies import EXTENSION, Companies
from spacy_jbert.serving.entries import reason_of
from spacy_jbert.serving.zone import forgetting
from spacy_jbert.storage import alone
from spacy_jbert.streams.delivery import Outbox, Webhook, load_state, save_state
from spacy_jbert.streams.surges import Change, Surges, SurgeSettings
from spacy_jbert.streams.tail import Line, Pipe, Tail
from spacy_jbert.terminal import run

logger = logging.getLogger("spacy_jbert.finance")

RECENT = 5
"""Items that an alert names."""
BATCH = 64
_PLAIN = "本日の予定です。"
_STATE = ("source", "position", "surges", "settings", "recent", "counts", "outbox", "waiting")


class News(NamedTuple):
    """A line of the stream. time (float): Seconds since 1970. line (int): Its number."""

    id: str
    time: float
    text: str
    line: int


def parse(line: Line, source: str, longest: float = math.inf) -> News:
    """RAISES: DataError J573 with the line, also for a text of more than `longest` characters."""
    try:
        if line.content is None:
            raise ValueError("it is too long")
        fields = json.loads(line.content.decode("utf-8-sig"))
        if not isinstance(fields, dict):
            raise ValueError("it is no object")
        text, when = fields.get("text"), fields.get("time")
        if not isinstance(text, str) or not text.strip():
            raise ValueError("it has no text")
        if len(text) > longest:
            raise ValueError(f"its text has {len(text):,} characters, more than {longest:,}")
        name = fields.get("id")
        if name is None:
            name = line.number
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ValueError("its id is neither text nor a whole number")
        name = str(name)
        # A lone surrogate can be in JSON, and in no Doc or file.
        (text + name).encode()
        if not isinstance(when, str):
            raise ValueError("it has no time")
        moment = seconds_since_1970(when)
        if moment > time.time() + 86400:
            # It would make all that comes after it old.
            raise ValueError(f"its time, {when}, lies in the future")
    except (ValueError, RecursionError) as error:
        message = Errors.J573.format(reason=error)
        raise DataError(message, path=source, line=line.number) from None
    return News(name, moment, text, line.number)


def iso(moment: float) -> str:
    """RETURNS (str): Seconds since 1970 as ISO 8601, in Japanese time."""
    return datetime.fromtimestamp(moment, JAPAN).isoformat(timespec="seconds")


class Watch:
    """What is known of the stream, and what is told of it.

    nlp (Language): With jbert_companies, and a classifier with the label `negative`.
    state, alerts (Path): Files that are made, or gone on with.
    settings (SurgeSettings): When something is a surge.
    negative, threshold: What is a negative item: doc.cats[negative] >= threshold.
    source (str): Where the lines come from, "-" for a pipe.
    webhook (Webhook | None): Is told, too.
    RAISES: ValueError J574, DataError J570, J571, J575.
    """

    def __init__(
        self,
        nlp: Language,
        state: Path,
        alerts: Path,
        settings: SurgeSettings,
        *,
        negative: str = "negative",
        threshold: float = 0.5,
        source: str = "-",
        webhook: Webhook | None = None,
    ) -> None:
        self.nlp, self.state, self.alerts = nlp, state, alerts
        self.negative, self.threshold = negative, threshold
        self.source, self.webhook = source, webhook
        self.companies = companies_of(nlp)
        labels: dict[str, Sequence[str]] = nlp.pipe_labels
        if not any(negative in labels.get(name, ()) for name in nlp.pipe_names):
            raise ValueError(Errors.J574.format(what=f"the label {negative!r}"))
        self.topics = labels.get("topic", ())
        self.surges = Surges(settings)
        self.position: dict[str, Any] | None = None
        self.recent: dict[str, list[dict[str, Any]]] = {}
        self.counts = Counter[str]()
        self.waiting: list[dict[str, Any]] = []
        self._go_on(load_state(state, _STATE))

    def _go_on(self, saved: dict[str, Any] | None) -> None:
        if saved is None:
            return
        now = {"source": self.source, **self._fixed()}
        then = {"source": saved["source"], **saved["settings"]}
        if changed := [name for name in now if now[name] != then.get(name)]:
            raise DataError(Errors.J575.format(names=", ".join(changed)), path=self.state)
        self.position = saved["position"]
        self.surges.from_dict(saved["surges"])
        self.recent = saved["recent"]
        self.counts.update(saved["counts"])
        self.waiting = saved["waiting"]
        # A kill may have come between the state and the alerts.
        Outbox(**saved["outbox"]).deliver(self.alerts)

    def _fixed(self) -> dict[str, float]:
        """Settings that rates depend on; thresholds may be others the next time."""
        settings = asdict(self.surges.settings)
        return {name: settings[name] for name in ("half_life", "memory", "usual")}

    def step(self, lines: Sequence[Line], position: dict[str, Any] | None) -> None:
        """Go through lines, save that, and tell what there is to tell.

        position (dict | None): Of the source, behind them.
        """
        news: list[News] = []
        for line in lines:
            self.counts["lines"] += 1
            if line.content is not None and not line.content.strip():
                continue
            try:
                news.append(parse(line, self.source, self.nlp.max_length))
            except DataError as error:
                self._leave_out(error)
        alerts: list[dict[str, Any]] = []
        with forgetting(self.nlp):
            for item, doc in self._annotated(news):
                alerts += self._item(item, doc)
        self.position = position
        if self.webhook is not None:
            self.waiting += alerts
        self.counts["alerts"] += len(alerts)
        outbox = Outbox.of(self.alerts, alerts)
        self._save(outbox)
        outbox.deliver(self.alerts)
        self.tell()

    def _annotated(self, news: Sequence[News]) -> Iterator[tuple[News, Doc]]:
        """Run news through the pipeline. What it fails on is left out: else it would stop the
        stream here at each start."""
        done = 0
        try:
            numbered = ((item.text, number) for number, item in enumerate(news))
            for doc, number in self.nlp.pipe(numbered, as_tuples=True):
                if number != done:  # a component's error handler left one out
                    break
                done += 1
                yield news[number], doc
        except Exception as error:  # of any kind: it comes again when texts are tried one by one
            logger.debug("One by one: %s", error)
        tried = False
        for item in news[done:]:
            try:
                doc = self.nlp(item.text)
            except Exception as error:
                fault = DataError(
                    Errors.J577.format(reason=reason_of(error)), path=self.source, line=item.line
                )
            else:
                yield item, doc
                continue
            if not tried:
                # Where it fails on this too, the news isn't at fault: nothing is done then.
                self.nlp(_PLAIN)
                tried = True
            self._leave_out(fault)

    def _leave_out(self, error: DataError) -> None:
        self.counts["broken"] += 1
        logger.warning("%s", error)

    def tell(self, *, now: bool = False) -> None:
        """Send what the webhook waits for."""
        if self.webhook is not None:
            self.webhook.deliver(self.waiting, now=now)

    def close(self) -> None:
        """Tell and save for the last time: then nothing is underway."""
        self.tell(now=True)
        self._save(Outbox(0, ""))

    def _save(self, outbox: Outbox) -> None:
        state = {
            "source": self.source,
            "position": self.position,
            "settings": self._fixed(),
            "surges": self.surges.to_dict(),
            "recent": self.recent,
            "counts": self.counts,
            "outbox": outbox._asdict(),
            "waiting": self.waiting,
        }
        save_state(self.state, state)

    def _item(self, item: News, doc: Doc) -> list[dict[str, Any]]:
        """The alerts that a piece of news gives."""
        codes = sorted({codes[0] for _, _, codes in doc._.get(EXTENSION) if len(codes) == 1})
        bad = doc.cats[self.negative] >= self.threshold
        self.counts["items"] += 1
        self.counts["with a company"] += bool(codes)
        self.counts["negative"] += bad
        changes = self.surges.advance(item.time)
        if bad:
            for code in codes:
                self._remember(code, item, doc)
                changes += self.surges.add(code, item.time)
        return [self._alert(change) for change in changes]

    def _remember(self, code: str, item: News, doc: Doc) -> None:
        said = {
            "id": item.id,
            "time": iso(item.time),
            "negative": round(doc.cats[self.negative], 3),
            "topic": max(self.topics, key=lambda label: doc.cats.get(label, 0.0), default=None),
            "text": item.text[:200],
        }
        self.recent[code] = [*self.recent.get(code, ()), said][-RECENT:]

    def _alert(self, change: Change) -> dict[str, Any]:
        company = self.companies.index.companies.get(change.key)
        return {
            "id": f"{change.key}-{change.kind}-{iso(change.since)}",
            "kind": change.kind,
            "code": change.key,
            "name": company.name if company else "",
            "sector": company.sector if company else "",
            "time": iso(change.time),
            "since": iso(change.since),
            "score": round(change.score, 2),
            "items": round(change.n, 2),
            "usual": round(change.usual, 2),
            "recent": self.recent.get(change.key, []),
        }


def companies_of(nlp: Language) -> Companies:
    """RETURNS (Companies): The component. RAISES: ValueError J574 if there is none."""
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, Companies):
            return pipe
    raise ValueError(Errors.J574.format(what="jbert_companies"))


def watch(
    source: Tail | Pipe, watch: Watch, *, batch: int, once: bool, stopped: Callable[[], bool]
) -> None:
    """Read until there is no more: the end of a pipe, or of the file if `once`."""
    while not stopped():
        lines = source.read(batch, wait=0.0 if once else 0.5)
        if lines:
            watch.step(lines, source.position)
        elif source.at_end() and (once or isinstance(source, Pipe)):
            break
        else:
            watch.tell()
    watch.close()


def main(
    model: Annotated[str, typer.Argument(help="A pipeline: installed, or a folder")],
    alerts: Annotated[Path, typer.Option(help="JSON lines to append alerts to")] = Path(
        "alerts.jsonl"
    ),
    state: Annotated[Path, typer.Option(help="What was done; go on from there")] = Path(
        "state.json"
    ),
    follow: Annotated[
        Path | None, typer.Option(help="A file that grows, also rotated; else standard input")
    ] = None,
    once: Annotated[bool, typer.Option(help="Stop at the end of the file")] = False,
    replay: Annotated[
        bool,
        typer.Option(help="Standard input begins again with the first line: skip what is done"),
    ] = False,
    companies: Annotated[
        Path | None, typer.Option(help="A table instead of the pipeline's own")
    ] = None,
    negative: Annotated[str, typer.Option(help="The label that is counted")] = "negative",
    threshold: Annotated[float, typer.Option(help="How sure of it", min=0, max=1)] = 0.5,
    half_life: Annotated[float, typer.Option(help="Hours: what is recent")] = 12.0,
    memory: Annotated[float, typer.Option(help="Days: what is usual")] = 30.0,
    usual: Annotated[float, typer.Option(help="Negative items a day of a new company")] = 0.5,
    on: Annotated[float, typer.Option(help="Score at which an alert begins")] = 3.0,
    off: Annotated[float, typer.Option(help="Score at which it ends")] = 1.0,
    batch: Annotated[
        int, typer.Option(help="Lines between two savings of the state, at most", min=1)
    ] = BATCH,
    webhook: Annotated[str | None, typer.Option(help="An address to POST alerts to")] = None,
    webhook_anywhere: Annotated[
        bool, typer.Option(help="Also on other machines than this one")
    ] = False,
) -> None:
    """Watch a stream of news for surges of bad news."""
    lock = state.with_name(f"{state.name}.lock")
    with coded_errors(), alone(lock, DataError(Errors.J465, path=state)):
        settings = SurgeSettings(half_life, memory, usual, on, off)
        hook = Webhook(webhook, anywhere=webhook_anywhere) if webhook else None
        nlp = spacy.load(model)
        if companies is not None:
            companies_of(nlp).initialize(table=companies)
        name = "-" if follow is None else str(follow.absolute())
        told = Watch(
            nlp,
            state,
            alerts,
            settings,
            negative=negative,
            threshold=threshold,
            source=name,
            webhook=hook,
        )
        done = (told.position or {}).get("line", 0) if replay else 0
        source = Pipe(0, done) if follow is None else Tail(follow, told.position)
        ends: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: ends.append(number))
        print(f"Watching {name}", file=sys.stderr, flush=True)
        watch(source, told, batch=batch, once=once, stopped=lambda: bool(ends))
        done_counts = ", ".join(f"{count:,} {what}" for what, count in told.counts.items())
        print(f"Done: {done_counts or 'nothing'}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
