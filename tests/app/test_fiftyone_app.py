"""FiftyOne's surroundings: the plugins of its user stay, a taken port is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from annoloop.app import fiftyone_app
from annoloop.app.fiftyone_app import App, _add_plugin, check_port
from annoloop.errors import ConfigError


@pytest.fixture(autouse=True)
def environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", "")


def test_our_plugin_stands_beside_the_users_own_which_are_not_touched(tmp_path: Path) -> None:
    own = tmp_path / "plugins"
    (own / "theirs").mkdir(parents=True)
    (own / "theirs" / "fiftyone.yml").write_text("name: theirs")
    config = SimpleNamespace(plugins_dir=str(own))
    _add_plugin(config)
    shown = Path(config.plugins_dir)
    assert shown != own
    assert os.environ["FIFTYONE_PLUGINS_DIR"] == str(shown)
    assert (shown / "theirs" / "fiftyone.yml").read_text() == "name: theirs"
    assert (shown / "annoloop" / "fiftyone.yml").is_file()
    assert [path.name for path in own.rglob("*")] == ["theirs", "fiftyone.yml"]
    _add_plugin(config)
    assert Path(config.plugins_dir) == shown, "once is enough"


@pytest.mark.parametrize("plugins_dir", [None, "nowhere"])
def test_a_user_without_plugins_gets_ours(plugins_dir: str | None, tmp_path: Path) -> None:
    config = SimpleNamespace(plugins_dir=None if plugins_dir is None else str(tmp_path / plugins_dir))
    _add_plugin(config)
    assert [path.name for path in Path(config.plugins_dir).iterdir()] == ["annoloop"]


def test_a_port_is_free_or_named_in_the_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot be used"):
            check_port(port)
    check_port(port)


class LateSession:
    """As FiftyOne's while its server is still coming up."""

    def __init__(self, refusals: list[Exception]) -> None:
        self._refusals = refusals
        self.shown: object = None

    @property
    def dataset(self) -> object:
        return self.shown

    @dataset.setter
    def dataset(self, dataset: object) -> None:
        if self._refusals:
            raise self._refusals.pop(0)
        self.shown = dataset


def late_app(monkeypatch: pytest.MonkeyPatch, refusals: list[Exception]) -> tuple[App, LateSession, SimpleNamespace]:
    session, client = LateSession(refusals), SimpleNamespace(print=print)
    package = SimpleNamespace(
        core=SimpleNamespace(session=SimpleNamespace(client=client)),
        launch_app=lambda **_: session,
        load_dataset=lambda name: f"the dataset {name}",
    )
    monkeypatch.setattr(fiftyone_app, "fiftyone", lambda: package)
    monkeypatch.setattr(fiftyone_app, "_PAUSE_S", 0)
    return App(5151), session, client


REFUSALS = [requests.ConnectionError("connection refused"), RuntimeError("Client is not connected")]


def test_an_app_that_comes_up_late_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app, session, client = late_app(monkeypatch, REFUSALS.copy())
    assert app.show("bags", open_page=False) == "http://127.0.0.1:5151/datasets/bags"
    assert session.shown == "the dataset bags"
    client.print("Could not connect session")
    assert capsys.readouterr().out == "", "the result goes there"


def test_an_app_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    app, _, _ = late_app(monkeypatch, REFUSALS * 1000)
    monkeypatch.setattr(fiftyone_app, "_COMES_UP_WITHIN_S", 0)
    with pytest.raises(ConfigError, match=r"did not come up \((connection refused|Client is not)") as caught:
        app.show("bags", open_page=False)
    assert caught.value.where == "127.0.0.1:5151"
    assert "--export" in str(caught.value.hint)
