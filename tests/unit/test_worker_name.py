"""Names of worker processes: which process is meant, and whether it has ended."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from tests.support.freeze import freeze

from gristmill.jobs.worker_name import has_ended, host_prefix, worker_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="without /proc nothing is judged")
SAY_IT = "from gristmill.jobs.worker_name import worker_name; print(worker_name(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process, which has said its name and lives until it is killed."""
    command = [sys.executable, "-c", SAY_IT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def name_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestName:
    def test_it_begins_with_host_and_pid(self) -> None:
        assert worker_name().startswith(f"{host_prefix()}{os.getpid()}/")

    def test_a_process_has_one_name(self) -> None:
        assert worker_name() == worker_name()


class TestEnded:
    def test_a_process_that_runs_has_not_ended(self, other: "subprocess.Popen[str]") -> None:
        assert not has_ended(worker_name())
        assert not has_ended(name_of(other))

    def test_a_stopped_one_has_not_ended(self, other: "subprocess.Popen[str]") -> None:
        name = name_of(other)
        freeze(other.pid)
        assert not has_ended(name)

    def test_a_killed_one_has_ended_before_and_after_its_parent_has_noticed(
        self, other: "subprocess.Popen[str]"
    ) -> None:
        name = name_of(other)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE
        assert has_ended(name)
        other.wait()
        assert has_ended(name)

    def test_a_pid_that_is_used_again_is_another_process(self) -> None:
        name, _, start = worker_name().rpartition("-")
        assert has_ended(f"{name}-{int(start) - 1}")

    @pytest.mark.parametrize("part", ["host", "boot", "namespace"])
    def test_what_cannot_be_seen_from_here_is_not_judged(self, part: str) -> None:
        host, _, rest = worker_name().partition(":")
        pid, _, where = rest.partition("/")
        boot, namespace, _ = where.split("-")
        # The start is wrong, so that only the part that differs keeps the name from being judged.
        names = {
            "host": f"{host}x:{pid}/{boot}-{namespace}-1",
            "boot": f"{host}:{pid}/{boot[::-1]}x-{namespace}-1",
            "namespace": f"{host}:{pid}/{boot}-{namespace}0-1",
        }
        assert has_ended(f"{host}:{pid}/{boot}-{namespace}-1")
        assert not has_ended(names[part])

    @pytest.mark.parametrize("name", ["", "host", "host:1", "host:x/a-b-c"])
    def test_a_name_without_an_identity_is_not_judged(self, name: str) -> None:
        assert not has_ended(name)
        assert not has_ended(name.replace("host:", host_prefix()))
