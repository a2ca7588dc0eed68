"""When something happens more often than it used to: surges of events of a key, such as negative
news of a company.

Two exponentially weighted means for each key, by the time of the events and never the wall clock:
n, the events of the last while (`half_life`), and λ, the rate that is usual (`memory`). For events
that come by chance (a Poisson process) of rate λ, n has the mean λτ and the variance λτ/2, where
τ = half_life / ln 2 (Campbell's theorem for an exponential kernel). The score is how many standard
deviations n lies above its mean, with half an event added to the variance, so that one event of a
silent company isn't a surge:

    score = (n - λτ) / sqrt((λτ + 1) / 2)

An alert begins where the score reaches `on`, and ends where it is at most `off` (hysteresis).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from ..errors import Errors

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class SurgeSettings:
    """half_life (float): Hours after which an event counts half.
    memory (float): Days after which it counts half for the usual rate.
    usual (float): Events a day that a key is taken to have before it is known.
    on, off (float): Scores at which an alert begins, and ends.
    RAISES: ValueError J566.
    """

    half_life: float = 12.0
    memory: float = 30.0
    usual: float = 0.5
    on: float = 3.0
    off: float = 1.0

    def __post_init__(self) -> None:
        numbers = asdict(self).values()
        ordered = self.off < self.on and self.half_life * HOUR < self.memory * DAY
        if not all(math.isfinite(n) and n > 0 for n in numbers) or not ordered:
            raise ValueError(Errors.J566.format(settings=asdict(self)))

    @property
    def tau(self) -> float:
        """RETURNS (float): Seconds in which n falls to 1/e."""
        return self.half_life * HOUR / math.log(2)

    @property
    def tau_usual(self) -> float:
        """RETURNS (float): Seconds in which λ would fall to 1/e."""
        return self.memory * DAY / math.log(2)


@dataclass
class Track:
    """What is known of a key. time (float): Until when. n (float): Events of late, weighted.
    rate (float): Usual, a second. since (float | None): When its alert began, if there is one.
    """

    time: float
    n: float
    rate: float
    since: float | None = None


class Change(NamedTuple):
    """An alert that begins or ends.

    kind (str): "surge" or "end".
    time, since (float): Of the event at which it was found, and when the surge began.
    score, n (float): At that time.
    usual (float): The n that is usual.
    """

    kind: Literal["surge", "end"]
    key: str
    time: float
    since: float
    score: float
    n: float
    usual: float


class Surges:
    """Finds surges. Times are seconds since whenever; they may come out of order, when those that
    are late count as what they weigh by now.

    settings (SurgeSettings): When something is a surge.
    """

    def __init__(self, settings: SurgeSettings) -> None:
        self.settings = settings
        self.time = -math.inf
        self.tracks: dict[str, Track] = {}

    def add(self, key: str, time: float) -> list[Change]:
        """Count an event. RETURNS (list[Change]): The alerts that end until then, and the one that
        begins. RAISES: ValueError J567 for what is no time."""
        changes = self.advance(time)
        track = self._track(key)
        age = self.time - time
        track.n += math.exp(-age / self.settings.tau)
        track.rate += math.exp(-age / self.settings.tau_usual) / self.settings.tau_usual
        if track.since is None and self.score(key) >= self.settings.on:
            track.since = self.time
            changes.append(self._change("surge", key, track))
        return changes

    def advance(self, time: float) -> list[Change]:
        """Tell how late it is. RETURNS (list[Change]): The alerts that end until then.
        RAISES: ValueError J567 for what is no time."""
        if not math.isfinite(time):
            # It would stay for ever, and all rates would be NaN.
            raise ValueError(Errors.J567.format(time=time))
        self.time = max(self.time, time)
        changes: list[Change] = []
        for key, track in self.tracks.items():
            if track.since is not None and self.score(key) <= self.settings.off:
                changes.append(self._change("end", key, self._track(key)))
                track.since = None
        return changes

    def score(self, key: str) -> float:
        """RETURNS (float): The score of a key now: see above. 0 for one that is unknown."""
        track = self.tracks.get(key)
        if track is None:
            return 0.0
        n, rate = self._faded(track)
        usual = rate * self.settings.tau
        return (n - usual) / math.sqrt((usual + 1) / 2)

    def _faded(self, track: Track) -> tuple[float, float]:
        """What n and the rate are by now."""
        passed = self.time - track.time
        n = track.n * math.exp(-passed / self.settings.tau)
        return n, track.rate * math.exp(-passed / self.settings.tau_usual)

    def _track(self, key: str) -> Track:
        """What is known of a key, brought up to now."""
        settings = self.settings
        track = self.tracks.get(key)
        if track is None:
            rate = settings.usual / DAY
            track = self.tracks[key] = Track(self.time, rate * settings.tau, rate)
        track.n, track.rate = self._faded(track)
        track.time = self.time
        return track

    def _change(self, kind: Literal["surge", "end"], key: str, track: Track) -> Change:
        since = self.time if track.since is None else track.since
        usual = track.rate * self.settings.tau
        return Change(kind, key, self.time, since, self.score(key), track.n, usual)

    def to_dict(self) -> dict[str, Any]:
        """RETURNS (dict): All that is known, for JSON."""
        time = self.time if math.isfinite(self.time) else None
        tracks = {key: asdict(track) for key, track in self.tracks.items()}
        return {"time": time, "tracks": tracks}

    def from_dict(self, content: dict[str, Any]) -> "Surges":
        """Know what `to_dict` told."""
        self.time = -math.inf if content["time"] is None else content["time"]
        self.tracks = {key: Track(**track) for key, track in content["tracks"].items()}
        return self
