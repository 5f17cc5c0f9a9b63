"""Who we are to CVAT: a token, or a user name and a password; never shown (law 9).

They come from the environment, or else from a file that only its owner can read, one entry per server
(``annoloop login`` writes it).  Never from annoloop.yaml, and never from the command line, which every
user of the machine can read.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

from annoloop.errors import ConfigError

ACCOUNT_HINT = (
    "annoloop login stores one; or set CVAT_ACCESS_TOKEN (made in CVAT under Profile, Security),"
    " or CVAT_USERNAME and CVAT_PASSWORD"
)
_KEYS = ("token", "username", "password")
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, or a user name and a password; never shown."""

    token: str | None = None
    username: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        # A .env file with Windows' line ends leaves a CR behind; none of these begins or ends with white space.
        for key in _KEYS:
            value = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, value.strip() if key == "token" else value.strip("\r\n"))
        token = self.token
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise _unusable("access token", "a token has letters, digits, dots and dashes only")
        for key in ("username", "password"):
            if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in getattr(self, key) or ""):
                raise _unusable(key, "it has a character that nobody can type")

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in any text that leaves this program."""
        return tuple(secret for secret in (self.token, self.password) if secret)


def without(secrets: Iterable[str], text: str) -> str:
    """A text without these secrets, plain or as JSON and addresses quote them; very short ones are no secrets."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            quoted = (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe=""), quote_plus(secret))
            for form in sorted(set(quoted), key=len, reverse=True):
                text = text.replace(form, "…")
    return text


def credentials_for(url: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """The token, or else user name and password: from the environment, or else stored for this server.

    Raises:
        ConfigError: there are none, or others can read the file that they are stored in.
    """
    token = environment.get("CVAT_ACCESS_TOKEN")
    if token and token.strip():
        return Credentials(token=token)
    username, password = environment.get("CVAT_USERNAME"), environment.get("CVAT_PASSWORD")
    if username and password:
        return Credentials(username=username, password=password)
    stored = _read(credentials_file(environment)).get(url)
    if not stored:
        raise ConfigError("no CVAT credentials", where=url, hint=ACCOUNT_HINT)
    return Credentials(**stored)


def credentials_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where ``annoloop login`` stores credentials."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".config")
    return Path(home) / "annoloop" / "credentials.json"


def store(url: str, credentials: Credentials | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Remember the credentials of a server, or forget them (None); returns the file, of mode 0600."""
    path = credentials_file(environment)
    entries = {key: entry for key, entry in _read(path).items() if key != url}
    if credentials is not None:
        given = {key: getattr(credentials, key) for key in _KEYS}
        entries[url] = {key: value for key, value in given.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    # The mode is there from the first moment: at no time could others read it.
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(entries, stream, indent=2)
    partial.replace(path)
    return path


def _unusable(what: str, reason: str) -> ConfigError:
    """Says nothing of what it is."""
    return ConfigError(f"the {what} of CVAT holds characters that it cannot have", hint=f"{reason}; {ACCOUNT_HINT}")


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError("other users can read these credentials", where=path, hint=f"chmod 600 {path}")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {url: {key: entry[key] for key in _KEYS if entry.get(key)} for url, entry in entries.items()}
    except (OSError, ValueError, AttributeError):
        # Not the parser's words: they may quote the secret.
        raise ConfigError("cannot be read", where=path, hint="delete it, then annoloop login") from None
