"""Full card numbers are refused at the door: never stored, never echoed.

A candidate is 13 to 19 digits, alone or in groups joined by single spaces or dashes, that begins like a card of a known network
(ISO/IEC 7812 ranges), has that network's length, and passes the Luhn check. Beginning and length together keep a long
numeric id from being refused by chance: about 1 in 25 random 16-digit ids begins like a card and passes Luhn, so such ids should
carry a letter or a prefix.
"""

from __future__ import annotations

import re

_CANDIDATE = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[ -]?[0-9]){12,18}(?![0-9A-Za-z])")
_NETWORKS = re.compile(
    r"(?:4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11,16}"  # Diners
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50|5[6-9]|6[37])\d{11,17})"  # Maestro
)
MASK = "[card number]"


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = ord(c) - 48
        if i % 2:
            d = d * 2 - 9 if d > 4 else d * 2
        total += d
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = text.replace(" ", "").replace("-", "")
    return _NETWORKS.fullmatch(digits) is not None and luhn(digits)


def holds_card_number(text: str) -> bool:
    """Whether a text contains a full card number."""
    return len(text) >= 13 and any(_is_card(m.group()) for m in _CANDIDATE.finditer(text))


def mask_card_numbers(text: str) -> str:
    """The text with every full card number replaced."""
    return _CANDIDATE.sub(lambda m: MASK if _is_card(m.group()) else m.group(), text) if len(text) >= 13 else text
