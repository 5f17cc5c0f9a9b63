"""``annoloop login``: try credentials on the project's CVAT server and store them for later commands."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from annoloop.cvat.credentials import Credentials, credentials_file, store
from annoloop.cvat.server import connect
from annoloop.data.config import CvatConfig
from annoloop.progress import Say, unsaid


@dataclass(frozen=True, slots=True)
class LoginReport:
    """Where credentials are stored, and whom they let in; ``overruled``: the environment goes first."""

    url: str
    username: str | None
    server_version: str | None
    file: Path
    overruled: bool


def login(settings: CvatConfig, credentials: Credentials, *, say: Say = unsaid) -> LoginReport:
    """Store credentials that the server accepts.

    Raises:
        CvatError: the server refuses them or cannot be reached; nothing is stored then.
    """
    with connect(settings, credentials, say) as server:
        about = server.about()
        if credentials.token is not None:
            server.require_writing()
    return LoginReport(
        settings.url, about.username, about.server_version, store(settings.url, credentials), _overruled()
    )


def logout(settings: CvatConfig) -> LoginReport:
    """Forget the credentials of the project's server."""
    store(settings.url, None)
    return LoginReport(settings.url, None, None, credentials_file(), _overruled())


def _overruled() -> bool:
    return any(os.environ.get(name) for name in ("CVAT_ACCESS_TOKEN", "CVAT_USERNAME"))
