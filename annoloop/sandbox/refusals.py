"""How CVAT says no: as an object, a list, a bare string or an HTML page, with the status it uses.

Not annoloop's own errors: a refusal is an answer over HTTP. The texts are CVAT 2.54's, so that a
client meets here what it will meet there.
"""

from __future__ import annotations


class Refusal(Exception):
    """An answer that is not a success: ``body`` is sent as JSON, or as text when ``html``."""

    def __init__(self, status: int, body: object, *, html: bool = False) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.html = html


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


def unknown_page() -> Refusal:
    """404 as HTML: no such route."""
    return Refusal(404, "<!doctype html><title>Not Found</title><h1>Not Found</h1>", html=True)


def server_error() -> Refusal:
    """500 as HTML, where CVAT itself breaks: the client must survive that, too."""
    page = "<!doctype html><title>Server Error (500)</title><h1>Server Error (500)</h1>"
    return Refusal(500, page, html=True)
