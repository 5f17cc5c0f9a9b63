"""Reports as plain values that JSON knows; every report goes through here, printed or saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annoloop.data.storage import RemotePath


def to_plain_event(event: Any) -> dict[str, Any]:
    """One of many records as JSON-able values, without those that are None."""
    return {name: value for name, value in to_plain(event).items() if value is not None}


def to_plain(value: Any) -> Any:
    """A report as JSON-able values; NaN, which JSON does not know, becomes null."""
    if isinstance(value, Path | RemotePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
