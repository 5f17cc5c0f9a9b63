"""What CVAT checks in a request body, and what it does not.

Shapes: the label must exist, the points must be numbers and enough of them. Whether a mask's runs
add up or its box lies in the image is *not* checked, because CVAT does not; a client must know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from annoloop.sandbox.refusals import (
    Refusal,
    blank_field,
    invalid,
    invalid_field,
    missing_field,
    server_error,
)
from annoloop.sandbox.store import Row, written

STAGES = ("annotation", "validation", "acceptance")
STATES = ("new", "in progress", "completed", "rejected")
KINDS = ("tags", "shapes", "tracks")
INPUT_TYPES = ("checkbox", "radio", "number", "text", "select")

_INT32_MAX = 2**31 - 1
_REQUIRED = "This field is required."
_POINT_COUNTS: dict[str, Callable[[int], bool]] = {
    "rectangle": lambda n: n == 4,
    "polygon": lambda n: n >= 6 and n % 2 == 0,
    "polyline": lambda n: n >= 4 and n % 2 == 0,
    "points": lambda n: n >= 2 and n % 2 == 0,
    "ellipse": lambda n: n == 4,
    "cuboid": lambda n: n == 16,
    "mask": lambda n: n >= 5,
    "skeleton": lambda n: n == 0,
}


def name(body: Row) -> str:
    """The name that a new project or task must have."""
    if "name" not in body:
        raise missing_field("name")
    return text(body, "name")


def text(body: Row, field: str) -> str:
    """A text that may not be empty."""
    value = body[field]
    if value is None:
        raise invalid_field(field, "This field may not be null.")
    if not isinstance(value, str):
        raise invalid_field(field, "Not a valid string.")
    if not value.strip():
        raise blank_field(field)
    return value


def moment(body: Row, field: str) -> str | None:
    """A date and time as the sandbox keeps them; None where it was not sent or is null."""
    if body.get(field) is None:
        return None
    try:
        parsed = datetime.fromisoformat(body[field])
    except (TypeError, ValueError):
        raise invalid_field(field, "Datetime has wrong format, it must be like 2026-11-22T20:53:43Z.") from None
    return written(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def choice(body: Row, field: str, choices: Collection[str]) -> None:
    """One of a few words, where the field was sent at all."""
    if field in body and body[field] not in choices:
        raise invalid_field(field, f'"{body[field]}" is not a valid choice.')


def new_labels(body: Row) -> list[Row]:
    """``labels`` of a new project or task: name, color and type of each, colours filled in."""
    labels = [_label(item) for item in _list(body, "labels")]
    unique_names(label["name"] for label in labels)
    return labels


def _list(body: Row, field: str) -> list[Row]:
    items = body.get(field) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise invalid_field(field, "Expected a list of items.")
    return items


def _label(item: Row) -> Row:
    label_name = name(item)
    if item.get("sublabels"):
        raise invalid("annoloop sandbox: labels with sublabels are not part of the stand-in")
    return {
        "name": label_name,
        "color": item.get("color") or label_color(label_name),
        "type": item.get("type") or "any",
        "attributes": [_attribute(one) for one in _list(item, "attributes")],
    }


def _attribute(item: Row) -> Row:
    choice(item, "input_type", INPUT_TYPES)
    if "input_type" not in item:
        raise missing_field("input_type")
    values = [str(value) for value in item.get("values") or []]
    return {
        "name": name(item),
        "mutable": bool(item.get("mutable")),
        "input_type": item["input_type"],
        "default_value": str(item.get("default_value") or ""),
        "values": values,
    }


def label_color(label_name: str) -> str:
    """The colour of a label for which none was given: from its name, never black."""
    red, green, blue = hashlib.sha256(label_name.encode()).digest()[:3]
    return f"#{red | 0x20:02x}{green:02x}{blue:02x}"


def unique_names(names: Iterable[str]) -> None:
    """Labels of one project or task have different names."""
    seen = list(names)
    if len(set(seen)) != len(seen):
        raise invalid("All label names must be unique")


def labeled_data(body: Row, *, allow_ids: bool) -> dict[str, list[Row]]:
    """Tags, shapes and tracks of a request, with every default filled in.

    Args:
        allow_ids: an update or a deletion names annotations by id, a creation must not.

    Raises:
        Refusal: 400 with one object of faults per item, or 500 where CVAT's database overflows.
    """
    return {kind: _checked(kind, _list(body, kind), allow_ids) for kind in KINDS}


def _checked(kind: str, items: list[Row], allow_ids: bool) -> list[Row]:
    faults = [_faults(kind, item, allow_ids) for item in items]
    if any(faults):
        raise Refusal(400, {kind: faults})
    filled = [_FILLED[kind](item) for item in items]
    if any(item.get("z_order", 0) > _INT32_MAX for item in filled):
        raise server_error()
    return filled


def _faults(kind: str, item: Row, allow_ids: bool) -> Row:
    faults: Row = {key: [_REQUIRED] for key in ("frame", "label_id") if item.get(key) is None}
    if isinstance(item.get("frame"), int) and item["frame"] < 0:
        faults["frame"] = ["Ensure this value is greater than or equal to 0."]
    if item.get("id") is not None and not allow_ids:
        faults["id"] = ["must be absent"]
    return faults | (_shape_faults(item) if kind == "shapes" else {})


def _shape_faults(item: Row) -> Row:
    shape_type = item.get("type")
    if shape_type is None:
        return {"type": [_REQUIRED]}
    if shape_type not in _POINT_COUNTS:
        return {"type": [f'"{shape_type}" is not a valid choice.']}
    rotation = item.get("rotation") or 0
    if isinstance(rotation, int | float) and not 0 <= rotation <= 360:
        bound = "less than or equal to 360" if rotation > 360 else "greater than or equal to 0"
        return {"rotation": [f"Ensure this value is {bound}."]}
    if shape_type == "skeleton" and not item.get("elements"):
        return {"elements": ["at least one required for skeleton shape"]}
    fault = _point_faults(shape_type, item.get("points", []))
    return {"points": fault} if fault else {}


def _point_faults(shape_type: str, points: object) -> Row | list[str] | None:
    if points is None:
        return ["This field may not be null."]
    if isinstance(points, str):  # CVAT walks through whatever can be walked through
        points = list(points)
    if not isinstance(points, list):
        return [f'Expected a list of items but got type "{type(points).__name__}".']
    # set(map(type, ...)) looks at a million numbers in a few milliseconds
    if not set(map(type, points)) <= {int, float}:
        detail = "[ErrorDetail(string='Value must be a float or an integer', code='invalid')]"
        return {str(i): detail for i, value in enumerate(points) if type(value) not in (int, float)}
    if not _POINT_COUNTS[shape_type](len(points)):
        return [f"invalid length for shape type '{shape_type}'"]
    return None


def _common(item: Row) -> Row:
    return {
        **({"id": item["id"]} if item.get("id") is not None else {}),
        "frame": item["frame"],
        "label_id": item["label_id"],
        "group": item.get("group") or 0,
        "source": item.get("source") or "manual",
        "attributes": item.get("attributes") or [],
    }


def _filled_shape(item: Row) -> Row:
    return {
        "type": item["type"],
        "occluded": bool(item.get("occluded")),
        "outside": bool(item.get("outside")),
        "z_order": item.get("z_order") or 0,
        "rotation": float(item.get("rotation") or 0),
        "points": item.get("points", []),
        **_common(item),
        "elements": item.get("elements") or [],
    }


def _filled_track(item: Row) -> Row:
    return {**_common(item), "shapes": item.get("shapes") or [], "elements": item.get("elements") or []}


_FILLED: dict[str, Callable[[Row], Row]] = {
    "tags": _common,
    "shapes": _filled_shape,
    "tracks": _filled_track,
}
