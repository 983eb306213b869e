"""The workers of a pool, as many as are wished for: the scheduler reads the wish, the pool starts and retires them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from workers.processes.keeper import Keeper, Kept

_NUMBER = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a pool; the lowest stage is stopped first."""

    label: str
    run: Callable[[], int]
    stage: int = 0


class Crew:
    """A pipe from the scheduler to the pool that forked it: the pool itself touches no SQL, for the sake of its forks."""

    def __init__(self, worker: Callable[[int], Member]) -> None:
        self._worker = worker  # describes the worker with this number
        self._kept: dict[int, Kept] = {}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    def tell(self, workers: int) -> None:
        """Say how many there shall be; the scheduler's side."""
        os.write(self._writing, _NUMBER.pack(workers))

    def join(self, keeper: Keeper, keep: Callable[[Member], Kept], workers: int) -> None:
        """Give the keeper its first workers, and others as they are wished for."""
        self._keeper, self._keep = keeper, keep
        self._resize(workers)
        keeper.listen(self._reading, self._hear)

    def _hear(self) -> None:
        told = os.read(self._reading, 64 * _NUMBER.size)
        self._resize(_NUMBER.unpack(told[-_NUMBER.size :])[0])

    def _resize(self, workers: int) -> None:
        children = self._keeper.children
        self._kept = {number: one for number, one in self._kept.items() if one in children}
        staying = sorted(number for number, one in self._kept.items() if not one.is_retiring)
        for number in staying[workers:]:
            self._keeper.retire(self._kept[number])
        free = (number for number in range(1, 10_000) if number not in self._kept)
        for number in [next(free) for _ in range(workers - len(staying))]:
            self._kept[number] = self._keep(self._worker(number))
            children.append(self._kept[number])
