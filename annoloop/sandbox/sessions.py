"""Signing in and out, access tokens, users; and what the server says about itself."""

from __future__ import annotations

import secrets

from annoloop.sandbox import accounts, answers, checks, listing
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import invalid_field, missing, missing_field
from annoloop.sandbox.store import now


def about(call: Call) -> Answer:
    """GET: what this server is; open to everybody."""
    return Answer(200, answers.about(call.base_url))


def formats(_call: Call) -> Answer:
    """No formats: the sandbox neither imports nor exports datasets."""
    return Answer(200, {"importers": [], "exporters": []})


def login(call: Call) -> Answer:
    """POST: a key for ``Authorization: Token`` and, as cookies, a session."""
    user = accounts.check_login(call.store, call.body)
    csrf = secrets.token_hex(16)
    key, _ = accounts.issue(call.store, user["id"], "key")
    session, _ = accounts.issue(call.store, user["id"], "session", csrf=csrf)
    call.store.update("users", user["id"], last_login=now())
    return Answer(200, {"key": key}, cookies={"sessionid": session, "csrftoken": csrf})


def logout(call: Call) -> Answer:
    """POST: forget the session or key that the call was made with."""
    if call.user.secret is not None and call.user.secret["kind"] != "access":
        call.store.delete("secrets", id=call.user.secret["id"])
    return Answer(200, {"detail": "Successfully logged out."}, cookies={"sessionid": "", "csrftoken": ""})


def register(call: Call) -> Answer:
    """POST: a second user, so that assignees and permissions can be tried."""
    body = call.body
    for field in ("username", "password1", "password2"):
        if field not in body:
            raise missing_field(field)
        checks.text(body, field)
    if body["password1"] != body["password2"]:
        raise invalid_field("non_field_errors", "The two password fields didn't match.")
    if call.store.find("users", username=body["username"]):
        raise invalid_field("username", "A user with that username already exists.")
    named = {key: str(body.get(key, "")) for key in ("username", "email", "first_name", "last_name")}
    password = accounts.hashed(body["password1"])
    user_id = call.store.insert("users", **named, password=password, date_joined=now())
    key, _ = accounts.issue(call.store, user_id, "key")
    return Answer(201, {**named, "email_verification_required": False, "key": key})


def create_token(call: Call) -> Answer:
    """POST: an access token; its value is shown this once."""
    name = checks.name(call.body)
    value, row_id = accounts.issue(
        call.store,
        call.user.id,
        "access",
        name=name,
        read_only=bool(call.body.get("read_only")),
        expiry_date=checks.moment(call.body, "expiry_date"),
    )
    row = call.store.find("secrets", id=row_id)
    assert row is not None
    return Answer(201, {**call.answers.access_token(row), "value": value})


def own_token(call: Call) -> Answer:
    """GET self: the access token that the call was made with."""
    secret = call.user.secret
    if secret is None or secret["kind"] != "access":
        raise missing("AccessToken")
    return Answer(200, call.answers.access_token(secret))


def delete_token(call: Call) -> Answer:
    """DELETE: revoke an access token of one's own."""
    if not call.store.delete("secrets", id=call.id, user_id=call.user.id, kind="access"):
        raise missing("AccessToken")
    return EMPTY


def own_user(call: Call) -> Answer:
    """GET self: the caller."""
    return Answer(200, call.answers.user(call.user.user))


def users(call: Call) -> Answer:
    """GET: everybody."""
    render = call.answers.user
    rows = call.store.select("users")
    return Answer(200, listing.listed(rows, listing.USERS, call.query, call.url, render))


def user(call: Call) -> Answer:
    """GET: one user."""
    row = call.store.find("users", id=call.id)
    if row is None:
        raise missing("User")
    return Answer(200, call.answers.user(row))
