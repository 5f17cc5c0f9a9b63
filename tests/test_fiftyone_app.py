"""FiftyOne's surroundings: the plugins of its user stay, a taken port is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from annoloop.errors import ConfigError
from annoloop.fiftyone_app import _add_plugin, check_port


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
