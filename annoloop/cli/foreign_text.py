"""Text from elsewhere on its way to a terminal: what would move the cursor, or turn the reading direction, is shown.

A class, a file, a user or a server can have a name that is a command to the terminal.  Imports nothing heavy.
"""

from __future__ import annotations

import re

# C0 without tab and line end, DEL, C1; what turns the direction of reading (Unicode's bidirectional controls); and
# line ends that are none to us.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""A text with its control characters as they are written in Python.

    >>> print(shown("disc\x1b[2J"))
    disc\x1b[2J
    """
    return _COMMANDS.sub(_escape, text)


def shown_json(text: str) -> str:
    """JSON with the same characters as JSON writes them: it says what it said before."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
