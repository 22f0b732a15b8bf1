import os
import pwd

import pytest

from orchestrator import machine

VERSION_2 = {"proc/self/cgroup": "0::/\n"}
VERSION_1 = {"proc/self/cgroup": "5:cpuset:/\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/x:y\n0::/\n"}


@pytest.fixture(autouse=True)
def _sixty_four_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({**VERSION_2}, 64),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 64),
        ({**VERSION_2, "sys/fs/cgroup/cpu.max": "nonsense\n"}, 64),
        (
            {
                "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
                "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
                "sys/fs/cgroup/slurm/job_7/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/slurm/cpu.max": "800000 100000\n",
            },
            3,
        ),
        (
            {
                **VERSION_1,
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {  # in a container the group's own files lie at the top
                **VERSION_1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                **VERSION_1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_a_quota_of_time_counts_as_fewer_cpus(files, cpus, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cpu_count(tmp_path) == cpus


def test_affinity_alone_counts_too(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    assert machine.cpu_count(tmp_path) == 2


def test_the_user_is_whom_the_process_runs_as_whatever_its_environment_says(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    monkeypatch.setenv("USER", "somebody")
    assert machine.user_name() == pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_user_without_a_name_goes_by_number(alone):
    become = "import os; from orchestrator import machine; os.seteuid(54321)"
    assert alone(f"{become}; print(machine.user_name())") == 54321  # in no passwd file
