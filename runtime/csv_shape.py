"""Is a text file a table? Quotes, rows and columns are checked over its bytes before a parser builds anything from them.

The form is RFC 4180: fields between separators, quoted with `"` where they hold a separator, a quote (doubled) or a line
break. Rows and columns count from 1 and the header is row 1, as a spreadsheet shows them.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .limits import Limits

CHUNK = 4 * 2**20
QUOTE, NEWLINE, RETURN = ord('"'), ord("\n"), ord("\r")
FOREIGN = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CsvShape:
    """Rows (the header among them), columns, and the length of the header row in bytes."""

    rows: int
    columns: int
    header: int


@dataclass
class _Scan:
    """How far the scan has come: complete rows, and what is known of the open one."""

    octets: Array
    separator: int
    limits: Limits
    file: str
    rows: int = 0
    columns: int = 0
    header: int = 0
    row_start: int = 0
    separators: int = 0
    quoted: int = 0

    def refuse(self, row: int, column: int | None, text: str) -> DataError:
        """The error for a place of the file."""
        place = f"row {row}" if column is None else f"row {row} column {column}"
        return DataError(f"{self.file}: {place}: {text}")


def clean_text(data: bytes, file: str) -> bytes:
    """The file without byte order mark and empty lines at its end, closed by one line break; DataError unless it is UTF-8 text."""
    for mark, name in FOREIGN.items():
        if data.startswith(mark):
            raise DataError(f"{file}: is {name} text; save it as UTF-8")
    text = data.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n") + b"\n"
    position = text.find(b"\0")
    if position >= 0:
        raise DataError(f"{file}: row {_line(text, position)}: holds a NUL byte, so it is no text file; save it as UTF-8")
    if not text.isascii():
        _check_utf8(text, file)
    return text


def _check_utf8(text: bytes, file: str) -> None:
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(text)
    for start in range(0, len(text), CHUNK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[start : start + CHUNK], final=start + CHUNK >= len(text))
        except UnicodeDecodeError as failure:
            row = _line(text, start - pending + failure.start)
            raise DataError(f"{file}: row {row}: holds bytes that are not UTF-8; save the file as UTF-8") from None


def _line(text: bytes, position: int) -> int:
    return text.count(b"\n", 0, position) + 1


def csv_shape(text: bytes, separator: str, limits: Limits, file: str) -> CsvShape:
    """Rows and columns of `clean_text`; DataError for ragged rows, stray or unclosed quotes, and rows or columns over the limits."""
    scan = _Scan(np.frombuffer(text, dtype=np.uint8), ord(separator), limits, file)
    for start in range(0, len(text), CHUNK):
        _scan_chunk(scan, start, min(start + CHUNK, len(text)))
    if scan.quoted:
        raise scan.refuse(scan.rows + 1, scan.separators + 1, "a quote is opened and never closed; close it or remove it")
    return CsvShape(scan.rows, scan.columns, scan.header)


def _scan_chunk(scan: _Scan, start: int, stop: int) -> None:
    block = scan.octets[start:stop]
    quotes = block == QUOTE
    # The parity of a count that may wrap at 256; most chunks have no quote and need no count.
    inside = (np.cumsum(quotes, dtype=np.uint8) + np.uint8(scan.quoted)) & 1 if quotes.any() else np.full(len(block), scan.quoted, np.uint8)
    outside = inside == 0
    ends = start + np.flatnonzero((block == NEWLINE) & outside)
    separators = start + np.flatnonzero((block == scan.separator) & outside)
    _check_quotes(scan, start + np.flatnonzero(quotes), inside[quotes] == 1, ends, separators)
    _check_returns(scan, start + np.flatnonzero((block == RETURN) & outside), ends)
    _close_rows(scan, ends, separators)
    scan.quoted = int(inside[-1])
    if stop - scan.row_start > scan.limits.line:
        _check_lengths(scan, np.array([stop - scan.row_start]))


def _check_quotes(scan: _Scan, quotes: Array, opening: Array, ends: Array, separators: Array) -> None:
    """A quote opens only at the start of a field and closes only at its end; between, two stand for one."""
    before = scan.octets[np.maximum(quotes - 1, 0)]
    after = scan.octets[np.minimum(quotes + 1, len(scan.octets) - 1)]
    starts = (quotes == 0) | (before == scan.separator) | (before == NEWLINE) | (before == QUOTE)
    stops = (after == scan.separator) | (after == NEWLINE) | (after == RETURN) | (after == QUOTE)
    wrong = quotes[np.where(opening, ~starts, ~stops)]
    if wrong.size:
        row, column = _locate(scan, int(wrong[0]), ends, separators)
        mend = 'quote the whole field and double the quotes in it (`"5"" pipe"`)'
        raise scan.refuse(row, column, f"a quote stands in the middle of a field; {mend}")


def _check_returns(scan: _Scan, returns: Array, ends: Array) -> None:
    bare = returns[scan.octets[returns + 1] != NEWLINE]  # the text ends with a line break, so there is always a next byte
    if bare.size:
        row = scan.rows + int(np.searchsorted(ends, bare[0])) + 1
        raise scan.refuse(row, None, "holds a carriage return that ends no line; save the file with LF or CRLF line ends")


def _locate(scan: _Scan, position: int, ends: Array, separators: Array) -> tuple[int, int]:
    """Row and column of a byte of the chunk."""
    closed = int(np.searchsorted(ends, position))
    first = int(np.searchsorted(separators, ends[closed - 1])) if closed else 0
    carried = 0 if closed else scan.separators
    return scan.rows + closed + 1, carried + int(np.searchsorted(separators, position)) - first + 1


def _close_rows(scan: _Scan, ends: Array, separators: Array) -> None:
    """Count the rows that end in this chunk, check their width and length, and carry the open row over."""
    if not ends.size:
        scan.separators += len(separators)
        return
    before = np.searchsorted(separators, ends)
    widths = np.diff(before, prepend=0) + 1
    widths[0] += scan.separators
    _check_lengths(scan, np.diff(ends, prepend=scan.row_start - 1))
    if not scan.rows:
        scan.columns, scan.header = int(widths[0]), int(ends[0]) + 1
        _check_columns(scan)
    _check_widths(scan, widths)
    scan.rows += len(ends)
    scan.row_start = int(ends[-1]) + 1
    scan.separators = len(separators) - int(before[-1])


def _check_columns(scan: _Scan) -> None:
    if scan.columns > scan.limits.columns:
        raise scan.refuse(1, None, f"has {scan.columns} columns, the limit is {scan.limits.columns}; keep the rows in an .npz file instead")


def _check_lengths(scan: _Scan, lengths: Array) -> None:
    long = np.flatnonzero(lengths > scan.limits.line)
    if long.size:
        found = int(lengths[long[0]])
        mend = "look for a quote that is not closed, or raise the limit of lines"
        text = f"is at least {found} bytes long, the limit is {scan.limits.line}; {mend}"
        raise scan.refuse(scan.rows + int(long[0]) + 1, None, text)


def _check_widths(scan: _Scan, widths: Array) -> None:
    ragged = np.flatnonzero(widths != scan.columns)
    if not ragged.size:
        return
    width = int(widths[ragged[0]])
    text = f"the row has {width} fields, the header has {scan.columns}; make them equal"
    raise scan.refuse(scan.rows + int(ragged[0]) + 1, min(width, scan.columns) + 1, text)
