"""The queue between a training and a tracker: nothing waits, nothing raises, everything is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from annoloop.tracking import delivery
from annoloop.tracking.delivery import Delivery
from annoloop.tracking.tracker import Begun, Params, Picture, Point, Points, Sent, Status, Texts, Unreached


class Notebook:
    """A tracker that writes down what it is told; ``trouble`` may raise before that."""

    name, place = "notebook", "http://host/notebook"

    def __init__(self, trouble: Callable[[str], None] = lambda _: None) -> None:
        self.trouble, self.told = trouble, []  # type: ignore[var-annotated]
        self.points: list[Point] = []
        self.status: Status | None = None

    def begin(self, name: str, known_id: str | None) -> Begun:
        self.trouble("begin")
        return Begun(known_id or "new", self.place)

    def params(self, values: Mapping[str, str]) -> None:
        self.trouble("params")
        self.told.append(("params", dict(values)))

    def scalars(self, points: Sequence[Point]) -> None:
        self.trouble("scalars")
        self.points += points

    def picture(self, name: str, file: Path) -> None:
        self.trouble("picture")
        self.told.append(("picture", name))

    def texts(self, values: Mapping[str, str]) -> None:
        self.trouble("texts")
        self.told.append(("texts", dict(values)))

    def end(self, status: Status) -> None:
        self.trouble("end")
        self.status = status


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_GATHER_S", 0.05)
    monkeypatch.setattr(delivery, "_PAUSES_S", (0.01,))
    monkeypatch.setattr(delivery, "_LAST_PAUSE_S", 0.01)


def begun(tracker: Notebook, sent: Sent | None = None, kept: list[Sent] | None = None) -> Delivery:
    return Delivery(tracker, "run 1", sent or Sent(), (kept if kept is not None else []).append)


def loss(step: int) -> Points:
    return Points("training", step, (Point("loss", step, 1.0),))


def test_all_is_told_in_order_and_once() -> None:
    tracker, kept = Notebook(), list[Sent]()
    one = begun(tracker, Sent("known", {"training": 3}, {"seed": "0"}, {}, ["worst/1"]), kept)
    for call in (Params({"seed": "0", "device": "cpu"}), *map(loss, range(6)), Picture("worst/1", Path("a.png"))):
        one.put(call)
    one.put(Texts({"promoted": "yes"}))
    one.put(Texts({"promoted": "yes"}))
    one.close("finished", 5)
    assert tracker.told == [("params", {"device": "cpu"}), ("texts", {"promoted": "yes"})]
    assert [point.step for point in tracker.points] == [4, 5]
    assert (tracker.status, one.lost, kept[-1].steps) == ("finished", 0, {"training": 5})


def test_a_run_that_is_gone_there_begins_anew() -> None:
    class Forgetful(Notebook):
        def begin(self, name: str, known_id: str | None) -> Begun:
            return Begun("another", self.place)

    tracker, kept = Forgetful(), list[Sent]()
    one = begun(tracker, Sent("gone", {"training": 3}), kept)
    one.put(loss(2))
    one.close("finished", 5)
    assert [point.step for point in tracker.points] == [2]
    assert kept[-1] == Sent("another", {"training": 2})


def test_what_does_not_answer_is_asked_again_and_said_once() -> None:
    left = iter([OSError] * 5)

    def trouble(kind: str) -> None:
        if kind == "scalars" and next(left, None):
            raise Unreached("no answer from http://ann:secret@host")

    tracker = Notebook(trouble)
    one = begun(tracker)
    for step in range(10):
        one.put(loss(step))
        time.sleep(0.01)
    one.close("finished", 5)
    assert [point.step for point in tracker.points] == list(range(10))
    (said,) = (heard.trouble for heard in one.heard() if heard.trouble)
    assert "does not answer: no answer from http://host" in said
    assert one.lost == 0


def test_a_dead_place_costs_neither_time_nor_the_training() -> None:
    def trouble(_: str) -> None:
        raise Unreached("dead")

    one = begun(Notebook(trouble))
    began = time.monotonic()
    for step in range(100):
        one.put(loss(step))
    assert time.monotonic() - began < 0.5
    one.close("finished", 0.3)
    assert time.monotonic() - began < 2
    assert (one.lost, one.begun) == (100, None)


def test_a_place_that_hangs_is_left_after_the_patience() -> None:
    release = threading.Event()
    one = begun(Notebook(lambda kind: kind == "scalars" and release.wait(30)))  # type: ignore[arg-type, return-value]
    for step in range(100):
        one.put(loss(step))
    began = time.monotonic()
    one.close("stopped", 0.3)
    assert time.monotonic() - began < 2
    assert one.lost == 100, "also those that it may have taken"
    release.set()


def test_what_is_refused_is_dropped_counted_and_said_and_the_rest_is_told() -> None:
    def trouble(kind: str) -> None:
        if kind == "texts":
            raise ValueError("too long\nby far")

    tracker = Notebook(trouble)
    one = begun(tracker)
    for call in (Texts({"a": "b"}), loss(1), Texts({"c": "d"})):
        one.put(call)
    one.close("finished", 5)
    assert (len(tracker.points), tracker.status, one.lost) == (1, "finished", 2)
    assert [heard.trouble for heard in one.heard() if heard.trouble] == [
        f"{tracker.place} refused what it was told: too long by far"
    ]


def test_a_run_that_cannot_begin_there_is_not_tracked() -> None:
    def trouble(_: str) -> None:
        raise PermissionError("not yours")

    one = begun(Notebook(trouble))
    one.put(loss(1))
    one.close("finished", 5)
    assert (one.begun, one.lost) == (None, 1)


def test_there_is_room_for_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "ROOM", 10)
    release = threading.Event()
    tracker = Notebook(lambda kind: kind == "begin" and release.wait(30))  # type: ignore[arg-type, return-value]
    one = begun(tracker)
    for step in range(25):
        one.put(loss(step))
    one.put(Texts({"promoted": "yes"}))
    release.set()
    one.close("finished", 5)
    assert [point.step for point in tracker.points] == list(range(10))
    assert (one.lost, tracker.told) == (15, [("texts", {"promoted": "yes"})]), "a verdict always has room"
