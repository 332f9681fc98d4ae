"""What the columns of an unknown file look like, from a sample of its records."""

from __future__ import annotations

import csv
import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.card_numbers import holds_card_number
from ingest.cells import label_text, number, plain_amount, plain_text
from ingest.inputs import find_inputs, format_of, text_format
from ingest.parquet import ParquetFile
from ingest.records import Lines, csv_rows, json_row
from ingest.values import show
from ringwatch.errors import BadInput

SAMPLE = 2000
_LONGEST = 1_000_000
_DELIMITERS = ",;\t|"
_PATTERNS = (
    "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S",
    "%d-%b-%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%Y/%m/%d",
)  # fmt: skip
_EPOCHS = (("s", 6.3e8, 4.1e9), ("ms", 6.3e11, 4.1e12), ("us", 6.3e14, 4.1e15))
_COMMA = re.compile(r"\D{0,2}-?[\d.]*\d,\d{1,2}\D{0,2}")
_POINT = re.compile(r"\.\d{1,2}$")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Table:
    """A file's shape and a sample of its rows."""

    format: str
    delimiter: str
    header: bool
    """Whether a CSV begins with its column names; if not they are c1, c2, ..."""
    names: list[str]
    rows: list[dict[str, Any]]

    def column(self, name: str) -> Column:
        return Column(
            name, [value for row in self.rows if plain_text(value := row.get(name)) is not None], len(self.rows)
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column's values in the sample, absent ones left out."""

    name: str
    values: list[Any]
    rows: int

    @property
    def words(self) -> list[str]:
        """The name's words in lower case: nameOrig, TX_AMOUNT and user-id fall apart."""
        spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", self.name)
        return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]

    @property
    def texts(self) -> list[str]:
        return [text for value in self.values if (text := plain_text(value)) is not None]

    @property
    def distinct(self) -> int:
        return len(set(self.texts))

    @property
    def unique(self) -> bool:
        return len(self.values) > 1 and self.distinct == len(self.values) == self.rows

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers; None when one is not."""
        found = [number(value) for value in self.values]
        if not found or not all(type(n) in (int, float) and abs(n) < 2**63 for n in found):
            return None
        return [float(n) for n in found]

    @property
    def amounts(self) -> list[float] | None:
        """The values as amounts, with currency signs and separators; None when one is not."""
        found = [number(plain_amount(text, self.comma) or "") for text in self.texts]
        return [float(n) for n in found] if found and all(type(n) in (int, float) for n in found) else None

    @property
    def comma(self) -> bool:
        """Whether amounts are written with a decimal comma."""
        texts = self.texts
        return any(_COMMA.fullmatch(text) for text in texts) and not any(_POINT.search(text) for text in texts)

    @property
    def whole(self) -> bool:
        numbers = self.numbers
        return numbers is not None and all(n.is_integer() for n in numbers)

    @property
    def holds_cards(self) -> bool:
        texts = self.texts[:200]
        return bool(texts) and sum(map(holds_card_number, texts)) > len(texts) / 2

    @property
    def holds_addresses(self) -> bool:
        """Whether the values are IP addresses."""
        try:
            return bool(self.values) and all(ipaddress.ip_address(text) for text in self.texts[:50] if not text.isdigit()) and (
                not self.texts[0].isdigit()
            )  # fmt: skip
        except ValueError:
            return False

    def counts(self) -> Counter[str]:
        """How often each value stands there, as label values are compared."""
        return Counter(text for value in self.values if (text := label_text(value)) is not None)

    def time(self) -> dict[str, str] | None:
        """The mapping's time keys beside `column` that read the values as times; None when they are not times."""
        if not self.values:
            return None
        first = self.values[0]
        if isinstance(first, datetime):
            return {} if first.tzinfo else {"zone": "UTC"}
        if isinstance(first, date):
            return {"zone": "UTC"}
        numbers = self.numbers
        if numbers is not None:
            for unit, low, high in _EPOCHS:
                if low <= min(numbers) and max(numbers) <= high:
                    return {"epoch": unit}
        return self._written_time(self.texts[:200])

    def _written_time(self, texts: Sequence[str]) -> dict[str, str] | None:
        if not all(text.isdigit() for text in texts) and all((zoned := _iso(text)) is not None for text in texts):
            return {} if zoned else {"zone": "UTC"}
        for pattern in _PATTERNS:
            if all(_matches(text, pattern) for text in texts):
                return {"format": f'"{pattern}"', "zone": "UTC"}
        return None

    def clock(self) -> bool:
        """Whether the values are times of day without a date."""
        return bool(self.values) and all(_CLOCK.fullmatch(text) for text in self.texts[:200])


def _iso(text: str) -> bool | None:
    """Whether an ISO time carries a zone; None when it is no ISO time."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return None


def _matches(text: str, pattern: str) -> bool:
    try:
        return 1990 <= datetime.strptime(text, pattern).year < 2100
    except ValueError:
        return False


def look_at(path: Path) -> Table:
    """A sample of a file, its format found out. Raises BadInput when there is nothing to read."""
    file = find_inputs([str(path)])[0]
    if file.stream or path.is_dir():
        raise BadInput(f"{path} is not one file", hint="name a CSV, JSON Lines or Parquet file")
    if format_of(file, None) == "parquet":
        opened = ParquetFile(path)
        rows = [r.row for _, r in islice(opened.read(opened.columns), SAMPLE) if r.row is not None]
        return _table(path, "parquet", opened.columns, rows)
    lines = Lines(file.open(), _LONGEST)
    if text_format(file) == "jsonl":
        return _json_table(path, lines)
    return _csv_table(path, lines)


def _table(path: Path, kind: str, names: list[str], rows: list[dict[str, Any]], **csv_form: Any) -> Table:
    if not rows or not names:
        raise BadInput(f"{path} has no record that can be read", hint="CSV, JSON Lines and Parquet are understood")
    return Table(kind, csv_form.get("delimiter", ","), csv_form.get("header", True), names, rows)


def _json_table(path: Path, lines: Lines) -> Table:
    rows = [row for record in islice(lines, SAMPLE) if (row := json_row(record)) is not None]
    return _table(path, "jsonl", list(dict.fromkeys(name for row in rows for name in row)), rows)


def _first_cells(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter))]
    except csv.Error:
        return [cell.strip() for cell in text.split(delimiter)]


def _has_number(cells: Sequence[str]) -> bool:
    return any(type(number(cell)) in (int, float) for cell in cells)


def _csv_table(path: Path, lines: Lines) -> Table:
    head = list(islice(lines, 20))
    texts = [record.raw.decode("utf-8", "replace") for record in head if record.raw.strip() and not record.reason]
    if not texts:
        return _table(path, "csv", [], [])
    delimiter = max(_DELIMITERS, key=lambda d: (min(t.count(d) for t in texts), texts[0].count(d)))
    first = _first_cells(texts[0], delimiter)
    words = first.count("") < 2 and not _has_number(first)
    twice = [name for name, n in Counter(first).items() if n > 1]
    if words and twice and len(texts) > 1 and _has_number(_first_cells(texts[1], delimiter)):
        hint = "rename one in the file, or list all names under columns: in a mapping of your own"
        raise BadInput(f"{path} has more than one column {show(twice[0], quote=True)}", hint=hint)
    named = words and not twice
    names = first if named else [f"c{i}" for i in range(1, len(first) + 1)]
    lines.put_back(head[1:] if named else head)
    rows = [r.row for r in islice(csv_rows(lines, names, delimiter, _LONGEST), SAMPLE) if r.row is not None]
    return _table(path, "csv", names, rows, delimiter=delimiter, header=named)
