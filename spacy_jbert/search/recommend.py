"""From what somebody clicked on to what else they may like: an index of items is searched for what
is nearest to the clicked ones. Nobody needs to have clicked on what is found.

    recommender = Recommender(Index.load("items.index", nlp))
    for hit in recommender.recommend([Click("user-1", "item-7", time.time())], n=10):
        print(hit.score, hit.id, hit.text)
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..corpora.readers import Row, read_rows
from ..corpora.values import is_whole, seconds_since_1970
from ..errors import DataError, Errors
from ..models.diversity import choose_diverse
from .index import Hit, Index

DAY = 86_400.0
# The year 2286, from which on seconds have as many digits as milliseconds had in 1970.
_LATEST = 1e10
_SECONDS = re.compile(r"\d{9,10}(\.\d+)?")
# So many candidates are looked at for one place in a diversified list.
_CANDIDATES = 5


class Click(NamedTuple):
    """Somebody looked at, bought or read something. time (float): Seconds since 1970."""

    user: str
    item: str
    time: float


class Recommender:
    """Recommends items of an index.

    index (Index): Of the items' texts; their ids are those that clicks name.
    half_life (float): After so many days a click counts half.
    session (float | None): Only the clicks of the last session count, which ends where nothing was
        clicked for so many hours. None: all clicks.
    recent (int): So many clicks count at most, the last ones.
    diversity (float): How much a list avoids items that are like each other, 0 to 1: see
        `choose_diverse`.
    RAISES: ValueError J580.
    """

    def __init__(
        self,
        index: Index,
        *,
        half_life: float = 30.0,
        session: float | None = None,
        recent: int = 50,
        diversity: float = 0.0,
    ) -> None:
        for name, value in (("half_life", half_life), ("session", session), ("recent", recent)):
            if value is not None and not value > 0:
                raise ValueError(Errors.J580.format(name=name, value=value, wanted="more than 0"))
        if not 0.0 <= diversity <= 1.0:
            raise ValueError(Errors.J580.format(name="diversity", value=diversity, wanted="0 to 1"))
        if not is_whole(recent):
            wanted = "a whole number"
            raise ValueError(Errors.J580.format(name="recent", value=recent, wanted=wanted))
        self.index = index
        self.half_life, self.session, self.recent = half_life, session, recent
        self.diversity = diversity
        self._known: dict[str, int] = {}

    @property
    def _rows(self) -> dict[str, int]:
        """The rows of items by their ids, those that were added meanwhile too."""
        if len(self._known) != len(self.index):
            self._known = {id: row for row, id in enumerate(self.index.ids())}
        return self._known

    def recommend(
        self,
        clicks: Sequence[Click],
        n: int = 10,
        *,
        by: Literal["vectors", "words"] = "vectors",
    ) -> list[Hit]:
        """Find items for somebody by their clicks.

        clicks (Sequence[Click]): Of one user, in any order; those on items that the index lacks
            don't count.
        n (int): How many.
        by (str): "vectors": what is nearest to the mean of the clicked ones. "words": what shares
            words with them, by BM25.
        RETURNS (list[Hit]): Items that weren't clicked on, the best first. Nothing where no click
            counts.
        RAISES: ValueError J580.
        """
        _require_length(n)
        if by not in ("vectors", "words"):
            raise ValueError(Errors.J580.format(name="by", value=by, wanted="vectors or words"))
        seen = {click.item for click in clicks if click.item in self._rows}
        counted = self._counted(clicks)
        if not counted:
            return []
        wanted = n * (_CANDIDATES if self.diversity else 1) + len(seen)
        if by == "words":
            found = self._by_words(counted, wanted)
        else:
            (found,) = self.index.nearest(self.profile(clicks)[None], wanted)
        return self._list([hit for hit in found if hit.id not in seen], n)

    def similar(self, item: str, n: int = 10) -> list[Hit]:
        """RETURNS (list[Hit]): The items that are nearest to one. RAISES: ValueError J580, J581."""
        _require_length(n)
        if item not in self._rows:
            raise ValueError(Errors.J581.format(item=item))
        wanted = n * _CANDIDATES if self.diversity else n
        return self._list(self.index.like(self._rows[item], wanted), n)

    def profile(self, clicks: Sequence[Click]) -> NDArray[np.float32]:
        """RETURNS (NDArray): The mean of the clicked items' vectors, weighted by how recent the
        clicks are; 0 where no click counts. *Shape:* `(width,)`.
        """
        counted = self._counted(clicks)
        vectors = [self.index.vector(self._rows[click.item]) for click in counted]
        if not vectors:
            return np.zeros_like(self.index.vector(0))
        ages = np.array([counted[0].time - click.time for click in counted]) / DAY
        weights = np.exp2(-ages / self.half_life)
        return np.asarray(weights @ np.stack(vectors) / weights.sum(), dtype=np.float32)

    def _counted(self, clicks: Sequence[Click]) -> list[Click]:
        """RETURNS (list[Click]): Those that count, the last one first."""
        known = [click for click in clicks if click.item in self._rows]
        for click in known:
            if not math.isfinite(click.time):
                wanted = "a number of seconds"
                raise ValueError(Errors.J580.format(name="time", value=click.time, wanted=wanted))
        known.sort(key=lambda click: -click.time)
        if self.session is not None:
            longest = self.session * 3600
            gaps = (later.time - earlier.time for later, earlier in pairwise(known))
            ends = (i for i, gap in enumerate(gaps, 1) if gap > longest)
            known = known[: next(ends, len(known))]
        return known[: self.recent]

    def _by_words(self, counted: Sequence[Click], n: int) -> list[Hit]:
        texts = (self.index[self._rows[click.item]].text for click in counted)
        # Words are the tokenizer's: no need to run the encoder.
        with self.index.nlp.select_pipes(enable=[]):
            return self.index.search("\n".join(texts), n, by="words")

    def _list(self, found: list[Hit], n: int) -> list[Hit]:
        if not self.diversity or not found:
            return found[:n]
        scores = np.array([hit.score for hit in found], dtype=np.float32)
        # BM25 has another scale than cosines.
        relevance = scores / max(1.0, float(scores.max()))
        vectors = np.stack([self.index.vector(self._rows[hit.id]) for hit in found])
        chosen = choose_diverse(relevance, lambda i: vectors @ vectors[i], n, self.diversity)
        return [found[i] for i in chosen]


def _require_length(n: int) -> None:
    if not is_whole(n) or n < 1:
        raise ValueError(Errors.J580.format(name="n", value=n, wanted="a number above 0"))


def read_clicks(
    path: Path,
    *,
    user_field: str = "user",
    item_field: str = "item",
    time_field: str = "time",
) -> list[Click]:
    """Read clicks from records of any kind that `read_rows` reads; by time, the first one first.

    time_field (str): ISO 8601 or what tables have for times (Japanese time where it doesn't say),
        or seconds since 1970.
    RAISES: DataError with file and line: J582 for an empty user or item, J583 for what is no time;
        J584 if there is nothing.
    """
    clicks = [
        Click(_name(row, user_field), _name(row, item_field), _seconds(row, time_field))
        for row in read_rows(path)
    ]
    if not clicks:
        raise DataError(Errors.J584, path=path)
    return sorted(clicks, key=lambda click: click.time)


def _name(row: Row, field: str) -> str:
    name = row.name(field)
    if not name.strip():
        raise row.error(Errors.J582.format(field=field))
    return name


def _seconds(row: Row, field: str) -> float:
    value: Any = row.get(field)
    try:
        return _time(value)
    except (TypeError, ValueError, OverflowError):
        raise row.error(Errors.J583.format(field=field, value=repr(value)[:80])) from None


def _time(value: Any) -> float:
    """RAISES: TypeError or ValueError for what is no time: of numbers, milliseconds; of text, what
    has fewer digits than seconds have. 20260131 is a day.
    """
    if isinstance(value, date):
        return seconds_since_1970(value)
    if isinstance(value, str):
        try:
            return seconds_since_1970(value)
        except ValueError:
            if not _SECONDS.fullmatch(value):
                raise
    if isinstance(value, bool):
        raise TypeError(value)
    seconds = float(value)
    if not 0.0 <= seconds < _LATEST:
        raise ValueError(value)
    return seconds


def by_user(clicks: Iterable[Click]) -> dict[str, list[Click]]:
    """RETURNS (dict): The clicks of each user."""
    users: dict[str, list[Click]] = {}
    for click in clicks:
        users.setdefault(click.user, []).append(click)
    return users
