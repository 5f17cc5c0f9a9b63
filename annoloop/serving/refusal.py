"""A request that gets no result, and why, in words: the HTTP status and the sentence.

Not here: how it is sent.  The fact to know: what is wrong with a request is said to who sent it; what is wrong here is
said in the log, too.
"""

from __future__ import annotations


class Refused(Exception):
    """Status 4xx for what is wrong with the request, 5xx for what is wrong here."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s
