"""Credentials: the environment first, then a file that only its owner can read; never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annoloop.cvat.credentials import Credentials, credentials_file, credentials_for, store
from annoloop.errors import ConfigError

URL, OTHER = "https://cvat.example.org", "http://localhost:8080"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_a_token_of_the_environment_goes_before_a_password_and_both_before_the_file(home: dict[str, str]) -> None:
    store(URL, Credentials(token="stored"), home)
    password = {"CVAT_USERNAME": "me", "CVAT_PASSWORD": "pass"}
    assert credentials_for(URL, home | password | {"CVAT_ACCESS_TOKEN": "t"}) == Credentials(token="t")
    assert credentials_for(URL, home | password) == Credentials(username="me", password="pass")
    assert credentials_for(URL, home) == Credentials(token="stored")


def test_each_server_has_its_own_and_can_be_forgotten(home: dict[str, str]) -> None:
    store(URL, Credentials(token="one"), home)
    store(OTHER, Credentials(username="me", password="two"), home)
    assert credentials_for(URL, home) == Credentials(token="one")
    assert credentials_for(OTHER, home) == Credentials(username="me", password="two")
    store(URL, None, home)
    assert credentials_for(OTHER, home).password == "two"
    with pytest.raises(ConfigError, match="no CVAT credentials") as caught:
        credentials_for(URL, home)
    assert "annoloop login" in str(caught.value.hint)


def test_the_file_is_for_its_owner_only(home: dict[str, str]) -> None:
    path = store(URL, Credentials(token="s3cret"), home)
    assert path == credentials_file(home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="other users can read") as caught:
        credentials_for(URL, home)
    assert "chmod 600" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"https://cvat.example.org": "s3cret"}', '"s3cret"'])
def test_a_broken_file_is_an_error_that_does_not_quote_it(home: dict[str, str], text: str) -> None:
    path = store(URL, None, home)
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        credentials_for(URL, home)
    assert "s3cret" not in str(caught.value)


def test_a_secret_is_not_in_any_representation() -> None:
    both = Credentials(token="s3cret", username="me", password="pa55")
    assert "s3cret" not in f"{both!r}{both!s}{[both]}"
    assert "pa55" not in f"{both!r}{both!s}{[both]}"


def test_nothing_but_what_was_given_is_stored(home: dict[str, str]) -> None:
    path = store(URL, Credentials(token="t"), home)
    assert json.loads(path.read_text()) == {URL: {"token": "t"}}
