"""Parquet rows as records. A bad row or row group never raises here; a file that is not whole is refused as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.records import Record
from ingest.values import show
from ringwatch.errors import BadInput

_BATCH_ROWS = 4096
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, TypeError, RuntimeError, MemoryError)
"""What Arrow raises on damaged bytes."""


class ParquetFile:
    """A Parquet file whose footer could be read. Raises BadInput(unreadable) where it could not."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
            metadata = self._file.metadata
            self._groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self.rows = metadata.num_rows
            self.columns = [name for field in self._file.schema_arrow for name in _leaf_names(field.name, field.type)]
        except _UNREADABLE as error:
            raise _not_whole(path, str(error)) from None
        if min(self._groups, default=0) < 0 or sum(self._groups) != self.rows:
            raise _not_whole(path, "its row counts contradict each other")

    def read(
        self, columns: Sequence[str], *, after: int = 0, until: int | None = None, only: Sequence[str] = ()
    ) -> Iterator[tuple[int, Record]]:
        """(number, record) of the rows after and until a number; row groups outside are not read.

        What is unreadable of a row group is one record with the reason, numbered as the first row it stands for. With
        `only` these of the columns are in the rows: the others count for what is readable.
        """
        end = 0
        for group, size in enumerate(self._groups):
            number, end = end, end + size
            if end <= after:
                continue
            if until is not None and number >= until:
                return
            reason = ""
            try:
                for names, values in self._rows(group, columns, only or columns):
                    number += 1
                    if number > end or (until is not None and number > until):
                        break
                    if number > after:
                        yield number, Record(b"", dict(zip(names, values, strict=True)))
                else:
                    reason = "they are missing" if number < end else ""
            except _UNREADABLE as error:
                reason = _shown(error)
            if reason and number >= after:
                reason = f"rows {number + 1} to {end} cannot be read: {reason}"
                yield number + 1, Record(b"", reason=reason, code="truncated")

    def _rows(
        self, group: int, columns: Sequence[str], only: Sequence[str]
    ) -> Iterator[tuple[list[str], Sequence[Any]]]:
        wanted = frozenset(only)
        for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(columns)):
            leaves = [leaf for field, array in zip(batch.schema, batch.columns, strict=True)
                      for leaf in _leaves(field.name, array) if leaf[0] in wanted]  # fmt: skip
            names = [name for name, _ in leaves]
            for values in zip(*[_cells(array) for _, array in leaves], strict=True):
                yield names, values


def _not_whole(path: Path, why: str) -> BadInput:
    message = f"{path} is not a whole Parquet file: {show(why)}"
    return BadInput(message, hint="copy or export it again", unreadable=True)


def _shown(error: BaseException) -> str:
    return show(str(error) or type(error).__name__)


def _leaf_names(name: str, kind: Any) -> Iterator[str]:
    """A column's name; of an object the names inside, behind a dot, as in JSON Lines."""
    if not pa.types.is_struct(kind):
        yield name
        return
    for i in range(kind.num_fields):
        yield from _leaf_names(f"{name}.{kind.field(i).name}", kind.field(i).type)


def _leaves(name: str, array: Any) -> Iterator[tuple[str, Any]]:
    if not pa.types.is_struct(array.type):
        yield name, array
        return
    for i, inner in enumerate(array.flatten()):
        yield from _leaves(f"{name}.{array.type.field(i).name}", inner)


def _cells(column: Any) -> list[Any]:
    """Python values; a cell that has none (a broken text, a time out of range) as its bytes or whole number."""
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us" if kind.unit == "ns" else kind.unit, kind.tz and "UTC"), safe=False)
        values: list[Any] = column.to_pylist()
    except _UNREADABLE:
        return [_cell(scalar) for scalar in column]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in values]
    return values


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except _UNREADABLE:
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes()
        return scalar.value if hasattr(scalar, "value") else str(scalar.type)
