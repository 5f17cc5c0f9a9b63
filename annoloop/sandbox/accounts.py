"""Who is calling: passwords, access tokens, login keys and sessions.

The database keeps digests only. The one place with plain secrets is ``credentials.json`` (mode 0600)
of the state folder, so that the same token works after a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from annoloop.sandbox.refusals import Refusal, forbidden, invalid, unauthorized
from annoloop.sandbox.store import Row, Store, now

OWNER = "annoloop"
"""The user that every sandbox starts with; staff, so everything is open to them."""

_CSRF_LENGTHS = (32, 64)
_LAST_USED_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client needs to sign in."""

    username: str
    password: str
    token: str


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of one request and, unless a password was sent, the secret that proved it."""

    user: Row
    secret: Row | None = None

    @property
    def id(self) -> int:
        """The user's id."""
        return int(self.user["id"])

    @property
    def read_only(self) -> bool:
        """Whether the secret allows no writes."""
        return self.secret is not None and bool(self.secret["read_only"])


def open_owner(store: Store) -> Credentials:
    """The credentials of the sandbox's own user, made when the folder is new."""
    path = store.folder / "credentials.json"
    with store.transaction():
        if store.find("users", username=OWNER) and path.exists():
            return Credentials(**json.loads(path.read_text()))
        user = store.find("users", username=OWNER) or _first_user(store)
        password = secrets.token_urlsafe(18)
        store.update("users", user["id"], password=hashed(password))
        token, _ = issue(store, user["id"], "access", name="annoloop sandbox")
        credentials = Credentials(OWNER, password, token)
        _write_private(path, json.dumps(asdict(credentials)))
        return credentials


def _first_user(store: Store) -> Row:
    store.insert("users", username=OWNER, password="", is_staff=1, date_joined=now())
    user = store.find("users", username=OWNER)
    assert user is not None
    return user


def _write_private(path: Path, text: str) -> None:
    # os.open() sets the mode as the file appears: there is no moment in which others could read it
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def hashed(password: str) -> str:
    """A password as it is kept: ``salt:scrypt``."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}:{_scrypt(password, salt)}"


def _scrypt(password: str, salt: bytes) -> str:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**13, r=8, p=1).hex()


def signed_in(store: Store, password: str, **who: str) -> Row | None:
    """The user with this username or email, if the password is right."""
    user = store.find("users", **who)
    if user is None:
        return None
    salt, _, expected = user["password"].partition(":")
    right = hmac.compare_digest(_scrypt(password, bytes.fromhex(salt)), expected)
    return user if right else None


def issue(
    store: Store,
    user_id: int,
    kind: str,
    *,
    name: str = "",
    read_only: bool = False,
    csrf: str | None = None,
    expiry_date: str | None = None,
) -> tuple[str, int]:
    """Make a secret of a kind (access, key, session); returns its value and its row's id."""
    value = secrets.token_hex(20)  # cvat-sdk takes a login key of at most 40 characters
    moment = now()
    row_id = store.insert(
        "secrets",
        user_id=user_id,
        kind=kind,
        digest=_digest(value),
        csrf=csrf,
        name=name,
        read_only=int(read_only),
        created_date=moment,
        updated_date=moment,
        expiry_date=expiry_date,
    )
    return value, row_id


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _by_value(store: Store, kind: str, value: str) -> Caller | None:
    # whoever guesses values learns nothing from the time that the search for a digest takes
    row = store.find("secrets", kind=kind, digest=_digest(value))
    if row is None or (row["expiry_date"] is not None and row["expiry_date"] <= now()):
        return None
    user = store.find("users", id=row["user_id"])
    assert user is not None
    return Caller(user, _used(store, row))


def _used(store: Store, secret: Row) -> Row:
    # to the minute: otherwise every read of a client would be a write here
    if (secret["last_used_date"] or "") > now(-_LAST_USED_STEP_S):
        return secret
    moment = now()
    store.update("secrets", secret["id"], last_used_date=moment)
    return {**secret, "last_used_date": moment}


def authenticate(
    store: Store, headers: Mapping[str, str], cookies: Mapping[str, str], *, writes: bool
) -> Caller | None:
    """Who sent these headers and cookies; None for nobody.

    Raises:
        Refusal: 401 for a wrong secret, 403 for a write in a session without its CSRF token.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return _token_caller(store, "access", value)
        case "token":
            return _token_caller(store, "key", value)
        case "basic":
            return _basic_caller(store, value)
    caller = _by_value(store, "session", cookies.get("sessionid", ""))
    if caller is not None and writes:
        _check_csrf(caller, headers.get("x-csrftoken"))
    return caller


def _token_caller(store: Store, kind: str, value: str) -> Caller:
    caller = _by_value(store, kind, value.strip())
    if caller is None:
        raise unauthorized("Invalid token.")
    return caller


def _basic_caller(store: Store, value: str) -> Caller:
    try:
        username, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized("Invalid basic header. Credentials not correctly base64 encoded.") from None
    user = signed_in(store, password, username=username)
    if user is None:
        raise unauthorized("Invalid username/password.")
    return Caller(user)


def _check_csrf(caller: Caller, sent: str | None) -> None:
    assert caller.secret is not None
    if not sent:
        raise forbidden("CSRF Failed: CSRF token missing.")
    if len(sent) not in _CSRF_LENGTHS:
        raise forbidden("CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header has incorrect length.")
    if not hmac.compare_digest(sent.encode(), caller.secret["csrf"].encode()):
        raise forbidden("CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect.")


def check_login(store: Store, body: Row) -> Row:
    """The user that a login names.

    Raises:
        Refusal: 400, nobody was named or the password is wrong.
    """
    who = {key: str(body[key]) for key in ("username", "email") if body.get(key)}
    if not who or not body.get("password"):
        raise invalid('Must include either "username" or "email" and "password".')
    user = signed_in(store, str(body["password"]), **who)
    if user is None:
        raise Refusal(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
    return user
