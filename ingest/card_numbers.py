"""Full card numbers are refused at the door: never stored, never echoed.

A candidate is 13 to 19 digits, in one run, in groups joined by spaces, dashes, underlines, invisible characters or
(three or more, so that it is no decimal number) dots, or written as 4.539578577663123e15, that begins like a card of a
known network (ISO/IEC 7812 ranges), has that network's length and passes the Luhn check. Beginning and length keep long
numeric ids from being refused by chance: about 1 in 30 random 16-digit numbers looks like a card, where Luhn alone would
refuse 1 in 10. Longer numbers, decimal fractions, UUIDs and hexadecimal tokens are never candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

CARD_GAPS = " .-_\u00a0\u00ad\u200b\u200c\u200d\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2015\u2060\ufeff"
"""What may stand between the digits."""
_GAP = "[ _\u00a0\u00ad\u200b-\u200d\u2009\u202f\u2010-\u2015\u2060\ufeff-]{1,3}"
_SOME = re.compile(rf"\d(?:{_GAP}|\.)?(?:\d(?:{_GAP}|\.)?){{11}}\d")
"""Thirteen digits with gaps, anywhere: what must be there for a card number to be there."""
_ALIKE = bytes(48 if 48 <= i < 58 else i for i in range(256))
_THIRTEEN = b"0" * 13
"""The same for ASCII text: gaps taken out and all digits made alike."""
_RUN = re.compile(rf"\d+(?:{_GAP}\d+)*")
_GROUP = re.compile(r"\d+")
_DOTTED = re.compile(r"(?<![\d.])(?:\d{1,6}(?:\.\d{1,6}){3,18}|\d{4}\.\d{6}\.\d{5})(?![\d.])")
_EXPONENT = re.compile(r"(?<![\d.])(\d)\.(\d{12,18})[eE]\+?(1[2-8])(?!\d)")
_TOKEN = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?<![0-9A-Za-z])(?=[0-9]*[a-fA-F])(?:[0-9a-fA-F]{20,}|[0-9a-fA-F]{16})(?![0-9A-Za-z])"
)
"""UUIDs and long hexadecimal tokens (with at least one letter)."""
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
_SHORTEST, _LONGEST = 13, 19
_SMALLEST = 10 ** (_SHORTEST - 1)
MASK = "[card number]"


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 check digit, over ASCII digits."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = ord(c) - 48
        if i % 2:
            d = d * 2 - 9 if d > 4 else d * 2
        total += d
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether a string of digits and nothing else is a full card number."""
    if not digits.isascii():
        digits = "".join(str(int(c)) for c in digits)
    return _NETWORKS.fullmatch(digits) is not None and luhn(digits)


def may_hold_card_number(text: str) -> bool:
    """A fast look that never misses one; most texts without one are told apart here."""
    if text.isascii():
        return _THIRTEEN in text.encode().translate(_ALIKE, b" -._")
    return _SOME.search(text) is not None


def holds_card_number(text: str) -> bool:
    """Whether a text contains a full card number."""
    return len(text) >= _SHORTEST and may_hold_card_number(text) and next(_spans(text), None) is not None


def number_is_card(value: int | float | Decimal) -> bool:
    """Whether a bare number, its sign aside, is a full card number."""
    if not (_SMALLEST <= value < 10**_LONGEST or _SMALLEST <= -value < 10**_LONGEST):
        return False
    return value == int(value) and is_card_number(str(abs(int(value))))


def mask_card_numbers(text: str) -> str:
    """The text with every full card number replaced."""
    if not holds_card_number(text):
        return text
    kept: list[str] = []
    end = 0
    for start, stop in _spans(text):
        if start >= end:
            kept += (text[end:start], MASK)
        end = max(end, stop)
    return "".join(kept) + text[end:]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every card number, by start."""
    exempt = [m.span() for m in _TOKEN.finditer(text)]
    found = [m.span() for m in _DOTTED.finditer(text) if is_card_number(m.group().replace(".", ""))]
    found += [m.span() for m in _EXPONENT.finditer(text) if _is_card_exponent(m)]
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _SHORTEST:
            found += _windows(text, [m.span() for m in _GROUP.finditer(text, *run.span())])
    for start, stop in sorted(found):
        if not any(a <= start and stop <= b for a, b in exempt):
            yield start, stop


def _is_card_exponent(match: re.Match[str]) -> bool:
    digits = (match[1] + match[2].rstrip("0")).ljust(int(match[3]) + 1, "0")
    return len(digits) == int(match[3]) + 1 and is_card_number(digits)


def _windows(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Consecutive groups of digits that together are a card number."""
    for i, (start, _) in enumerate(groups):
        digits = ""
        for a, b in groups[i:]:
            digits += text[a:b]
            if len(digits) > _LONGEST:
                break
            if len(digits) >= _SHORTEST and is_card_number(digits) and not _fraction(text, start, b):
                yield start, b


def _fraction(text: str, start: int, stop: int) -> bool:
    """Whether the digits are a part of a decimal number (0.4539578577663); 4539578577663.0 is whole."""
    before = start >= 2 and text[start - 1] == "." and text[start - 2].isdigit()
    after = re.match(r"\.\d*[1-9]", text[stop : stop + 24])
    return before or after is not None
