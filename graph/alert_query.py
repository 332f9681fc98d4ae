"""The ready query of an alert: pasted into Neo4j Browser, it draws the alert, its accounts and what they share."""

from __future__ import annotations

import re

from cypher.load import load
from ringwatch.model import Alert

_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def alert_query(alert: Alert) -> str:
    """`cypher/browser/alert.cypher` with the alert's values in the place of its parameters.

    For a person to paste: Browser draws a picture for a single statement only, so it cannot set parameters before.
    A program runs the file with parameters.
    """
    values = {"tenant": literal(alert.tenant), "alert": literal(alert.alert_id)}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], load("browser")["alert"].strip()) + "\n"


def literal(text: str) -> str:
    """A string as both Cypher and JSON write it.

    Some versions of Cypher turn `\\uXXXX` into its character before they look for the end of a string, even behind a
    backslash that is itself escaped. So a `u` that follows a backslash of the text is written as its number.
    """
    written = []
    before = ""
    for char in text:
        if char in _ESCAPED:
            written.append(_ESCAPED[char])
        elif char < " " or char == "\x7f" or (char == "u" and before == "\\"):
            written.append(f"\\u{ord(char):04x}")
        else:
            written.append(char)
        before = char
    return f'"{"".join(written)}"'
