"""The FiftyOne dataset over a real MongoDB, in step with the project."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_app import annoloop, needs_mongodb, own_database
from running_loop import Loop
from store import Store

from annoloop.app.browse import dataset_name, refresh
from annoloop.app.fiftyone_app import check_port, fiftyone
from annoloop.app.fiftyone_dataset import MARK_TAG
from annoloop.data.config import FILE_NAME, load, render
from annoloop.data.images import read_index_png
from annoloop.loop.conversion.coco import to_coco
from annoloop.loop.undo import undo
from annoloop.project.project import Project
from annoloop.selection.scoring import score
from annoloop.simulation.annotator import annotate

pytestmark = [pytest.mark.slow, needs_mongodb]


@pytest.fixture(scope="module")
def fo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """FiftyOne in this process, with a database of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIFTYONE_DATABASE_DIR", str(tmp_path_factory.mktemp("mongo")))
        yield fiftyone()


@pytest.fixture
def scored(loop: Loop, fo: Any) -> Loop:
    """A loop whose images all have a score."""
    run = loop.project.current_run()
    assert run is not None
    score(loop.project, run, loop.project.samples())
    return loop


def dataset_of(fo: Any, project: Project) -> Any:
    """The dataset as the database has it now."""
    dataset = fo.load_dataset(dataset_name(project))
    dataset.reload()
    return dataset


def values(view: Any, *fields: str) -> dict[str, Any]:
    """Values by sample id; of several fields a tuple."""
    names, *columns = view.values(["annoloop_id", *fields])
    return dict(zip(names, columns[0] if len(fields) == 1 else zip(*columns, strict=True), strict=True))


def test_it_holds_what_annoloop_knows_and_is_left_alone_the_second_time(scored: Loop, fo: Any) -> None:
    first, again = refresh(scored.project), refresh(scored.project)
    assert (first.samples, first.scored, first.updated) == (11, 11, 11)
    assert again.updated == 0
    dataset = dataset_of(fo, scored.project)
    known = scored.project.ledger.scores(1)
    assert values(dataset, "dice") == {name: row.dice for name, row in known.items()}
    worst = dataset.load_saved_view("worst").values("dice")
    assert worst == sorted(worst)
    of_ring = dataset.load_saved_view("worst of ring").values("class_dice.ring")
    assert of_ring == sorted(of_ring)
    assert 0 < len(of_ring) < 11, "only images that have a ring, or a predicted one"
    targets = {0: "background", 1: "disc", 2: "square", 3: "ring", 4: "cross", 255: "ignore"}
    assert dataset.mask_targets["truth"] == dataset.mask_targets["prediction"] == targets
    assert dataset.mask_targets["errors"] == {1: "false negative", 2: "false positive", 3: "confused"}
    for name, (truth, prediction, errors) in values(
        dataset, "truth.mask_path", "prediction.mask_path", "errors.mask_path"
    ).items():
        assert Path(truth) == scored.project.mask_path(name)
        wrong = read_index_png(Path(truth)).values != read_index_png(Path(prediction)).values
        assert np.array_equal(read_index_png(Path(errors)).values > 0, wrong)


def test_after_a_round_only_what_changed_is_rewritten(scored: Loop, fo: Any) -> None:
    refresh(scored.project)
    pushed = scored.push(worst=3)
    assert pushed.task is not None
    names = {frame.sample_id for frame in pushed.frames}
    assert refresh(scored.project).updated == 3
    dataset = dataset_of(fo, scored.project)
    waiting = dataset.load_saved_view("in CVAT now")
    assert values(waiting, "cvat_task") == dict.fromkeys(names, pushed.task)
    assert all(f"/tasks/{pushed.task}/jobs/" in url for url in waiting.values("cvat_url"))
    annotate(scored.project, scored.cvat, pushed.task, scored.truth)
    written = set(scored.pull(pushed.task).written)
    assert refresh(scored.project).updated == 3
    dataset = dataset_of(fo, scored.project)
    assert len(dataset.load_saved_view("in CVAT now")) == 0
    changed = values(dataset.load_saved_view("changed last round"), "round", "history", "dice")
    assert changed.keys() == written
    assert all(number == 1 and len(steps) == 1 and dice is None for number, steps, dice in changed.values())
    assert all(f"pull of task {pushed.task}: " in steps[0] for _, steps, _ in changed.values())
    undo(scored.project)
    refresh(scored.project)
    dataset = dataset_of(fo, scored.project)
    assert len(dataset.load_saved_view("changed last round")) == 0
    assert {len(steps) for steps in dataset.values("history")} == {0, 2}


def test_tags_and_marks_are_one_thing_whoever_sets_them(scored: Loop, fo: Any) -> None:
    refresh(scored.project)
    dataset = dataset_of(fo, scored.project)
    view = dataset.match(fo.ViewField("annoloop_id").is_in(["train/0001", "train/0002"]))
    view.tag_samples([MARK_TAG, "mine"])
    assert refresh(scored.project).marked == 2
    assert scored.project.ledger.marks().keys() == {"train/0001", "train/0002"}
    dataset_of(fo, scored.project).match_tags("mine").limit(1).untag_samples(MARK_TAG)
    assert refresh(scored.project).marked == 1
    scored.project.ledger.put_marks(add=["val/0000"])
    refresh(scored.project)
    marked = values(dataset_of(fo, scored.project).load_saved_view("marked for next push"), "tags")
    assert marked.keys() == {"train/0002", "val/0000"}
    scored.push(worst=1)
    refresh(scored.project)
    tags = values(dataset_of(fo, scored.project), "tags")
    assert tags["train/0002"] == ["train", "mine"], "it went; people's own tags stay"
    assert tags["val/0000"] == ["val", MARK_TAG]


def test_a_class_zero_that_is_no_background_is_shown_moved_up_by_one(loop: Loop, fo: Any) -> None:
    file = loop.folder / FILE_NAME
    file.write_text(render(load(file).model_copy(update={"background": None})), encoding="utf-8")
    with Project(file) as project:
        refresh(project)
        dataset = dataset_of(fo, project)
        shown = Path(values(dataset, "truth.mask_path")["train/0001"])
        assert shown != project.mask_path("train/0001")
        assert np.array_equal(read_index_png(shown).values, loop.label_map("train/0001") + 1)
        assert dataset.mask_targets["truth"][1] == "background"
        assert dataset.mask_targets["truth"][255] == "ignore"
        assert refresh(project).updated == 0


def test_classes_and_samples_that_are_no_more_leave_the_dataset(scored: Loop, fo: Any) -> None:
    refresh(scored.project)
    for path in (scored.project.mask_path("val/0002"), scored.project.image_path("val/0002")):
        path.unlink()
    file = scored.folder / FILE_NAME
    file.write_text(file.read_text(encoding="utf-8").replace("name: ring", "name: torus"), encoding="utf-8")
    with Project(file) as project:
        assert refresh(project).samples == 10
        dataset = dataset_of(fo, project)
    assert len(dataset) == 10
    assert not dataset.has_field("class_dice.ring")
    assert dataset.has_field("class_dice.torus")
    assert "worst of ring" not in dataset.list_saved_views()


def test_the_status_is_known_in_the_app(scored: Loop, fo: Any) -> None:
    import fiftyone.operators as foo

    refresh(scored.project)
    context = {"dataset": dataset_of(fo, scored.project)}
    told = foo.execute_operator("@annoloop/loop/loop_status", ctx=context).result
    assert told["loop"] == scored.project.config.project
    assert told["next"].startswith("annoloop push --worst 50")


def test_a_port_that_is_taken_is_an_error(loop: Loop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = annoloop("browse", "--project", str(loop.folder), "--port", port, "--no-open")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"127.0.0.1:{port}: cannot be used" in done.stderr
    assert "MongoDB" not in done.stderr, "FiftyOne's remarks are not ours"


FROM_PYTHON = """
import sys, urllib.request, annoloop

with annoloop.open_project(sys.argv[1]) as project:
    session = annoloop.browse(project, port=int(sys.argv[2]), open_page=False)
    print(urllib.request.urlopen(session.report.url, timeout=30).status)
    session.close()
    session.close()
"""


def test_from_python_the_app_is_started_and_closed(loop: Loop, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", FROM_PYTHON, str(loop.folder), port]
    environment = own_database(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
    check_port(int(port))


def test_a_database_that_is_not_there_is_an_error_with_three_ways_out(loop: Loop) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        uri = f"mongodb://127.0.0.1:{nobody.getsockname()[1]}/?serverSelectionTimeoutMS=500"
        command = annoloop("browse", "--project", str(loop.folder), "--no-app")
        environment = {**os.environ, "FIFTYONE_DATABASE_URI": uri}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    for way in ("pip install", "FIFTYONE_DATABASE_URI", "--export DIR"):
        assert way in done.stderr
    assert "Traceback" not in done.stderr


def test_fiftyone_reads_our_coco_file_with_every_mask(loop: Loop, fo: Any, tmp_path: Path) -> None:
    data = loop.project.config.data
    report = to_coco(loop.project.samples(["val"]), data, loop.project.classes, tmp_path / "val.json")
    dataset = fo.Dataset.from_dir(
        dataset_type=fo.types.COCODetectionDataset,
        data_path=str(data.root / data.image_dir),
        labels_path=str(tmp_path / "val.json"),
        label_types="segmentations",
        include_id=True,
    )
    found = [d.mask for s in dataset for d in (s["segmentations"] or s["ground_truth"]).detections]
    assert len(dataset) == 3
    assert sum(mask is not None and mask.any() for mask in found) == report.annotations


def test_of_data_in_a_store_it_shows_local_copies(scored: Loop, fo: Any, store: Store) -> None:
    here = {sample.id: Path(str(sample.image)).read_bytes() for sample in scored.project.samples()}
    store.move_data(scored.folder)
    with Project(scored.folder / FILE_NAME) as project:
        report = refresh(project)
        assert (report.samples, report.scored) == (11, 11)
        shown = values(dataset_of(fo, project), "filepath", "truth.mask_path")
        assert {name: Path(image).read_bytes() for name, (image, _) in shown.items()} == here
        assert all(Path(mask).is_relative_to(project.copies.folder) for _, mask in shown.values())
