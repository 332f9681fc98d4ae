"""Amounts: decimal text to minor units, and minor units of one currency to another by a dated rate table."""

from __future__ import annotations

import csv
from bisect import bisect_right
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from operator import itemgetter
from pathlib import Path

from ringwatch.errors import BadInput
from ringwatch.model import DAY_US

_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF",
                     "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}  # fmt: skip
"""ISO 4217 minor-unit exponents that are not 2."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def is_currency(code: object) -> bool:
    """Whether it has the form of an ISO 4217 code."""
    return isinstance(code, str) and len(code) == 3 and code.isascii() and code.isalpha() and code.isupper()


def exponent(currency: str) -> int:
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Major units to whole minor units, half to even."""
    return int(amount.scaleb(exponent(currency)).to_integral_value(ROUND_HALF_EVEN))


def float_to_minor(amount: float, currency: str) -> int:
    """As `to_minor` of the float's shortest decimal text: 0.285 is 28 (half to even), whatever its binary form says."""
    exact = amount * float(10 ** exponent(currency))
    nearest = round(exact)
    if abs(exact) < 1e12 and abs(exact - nearest) < 0.49:
        return nearest
    return to_minor(Decimal(repr(amount)), currency)


class RateTable:
    """Units of the base currency per unit of another, each valid from its date on."""

    def __init__(self, base: str, rates: dict[str, list[tuple[int, Decimal]]]) -> None:
        self.base = base
        self._rates = {c: sorted(rows, key=itemgetter(0)) for c, rows in rates.items()}

    @classmethod
    def load(cls, path: Path | None, base: str) -> RateTable:
        """A CSV with the columns date, currency, rate. Raises BadInput naming the line."""
        if path is None:
            return cls(base, {})
        rates: dict[str, list[tuple[int, Decimal]]] = {}
        hint = "mend it or unset RINGWATCH_FX_RATES"
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for number, row in enumerate(csv.DictReader(file), 2):
                    currency, day, rate = _rate(path, number, row)
                    if currency == base:
                        raise BadInput(
                            f"{path}:{number}: {base} is the currency rates are in", hint="take the line out"
                        )
                    rates.setdefault(currency, []).append((day, rate))
        except OSError as error:
            raise BadInput(f"rate table {path}: {error.strerror}", hint=hint) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadInput(f"rate table {path} is not a CSV in UTF-8: {error}", hint=hint) from None
        if not rates:
            raise BadInput(f"rate table {path} has no rates", hint=hint)
        return cls(base, rates)

    def convert(self, minor: int, currency: str, at_us: int) -> int | None:
        """Minor units of the base currency; None when no rate was valid at that time."""
        if currency == self.base:
            return minor
        rows = self._rates.get(currency)
        i = bisect_right(rows, at_us // DAY_US + _EPOCH_DAY, key=itemgetter(0)) if rows else 0
        if not rows or i == 0:
            return None
        major = Decimal(minor).scaleb(-exponent(currency)) * rows[i - 1][1]
        return to_minor(major, self.base)


def _rate(path: Path, number: int, row: dict[str, str]) -> tuple[str, int, Decimal]:
    try:
        currency, day, rate = row["currency"].strip(), date.fromisoformat(row["date"].strip()), Decimal(row["rate"])
    except (KeyError, ValueError, InvalidOperation, AttributeError, TypeError):
        shown = ", ".join(str(v) for v in row.values())[:80]
        raise BadInput(
            f"{path}:{number}: {shown!r} is not a rate",
            hint="the columns are date (2026-01-31), currency (USD), rate (0.92)",
        ) from None
    if not is_currency(currency):
        raise BadInput(f"{path}:{number}: currency is {currency[:20]!r}", hint="an ISO 4217 code such as USD is needed")
    if not (rate.is_finite() and Decimal("1e-9") < rate < Decimal("1e9")):
        raise BadInput(
            f"{path}:{number}: rate {rate} is not a rate", hint="units of the base currency per unit, above zero"
        )
    return currency, day.toordinal(), rate
