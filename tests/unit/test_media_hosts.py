"""What a process knows of a media host, by a clock that stands where the test puts it."""

from __future__ import annotations

import pytest

from triptych.media.remote.away import AwayError, DroppedError
from triptych.media.remote.deadline import Deadline, Times
from triptych.media.remote.hosts import (
    FAILURES,
    FORGOTTEN_SECONDS,
    MOST_WAIT_SECONDS,
    PATIENCE_SECONDS,
    REST_SECONDS,
    Standing,
)

pytestmark = pytest.mark.unit

OWN = 20.0
AWAY, DROPPED = (kind("gone", code="media.host_unreachable", retryable=True) for kind in (AwayError, DroppedError))
ASKED = 5.0


def times(own: float = OWN, batch: float = 600.0) -> Times:
    return Times(Deadline(own), Deadline(batch))


def known(at: float = 0.0) -> Standing:
    standing = Standing()
    standing.gave(at)
    return standing


def borne(standing: Standing, trouble: AwayError | float, now: float) -> float | None:
    """The rest after trouble of a medium; None where it isn't borne."""
    return standing.rest(now) if standing.bears(trouble, times(), now) else None


@pytest.mark.parametrize(
    ("standing", "trouble", "most"),
    [
        (known, AWAY, PATIENCE_SECONDS),
        (known, ASKED, PATIENCE_SECONDS),
        (known, DROPPED, OWN),
        (Standing, AWAY, OWN),
        (Standing, ASKED, PATIENCE_SECONDS),  # it asked for a rest, so that it is known
        (Standing, DROPPED, 0.0),
    ],
)
def test_how_long_trouble_is_borne(standing: type[Standing], trouble: AwayError | float, most: float) -> None:
    host = standing()
    first = host.bears(trouble, times(), 100.0)
    assert first == (most > 0)
    if first:
        assert host.bears(trouble, times(), 100.0 + most - 0.1)
    assert not host.bears(trouble, times(), 100.0 + most)
    host.gave(100.0 + most + 1)
    assert host.bears(trouble, times(), 100.0 + most + 2), "a new trouble of a host that is known"


def test_no_time_of_a_medium_makes_the_patience_longer() -> None:
    for host, trouble in ((known(), DROPPED), (Standing(), AWAY)):
        assert host.bears(trouble, times(own=500.0), 10.0)
        assert not host.bears(trouble, times(own=500.0), 10.0 + PATIENCE_SECONDS)


def test_who_pays_for_the_rest() -> None:
    """The batch for a host that is known, and the medium begins again; else the medium, whose time goes on."""
    assert not known().bears(30.0, times(batch=20.0), 0.0)
    assert known().bears(30.0, times(own=1.0), 0.0)
    assert not Standing().bears(AWAY, times(own=0.5), 0.0)
    for host, anew in ((known(), True), (Standing(), False)):
        spent = times()
        spent.own._ends -= 10
        assert host.bears(AWAY, spent, 0.0)
        assert (spent.own.left > OWN - 1) == anew
        assert host.patient(0.0) == anew
    host = known()
    assert host.bears(AWAY, times(), 50.0)
    assert [host.patient(50.0 + passed) for passed in (0, PATIENCE_SECONDS - 1, PATIENCE_SECONDS)] == [True, True, False]


def test_a_host_that_is_away_is_asked_less_and_less_often_whoever_asks() -> None:
    host, now, rests = known(), 0.0, []
    while now < 20:
        rest = borne(host, AWAY, now)
        assert rest is not None
        assert borne(host, AWAY, now + 0.2) == pytest.approx(rest - 0.2), "another medium makes it no longer"
        rests.append(rest)
        now += rest
    assert rests == pytest.approx([0.6, 0.6, 1.2, 2.4, 4, 4, 4, 4])


def test_a_rest_that_was_asked_for_is_kept_and_no_shorter_one_cuts_it_short() -> None:
    host = Standing()
    host.asked(10.0, 0.0)
    host.asked(3.0, 1.0)
    assert [host.rest(now) for now in (1.0, 9.5, 10.0, 11.0)] == [9.0, 0.5, 0.0, 0.0]
    assert borne(host, AWAY, 4.0) == 6.0
    host.asked(3600.0, 20.0)
    assert host.rest(20.0) == MOST_WAIT_SECONDS
    stranger = Standing()
    stranger.asked(0.0, 0.0)
    assert (stranger.rest(0.0), stranger.patient(0.0), host.patient(20.0)) == (0.0, False, True)


def test_trouble_of_a_host_that_gave_something_meanwhile_may_be_the_medium_s_own() -> None:
    host, mine = known(), times()
    assert host.bears(AWAY, mine, 1.0)
    assert host.bears(AWAY, mine, 2.0)
    assert host.gave(3.0) == 2.0
    assert not host.bears(AWAY, mine, 4.0)
    assert host.bears(AWAY, times(), 4.0), "of another medium it may be the host's"
    assert host.bears(AWAY, mine, 5.0), "and so may the next"
    assert (host.gave(6.0), host.gave(7.0)) == (2.0, 0.0)


def test_a_trouble_that_nobody_saw_for_long_is_a_new_one() -> None:
    host = known()
    assert host.bears(AWAY, times(), 0.0)
    assert not host.bears(AWAY, times(), FORGOTTEN_SECONDS)
    assert host.bears(AWAY, times(), 2 * FORGOTTEN_SECONDS + 1)


def test_a_host_that_lost_several_media_in_a_row_is_left_alone_and_again_if_it_loses_the_next() -> None:
    host = Standing()
    for _ in range(2):
        for _ in range(FAILURES - 1):
            host.ended(0.0, lost=True)
        assert host.left_alone(0.0) == 0
        host.ended(0.0, lost=False)
    for _ in range(FAILURES):
        host.ended(1.0, lost=True)
    assert [host.left_alone(now) for now in (1.0, 11.0, 1.0 + REST_SECONDS)] == [REST_SECONDS, REST_SECONDS - 10, 0.0]
    host.ended(40.0, lost=True)
    assert host.left_alone(40.0) == REST_SECONDS
    host.ended(80.0, lost=False)
    host.ended(81.0, lost=True)
    assert host.left_alone(81.0) == 0
