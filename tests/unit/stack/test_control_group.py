"""CPU and memory of a control group: the files of both versions of the kernel's interface."""

import os

import pytest

from costlab.stack import control_group

ID = "1f2e"
FILES = {
    "version 1": {
        "cpuacct/docker/1f2e/cpuacct.usage": "2500000000\n",
        "memory/docker/1f2e/memory.usage_in_bytes": "90000\n",
        "memory/docker/1f2e/memory.stat": "cache 50000\ntotal_inactive_file 20000\n",
    },
    "version 2": {
        "system.slice/docker-1f2e.scope/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
        "system.slice/docker-1f2e.scope/memory.current": "90000\n",
        "system.slice/docker-1f2e.scope/memory.stat": "anon 70000\ninactive_file 20000\n",
    },
}
GROUPS = {
    "version 1": "9:memory:/docker/1f2e\n3:cpu,cpuacct:/docker/1f2e\n0::/\n",
    "version 2": "0::/system.slice/docker-1f2e.scope\n",
}


@pytest.fixture(params=sorted(FILES))
def process(request, tmp_path, monkeypatch):
    """A process in the control group of container 1f2e."""
    for name, text in FILES[request.param].items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text(GROUPS[request.param])
    monkeypatch.setattr(control_group, "MOUNT", tmp_path / "mount")
    monkeypatch.setattr(control_group, "PROCESSES", tmp_path / "proc")
    return 7


def test_memory_is_what_is_used_less_the_file_cache_that_could_be_dropped(process):
    assert control_group.cpu_seconds_and_memory(process, ID) == (2.5, 70000)


def test_a_process_of_another_container_is_not_mistaken_for_it(process):
    assert control_group.cpu_seconds_and_memory(process, "ffff") is None


def test_nothing_is_said_about_a_process_that_is_gone():
    assert control_group.cpu_seconds_and_memory(2**22 + 1, ID) is None
    assert control_group.cpu_seconds_and_memory(os.getpid(), ID) is None
