"""What is due: every rule by an example, and what holds for whatever is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annoloop.errors import ConfigError
from annoloop.watching.due import Seen, WatchRequest, due, in_short, waits_for
from annoloop.watching.rhythm import parse_hours

NOON, NIGHT, MORNING = (datetime.fromisoformat(f"2026-03-01T{at}") for at in ("12:00", "22:00", "05:30"))
ALL = WatchRequest(pull=True, retrain_after=5, push_next=50)
MODEL = Seen(current_run=1, trained=True)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(), "retrain"),
        (MODEL, "push"),
        (replace(MODEL, open_tasks=(3,)), None),
        (replace(MODEL, open_tasks=(3,), to_pull=(3,)), "pull of task 3"),
        (replace(MODEL, to_pull=(3,), half_pushed="b", masks_changed=9), "pull of task 3"),
        (replace(MODEL, half_pushed="b", masks_changed=9), "push"),
        (replace(MODEL, masks_changed=4), "push"),
        (replace(MODEL, masks_changed=5), "retrain"),
        (replace(MODEL, masks_changed=5, open_tasks=(3,)), "retrain"),
        (replace(MODEL, exhausted="nothing to push"), None),
        (replace(MODEL, exhausted="nothing to push", masks_changed=5), "retrain"),
        (Seen(trained=True), "push"),  # which says why there is no model
    ],
)
def test_one_thing_after_the_other(seen: Seen, step: str | None) -> None:
    found = due(ALL, seen, NOON)
    assert (None if found is None else found.name) == step


def test_trainings_keep_to_their_hours_and_people_go_on_meanwhile() -> None:
    wanted = replace(ALL, hours=parse_hours("20:00-06:00"), budget_s=3600.0)
    ready = replace(MODEL, masks_changed=9)
    assert [due(wanted, ready, now).name for now in (NOON, NIGHT, MORNING)] == ["push", "retrain", "push"]  # type: ignore[union-attr]
    busy = replace(ready, open_tasks=(3,))
    assert due(wanted, busy, NOON) is None
    assert waits_for(wanted, busy, NOON) == (
        "jobs of task 3 to be completed; the hours 20:00-06:00 to train on 9 masks that changed"
    )
    assert "the next 20:00-06:00, which leaves time" in waits_for(wanted, busy, MORNING)
    assert due(wanted, Seen(), NOON) is None, "the first model is to come"
    assert waits_for(wanted, Seen(), NOON) == "the hours 20:00-06:00 to train the first model"


def test_a_training_that_failed_a_moment_ago_holds_back_the_push_by_its_model() -> None:
    ready = replace(MODEL, masks_changed=9)
    assert due(ALL, ready, NOON, {"retrain"}) is None
    assert due(ALL, MODEL, NOON, {"push"}) is None
    assert waits_for(ALL, ready, NOON, ["retrain"]) == "another try: retrain"
    assert waits_for(ALL, replace(ready, open_tasks=(3,)), NOON, ["retrain"]) == (
        "another try: retrain; jobs of task 3 to be completed"
    )


def test_a_task_that_cannot_be_pulled_does_not_hold_back_the_others() -> None:
    seen = replace(MODEL, open_tasks=(3, 4), to_pull=(3, 4))
    found = due(ALL, seen, NOON, {"pull of task 3"})
    assert found is not None
    assert found.name == "pull of task 4"


SEEN = st.builds(
    Seen,
    open_tasks=st.sets(st.integers(1, 4)).map(tuple),
    to_pull=st.sets(st.integers(1, 4)).map(tuple),
    half_pushed=st.none() | st.just("b"),
    current_run=st.none() | st.just(1),
    trained=st.booleans(),
    masks_changed=st.integers(0, 10),
    exhausted=st.none() | st.just("nothing to push"),
)
WANTED = st.builds(
    WatchRequest,
    pull=st.booleans(),
    retrain_after=st.none() | st.integers(1, 8),
    push_next=st.just(50),
    hours=st.none() | st.just(parse_hours("20:00-06:00")),
)


@given(wanted=WANTED, seen=SEEN, now=st.sampled_from([NOON, NIGHT]))
def test_no_task_is_begun_while_one_is_open_and_nothing_is_done_that_nobody_asked_for(
    wanted: WatchRequest, seen: Seen, now: datetime
) -> None:
    found = due(wanted, seen, now)
    if found is None:
        assert waits_for(wanted, seen, now)
        return
    assert found.because
    if found.kind == "push":
        assert seen.half_pushed is not None or not (seen.open_tasks or seen.exhausted)
    if found.kind == "pull":
        assert wanted.pull
        assert found.task in seen.to_pull
    if found.kind == "retrain":
        assert not seen.trained or seen.masks_changed >= (wanted.retrain_after or 99)
        assert now == NIGHT or wanted.hours is None
    assert due(wanted, seen, now, {found.name}) != found


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "--pull, --retrain-after N or --push-next N"),
        ({"pull": True, "every_s": 0.5}, "every_s: 0.5 is not 1.0 or more"),
        ({"push_next": 0}, "push_next: 0 is not 1 or more"),
        ({"pull": True, "on_conflict": "ours"}, "on_conflict: 'ours' is not stop, mine, theirs"),
        ({"push_next": 5, "carries": "boxes"}, "carries: 'boxes'"),
        ({"retrain_after": 5, "budget_s": 0.0}, "budget_s: 0.0 is not more than 0"),
        (
            {"retrain_after": 5, "budget_s": 7200.0, "hours": parse_hours("12:00-13:00")},
            "12:00-13:00 is 60.0 min, and a training may take 2.0 h",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(given_: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        WatchRequest(**given_)  # type: ignore[arg-type]
    assert said in str(refused.value)


def test_it_says_what_it_is_for() -> None:
    wanted = replace(ALL, budget_s=1800.0, hours=parse_hours("20:00-06:00"), carries="proposals")
    assert in_short(wanted) == (
        "pulls completed jobs, retrains for 30.0 min after 5 changed masks within 20:00-06:00, pushes 50 proposals when"
        " no task is open; looks every 30 s"
    )
