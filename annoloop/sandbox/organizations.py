"""Organizations: made, listed, and named by a call as the place where it happens.

Small on purpose: only the owner and staff may enter one. Members, their roles and invitations are
not part of the stand-in. A call that names no organization sees everything that is its caller's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from annoloop.sandbox import checks, listing
from annoloop.sandbox.accounts import Caller
from annoloop.sandbox.calls import Answer, Call, Workspace
from annoloop.sandbox.refusals import Refusal, forbidden, invalid, invalid_field, missing, missing_field
from annoloop.sandbox.store import Row, Store, now

_SLUG = re.compile(r"[-\w]{1,16}", re.ASCII)


def workspace(store: Store, caller: Caller, headers: Mapping[str, str], query: Mapping[str, str]) -> Workspace:
    """Where a call takes place, as its ``X-Organization`` header, ``org`` or ``org_id`` say.

    An empty slug means the caller's own workspace, no slug at all means anywhere.

    Raises:
        Refusal: 404 for an unknown organization, 403 for somebody else's, 400 for two that differ.
    """
    slugs = {text for text in (headers.get("x-organization"), query.get("org")) if text is not None}
    number = query.get("org_id")
    if len(slugs) + (number is not None) > 1:
        raise invalid("Only one organization can be named: by org, by org_id or by X-Organization.")
    if number:
        return _entered(store, caller, number, id=number)
    if not slugs:
        return Workspace()
    slug = slugs.pop()
    return _entered(store, caller, slug, slug=slug) if slug else Workspace(anywhere=False)


def _entered(store: Store, caller: Caller, name: str, **where: str) -> Workspace:
    row = store.find("organizations", **where)
    if row is None:
        raise Refusal(404, {"detail": f"{name} organization does not exist."})
    if not _may(caller, row):
        raise forbidden()
    return Workspace(row["id"], anywhere=False)


def _may(caller: Caller, row: Row) -> bool:
    return bool(caller.user["is_staff"]) or caller.id == row["owner_id"]


def check_same(call: Call, project: Row) -> None:
    """Refuse a task that would lie in another organization than its project."""
    if project["organization_id"] != call.workspace.organization_id:
        raise invalid("The task and its project should be in the same organization.")


def of_list(call: Call) -> Answer:
    """GET: those of the caller; staff see all."""
    rows = [row for row in call.store.select("organizations") if _may(call.user, row)]
    return Answer(200, listing.listed(rows, listing.ORGANIZATIONS, call.query, call.url, call.answers.organization))


def create(call: Call) -> Answer:
    """POST ``{slug}``; the name is the slug unless one is sent."""
    body = call.body
    if "slug" not in body:
        raise missing_field("slug")
    slug = checks.text(body, "slug")
    if not _SLUG.fullmatch(slug):
        raise invalid_field("slug", "At most 16 letters, numbers, underscores or hyphens.")
    if call.store.find("organizations", slug=slug):
        raise invalid_field("slug", "organization with this slug already exists.")
    moment = now()
    organization_id = call.store.insert(
        "organizations",
        slug=slug,
        name=body.get("name") or slug,
        description=body.get("description") or "",
        owner_id=call.user.id,
        created_date=moment,
        updated_date=moment,
    )
    return Answer(201, call.answers.organization(_the_organization(call, organization_id)))


def read(call: Call) -> Answer:
    """GET: one organization."""
    return Answer(200, call.answers.organization(_the_organization(call, call.id)))


def _the_organization(call: Call, organization_id: int) -> Row:
    row = call.store.find("organizations", id=organization_id)
    if row is None:
        raise missing("Organization")
    if not _may(call.user, row):
        raise forbidden()
    return row
