"""A mapping proposed for an unknown file, from its columns' names and values, each guess with how sure it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

from ingest.columns import Column, Table, look_at

_WORDS: dict[str, frozenset[str]] = {
    role: frozenset(words.split())
    for role, words in {
        "event_id": "id tid txid transactionid trans transaction tx txn event order num number uuid ref reference",
        "time": "time date datetime timestamp ts at created occurred when step hour day dt moment unix",
        "amount": "amount amt value price total sum betrag",
        "label": "fraud fraudulent isfraud label labels class target chargeback bot",
        "user": "user customer client account acct member payer sender source orig origin originator buyer cardholder uid "
        "consumer subscriber kunde nameorig applicant person",
        "card": "card pan cc",
        "device": "device fingerprint imei deviceid",
        "ip": "ip ipaddress ipaddr",
        "email": "email mail",
        "phone": "phone mobile tel telephone msisdn",
        "address": "address street addr shipping billing delivery",
        "bank_account": "iban",
        "merchant": "merchant shop store payee seller beneficiary receiver recipient dest destination target namedest "
        "counterparty company",
        "terminal": "terminal pos atm",
        "session": "session",
        "promo": "promo promotion coupon voucher",
        "sku": "sku product item",
        "lat": "lat latitude",
        "lon": "lon lng long longitude",
        "country": "country",
        "currency": "currency ccy",
        "category": "category mcc type kind",
        "channel": "channel medium",
        "user_agent": "agent useragent",
    }.items()
}
_ENTITIES = ("user", "device", "card", "ip", "email", "phone", "bank_account", "address", "merchant", "terminal", "session",
             "promo", "sku")  # fmt: skip
_FRAUD = ("1", "true", "yes", "fraud", "fraudulent", "y", "bad", "illicit", "chargeback")
_GOOD = ("0", "false", "no", "legit", "legitimate", "good", "n", "normal", "genuine", "licit", "-1")
_NOT_PARTIES = frozenset(
    (
        "merch",
        "merchant",
        "shop",
        "store",
        "lat",
        "long",
        "lon",
        "name",
        "job",
        "dob",
        "birth",
        "age",
        "city",
        "population",
        "pop",
        "zip",
        "balance",
    )
)
_DESCRIBES = frozenset(
    ("age", "job", "dob", "gender", "city", "state", "zip", "pop", "balance", "lat", "lon", "long", "domain", "status")
)
_STEPS = (("hour", 3600, "an hour"), ("step", 3600, "an hour"), ("day", 86_400, "a day"), ("minute", 60, "a minute"))
_EXPECTED_DELAY = "7d"


def propose(path: Path) -> str:
    """YAML text that `load_mapping` accepts; comments say how sure each line is. Raises BadInput when nothing can be read."""
    return _Proposal(look_at(path), path.name).text()


class _Proposal:
    def __init__(self, table: Table, file_name: str) -> None:
        self._table = table
        self._file_name = file_name
        self._left = {name: table.column(name) for name in table.names}

    def text(self) -> str:
        lines = [
            f"# Proposed for {self._file_name} from its first {len(self._table.rows):,} records.",
            "# Look each line through: `sure` needs a glance, `likely` a look, `guess` your knowledge of the data.",
            f"format: {self._table.format}",
        ]
        if self._table.format == "csv":
            if self._table.delimiter != ",":
                lines.append(f"delimiter: {_quoted(self._table.delimiter)}")
            if not self._table.header:
                lines.append(f"columns: [{', '.join(self._table.names)}]  # likely: the file has no header line")
        lines += ["type: payment  # guess: what every record is; or {column: KIND, map: {sale: payment, back: refund}}"]
        label = self._label()
        time = self._time()
        amount = self._amount()
        event_id = self._event_id()
        entities, kinds = self._entities()
        lines += kinds + event_id + time + entities + amount + self._fields() + label
        if self._left:
            lines += ["# Not used; list columns under attributes to have them in rules and exports:"]
            lines += [f"#   {_name(name)}" for name in self._left]
        return "\n".join(lines) + "\n"

    def _take(self, role: str, fits: Callable[[Column], bool]) -> Column | None:
        """The best column for a role, by the words of its name; it is then used up."""
        ranked = [(score, c) for c in self._left.values() if (score := _fit(c, role)) > 0 and c.values and fits(c)]
        if not ranked:
            return None
        best = max(ranked, key=lambda pair: pair[0])[1]
        return self._left.pop(best.name)

    def _label(self) -> list[str]:
        column = self._take("label", lambda c: len(c.counts()) <= 4 and bool(set(c.counts()) & {*_FRAUD, *_GOOD}))
        for name in [n for n, c in self._left.items() if {"fraud", "isfraud", "scenario"} & set(c.words)]:
            if column is not None:
                del self._left[name]
        if column is None:
            return [
                "# No column looks like a label; if there is one: label: {column: X, fraud: [1], good: [0], delay: 7d}"
            ]
        seen = column.counts()
        fraud = [v for v in seen if v in _FRAUD] or ["1"]
        good = [v for v in seen if v in _GOOD] or ["0"]
        other = [v for v in seen if v not in fraud and v not in good]
        note = f"; {', '.join(other)}: taken as not labelled" if other else ""
        return [
            f"label: {{column: {_name(column.name)}, fraud: [{_list(fraud)}], good: [{_list(good)}], delay: {_EXPECTED_DELAY}}}"
            f"  # guess: the truth is known {_EXPECTED_DELAY} later{note}"
        ]

    def _time(self) -> list[str]:
        parts = self._dated_parts()
        if parts:
            return parts
        dated = {name: keys for name, c in self._left.items() if (keys := c.time()) is not None}
        column = self._take("time", lambda c: c.name in dated)
        if column is None and dated:
            column = self._left.pop(next(iter(dated)))
        if column is not None:
            return self._dated(column, dated[column.name])
        return self._counted()

    def _dated_parts(self) -> list[str]:
        """Year, month, day and maybe a time of day in columns of their own."""
        by_word = {c.words[0]: c for c in self._left.values() if len(c.words) == 1}
        if not {"year", "month", "day"} <= set(by_word) or not all(by_word[w].whole for w in ("year", "month", "day")):
            return []
        columns, pattern = [by_word[w] for w in ("year", "month", "day")], "%Y %m %d"
        clock = by_word.get("time")
        if clock is not None and clock.clock():
            columns.append(clock)
            pattern += " %H:%M:%S" if all(text.count(":") == 2 for text in clock.texts) else " %H:%M"
        for column in columns:
            del self._left[column.name]
        names = ", ".join(_name(column.name) for column in columns)
        return [f'time: {{column: [{names}], format: "{pattern}", zone: UTC}}  # sure, but the zone is a guess']

    def _dated(self, column: Column, keys: dict[str, str]) -> list[str]:
        names = _name(column.name)
        if all(":" not in text for text in column.texts[:50]) and "format" not in keys and "epoch" not in keys:
            clock = next((c for c in self._left.values() if c.clock()), None)
            if clock is not None:
                names = f"[{names}, {_name(self._left.pop(clock.name).name)}]"
        sure = "sure" if _fit(column, "time") > 0 else "guess"
        if "zone" in keys:
            sure = f"{sure}, but the zone is a guess: the values have none"
        if keys.get("format", "").startswith(('"%d/%m', '"%m/%d')):
            sure += "; day and month may be the other way round"
        spec = ", ".join([f"column: {names}", *(f"{key}: {value}" for key, value in keys.items())])
        return [f"time: {{{spec}}}  # {sure}"]

    def _counted(self) -> list[str]:
        column = self._take("time", lambda c: c.numbers is not None)
        if column is None:
            first = next(iter(self._table.names))
            return [f"time: {_name(first)}  # guess: no column looks like a time, mend this line"]
        numbers = column.numbers or []
        words = set(column.words)
        step_s, what = next(((s, text) for word, s, text in _STEPS if word in words), (1, "a second"))
        if step_s == 1 and all(b - a == 1 for a, b in pairwise(numbers)):
            step_s, what = 60, "a minute: the values only count the records"
        spec = f"column: {_name(column.name)}, step_s: {step_s}, origin: 2020-01-01T00:00:00Z"
        return [f"time: {{{spec}}}  # guess: one step is {what}; the origin is made up"]

    def _amount(self) -> list[str]:
        column = self._take("amount", lambda c: c.amounts is not None and not _NOT_PARTIES & set(c.words))
        if column is None and not self._table.header:
            column = next((c for c in self._left.values() if c.amounts is not None and not c.whole), None)
        if column is None:
            return []
        self._left.pop(column.name, None)
        absolute = ', decimal: ","' if column.comma else ""
        absolute += ", negative: absolute" if min(column.amounts or [0]) < 0 else ""
        currency = self._take("currency", lambda c: all(len(t) == 3 and t.isalpha() and t.isupper() for t in c.texts))
        self._currency = currency
        code = "" if currency is not None else ", currency: EUR"
        doubt = "likely" if currency is not None else "likely, but the currency is a guess"
        return [f"amount: {{column: {_name(column.name)}, unit: major{code}{absolute}}}  # {doubt}"]

    def _event_id(self) -> list[str]:
        if not self._table.header:
            return ["# event_id: no column is named; file and record number name the event"]
        column = self._take(
            "event_id",
            lambda c: c.unique and not c.holds_cards and (c.numbers is None or c.whole) and _fit(c, "user") == 0,
        )
        if column is None:
            return ["# event_id: no column is one; file and record number name the event"]
        return [f"event_id: {_name(column.name)}  # likely: no value twice in the sample"]

    def _entities(self) -> tuple[list[str], list[str]]:
        found: dict[str, tuple[Column, str]] = {}
        addresses = next((c for c in self._left.values() if c.holds_addresses), None)
        if addresses is not None:
            found["ip"] = (self._left.pop(addresses.name), "sure")
        for kind in _ENTITIES:
            if kind not in found and (column := self._take(kind, _is_identifier)) is not None:
                found[kind] = (column, "likely")
        if "user" not in found:
            if "card" in found:
                found["user"] = found.pop("card")
            else:
                column = self._repeated() or self._table.column(self._table.names[0])
                self._left.pop(column.name, None)
                found["user"] = (column, "guess: who acts")
        for column in [c for c in self._left.values() if {"location", "loc", "place", "branch"} & set(c.words)]:
            if "location" not in found and _is_identifier(column):
                found["location"] = (self._left.pop(column.name), "guess")
        kinds = [
            f"  {kind}: {{strength: {strength}, crowded: true}}"
            for kind, strength in (("terminal", "weak"), ("location", "none"))
            if kind in found
        ]
        ordered = sorted(found.items(), key=lambda pair: pair[0] != "user")
        lines = [f"  {kind}: {_entity(column)}  # {sure}" for kind, (column, sure) in ordered]
        return ["entities:", *lines], ["kinds:", *kinds] if kinds else []

    def _repeated(self) -> Column | None:
        """The column that looks most like an identifier of somebody who comes back."""
        columns = [c for c in self._left.values() if _is_identifier(c) and 1 < c.distinct < len(c.values)]
        return max(columns, key=lambda c: c.distinct, default=None)

    _currency: Column | None = None

    def _fields(self) -> list[str]:
        lines = [] if self._currency is None else [f"  currency: {_name(self._currency.name)}  # sure"]
        checks: Iterable[tuple[str, Callable[[Column], bool]]] = (
            ("lat", lambda c: _within(c, 90) and "merch" not in c.words),
            ("lon", lambda c: _within(c, 180) and "merch" not in c.words),
            ("country", lambda c: all(len(t) == 2 and t.isalpha() for t in c.texts)),
            ("category", lambda c: c.distinct <= 300),
            ("channel", lambda c: c.distinct <= 50),
            ("user_agent", lambda c: c.numbers is None),
        )
        found = {name: column for name, fits in checks if (column := self._take(name, fits)) is not None}
        if ("lat" in found) != ("lon" in found):
            for name in ("lat", "lon"):
                if name in found:
                    left = found.pop(name)
                    self._left[left.name] = left
        lines += [f"  {name}: {_name(column.name)}  # likely" for name, column in found.items()]
        return ["fields:", *lines] if lines else []


def _fit(column: Column, role: str) -> float:
    """How well a column's name fits a role: share of its words that speak for it, plain names first."""
    words = column.words
    hits = [word for word in words if word in _WORDS[role]]
    if not hits:
        return 0.0
    bonus = 0.5 if {"id", "fraud", "isfraud"} & set(words) else 0.0
    return len(hits) / len(words) + bonus


def _is_identifier(column: Column) -> bool:
    words = set(column.words)
    if words & _DESCRIBES or words in ({"name"}, {"first", "name"}, {"last", "name"}):
        return False
    return (column.numbers is None or column.whole) and max(map(len, column.texts), default=0) <= 200


def _within(column: Column, most: float) -> bool:
    return (numbers := column.numbers) is not None and max(map(abs, numbers)) <= most


def _entity(column: Column) -> str:
    if column.holds_cards:
        return f"{{column: {_name(column.name)}, token: true}}"
    return _name(column.name)


def _list(values: Iterable[str]) -> str:
    return ", ".join(value if value.lstrip("-").isdigit() else _quoted(value) for value in values)


def _name(text: str) -> str:
    plain = text.replace("_", "").isalnum() and text.isascii() and not text[0].isdigit()
    return text if plain and text.lower() not in ("true", "false", "null") else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text)
