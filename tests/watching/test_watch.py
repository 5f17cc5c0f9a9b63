"""The loop by itself against the sandbox, over HTTP: pulls and pushes; trainings are in test_day.py."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from running_loop import Loop

from annoloop.cli.main import run
from annoloop.data.images import IndexImage, encode_index_png, write_atomic
from annoloop.errors import AnnoloopError, ConfigError, CvatError, DataError, LedgerError
from annoloop.loop.push import push
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import unwatched
from annoloop.simulation.annotator import annotate
from annoloop.watching import steps
from annoloop.watching import watch as watching
from annoloop.watching.diary import LOG_NAME, WatchEvent
from annoloop.watching.due import WatchRequest
from annoloop.watching.watch import WatchReport, watch

WANTED = WatchRequest(pull=True, push_next=4, every_s=1.0)


class Views:
    """A view of a training that shows nothing."""

    def __enter__(self) -> Any:
        return unwatched

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Watched:
    """A loop that nobody but the watch touches, and what it told."""

    loop: Loop
    told: list[WatchEvent] = field(default_factory=list)

    def once(self, wanted: WatchRequest = WANTED) -> WatchReport:
        self.told.clear()
        return watch(self.loop.project, wanted, self.told.append, once=True, views=Views)

    def begun(self) -> list[str]:
        return [event.said for event in self.told if event.what == "begun"]

    def annotate(self, task: int) -> None:
        annotate(self.loop.project, self.loop.cvat, task, self.loop.truth)


@pytest.fixture
def watched(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", loop.server.token)
    return Watched(loop)


def test_a_round_is_pushed_pulled_once_and_followed_by_the_next(watched: Watched) -> None:
    first = watched.once()
    assert len(first.pushed) == 1
    assert watched.begun() == ["push: no task is open"]
    again = watched.once()
    assert (again.pushed, again.pulled) == ((), ())
    assert again.because == f"nothing is due: it waits for jobs of task {first.pushed[0]} to be completed"

    watched.annotate(first.pushed[0])
    second = watched.once()
    assert second.pulled == first.pushed
    assert second.masks_written == 4
    assert len(second.pushed) == 1
    assert watched.begun() == [f"pull of task {first.pushed[0]}: jobs are completed", "push: no task is open"]
    for frame in watched.loop.project.ledger.frames(1):
        assert (watched.loop.label_map(frame.sample_id) == watched.loop.true_map(frame.sample_id)).all()
    assert len(watched.loop.tasks()) == 2


def test_a_job_is_pulled_when_it_is_completed_and_again_only_when_something_has_changed(watched: Watched) -> None:
    task = watched.once().pushed[0]
    job, other = watched.loop.jobs(task)
    watched.loop.cvat.set_job(job.id, state="completed")
    assert watched.once().pulled == (task,)
    assert watched.once().pulled == (), "the other job goes on"
    frame = job.frames[0]
    label = watched.loop.project.classes.names[1]
    watched.loop.cvat.set_job(job.id, state="in progress")
    assert watched.once().pulled == ()
    shapes = watched.loop.cvat.job_shapes(job.id)
    watched.loop.cvat.change_job_shapes(job.id, delete=[one for one in shapes if one.frame == frame])
    watched.loop.cvat.set_job(job.id, state="completed")
    assert label
    assert watched.once().pulled == (task,), "it was reopened, changed and completed again"
    watched.loop.cvat.set_job(other.id, state="completed")
    last = watched.once()
    assert last.pulled == (task,)
    assert len(last.pushed) == 1


def test_what_it_remembers_may_be_lost_or_be_nonsense(watched: Watched) -> None:
    task = watched.once().pushed[0]
    watched.loop.cvat.set_job(watched.loop.jobs(task)[0].id, state="completed")
    assert watched.once().pulled == (task,)
    memory = watched.loop.project.state_dir / "watch.json"
    for text in ("", "[]", '{"pulled": {"x": {}}}', '{"pulled": {"1": [2]}}', "\xff"):
        memory.write_text(text, encoding="latin-1")
        report = watched.once()
        assert (report.pulled, report.masks_written) == ((task,), 0)
        assert watched.once().pulled == ()


def test_a_task_that_was_deleted_in_cvat_makes_room_for_the_next(watched: Watched) -> None:
    task = watched.once().pushed[0]
    watched.loop.cvat.delete_task(task)
    report = watched.once()
    assert (report.pulled, len(report.pushed)) == ((), 1)
    assert any("was deleted in CVAT" in event.said for event in watched.told)


def test_where_nothing_is_left_it_waits_and_does_not_ask_again(watched: Watched) -> None:
    everything = replace(WANTED, push_next=50)
    task = watched.once(everything).pushed[0]
    watched.annotate(task)
    report = watched.once(everything)
    assert (report.pulled, report.pushed, report.failures) == ((task,), (), 0)
    assert "something to push: nothing to push: 8 of 8 images are as annotators left them" in report.because
    assert watched.begun().count("push: no task is open") == 1


def test_a_conflict_is_tried_again_and_does_not_hold_back_another_task(watched: Watched) -> None:
    loop = watched.loop
    first, second = (loop.push(2, only=()).task for _ in range(2))
    assert first is not None
    assert second is not None
    for task in (first, second):
        watched.annotate(task)
    edited = loop.project.ledger.frames(1)[0].sample_id
    blank = IndexImage(loop.label_map(edited) * 0)
    write_atomic(loop.project.mask_path(edited), encode_index_png(blank))
    told: list[WatchEvent] = []
    wanted = replace(WANTED, push_next=None, most_failures=2)
    with pytest.raises(DataError, match="failed 2 times in a row, the last time so: 1 masks were changed"):
        watch(loop.project, wanted, told.append, views=Views)
    done = [event.said for event in told if event.what == "done"]
    assert len(done) == 1
    assert done[0].startswith(f"task {second}: 2 changed")
    assert (loop.label_map(edited) == 0).all()
    assert [event.what for event in told][-1] == "ended"
    with pytest.raises(DataError):
        watched.once(replace(WANTED, push_next=None))
    assert watched.once(replace(WANTED, push_next=None, on_conflict="theirs")).pulled == (first,)


def test_a_server_that_is_away_is_waited_for(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    where = watched.loop.server.url
    away = [
        CvatError(said, where=where, unreached=True)
        for said in ("cannot be reached\n  in two lines", "cannot be reached")
    ]
    real = watching.look

    def look(*given: Any, **named: Any) -> Any:
        if away:
            raise away.pop()
        return real(*given, **named)

    def tell(event: WatchEvent) -> None:
        told.append(event)
        if event.what == "waiting":
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "look", look)
    told: list[WatchEvent] = []
    report = watch(watched.loop.project, WANTED, tell, views=Views)
    assert (report.failures, len(report.pushed)) == (2, 1)
    assert report.because == "it was ended; the same command goes on"
    failed = f"asking CVAT failed: {watched.loop.server.url}: cannot be reached"
    said = [event.said for event in told if event.what == "failed"]
    assert said == [f"{failed}; try 2 of 10 in 1 s", f"{failed}; try 3 of 10 in 2 s\n  in two lines"]


def test_what_is_wrong_from_the_beginning_ends_it_at_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="no CVAT credentials"):
        watch(loop.project, WANTED, print, views=Views)
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "0" * 40)
    with pytest.raises(CvatError, match="401"):
        watch(loop.project, WANTED, print, views=Views)


def test_a_webhook_wakes_it_long_before_it_would_look(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    task = watched.once().pushed[0]
    wake, pulled = threading.Event(), threading.Event()
    done_at: list[float] = []

    def tell(event: WatchEvent) -> None:
        if event.what == "waiting" and not done_at:
            watched.annotate(task)
            done_at.append(time.monotonic())
            wake.set()
        if event.what == "done":
            done_at.append(time.monotonic())
            pulled.set()
            raise KeyboardInterrupt

    report = watch(watched.loop.project, replace(WANTED, every_s=600.0, push_next=None), tell, wake=wake, views=Views)
    assert report.pulled == (task,)
    assert done_at[1] - done_at[0] < 20


def test_one_watch_and_no_more_is_at_work_and_other_commands_are(watched: Watched) -> None:
    loop = watched.loop

    def tell(event: WatchEvent) -> None:
        if event.what != "watching":
            return
        with Project(loop.project.path) as other:
            with pytest.raises(LedgerError, match="another annoloop is at work here: watch, pid"):
                watch(other, WANTED, print, once=True, views=Views)
            with other.locked("evaluate"):
                pass

    assert len(watch(loop.project, WANTED, tell, once=True, views=Views).pushed) == 1


def test_another_command_is_waited_for(watched: Watched) -> None:
    with Project(watched.loop.project.path) as other, other.locked("retrain"):
        report = watched.once()
    assert (report.pushed, report.failures) == ((), 0)
    assert report.because.startswith("nothing is due: it waits for retrain, pid")


def test_a_push_that_was_cut_off_is_finished_and_somebody_elses_is_left_alone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from annoloop.loop import push as module

    def dies(*given: object, **named: object) -> None:
        raise CvatError("the connection was lost")

    with monkeypatch.context() as broken:
        broken.setattr(module, "deliver", dies)
        with pytest.raises(CvatError):
            push(watched.loop.project, watched.loop.cvat, PushRequest(worst=2, source="prediction"))
        with pytest.raises(CvatError):
            watched.once()
    half = watched.loop.project.ledger.half_pushed_tasks()
    assert [len(watched.loop.project.ledger.frames(one.id)) for one in half] == [2, 4]
    report = watched.once()
    assert watched.begun() == [f"push: task {half[1].name!r} was cut off"]
    assert [one.name for one in watched.loop.project.ledger.tasks() if one.cvat_id in report.pushed] == [half[1].name]
    assert watched.once().pushed == ()


def test_it_can_be_asked_what_it_would_do(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["watch", "--pull", "--push-next", "4", "--dry-run", "--json", "--project", str(watched.loop.folder)]
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["what"], found["step"], found["said"]) == ("due", "push", "push: no task is open")
    assert watched.loop.project.ledger.tasks() == []


def test_json_is_one_object_a_line_and_so_is_the_log(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["watch", "--pull", "--push-next", "4", "--once", "--json", "--project", str(watched.loop.folder)]
    assert run(command) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["watching", "begun", "done", "ended"]
    assert lines[2]["report"]["frames"]
    assert lines[3]["report"]["pushed"] == [lines[2]["report"]["task"]]
    log = (watched.loop.project.state_dir / LOG_NAME).read_text(encoding="utf-8")
    assert [json.loads(line) for line in log.splitlines()] == lines
    assert watched.loop.server.token not in log


def test_a_failure_is_a_line_of_json_too(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["watch", "--pull", "--push-next", "4", "--by", "missed", "--once", "--json"]
    edited = watched.loop.project.path.read_text(encoding="utf-8")
    watched.loop.project.path.write_text(
        edited.replace(watched.loop.server.url, "http://127.0.0.1:9"), encoding="utf-8"
    )
    assert run([*command, "--project", str(watched.loop.folder)]) == 6
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["watching", "ended"]


def test_the_log_rotates(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    from annoloop.watching import diary

    monkeypatch.setattr(diary, "_LOG_BYTES", 1000)
    for _ in range(9):
        watched.once()
    logs = sorted(path.name for path in watched.loop.project.state_dir.glob(f"{LOG_NAME}*"))
    assert logs == [LOG_NAME, *(f"{LOG_NAME}.{n}" for n in range(1, 5))]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "what is to be done by itself?"),
        (["--pull", "--every", "soon"], 2, "no duration like 90s"),
        (["--pull", "--every", "0.2s"], 3, "every_s: 0.2 is not 1.0 or more"),
        (["--retrain-after", "5", "--budget", "x"], 2, "no duration like 90s"),
        (["--retrain-after", "5", "--hours", "night"], 3, "no part of a day like 20:00-06:00"),
        (["--push-next", "5", "--by", "taste"], 3, "no criterion"),
        (["--pull", "--secret-file", "x"], 2, "--secret-file belongs to --listen"),
        (["--pull", "--listen", "127.0.0.1:0", "--once"], 2, "do not wait"),
        (["--pull", "--listen", "127.0.0.1:0"], 3, "a secret of 8 characters and more is needed"),
        (["--push-next", "5", "--split", "nosuch", "--once"], 3, "no split 'nosuch'"),
    ],
)
def test_what_was_asked_wrongly_is_said(
    watched: Watched, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("ANNOLOOP_WEBHOOK_SECRET", raising=False)
    assert run(["watch", *arguments, "--project", str(watched.loop.folder)]) == code
    assert said in capsys.readouterr().err
    assert watched.loop.project.ledger.tasks() == []


def test_a_step_holds_the_project_under_its_own_name(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str | None] = []

    def pushes(project: Project, *given: object, **named: object) -> None:
        with Project(project.path) as other:
            held.append(other.at_work())
        raise AnnoloopError("enough")

    monkeypatch.setattr(steps, "push", pushes)
    with pytest.raises(AnnoloopError, match="enough"):
        watched.once()
    assert held[0] is not None
    assert held[0].startswith("watch: push, pid")
