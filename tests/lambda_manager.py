"""A small stand-in for CVAT's lambda manager: it calls a function over HTTP and makes of the answer what CVAT does.

As read in the open server 2.54: the dashboard's list, one function of it, an invocation by name or by port, and the
runs of a mask from its flat digits.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Reply:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class LambdaManager:
    """Calls one Nuclio."""

    def __init__(self, url: str) -> None:
        self.url = url

    def functions(self) -> dict[str, dict[str, Any]]:
        """All functions; what CVAT reads of each is looked up, so that a missing key is an error here too."""
        found = self.request("/api/functions").body
        for name, one in found.items():
            annotations = one["metadata"]["annotations"]
            assert one["metadata"]["name"] == name
            assert annotations["type"] in ("detector", "interactor")
            json.loads(annotations["spec"] or "[]")
            (
                int(annotations.get("min_pos_points", 1)),
                int(annotations.get("min_neg_points", -1)),
                int(annotations["version"]),
            )
            assert one["spec"]["description"]
            assert one["status"]["httpPort"] == int(self.url.rpartition(":")[2])
            assert self.request(f"/api/functions/{name}").body == one
        return found

    def detect(self, image: bytes, name: str | None = None, **more: Any) -> Reply:
        """A detector's answer; by name through the dashboard, or else directly."""
        return self.call({"image": encoded(image), **more}, name)

    def interact(self, image: bytes, pos: Any = (), neg: Any = (), box: Any = None, name: str | None = None) -> Reply:
        """An interactor's answer."""
        payload = {"image": encoded(image), "pos_points": list(pos), "neg_points": list(neg), "obj_bbox": box}
        return self.call(payload, name)

    def call(self, payload: Any, name: str | None = None) -> Reply:
        headers = {"content-type": "application/json"}
        if name is None:
            return self.request("/", json.dumps(payload).encode(), headers)
        headers |= {"x-nuclio-function-name": name, "x-nuclio-path": "/"}
        return self.request("/api/function_invocations", json.dumps(payload).encode(), headers)

    def request(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        request = urllib.request.Request(self.url + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Reply(response.status, json.load(response), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.load(error), dict(error.headers))


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def painted(shapes: list[dict[str, Any]], names: tuple[str, ...], size_hw: tuple[int, int], fill: int) -> np.ndarray:
    """The label map of a detector's masks: digits of the box, then x1, y1, x2, y2 inclusive."""
    canvas = np.full(size_hw, fill, np.uint8)
    for shape in shapes:
        assert shape["type"] == "mask"
        *digits, x1, y1, x2, y2 = shape["mask"]
        bits = np.array(digits, bool).reshape(y2 - y1 + 1, x2 - x1 + 1)
        assert bits.any(axis=0).all() or bits.any()
        canvas[y1 : y2 + 1, x1 : x2 + 1][bits] = names.index(shape["label"])
    return canvas
