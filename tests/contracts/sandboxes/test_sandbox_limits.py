"""The contract of ports/sandbox.py, with real sandboxes: limits, each really hit."""

import signal
from pathlib import Path

import pytest
from sandboxing import CGROUP, Spec, limits, needs_cgroup, python, run

from ringfence.domain.errors import ControlMissing
from ringfence.ports.sandbox import Sandboxes


def test_time_ends_a_command(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("trap '' TERM; while :; do sleep 0.05; done", timeout=0.5))
    assert (outcome.exit_code, outcome.stopped) == (None, "timeout")
    assert 0.5 <= outcome.seconds < 1.5


def test_memory_ends_a_command(sandboxes: Sandboxes, spec: Spec) -> None:
    program = "b = []\nwhile True: b.append(bytearray(b'x' * (1 << 20)))"
    outcome = run(sandboxes, spec("", argv=python(program), limits=limits(memory="64MiB")))
    assert (outcome.exit_code, outcome.stopped) == (None, "memory")


@needs_cgroup
def test_memory_of_a_child_counts_too(sandboxes: Sandboxes, spec: Spec) -> None:
    program = "python3 -I -S -c 'b = bytearray(b\"x\" * (200 << 20))'; echo survived; sleep 20"
    outcome = run(sandboxes, spec(program, limits=limits(memory="64MiB")))
    assert outcome.stopped == "memory"
    assert outcome.seconds < 10


def test_output_ends_a_command_and_is_cut(sandboxes: Sandboxes, spec: Spec) -> None:
    seen = bytearray()
    outcome = run(sandboxes, spec("yes"), output=seen.extend)
    assert (outcome.exit_code, outcome.stopped) == (None, "output")
    assert len(outcome.output) == 64 << 10
    assert outcome.output_bytes > 64 << 10
    assert bytes(seen) == outcome.output


def test_disk_ends_a_command(sandboxes: Sandboxes, spec: Spec) -> None:
    script = "i=0; while :; do i=$((i+1)); head -c 4000000 /dev/zero > d$i; sleep 0.05; done"
    outcome = run(sandboxes, spec(script))
    assert (outcome.exit_code, outcome.stopped) == (None, "disk")


def test_disk_is_measured_after_a_quick_command_too(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("for i in 1 2; do head -c 30000000 /dev/zero > d$i; done"))
    assert (outcome.exit_code, outcome.stopped) == (None, "disk")


def test_processes_end_a_command(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("for i in $(seq 60); do sleep 5 & done; wait", limits=limits(processes=20)))
    assert (outcome.exit_code, outcome.stopped) == (None, "processes")
    assert outcome.seconds < 4


def test_one_file_has_a_size_limit(sandboxes: Sandboxes, spec: Spec, tree: Path) -> None:
    outcome = run(sandboxes, spec("exec head -c 40000000 /dev/zero > big", limits=limits(disk="1GiB")))
    assert outcome.exit_code == 128 + signal.SIGXFSZ
    assert (tree / "big").stat().st_size == 32 << 20


def test_one_process_has_a_cpu_limit(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("while :; do :; done", limits=limits(cpu_time="1s")))
    assert outcome.exit_code == 128 + signal.SIGXCPU
    assert outcome.cpu_seconds > 0.8


def test_temporary_files_have_a_size(sandboxes: Sandboxes, spec: Spec) -> None:
    script = "for d in /tmp /home/agent /dev/shm; do head -c 20000000 /dev/zero > $d/x; stat -c %s $d/x; done"
    outcome = run(sandboxes, spec(script))
    assert outcome.output.count(b"No space left") == 3
    assert outcome.output.decode().splitlines()[1::2] == [str(16 << 20)] * 3


@needs_cgroup
def test_processor_time_is_shared_out(sandboxes: Sandboxes, spec: Spec) -> None:
    outcome = run(sandboxes, spec("while :; do :; done", timeout=1.5, limits=limits(cpus=0.2)))
    assert 0.05 < outcome.cpu_seconds / outcome.seconds < 0.35


@pytest.mark.skipif(CGROUP, reason="a control group can be made here")
def test_a_control_group_that_is_required_and_missing_is_refused(sandboxes: Sandboxes, spec: Spec) -> None:
    with pytest.raises(ControlMissing) as refusal, sandboxes.hold(spec("true", limits=limits(cgroup="required"))):
        pass
    assert refusal.value.mend
