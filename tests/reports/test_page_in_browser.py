"""A page in a real browser: on a phone nothing is wider than the screen, it is dark where that is asked for, and
pictures can be reached without a mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_app import needs_chromium
from running_loop import add_model, make_project

from annoloop.data.config import FILE_NAME
from annoloop.eda.data_page import save_page
from annoloop.eda.eda import eda
from annoloop.loop.evaluate import evaluate
from annoloop.project.project import Project

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = make_project(folder, "http://127.0.0.1:9", name="in-a-browser")
    with Project(folder / FILE_NAME) as project:
        add_model(project, made.truth)
        errors = evaluate(project, report=True).page
        data = save_page(project, eda(project)).page
    assert errors is not None
    assert data is not None
    return [errors, data]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield running
        running.close()


def _opened(browser: Any, page: Path, *, width: int, scheme: str = "light") -> Any:
    view = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    view.goto(page.as_uri())
    return view


@pytest.mark.parametrize("number", [0, 1])
def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, pages: list[Path], number: int) -> None:
    view = _opened(browser, pages[number], width=390)
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    assert view.evaluate("document.querySelectorAll('table').length") > 0


def test_it_is_dark_where_that_is_asked_for(browser: Any, pages: list[Path]) -> None:
    papers = [
        _opened(browser, pages[0], width=1400, scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    ]
    assert papers == ["rgb(255, 255, 255)", "rgb(24, 26, 27)"]


def test_pictures_are_reached_by_tab_and_enlarged_by_enter(browser: Any, pages: list[Path]) -> None:
    view = _opened(browser, pages[0], width=1400)
    for _ in range(100):
        view.keyboard.press("Tab")
        if view.evaluate("document.activeElement.classList.contains('panel')"):
            break
    for state in ("true", "false"):
        view.keyboard.press("Enter")
        assert view.evaluate("document.activeElement.getAttribute('aria-expanded')") == state
