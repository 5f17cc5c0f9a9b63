"""Jobs that are made several times for as many annotators, and the time that people worked in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.events import WorkingTime, read_working_times, working_times
from annoloop.cvat.server import CvatServer, connect
from annoloop.cvat.wire import Shape, class_labels
from annoloop.data.config import CvatConfig
from annoloop.errors import CvatError
from annoloop.masks.classes import class_table

CLASSES = class_table(["background", "cat"], background="background")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def cvat(sandbox: Server) -> Iterator[CvatServer]:
    with connect(CvatConfig(url=sandbox.url), Credentials(token=sandbox.token)) as server:
        yield server


@pytest.fixture
def task(cvat: CvatServer, tmp_path: Path) -> int:
    project = cvat.ensure_project(f"replicas-{uuid4().hex[:8]}", class_labels(CLASSES))
    images = [(f"{i}.png", tmp_path / f"{i}.png") for i in range(3)]
    for _, path in images:
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(path)
    number = cvat.create_task(project, f"t-{uuid4().hex[:8]}", segment_size=2, replicas=3)
    cvat.upload_images(number, images)
    return number


def test_every_job_has_its_replicas(cvat: CvatServer, task: int) -> None:
    jobs, replicas = cvat.jobs_and_replicas(task)
    assert [job.id for job in jobs] == [job.id for job in cvat.jobs(task)]
    assert [list(job.frames) for job in jobs] == [[0, 1], [2]]
    for job in jobs:
        own = [one for one in replicas if one.parent == job.id]
        assert len(own) == 3
        assert all(one.frames == job.frames for one in own)
    assert cvat.session.get(f"tasks/{task}")["consensus_enabled"]
    assert cvat.session.get(f"jobs/{jobs[0].id}")["consensus_replicas"] == 3
    assert {one["type"] for one in cvat.session.listed("jobs", task_id=task)} == {"annotation", "consensus_replica"}


def test_replicas_are_annotated_each_by_itself(cvat: CvatServer, task: int) -> None:
    jobs, replicas = cvat.jobs_and_replicas(task)
    label = cvat.labels(task_id=task)[0].id
    first, second, _ = (one for one in replicas if one.parent == jobs[0].id)
    cvat.replace_job_shapes(first.id, [Shape(0, label, "mask", (0.0, 2.0, 0.0, 0.0, 1.0, 0.0))])
    assert len(cvat.job_shapes(first.id)) == 1
    assert cvat.job_shapes(second.id) == []
    assert cvat.job_shapes(jobs[0].id) == []
    assert cvat.session.get(f"tasks/{task}/annotations")["shapes"] == []  # a task's are those of its own jobs


@pytest.mark.parametrize("count", [1, 11])
def test_one_replica_is_none(cvat: CvatServer, count: int) -> None:
    project = cvat.ensure_project(f"replicas-{uuid4().hex[:8]}", class_labels(CLASSES))
    with pytest.raises(CvatError, match="from 2 to 10"):
        cvat.create_task(project, "one", replicas=count)


def _worked(cvat: CvatServer, job: int, seconds: list[float]) -> None:
    events = [{"scope": "click:element", "timestamp": (NOON + timedelta(seconds=s)).isoformat(), "job_id": job}
              for s in seconds]  # fmt: skip
    cvat.session.call("POST", "events", {"events": events, "timestamp": NOON.isoformat()})


def test_minutes_in_a_job_are_those_between_doings(cvat: CvatServer, task: int) -> None:
    job, other = cvat.jobs(task)
    _worked(cvat, job.id, [0, 30, 90, 89_000, 89_060])  # a night is no work
    _worked(cvat, other.id, [0, 12])
    user = cvat.about().username
    found = working_times(cvat.session, task, NOON - timedelta(days=1))
    assert found == [WorkingTime(job.id, user, 2.5), WorkingTime(other.id, user, 0.2)]
    assert working_times(cvat.session, task, NOON + timedelta(days=9)) == []


@pytest.mark.parametrize("host", ["http://cvat_server:8080", "https://elsewhere.example"])
def test_the_file_is_fetched_from_our_server_whatever_the_answer_says(
    cvat: CvatServer, task: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cvat.jobs(task)[0]
    _worked(cvat, job.id, [0, 60])
    real = type(cvat.session).read

    def renamed(self: object, path: str, **query: object) -> object:
        answer = real(self, path, **query)  # type: ignore[arg-type]
        url = answer.value.get("result_url") if isinstance(answer.value, dict) else None
        if url:
            answer.value["result_url"] = url.replace(cvat.url, host)
        return answer

    monkeypatch.setattr(type(cvat.session), "read", renamed)
    assert [one.minutes for one in working_times(cvat.session, task, NOON - timedelta(days=1))] == [1.0]


def test_a_result_that_is_no_file_of_the_api_is_refused(
    cvat: CvatServer, task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(cvat.session).read

    def strange(self: object, path: str, **query: object) -> object:
        answer = real(self, path, **query)  # type: ignore[arg-type]
        if path.startswith("requests/"):
            answer.value["result_url"] = "https://elsewhere.example/steal"
        return answer

    monkeypatch.setattr(type(cvat.session), "read", strange)
    with pytest.raises(CvatError, match="no address of CVAT's API"):
        working_times(cvat.session, task, NOON)


def test_an_export_of_something_else_is_refused() -> None:
    with pytest.raises(CvatError, match="lack duration, job_id, task_id"):
        read_working_times(["scope,timestamp"], 1)
    head = "scope,duration,task_id,job_id,user_name"
    odd = ["send:working_time,x,1,2,a", "send:working_time,-5,1,2,a", "send:working_time,60000.0,1.0,2,a",
           "send:working_time,60000,9,2,a", "send:working_time,1e99,1,2,a"]  # fmt: skip
    assert read_working_times([head, *odd], 1) == [WorkingTime(2, "a", 1.0)]
