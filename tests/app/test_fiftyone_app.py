"""FiftyOne's surroundings: the plugins of its user stay, a taken port is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from annoloop.app import fiftyone_app
from annoloop.app.fiftyone_app import App, _add_plugin, check_port, start
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


class Living:
    """A process that is at work; ``killed`` once somebody has had enough."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def status(self) -> str:
        return psutil.STATUS_RUNNING

    def children(self, *, recursive: bool) -> list[object]:
        return []

    def kill(self) -> None:
        self.killed.set()


LIVING = Living()


class FakeServer(SimpleNamespace):
    """As FiftyOne's service of the App; ``child`` is its process."""

    child: object


def late_app(
    monkeypatch: pytest.MonkeyPatch, refusals: list[Exception], child: object = LIVING
) -> tuple[App, LateSession, SimpleNamespace]:
    session, client = LateSession(refusals), SimpleNamespace(print=print)
    package = SimpleNamespace(
        config=SimpleNamespace(do_not_track=True),
        core=SimpleNamespace(
            context=SimpleNamespace(is_notebook_context=lambda: False),
            service=SimpleNamespace(ServerService=lambda port, **_: FakeServer(child=child)),
            session=SimpleNamespace(client=client, session=SimpleNamespace(_server_services={})),
        ),
        launch_app=lambda **_: session,
        load_dataset=lambda name: f"the dataset {name}",
    )
    monkeypatch.setattr(fiftyone_app, "fiftyone", lambda *_: package)
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


def test_an_app_whose_server_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    app, _, _ = late_app(monkeypatch, REFUSALS * 1000, child=process)
    with pytest.raises(ConfigError, match=r"its server ended: connection refused"):
        app.show("bags", open_page=False)


def test_a_server_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Living()
    app, session, _ = late_app(monkeypatch, [], child=child)
    monkeypatch.setattr(fiftyone_app, "_ENDS_WITHIN_S", 0.05)
    monkeypatch.setattr(session, "close", lambda: child.killed.wait(10), raising=False)
    app.close()
    assert child.killed.is_set()


def test_a_server_that_ends_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Living()
    app, session, _ = late_app(monkeypatch, [], child=child)
    monkeypatch.setattr(session, "close", lambda: None, raising=False)
    app.close()
    assert not child.killed.is_set()


def test_an_app_of_somebody_else_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"127.0.0.1:5151: another FiftyOne answers there"):
        late_app(monkeypatch, [], child=None)


def test_what_fiftyone_raises_while_its_app_starts_is_an_error_not_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(port: int, **_: object) -> object:
        raise OSError("failed to bind")

    with monkeypatch.context() as patch:
        late_app(patch, [])
        package = fiftyone_app.fiftyone()
        package.core.service.ServerService = broken
        with pytest.raises(ConfigError, match=r"127.0.0.1:5151: FiftyOne's App did not start \(failed to bind\)"):
            App(5151)


def test_who_waits_while_fiftyone_starts_gets_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def fails(_: object) -> object:
        tries.append("tried")
        began.set()
        go_on.wait(10)
        raise ConfigError("no database today")

    monkeypatch.setattr(fiftyone_app, "_started", fails)
    first = start(fiftyone_app.fiftyone)
    assert began.wait(10)
    second = start(fiftyone_app.fiftyone)
    while threading.active_count() < 3:
        time.sleep(0.01)
    time.sleep(0.1)
    go_on.set()
    for result in (first, second):
        with pytest.raises(ConfigError, match="no database today"):
            result()
    assert tries == ["tried"]
    with pytest.raises(ConfigError, match="no database today"):
        fiftyone_app.fiftyone()
    assert len(tries) == 2, "who asks later may have more luck"


def test_a_process_ends_without_waiting_for_what_is_starting() -> None:
    code = "import time\nfrom annoloop.app.fiftyone_app import start\nstart(lambda: time.sleep(60))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
