"""Makes the pictures in ``docs/``: what annotators see, both reports, and the App, all of the demo's made data.

Run by ``scripts/docs_pictures``.  The fact to know: they are saved in all their colours, because classes are told apart
by them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from annoloop.cli.demo import ROUNDS, demo, running_sandbox
from annoloop.cvat.credentials import Credentials
from annoloop.cvat.server import connect
from annoloop.data.config import FILE_NAME, CvatConfig
from annoloop.data.images import IndexImage, encode_index_png, read_image
from annoloop.data.mmseg_folders import read_label_map
from annoloop.eda.data_page import save_page
from annoloop.eda.eda import eda
from annoloop.loop.evaluate import evaluate
from annoloop.loop.push import push
from annoloop.loop.setup.start import init
from annoloop.masks.regions import regions
from annoloop.metrics.error_regions import contradictions
from annoloop.project.project import Project
from annoloop.reports.context import change_picture, context_pictures
from annoloop.selection.request import PushRequest
from annoloop.selection.scoring import score
from annoloop.simulation.made_data import COLORS, NAMES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

sys.path.insert(0, str(ROOT / "tests"))
from running_app import CHROMIUM, looked_at, own_database, served  # noqa: E402

PAGE_WH = (1140, 1236)
"""The first screens of a report, in CSS px."""

SHARPER = 1.25
GAP_PX, PAPER = 8, (24, 24, 24)
PUSHED = 6


def main(folder: Path) -> None:
    """All pictures; ``folder`` keeps the demo for the next time, and copies of it that are worked on."""
    finished, copy = folder / "demo", folder / "copy"
    if not (finished / ".annoloop" / "reports" / f"run-{ROUNDS + 1:04d}-test").is_dir():
        demo(finished, say=print)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(finished, copy)
    with Project(copy / FILE_NAME) as project:
        page = evaluate(project, splits=("test",), report=True).page
        assert page is not None
        of_page(page, "evaluate.png")
        with running_sandbox(copy / "sandbox") as server:
            session = connect(CvatConfig(url=server.url), Credentials(token=server.token))
            with session as cvat:
                pushed = push(project, cvat, PushRequest(worst=PUSHED))
        context(project, pushed.frames[0].sample_id)
        region(project)
        run = project.current_run()
        assert run is not None
        score(project, run, project.samples())
        name = project.config.project
    of_page(with_faults(copy / "data", folder / "faulty"), "eda.png")
    of_app(copy, name)


def context(project: Project, sample_id: str) -> None:
    """The three pictures that CVAT shows beside a frame, side by side."""
    run = project.current_run()
    (sample,) = (one for one in project.samples() if one.id == sample_id)
    assert run is not None
    assert sample.mask is not None
    truth = read_label_map(sample.mask, project.config.data)
    opinion = project.opinion(run.id, project.scan([sample])[sample.id].image_sha256)
    panes = [
        Image.open(BytesIO(one.jpeg))
        for one in context_pictures(read_image(sample.image), truth, opinion.prediction, project.classes)
    ]
    width = sum(pane.width for pane in panes) + GAP_PX * (len(panes) - 1)
    paper = Image.new("RGB", (width, max(pane.height for pane in panes)), PAPER)
    left = 0
    for pane in panes:
        paper.paste(pane, (left, 0))
        left += pane.width + GAP_PX
    paper.save(DOCS / "context.jpg", quality=92, subsampling=0)


def region(project: Project) -> None:
    """The picture of the heaviest proposal, before and after; its mask is damaged first, as a person might."""
    run = project.current_run()
    assert run is not None
    sample = project.samples(["test"])[0]
    assert sample.mask is not None
    row = project.scan([sample])[sample.id]
    label_map = read_label_map(sample.mask, project.config.data)
    largest = max(regions(label_map, skip=(0, 255)), key=lambda one: one.area_px)
    left, top, right, bottom = largest.box_ltrb
    before = label_map.copy()
    before[top:bottom, left:right][largest.bits] = 0
    opinion = project.opinion(run.id, row.image_sha256)
    found = contradictions(before, opinion.prediction, opinion.confidence, project.classes, least_px=16)[0].mistake
    left, top, right, bottom = box = found.region.box_ltrb
    after = before.copy()
    after[top:bottom, left:right][found.region.bits] = found.predicted
    picture = change_picture("region", read_image(sample.image), before, after, box, project.classes)
    (DOCS / "region.jpg").write_bytes(picture.jpeg)


def with_faults(data: Path, folder: Path) -> Path:
    """The data report on a copy of the demo's data in which a few things are wrong."""
    copy = folder / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(data, copy)
    images, masks = copy / "img_dir", copy / "ann_dir"
    for kind in (images, masks):
        shutil.copy(kind / "train" / "0003.png", kind / "test" / "0099.png")  # in two splits
    spoil(masks / "train" / "0010.png", 3, np.s_[70:72, 70:72])  # a speck
    spoil(masks / "train" / "0021.png", 9, np.s_[40:56, 40:56])  # no class
    spoil(masks / "val" / "0004.png", 255)  # white on black
    spoil(masks / "val" / "0011.png", 0)  # nothing is labelled
    (masks / "train" / "0030.png").unlink()
    file = init(copy, folder, classes=NAMES, palette=COLORS).file
    with Project(file) as project:
        page = save_page(project, eda(project), None).page
    assert page is not None
    return page


def spoil(mask: Path, value: int, where: tuple[slice, slice] | None = None) -> None:
    """Give pixels of a mask another value: those of a box, or all that are labelled."""
    label_map = np.asarray(Image.open(mask)).copy()
    label_map[label_map > 0 if where is None else where] = value
    mask.write_bytes(encode_index_png(IndexImage(label_map)))


def of_page(page: Path, name: str) -> None:
    """The first screens of an HTML page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        width, height = PAGE_WH
        window = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=SHARPER)
        window.goto(page.as_uri())
        window.wait_for_timeout(1000)
        save(window.screenshot(), name)
        browser.close()


def of_app(folder: Path, name: str) -> None:
    """The view "worst" of the App, and its first sample."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        served(folder, own_database(Path(home))) as url,
        looked_at(f"{url}/datasets/annoloop-{name}?view=worst") as window,
    ):
        window.wait_for_timeout(8000)  # masks are drawn one after another
        window.mouse.move(0, 0)
        save(window.screenshot(), "app-grid.jpg")
        window.locator("[data-cy='looker']").first.click()
        window.wait_for_selector("[data-cy='modal']")
        window.wait_for_timeout(4000)
        save(window.screenshot(), "app-sample.png")


def save(shot: bytes, name: str) -> None:
    """A screenshot in all its colours; JPEG where there are many photos."""
    Image.open(BytesIO(shot)).convert("RGB").save(DOCS / name, optimize=True, quality=82, subsampling=0)
    print(f"{name}: {(DOCS / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    if CHROMIUM is None:
        raise SystemExit("there is no Chromium")
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(tempfile.gettempdir()) / "annoloop-pictures")
