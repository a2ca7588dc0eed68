"""Surges of events."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.streams.surges import DAY, HOUR, Surges, SurgeSettings


def test_a_burst_is_a_surge_and_it_ends() -> None:
    surges = Surges(SurgeSettings())
    begins = [change for n in range(6) for change in surges.add("a", n * HOUR)]
    assert [change.kind for change in begins] == ["surge"]
    assert begins[0].since == begins[0].time <= 4 * HOUR
    assert surges.advance(6 * HOUR) == []
    (end,) = surges.advance(10 * DAY)
    assert (end.kind, end.since) == ("end", begins[0].time)
    assert surges.advance(20 * DAY) == []


def test_single_events_are_none() -> None:
    surges = Surges(SurgeSettings())
    assert not any(surges.add("a", n * 2 * DAY) for n in range(100))


def test_what_is_usual_is_none() -> None:
    """Events by chance, at the same rate for a year: n has the mean and variance of the module's
    docstring, so that the score is rarely above 3."""
    chance, time, scores = random.Random(0), 0.0, []
    surges = Surges(SurgeSettings(usual=10.0, on=100.0))
    while time < 365 * DAY:
        time += chance.expovariate(10 / DAY)
        surges.advance(time)
        scores.append(surges.score("a"))
        surges.add("a", time)
    spread = math.sqrt(sum(score**2 for score in scores) / len(scores))
    assert 0.7 < spread < 1.2
    assert sum(score > 3 for score in scores) < 0.01 * len(scores)


def test_between_the_thresholds_nothing_changes() -> None:
    surges = Surges(SurgeSettings(on=3.0, off=1.0))
    kinds = []
    for n in range(40):
        kinds += [change.kind for change in surges.add("a", n * 4 * HOUR)]
    assert kinds in (["surge"], ["surge", "end"])


def test_companies_are_apart() -> None:
    surges = Surges(SurgeSettings())
    for n in range(30):
        surges.add(f"company {n}", n * 60.0)
    assert not [track for track in surges.tracks.values() if track.since is not None]


EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30 * DAY)), max_size=60)


@given(EVENTS, st.integers(0, 60))
def test_it_goes_on_as_if_nothing_had_been(events: list[tuple[str, float]], cut: int) -> None:
    """Also with events out of order, and by JSON."""
    one, first = Surges(SurgeSettings()), Surges(SurgeSettings())
    whole = [change for key, time in events for change in one.add(key, time)]
    begun = [change for key, time in events[:cut] for change in first.add(key, time)]
    other = Surges(SurgeSettings()).from_dict(json.loads(json.dumps(first.to_dict())))
    rest = [change for key, time in events[cut:] for change in other.add(key, time)]
    assert begun + rest == whole
    assert other.to_dict() == one.to_dict()


@given(EVENTS)
def test_alerts_begin_and_end_in_turn(events: list[tuple[str, float]]) -> None:
    surges = Surges(SurgeSettings())
    kinds: dict[str, list[str]] = {}
    for key, time in events:
        for change in surges.add(key, time):
            kinds.setdefault(change.key, []).append(change.kind)
    for found in kinds.values():
        assert found == (["surge", "end"] * len(found))[: len(found)]


@pytest.mark.parametrize(
    "settings",
    [
        {"on": 1.0, "off": 2.0},
        {"half_life": 0.0},
        {"half_life": 24.0, "memory": 1.0},
        {"usual": math.nan},
    ],
)
def test_settings_that_cant_be(settings: dict) -> None:
    with pytest.raises(ValueError, match="J566"):
        SurgeSettings(**settings)


def test_asking_for_a_score_changes_nothing() -> None:
    surges = Surges(SurgeSettings())
    assert surges.score("a") == 0.0
    surges.add("b", 5.0)
    before = surges.to_dict()
    assert surges.score("a") == 0.0
    surges.score("b")
    assert surges.to_dict() == before
    surges.add("a", 5.0)
    assert surges.score("a") == surges.score("b") > 0
    surges.advance(DAY)
    before = surges.to_dict()
    assert surges.score("b") < 1
    assert surges.to_dict() == before


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_times_that_are_none(time: float) -> None:
    surges = Surges(SurgeSettings())
    for _ in range(2):
        before = surges.to_dict()
        with pytest.raises(ValueError, match="J567"):
            surges.add("a", time)
        with pytest.raises(ValueError, match="J567"):
            surges.advance(time)
        assert surges.to_dict() == before
        surges.add("b", 1.0)
