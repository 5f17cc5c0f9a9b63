"""Who we are to CVAT: a token, or a user name and a password, from the environment; never shown (law 9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from annoloop.errors import ConfigError

ACCOUNT_HINT = "set CVAT_ACCESS_TOKEN (made in CVAT under Profile, Security), or CVAT_USERNAME and CVAT_PASSWORD"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, or a user name and a password; never shown."""

    token: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"


def credentials_from_environment(environment: Mapping[str, str] = os.environ) -> Credentials:
    """The token, or else user name and password, from the environment.

    Raises:
        ConfigError: neither is set.
    """
    token = environment.get("CVAT_ACCESS_TOKEN")
    if token:
        return Credentials(token=token)
    username, password = environment.get("CVAT_USERNAME"), environment.get("CVAT_PASSWORD")
    if username and password:
        return Credentials(username=username, password=password)
    raise ConfigError("no CVAT credentials", where="environment", hint=ACCOUNT_HINT)
