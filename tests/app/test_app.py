"""The loop inside the App: a real Chromium looks at the grid, selects samples, and runs the operators."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running_app import annoloop, looked_at, needs_chromium, needs_mongodb, own_database, served
from running_loop import add_model, make_project, opened

from annoloop.cli.demo import Server
from annoloop.data.config import FILE_NAME
from annoloop.project.project import Project
from annoloop.selection.scoring import score
from annoloop.simulation.annotator import annotate

pytestmark = [pytest.mark.slow, needs_mongodb, needs_chromium]

NAME = "app-test"


@dataclass(frozen=True)
class Desk:
    """A project whose App is served at ``url``, and its annotator's truth."""

    folder: Path
    truth: Path
    server: Server
    url: str


@pytest.fixture(scope="module")
def desk(all_cores: None, tmp_path_factory: pytest.TempPathFactory, sandbox: Server) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("app")
    made = make_project(folder, sandbox.url, name=NAME)
    with Project(folder / FILE_NAME) as project:
        add_model(project, made.truth)
        run = project.current_run()
        assert run is not None
        score(project, run, project.samples())
    with served(folder, own_database(folder, CVAT_ACCESS_TOKEN=sandbox.token)) as url:
        yield Desk(folder, made.truth, sandbox, f"{url}/datasets/annoloop-{NAME}")


@pytest.fixture(scope="module")
def browser_page(desk: Desk) -> Iterator[Any]:
    """The saved view "worst"."""
    with looked_at(f"{desk.url}?view=worst") as found:
        yield found


@pytest.fixture
def page(browser_page: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The same page with nothing selected; what was seen last is saved, where somebody wants to look at it."""
    yield browser_page
    shot(browser_page, request.node.name)
    while _is_open(browser_page):
        browser_page.keyboard.press("Escape")
        browser_page.wait_for_timeout(300)
    operator(browser_page, "Clear selected samples")  # of samples that have left the view, too


DIALOG = "[data-cy='modal'], [role='dialog']"
TICKED = "[data-cy=looker] input:checked"


def shot(page: Any, name: str) -> None:
    """Save what is seen, where somebody wants to look at it."""
    folder = os.environ.get("ANNOLOOP_TEST_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def samples(page: Any) -> Any:
    return page.locator("[data-cy='looker']")


def dice_values(page: Any) -> list[float]:
    """Dice as the grid's samples show it, from left to right and from top to bottom."""
    found = page.locator("[data-cy='tag-dice']").evaluate_all(
        "tags => tags.map(tag => [tag.getBoundingClientRect().y, tag.getBoundingClientRect().x, tag.title])"
    )
    return [float(title.removeprefix("dice: ")) for _, _, title in sorted(found)]


def select(page: Any, *numbers: int) -> None:
    """Tick samples of the grid, none of which is: the box is in the corner, and there once the pointer is."""
    _wait_until_closed(page)
    _wait_for_ticked(page, 0)  # else a click before what was cleared has gone would clear, too
    for number in numbers:
        samples(page).nth(number).hover()
        box = samples(page).nth(number).bounding_box()
        page.mouse.click(box["x"] + 12, box["y"] + 12)
    _wait_for_ticked(page, len(numbers))


def _wait_for_ticked(page: Any, count: int) -> None:
    page.wait_for_function(f"document.querySelectorAll('{TICKED}').length == {count}")


def operator(page: Any, label: str) -> None:
    """Choose an operator as a person does: open the list, type, click.

    By its button and not by its key: the key closes the list, too, where it is still or already open.
    """
    _wait_until_closed(page)
    page.locator("[data-cy='action-browse-operations']").click()
    operators = page.locator("[data-cy='operators-browser']")
    operators.locator("[data-cy='operators-browser-search']").fill(label)
    operators.get_by_text(label, exact=True).click()
    operators.wait_for(state="hidden")


def execute(page: Any) -> None:
    _click_until_gone(page.get_by_role("button", name="Execute"))


def done(page: Any) -> None:
    _click_until_gone(page.get_by_role("button", name="Done"))
    _wait_until_closed(page)


def _click_until_gone(button: Any) -> None:
    """The App draws its dialogs anew as news come in; a click while it does meets no button."""
    from playwright.sync_api import TimeoutError as StillThere

    button.wait_for()
    for _ in range(5):
        try:
            button.click(timeout=5_000)
            button.wait_for(state="hidden", timeout=3_000)
        except StillThere:
            if not button.count():
                return
        else:
            return
    pytest.fail(f"{button} is still there")


def _is_open(page: Any) -> bool:
    """Whether a dialog lies over the grid."""
    return bool(page.locator(DIALOG).count())


def _wait_until_closed(page: Any) -> None:
    deadline = time.monotonic() + 15
    while _is_open(page):
        assert time.monotonic() < deadline, f"a dialog is still open:\n{page.locator(DIALOG).first.inner_text()}"
        page.wait_for_timeout(100)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come true in 30 s"
        time.sleep(0.2)


def test_the_grid_shows_masks_and_the_worst_first(page: Any) -> None:
    page.wait_for_function("document.querySelectorAll('[data-cy=looker]').length == 11")
    wait_until(lambda: len(dice_values(page)) == 11)
    assert dice_values(page) == sorted(dice_values(page))
    text = page.inner_text("body")
    for name in ("worst", "truth", "prediction", "errors", "dice", "label looks wrong"):
        assert name in text
    shot(page, "grid")
    wait_until(lambda: page.evaluate(STRONG_COLORS) > 5)
    samples(page).first.click()
    page.wait_for_selector("[data-cy='modal']")
    page.wait_for_timeout(2000)
    shot(page, "sample")


# Made photos are grey; masks are drawn over them in the colours of their classes.
STRONG_COLORS = """() => {
    const strong = new Set();
    for (const canvas of document.querySelectorAll('[data-cy=looker] canvas')) {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        for (let i = 0; i < data.length; i += 4) {
            const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
            if (Math.max(r, g, b) - Math.min(r, g, b) > 120) strong.add((r >> 4) + ' ' + (g >> 4) + ' ' + (b >> 4));
        }
    }
    return strong.size;
}"""


def test_two_selected_samples_go_to_cvat_are_corrected_and_come_back(desk: Desk, page: Any) -> None:
    select(page, 0, 1)
    operator(page, "annoloop: push selection to CVAT")
    page.get_by_text("2 images go to").wait_for()
    shot(page, "push")
    execute(page)
    page.get_by_text("2 images;").wait_for()
    with opened(desk.folder, desk.server) as (project, cvat):
        (task,) = project.ledger.tasks()
        assert task.state == "open"
        assert task.cvat_id is not None
        names = {frame.name for frame in cvat.frames(task.cvat_id)}
        assert names == {frame.name for frame in project.ledger.frames(task.id)}
        assert len(names) == 2
        before = {name: project.mask_sha256(name.removesuffix(".png")) for name in names}
        annotate(project, cvat, task.cvat_id, desk.truth)
    done(page)

    operator(page, "annoloop: pull task")
    page.get_by_text("A mask that was edited on disk since").wait_for()
    execute(page)
    page.get_by_text("px changed by annotators").first.wait_for()
    with Project(desk.folder / FILE_NAME) as project:
        assert [change.kind for change in project.ledger.changes()] == ["pull"]
        assert all(project.mask_sha256(name.removesuffix(".png")) != sha for name, sha in before.items())
        (first, *_) = sorted(names)
        event = next(e for e in project.ledger.mask_events() if e.sample_id == first.removesuffix(".png"))
    done(page)

    operator(page, "Clear view bar")
    page.wait_for_function("document.querySelectorAll('[data-cy=looker]').length == 11")
    select(page, *range(11))
    operator(page, "annoloop: show history of this mask")
    page.get_by_text(f"pull of task {task.cvat_id}").first.wait_for()
    assert event.new_sha256 is not None
    assert event.new_sha256[:8] in page.inner_text("body")


def test_a_failure_is_told_in_its_own_words(desk: Desk, page: Any) -> None:
    with opened(desk.folder, desk.server) as (project, _):
        busy = project.ledger.samples_in_open_tasks()
        assert not busy
    for expected in ("1 images;", "is in an open task already"):
        select(page, 2)  # what was pushed is no longer selected
        operator(page, "annoloop: push selection to CVAT")
        page.get_by_text("1 images go to").wait_for()
        execute(page)
        page.get_by_text(expected).first.wait_for()
        done(page)
    assert "Traceback" not in page.inner_text("body")


def test_without_a_selection_nothing_can_be_pushed(page: Any) -> None:
    from playwright.sync_api import expect

    operator(page, "annoloop: push selection to CVAT")
    page.get_by_text("Select samples first").first.wait_for()
    expect(page.get_by_role("button", name="Execute")).to_be_disabled()


def test_marks_and_tags_reach_the_next_push(desk: Desk, page: Any) -> None:
    select(page, 9, 10)
    operator(page, "annoloop: mark for next push")
    page.get_by_text("2 images marked").wait_for()
    with Project(desk.folder / FILE_NAME) as project:
        assert len(project.ledger.marks()) == 2
    operator(page, "Clear selected samples")
    select(page, 8)
    page.locator("[data-cy='action-tag-sample-labels']").click()
    page.get_by_placeholder("+ tag selected sample").fill("next push")
    page.keyboard.press("Enter")
    page.get_by_text("Apply", exact=True).click()
    with Project(desk.folder / FILE_NAME) as project:
        wait_until(lambda: len(project.ledger.marks()) == 3)
        marked = set(project.ledger.marks())
    command = annoloop("push", "--project", str(desk.folder), "--worst", "3", "--split", "train", "--split", "val")
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in marked)
    assert "3 marked images go first" in done.stderr
