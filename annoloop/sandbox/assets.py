"""Pictures that guides show: kept for a guide, and given to whoever may see it."""

from __future__ import annotations

import uuid

from annoloop.sandbox import projects
from annoloop.sandbox.calls import EMPTY, Answer, Call
from annoloop.sandbox.refusals import invalid, missing
from annoloop.sandbox.store import Row, now

_MOST = 30
_MOST_BYTES = 10 << 20
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def create(call: Call) -> Answer:
    """POST: a form with ``guide_id`` and one ``file``."""
    guide_id = str(call.body.get("guide_id", ""))
    if not guide_id.isdecimal() or len(call.uploads) != 1:
        raise invalid("guide_id and one file are required")
    guide = projects.the_guide(call, int(guide_id))
    if len(call.store.select("assets", guide_id=guide["id"])) >= _MOST:
        raise invalid("Maximum number of assets per guide reached")
    upload = call.uploads[0]
    content = upload.file.read(_MOST_BYTES + 1)
    media_type = next((kind for head, kind in _KINDS.items() if content.startswith(head)), None)
    if media_type is None or len(content) > _MOST_BYTES:
        raise invalid("File is not supported as an asset, or too large")
    name = str(uuid.uuid4())
    row = {"uuid": name, "guide_id": guide["id"], "filename": upload.name, "created_date": now()}
    call.store.insert("assets", **row, media_type=media_type, content=content)
    return Answer(201, row)


def read(call: Call) -> Answer:
    """GET: the picture."""
    asset = _the_asset(call)
    return Answer(200, asset["content"], asset["media_type"])


def delete(call: Call) -> Answer:
    """DELETE: a picture."""
    call.store.delete("assets", id=_the_asset(call)["id"])
    return EMPTY


def _the_asset(call: Call) -> Row:
    asset = call.store.find("assets", uuid=str(call.path_params["uuid"]))
    if asset is None:
        raise missing("Asset")
    projects.the_guide(call, asset["guide_id"])
    return asset
