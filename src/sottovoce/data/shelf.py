"""Arrays of any length in one memory-mapped file: decoded audio, hidden states, units."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.files import atomic_write, explained, json_object, whole_lines


@final
class Shelf:
    """Arrays by key, each of its own length and all of one row shape, in a folder of two files.

    What was added stays after a crash; `identity` says what the arrays were made of and how, and a folder of another
    identity is begun anew. Reading costs no memory: the system pages in what is used.

    Example:
        >>> shelf = Shelf("cache", identity="audio of 3f2a", row=(), dtype="int16")
        >>> shelf.add({"a": np.zeros(5, "int16")})
        >>> "a" in shelf, shelf["a"].shape
        (True, (5,))
    """

    def __init__(self, folder: str | Path, *, identity: str, row: Sequence[int], dtype: str) -> None:
        self.folder = Path(folder)
        self.row, self.dtype = tuple(row), np.dtype(dtype)
        self._places: dict[str, tuple[int, int]] = {}
        self._rows = 0
        self._map: np.ndarray | None = None
        head = {"identity": identity, "row": list(self.row), "dtype": self.dtype.name}
        kept = self._read_index()
        if kept and kept[0] == head:
            for lengths in kept[1:]:
                self._note(lengths)
        # The machine, not only the process, may have died: then the index can be ahead of the data.
        there = self._data.stat().st_size if self._data.is_file() else -1
        if not kept or kept[0] != head or there < self._rows * self.row_bytes:
            self._places, self._rows = {}, 0
            atomic_write(self._index, json.dumps(head) + "\n")
            atomic_write(self._data, b"")
        self._end = len(whole_lines(self._index))

    @property
    def _index(self) -> Path:
        return self.folder / "index.jsonl"

    @property
    def _data(self) -> Path:
        return self.folder / "rows.bin"

    def _read_index(self) -> list[Any]:
        """The lines of the index: what the arrays are, then lengths by key; nothing of one that is damaged."""
        if not self._index.is_file():
            return []
        try:
            head, *rest = [json_object(line, "the index") for line in whole_lines(self._index).splitlines()]
        except (SottovoceError, ValueError, OSError):
            return []
        right = all(type(length) is int and length >= 0 for lengths in rest for length in lengths.values())
        return [head, *rest] if right else []

    def _note(self, lengths: dict[str, int]) -> None:
        for key, length in lengths.items():
            self._places[key] = (self._rows, self._rows + length)
            self._rows += length

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Take arrays in; they are there even if the process dies now."""
        for key, array in arrays.items():
            if array.shape[1:] != self.row or array.dtype != self.dtype:
                raise SottovoceError(
                    f"'{key}' is {array.dtype} of rows {array.shape[1:]}; {self.dtype} of rows {self.row} is wanted."
                )
        with explained(self._data), open(self._data, "r+b") as file:
            # What a crash left behind the last entry of the index is written over.
            file.seek(self._rows * self.row_bytes)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
            file.truncate()
        lengths = {key: len(array) for key, array in arrays.items()}
        with explained(self._index), open(self._index, "r+b") as file:
            # No wait for the disk after each batch: half a line is left out when it is read again.
            file.seek(self._end)
            self._end += file.write((json.dumps(lengths) + "\n").encode())
            file.truncate()
        self._note(lengths)
        self._map = None

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, key: str) -> np.ndarray:
        begin, end = self._places[key]
        if self._map is None:
            self._map = self._mapped()
        return self._map[begin:end]

    def _mapped(self) -> np.ndarray:
        shape = (self._rows, *self.row)
        if not self._rows:
            return np.zeros(shape, self.dtype)  # an empty file cannot be mapped
        try:
            return np.memmap(self._data, dtype=self.dtype, mode="r", shape=shape)
        except (ValueError, FileNotFoundError):
            what = f"'{self._data}' is gone or shorter than it was"
            raise SottovoceError(f"{what}: something else has changed it meanwhile; start again.") from None

    def lengths(self, keys: Iterable[str]) -> list[int]:
        """How many rows each has."""
        return [self._places[key][1] - self._places[key][0] for key in keys]
