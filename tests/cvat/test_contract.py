"""One exchange with CVAT through our client, on the embedded server always and on a real one if there is one.

For a real server set ANNOLOOP_TEST_CVAT_URL and CVAT_ACCESS_TOKEN (or CVAT_USERNAME and CVAT_PASSWORD).
Everything is made in a project of the test's own, which is deleted at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from running_loop import add_model, make_project, mask_bytes

from annoloop.cli.demo import Server
from annoloop.cvat.credentials import Credentials, credentials_for
from annoloop.cvat.guide import MARK, annotation_guide, colors_of, without_addresses
from annoloop.cvat.server import CvatServer, connect
from annoloop.cvat.wire import Issue, Shape, class_labels, shape_digest
from annoloop.data.config import FILE_NAME, CvatConfig
from annoloop.data.mmseg_folders import read_label_map
from annoloop.errors import CvatError
from annoloop.loop.pull import pull
from annoloop.loop.push import push
from annoloop.loop.tasks import tasks
from annoloop.masks.classes import ClassTable, class_table
from annoloop.masks.regions import LabelMap, paint, regions
from annoloop.masks.run_lengths import from_cvat_runs, to_cvat_runs
from annoloop.project.project import Project
from annoloop.selection.request import PushRequest
from annoloop.simulation.annotator import annotate

REAL_URL = os.environ.get("ANNOLOOP_TEST_CVAT_URL")
SIZES_HW = {"train/a.png": (37, 53), "train/sub/a.png": (20, 64), "train/zz é b.png": (1, 1)}


@pytest.fixture(
    scope="module",
    params=[
        "sandbox",
        pytest.param(
            "real",
            marks=pytest.mark.skipif(
                not REAL_URL, reason="no real CVAT: set ANNOLOOP_TEST_CVAT_URL and CVAT_ACCESS_TOKEN to run this"
            ),
        ),
    ],
)
def cvat(request: pytest.FixtureRequest, sandbox: Server) -> Iterator[CvatServer]:
    url, credentials = sandbox.url, Credentials(token=sandbox.token)
    if request.param == "real":
        assert REAL_URL is not None
        url, credentials = REAL_URL, credentials_for(REAL_URL)
    with connect(CvatConfig(url=url), credentials) as server:
        yield server


@pytest.fixture(scope="module")
def classes() -> ClassTable:
    return class_table(["background", "cat", "dog"], ["#000000", "#ff0000", "#00ff00"], background="background")


@pytest.fixture(scope="module")
def project_id(cvat: CvatServer, classes: ClassTable) -> Iterator[int]:
    number = cvat.ensure_project(f"annoloop-contract-{uuid4().hex}", class_labels(classes))
    yield number
    cvat.session.call("DELETE", f"projects/{number}")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    found = []
    for name, size_hw in SIZES_HW.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*size_hw, 3)).astype(np.uint8)).save(path)
        found.append((name, path))
    return found


@pytest.fixture(scope="module")
def task_id(cvat: CvatServer, project_id: int, images: list[tuple[str, Path]]) -> int:
    number = cvat.create_task(project_id, "contract", segment_size=2)
    cvat.upload_images(number, images)
    return number


def noise(size_hw: tuple[int, int], seed: int) -> LabelMap:
    return np.random.default_rng(seed).choice([0, 1, 2, 255], size_hw).astype(np.uint8)


def shapes_of(label_map: LabelMap, frame: int, label_ids: dict[str, int], classes: ClassTable) -> list[Shape]:
    return [
        Shape(frame, label_ids[classes.label_of(r.class_index)], "mask", tuple(map(float, to_cvat_runs(r))))
        for r in regions(label_map, skip=(0,), min_region_px=4)
    ]


def test_the_server_says_who_we_are(cvat: CvatServer) -> None:
    about = cvat.about()
    assert about.username
    assert about.server_version[0].isdigit()


def test_a_project_is_made_once_with_a_label_per_class(cvat: CvatServer, project_id: int, classes: ClassTable) -> None:
    name = cvat.session.get(f"projects/{project_id}")["name"]
    assert cvat.ensure_project(name, class_labels(classes)) == project_id
    assert {label.name for label in cvat.labels(project_id=project_id)} == {"cat", "dog", "ignore"}
    with pytest.raises(CvatError, match="no label 'horse'"):
        cvat.ensure_project(
            name, class_labels(class_table(["background", "cat", "dog", "horse"], background="background"))
        )


def test_frames_keep_their_folders_and_sizes(cvat: CvatServer, task_id: int) -> None:
    assert {f.name: f.size_hw for f in cvat.frames(task_id)} == SIZES_HW
    assert cvat.task(task_id).size == len(SIZES_HW)


def test_a_task_is_found_by_its_name(cvat: CvatServer, project_id: int, task_id: int) -> None:
    assert [t.id for t in cvat.find_tasks(project_id, "contract")] == [task_id]
    assert cvat.find_tasks(project_id, "contrac") == []


def test_segments_become_jobs(cvat: CvatServer, task_id: int) -> None:
    assert [list(job.frames) for job in cvat.jobs(task_id)] == [[0, 1], [2]]
    assert not any(job.finished for job in cvat.jobs(task_id))


def test_masks_come_back_bit_for_bit(cvat: CvatServer, task_id: int, classes: ClassTable) -> None:
    label_ids = {label.name: label.id for label in cvat.task_labels(task_id, class_labels(classes))}
    names = {number: name for name, number in label_ids.items()}
    frames = cvat.frames(task_id)
    maps = {frame.index: noise(frame.size_hw, frame.index) for frame in frames}
    sent = [s for frame in frames for s in shapes_of(maps[frame.index], frame.index, label_ids, classes)]
    for job in [*cvat.jobs(task_id), *cvat.jobs(task_id)]:  # twice: it is safe to repeat
        cvat.replace_job_shapes(job.id, [s for s in sent if s.frame in job.frames])
    found = [shape for job in cvat.jobs(task_id) for shape in cvat.job_shapes(job.id)]
    assert sorted(shape_digest(s, names[s.label_id]) for s in found) == sorted(
        shape_digest(s, names[s.label_id]) for s in sent
    )
    for frame in frames:
        parts = [
            from_cvat_runs(s.points, classes.index_of(names[s.label_id]), frame.size_hw)
            for s in found
            if s.frame == frame.index
        ]
        assert np.array_equal(paint([p for p in parts if p], frame.size_hw, fill=0), maps[frame.index])


def test_an_update_keeps_the_id_and_changes_the_digest(cvat: CvatServer, task_id: int, classes: ClassTable) -> None:
    label_ids = {label.name: label.id for label in cvat.task_labels(task_id, class_labels(classes))}
    job = cvat.jobs(task_id)[0]
    new = Shape(0, label_ids["cat"], "mask", (0.0, 4.0, 1.0, 1.0, 2.0, 2.0))
    cvat.change_job_shapes(job.id, delete=cvat.job_shapes(job.id), create=[new])
    (before,) = cvat.job_shapes(job.id)
    moved = Shape(0, label_ids["dog"], "mask", before.points, before.z_order, before.rotation, "manual", before.id)
    cvat.change_job_shapes(job.id, update=[moved])
    (after,) = cvat.job_shapes(job.id)
    assert (after.id, after.label_id) == (before.id, label_ids["dog"])
    assert shape_digest(before, "cat") != shape_digest(after, "dog")
    cvat.change_job_shapes(job.id, delete=[after])
    assert cvat.job_shapes(job.id) == []


def test_completing_a_job_is_seen(cvat: CvatServer, task_id: int) -> None:
    job = cvat.jobs(task_id)[1]
    cvat.set_job(job.id, state="completed", stage="annotation")
    assert [j.finished for j in cvat.jobs(task_id)] == [False, True]
    cvat.set_job(job.id, state="in progress", stage="annotation")
    assert not any(j.finished for j in cvat.jobs(task_id))


def test_deleted_frames_are_marked(cvat: CvatServer, task_id: int) -> None:
    cvat.session.call("PATCH", f"tasks/{task_id}/data/meta", {"deleted_frames": [1]})
    assert [f.deleted for f in cvat.frames(task_id)] == [False, True, False]
    cvat.session.call("PATCH", f"tasks/{task_id}/data/meta", {"deleted_frames": []})


def test_polygons_and_their_z_order_come_back_as_they_were_sent(
    cvat: CvatServer, task_id: int, classes: ClassTable
) -> None:
    label_ids = {label.name: label.id for label in cvat.task_labels(task_id, class_labels(classes))}
    job = cvat.jobs(task_id)[0]
    points = (1.25, 2.0, 9.03, 2.0, 9.0, 11.99, 3.33, 12.0)
    shape = Shape(0, label_ids["dog"], "polygon", points, 1, source="auto")
    cvat.replace_job_shapes(job.id, [shape])
    (found,) = cvat.job_shapes(job.id)
    assert shape_digest(found, "dog") == shape_digest(shape, "dog")
    assert found.source == "auto"
    cvat.replace_job_shapes(job.id, [])


def test_issues_are_pinned_once_listed_and_resolved(cvat: CvatServer, task_id: int) -> None:
    wanted = [
        Issue(0, (3.0, 4.0, 10.0, 12.0), "cat missed: 56 px"),
        Issue(2, (0.0, 0.0, 1.0, 1.0), "dog invented: 1 px"),
    ]
    numbers = cvat.issues.pin(task_id, wanted, cvat.jobs(task_id))
    assert cvat.issues.pin(task_id, wanted, cvat.jobs(task_id)) == numbers, "the same again makes no second"
    assert {(i.id, i.frame, i.position, i.resolved) for i in cvat.issues.of_task(task_id)} == {
        (number, issue.frame, issue.position, False) for issue, number in numbers.items()
    }
    assert cvat.issues.set_resolved({numbers[wanted[0]]: True}) == ({numbers[wanted[0]]}, None)
    assert {i.id: i.resolved for i in cvat.issues.of_task(task_id)} == {
        numbers[wanted[0]]: True,
        numbers[wanted[1]]: False,
    }
    cvat.session.call("DELETE", f"issues/{numbers[wanted[1]]}")
    both = {numbers[wanted[0]]: False, numbers[wanted[1]]: True}
    assert cvat.issues.set_resolved(both) == (set(both), None), "one that is gone needs no telling"
    assert [i.resolved for i in cvat.issues.of_task(task_id)] == [False], "opened again"


def test_a_project_takes_a_guide_and_keeps_one_of_people(
    cvat: CvatServer, project_id: int, classes: ClassTable
) -> None:
    text = annotation_guide(classes)
    assert cvat.write_guide(project_id, text, mark=MARK)
    assert cvat.write_guide(project_id, text + "more", mark=MARK)
    guide_id = cvat.session.get(f"projects/{project_id}")["guide_id"]
    kept = cvat.session.get(f"guides/{guide_id}")["markdown"]
    assert without_addresses(kept) == text + "more"
    assert kept.count("(/api/assets/") == len(colors_of(text)), "a picture for every colour"
    cvat.session.call("PATCH", f"guides/{guide_id}", {"markdown": "# ours"})
    assert not cvat.write_guide(project_id, text, mark=MARK)
    assert cvat.session.get(f"guides/{guide_id}")["markdown"] == "# ours"


def test_a_job_is_given_to_a_user_by_name(cvat: CvatServer, task_id: int) -> None:
    me = cvat.about().username
    job = cvat.jobs(task_id)[0]
    assert job.assignee is None
    cvat.assign_job(job.id, cvat.user_ids([me])[me])
    assert cvat.jobs(task_id)[0].assignee == me
    with pytest.raises(CvatError, match="no user 'nobody-of-this-name'"):
        cvat.user_ids([me, "nobody-of-this-name"])


def test_this_account_may_write(cvat: CvatServer) -> None:
    cvat.require_writing()


def test_context_pictures_are_no_frames(cvat: CvatServer, project_id: int, images: list[tuple[str, Path]]) -> None:
    task = cvat.create_task(project_id, "context")
    beside = [("train/related_images/a_png/1 labels.png", images[0][1].read_bytes())]
    cvat.upload_images(task, [images[0], *beside])
    assert [frame.name for frame in cvat.frames(task)] == ["train/a.png"]
    assert cvat.session.get(f"tasks/{task}/data/meta")["frames"][0]["related_files"] == 1
    cvat.delete_task(task)


def test_a_task_is_made_once_however_often_it_is_asked_for(cvat: CvatServer, project_id: int) -> None:
    task = cvat.create_task(project_id, "only one")
    assert cvat.create_task(project_id, "only one") == task
    cvat.delete_task(task)
    with pytest.raises(CvatError, match="HTTP 404"):
        cvat.task(task)


@pytest.mark.parametrize("shape", ["mask", "polygon"])
def test_the_whole_exchange_changes_what_was_corrected_and_nothing_else(
    cvat: CvatServer, tmp_path: Path, shape: str
) -> None:
    name = f"annoloop-contract-{uuid4().hex}"
    made = make_project(tmp_path, cvat.url, name=name)
    try:
        with Project(tmp_path / FILE_NAME) as project:
            add_model(project, made.truth)
            before = mask_bytes(project)
            request = PushRequest(worst=4, segment_size=2, shape=shape, source="label")  # type: ignore[arg-type]
            report = push(project, cvat, request)
            assert report.task is not None
            first, _ = cvat.jobs(report.task)
            cvat.set_job(first.id, state="completed")
            (pulled,) = pull(project, cvat)
            assert (pulled.edited_px, len(pulled.accepted), len(pulled.unopened), pulled.written) == (0, 2, 2, ())
            assert mask_bytes(project) == before
            annotate(project, cvat, report.task, made.truth)
            (pulled,) = pull(project, cvat)
            assert set(pulled.changed) == {frame.sample_id for frame in report.frames}
            for frame in report.frames:
                truth = read_label_map(made.truth / f"{frame.sample_id}.png", project.config.data)
                assert np.array_equal(read_label_map(project.mask_path(frame.sample_id), project.config.data), truth)
            assert all(issue.resolved for issue in cvat.issues.of_task(report.task))
            assert tasks(project, cvat, every=True).tasks[0].finished == 4
    finally:
        for found in cvat.session.listed("projects", name=name):
            cvat.session.call("DELETE", f"projects/{found['id']}")


def test_what_is_not_there_is_a_404_with_its_url(cvat: CvatServer) -> None:
    with pytest.raises(CvatError, match="HTTP 404") as caught:
        cvat.task(99_999_999)
    assert "tasks/99999999" in str(caught.value.where)


def test_a_broken_image_fails_with_the_servers_reason_and_leaves_an_empty_task(
    cvat: CvatServer, project_id: int, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no image")
    number = cvat.create_task(project_id, "broken")
    with pytest.raises(CvatError):
        cvat.upload_images(number, [("broken.png", broken)])
    assert cvat.task(number).size == 0
    cvat.delete_task(number)


def test_a_wrong_password_and_a_wrong_token_are_refused(cvat: CvatServer) -> None:
    with pytest.raises(CvatError, match="Unable to log in") as caught:
        connect(CvatConfig(url=cvat.url), Credentials(username="nobody", password="s3cret-word"))
    assert "s3cret" not in str(caught.value)
    with (
        connect(CvatConfig(url=cvat.url), Credentials(token="x" * 20)) as stranger,
        pytest.raises(CvatError) as refused,
    ):
        stranger.about()
    assert refused.value.status == 401
