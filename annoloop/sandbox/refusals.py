"""How CVAT says no: as an object, a list, a bare string or an HTML page, with the status it uses.

Not annoloop's own errors: a refusal is an answer over HTTP. The texts are CVAT 2.54's, so that a
client meets here what it will meet there.
"""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """An answer that is not a success: ``body`` is sent as JSON, or as text when ``html``."""

    def __init__(
        self, status: int, body: object, *, html: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.html = html
        self.headers = dict(headers or {})


def invalid(*messages: str) -> Refusal:
    """400 with a list of sentences."""
    return Refusal(400, list(messages))


def invalid_field(field: str, message: str) -> Refusal:
    """400 with an object: the field and its faults."""
    return Refusal(400, {field: [message]})


def blank_field(field: str) -> Refusal:
    """400: a text that may not be empty."""
    return invalid_field(field, "This field may not be blank.")


def missing_field(field: str) -> Refusal:
    """400: a field that must be sent."""
    return invalid_field(field, "This field is required.")


def missing(kind: str) -> Refusal:
    """404 for an id that does not exist; ``kind`` is "Task", "Job", ..."""
    return Refusal(404, {"detail": f"No {kind} matches the given query."})


def forbidden(detail: str = "You do not have permission to perform this action.") -> Refusal:
    """403."""
    return Refusal(403, {"detail": detail})


def unauthorized(detail: str = "Authentication credentials were not provided.") -> Refusal:
    """401."""
    return Refusal(401, {"detail": detail})


def throttled(wait_s: int) -> Refusal:
    """429: too many calls; the next one is answered in ``wait_s`` seconds."""
    unit = "second" if wait_s == 1 else "seconds"
    detail = f"Request was throttled. Expected available in {wait_s} {unit}."
    return Refusal(429, {"detail": detail}, headers={"Retry-After": str(wait_s)})


def unknown_page() -> Refusal:
    """404 as HTML: no such route."""
    return page(404, "Not Found")


def unknown_request() -> Refusal:
    """404 as bare text: a background request that never was, or is forgotten."""
    return Refusal(404, "There is no request with specified id", html=True)


def server_error() -> Refusal:
    """500 as HTML, where CVAT itself breaks: the client must survive that, too."""
    return page(500, "Server Error (500)")


def page(status: int, title: str) -> Refusal:
    """An HTML page, as CVAT sends where no API view is reached and a proxy before it sends always."""
    detail = "The requested resource was not found on this server." if status == 404 else ""
    head = f'<!doctype html>\n<html lang="en">\n<head>\n  <title>{title}</title>\n</head>'
    return Refusal(status, f"\n{head}\n<body>\n  <h1>{title}</h1><p>{detail}</p>\n</body>\n</html>\n", html=True)
