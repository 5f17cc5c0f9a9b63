"""Hours of a day, and longer and longer pauses."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.errors import ConfigError
from annoloop.watching.rhythm import LONGEST_PAUSE_S, Hours, Patience, parse_hours

MINUTES = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))


@pytest.mark.parametrize(
    ("at", "within"),
    [("19:59", False), ("20:00", True), ("23:59", True), ("00:00", True), ("05:59", True), ("06:00", False)],
)
def test_hours_go_over_midnight(at: str, within: bool) -> None:
    now = datetime.fromisoformat(f"2026-03-01T{at}")
    assert parse_hours("20:00-6:00").hold(now) is within


@given(start=MINUTES, end=MINUTES, now=MOMENTS)
def test_what_is_left_of_hours_ends_where_they_do(start: time, end: time, now: datetime) -> None:
    hours = Hours(start, end)
    assert parse_hours(str(hours)) == hours
    assert 0 < hours.length_s <= 86_400
    if not hours.hold(now):
        return
    left = timedelta(seconds=hours.left_s(now))
    assert timedelta(0) < left <= timedelta(seconds=hours.length_s)
    assert (now + left).time() == end
    assert hours.hold(now + left - timedelta(microseconds=1))


@pytest.mark.parametrize(
    "text", ["", "20-6", "20:00", "24:00-06:00", "20:60-06:00", "20:00-06:00-08:00", "-1:00-2:00", "²0:00-06:00"]
)
def test_what_is_no_part_of_a_day_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no part of a day like 20:00-06:00"):
        parse_hours(text)


def test_each_failure_doubles_the_pause_up_to_a_bound_and_a_success_forgets_them() -> None:
    patience = Patience(30.0)
    assert [patience.failed("push", 0.0) for _ in range(8)] == [30, 60, 120, 240, 480, *[LONGEST_PAUSE_S] * 3]
    assert patience.resting(899.0) == {"push"}
    assert patience.next_try_s(800.0) == 100.0
    assert patience.resting(900.0) == set()
    patience.failed("pull of task 3", 900.0)
    patience.succeeded("push")
    assert patience.failures == {"pull of task 3": 1}
    assert patience.failed("push", 0.0) == 30.0


def test_however_rarely_it_looks_it_never_tries_again_sooner() -> None:
    assert Patience(7200.0).failed("push", 0.0) == 7200.0
    assert Patience(30.0).next_try_s(0.0) == float("inf")
