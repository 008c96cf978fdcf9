"""How many cores: read from control groups that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from unified_exec._platform import cpu_count


class Groups:
    def __init__(self, path: Path) -> None:
        self.root = path / "cgroup"
        self.own = path / "self"
        self.root.mkdir()
        self.own.write_text("0::/\n")

    def write(self, folder: str, **files: str) -> None:
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name.replace("__", ".")).write_text(text)

    def quota(self) -> float | None:
        return cpu_count.cgroup_quota(str(self.root), str(self.own))


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_version_2(groups: Groups) -> None:
    assert groups.quota() is None
    groups.write(".", cpu__max="max 100000\n")
    assert groups.quota() is None
    groups.write(".", cpu__max="150000 100000\n")
    assert groups.quota() == 1.5


def test_the_least_of_all_groups_up_to_the_root_counts(groups: Groups) -> None:
    groups.own.write_text("0::/outer/inner\n")
    groups.write("outer", cpu__max="200000 100000\n")
    groups.write("outer/inner", cpu__max="max 100000\n")
    assert groups.quota() == 2.0
    groups.write("outer/inner", cpu__max="50000 100000\n")
    assert groups.quota() == 0.5
    groups.write(".", cpu__max="25000 100000\n")
    assert groups.quota() == 0.25


def test_version_1(groups: Groups) -> None:
    groups.own.write_text("4:memory:/elsewhere\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n")
    groups.write("cpu,cpuacct/docker/x", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert groups.quota() is None
    groups.write("cpu,cpuacct/docker/x", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert groups.quota() == 3.0
    groups.write("cpu", cpu__cfs_quota_us="100000\n", cpu__cfs_period_us="100000\n")
    assert groups.quota() == 1.0


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "a b", "100000 0", "1 2 3", "-1 100000"])
def test_nonsense_is_no_limit(groups: Groups, text: str) -> None:
    groups.write(".", cpu__max=text)
    groups.own.write_text("nonsense\n\n:::\n")
    assert groups.quota() is None


def test_missing_files_are_no_limit(tmp_path: Path) -> None:
    assert cpu_count.cgroup_quota(str(tmp_path / "none"), str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("affinity", "quota", "share", "cores"),
    [
        (8, None, "", 8),
        (8, 1.5, "", 2),
        (8, 0.1, "", 1),
        (2, 16.0, "", 2),
        (8, 2.0, "3", 3),
        (2, None, "3", 2),
        (8, None, "0", 8),
        (8, None, "many", 8),
    ],
)
def test_the_least_of_affinity_quota_and_share_counts(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, share: str, cores: int
) -> None:
    monkeypatch.setattr(cpu_count, "affinity", lambda: affinity)
    monkeypatch.setattr(cpu_count, "cgroup_quota", lambda: quota)
    monkeypatch.setenv(cpu_count.CORES_VARIABLE, share)
    assert cpu_count.cpu_count() == cores


def test_this_machine_has_a_core() -> None:
    assert 1 <= cpu_count.cpu_count() <= cpu_count.affinity()


@pytest.mark.parametrize(("workers", "cores", "share"), [(2, 8, "4"), (8, 8, "1"), (16, 8, "1"), (0, 8, "8")])
def test_workers_share_the_cores(workers: int, cores: int, share: str) -> None:
    wanted = cpu_count.worker_environment({}, workers, cores)
    shares = dict.fromkeys([*cpu_count.THREAD_VARIABLES, cpu_count.CORES_VARIABLE], share)
    assert wanted == shares | cpu_count.MEMORY_VARIABLES


def test_what_the_user_has_set_stays() -> None:
    wanted = cpu_count.worker_environment({"OMP_NUM_THREADS": "3"}, 2, 8)
    assert "OMP_NUM_THREADS" not in wanted
    assert wanted["MKL_NUM_THREADS"] == "4"


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_who_tunes_the_memory_allocator_has_all_of_it_as_it_was(name: str) -> None:
    assert not cpu_count.MEMORY_VARIABLES.keys() & cpu_count.worker_environment({name: "1"}, 2, 8).keys()
