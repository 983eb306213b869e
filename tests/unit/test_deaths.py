"""How the death of a process is put into words: out of memory is said only where there is evidence."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from workers.processes import deaths
from workers.processes.deaths import MemoryWatch, death_words

MB = 1_048_576


class Machine:
    """Files as the kernel has them, for a process in a control group of either version or in none."""

    def __init__(self, folder: Path, version: int) -> None:
        self.membership, self.groups, self.host = folder / "cgroup", folder / "groups", folder / "vmstat"
        self._version = version
        inner = self.groups / ("memory" if version == 1 else "") / "yard"
        inner.mkdir(parents=True)
        self._events = inner / ("memory.oom_control" if version == 1 else "memory.events")
        self._limit = inner / ("memory.limit_in_bytes" if version == 1 else "memory.max")
        self._usage = inner / ("memory.usage_in_bytes" if version == 1 else "memory.current")
        lines = {0: "1:cpu:/\n", 1: "9:cpu,cpuacct:/\n4:memory:/yard\n", 2: "0::/yard\n"}
        self.membership.write_text(lines[version])
        self.kill_count(0)
        self.use(10, 100)

    def kill_count(self, count: int) -> None:
        if self._version:
            self._events.write_text(f"low 0\noom_kill_disable 0\noom {count}\noom_kill {count}\n")
            self.host.write_text("nr_free_pages 5\noom_kill 7\n")
        else:
            self.host.write_text(f"nr_free_pages 5\noom_kill {count}\n")

    def use(self, usage: int, limit: int | str) -> None:
        if self._version:
            self._usage.write_text(f"{usage}\n")
            self._limit.write_text(f"{limit}\n")

    def watch(self) -> MemoryWatch:
        return MemoryWatch(self.membership, self.groups, self.host)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look each time, and take no notice of how full the machine of the test is."""
    monkeypatch.setattr(deaths, "LOOK_SECONDS", 0.0)
    memory = psutil.virtual_memory()._replace(total=100, available=50)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.fixture(params=[0, 1, 2], ids=["no group", "version 1", "version 2"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


def test_a_kill_that_the_kernel_counted_is_out_of_memory_once(machine: Machine) -> None:
    watch = machine.watch()
    watch.look()
    machine.kill_count(1)
    assert watch.has_run_out()
    assert not watch.has_run_out()


def test_a_kill_that_was_counted_before_the_process_was_gone_is_recognized(machine: Machine) -> None:
    watch = machine.watch()
    watch.look()
    machine.kill_count(1)
    watch.look()
    assert watch.has_run_out()


def test_an_earlier_kill_says_nothing_about_this_one(machine: Machine) -> None:
    watch = machine.watch()
    machine.kill_count(1)
    for _ in range(2):
        watch.look()
    assert not watch.has_run_out()


@pytest.mark.parametrize(("usage", "limit", "is_full"), [(96, 100, True), (90, 100, False), (96, "max", False)])
def test_memory_near_the_limit_of_the_group_counts(tmp_path: Path, usage: int, limit: int | str, is_full: bool) -> None:
    machine = Machine(tmp_path, 2)
    machine.use(usage, limit)
    watch = machine.watch()
    watch.look()
    assert watch.has_run_out() is is_full


def test_a_full_host_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()._replace(total=100, available=4)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    watch = machine.watch()
    watch.look()
    assert watch.has_run_out()


def test_a_system_that_says_nothing_is_no_evidence(tmp_path: Path) -> None:
    watch = MemoryWatch(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    watch.look()
    assert not watch.has_run_out()


def _status(how: str) -> int:
    pid = os.fork()
    if pid == 0:
        if how.startswith("SIG"):
            signal.signal(signal.Signals[how], signal.SIG_DFL) if how != "SIGKILL" else None
            os.kill(os.getpid(), signal.Signals[how])
        os._exit(int(how.removeprefix("exit ")))
    return os.waitpid(pid, 0)[1]


@pytest.mark.parametrize(
    ("how", "is_out_of_memory", "words"),
    [
        ("SIGKILL", True, "was killed by SIGKILL at 412 MB, probably out of memory"),
        ("SIGKILL", False, "was killed by SIGKILL"),
        ("SIGTERM", True, "was killed by SIGTERM"),
        ("exit 3", False, "exited with status 3"),
        ("exit 137", True, "exited with status 137"),
    ],
)
def test_a_death_is_named_without_guessing(how: str, is_out_of_memory: bool, words: str) -> None:
    assert death_words(_status(how), 412 * MB, is_out_of_memory=is_out_of_memory) == words
