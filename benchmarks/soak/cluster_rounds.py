"""Rounds of faults on a cluster: signals at random times for its processes and for the program, while random jobs run.

Each signal is one round. A session is one program with several rounds; afterwards what it has printed is compared with
what its jobs have left in their files:

* each job has ended once, with what it may end with, and has started no more often than it was allowed to;
* no job ran at an instant after it was told to have ended;
* after the program, nothing of it runs on beyond the stated time;
* when it is calm again, jobs run as if nothing had been.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.cluster.processes import ROOT, DaskCluster
from tests.waiting import until

from . import cluster_jobs as jobs
from .cluster_acts import ACTS, WORKERS, Act, Victims
from .cluster_program import GRACE, LEASE, START_TIMEOUT

LOOPS = ("asyncio", "trio", "uvloop")
ROUNDS = 10
"""Signals in one session, at most."""
MARGIN = 3.0
"""Seconds more than the stated time; the machine is busy."""
STATED = LEASE + max(GRACE, 1.0) + MARGIN
PATIENCE = 120.0
"""Seconds that a program may take to end after the last signal."""
LOST = {"NodeLost", "WorkerCrashed"}


def run(rounds: int, seed: int) -> tuple[str, list[str]]:
    """Run sessions until there were `rounds` signals; returns a summary, and what went wrong."""
    done: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    faults: list[str] = []
    number, cluster = 0, DaskCluster(WORKERS)
    try:
        while sum(done.values()) < rounds:
            session = Session(cluster, f"{seed}/{number}", min(ROUNDS, rounds - sum(done.values())))
            session.run()
            number += 1
            done += session.done
            ends += session.ends
            faults += session.faults
            print(
                f"session {number:>3}  {sum(done.values()):>5} signals  {len(session.jobs):>4} jobs  "
                f"{'OK' if not session.faults else f'{len(session.faults)} FAULTS'}",
                flush=True,
            )
            for fault in session.faults:
                print(f"VIOLATION: session {seed}/{number - 1}: {fault}", flush=True)
            if session.faults:
                print("\n".join(f"  {at:.3f} {act}" for at, act in session.acts), flush=True)
            if session.broken:
                cluster.close()
                cluster = DaskCluster(WORKERS)
    finally:
        cluster.close()
    signals = ", ".join(f"{name} {n}" for name, n in sorted(done.items()))
    outcomes = ", ".join(f"{name} {n:,}" for name, n in ends.most_common())
    return f"{sum(done.values())} signals in {number} sessions: {signals}\njobs: {outcomes}", faults


class Session:
    """One program, and the signals while it runs.

    Attributes:
        done: how often each act was done.
        acts: what was done when.
        ends: how jobs ended.
        jobs: what the program printed when it spawned them, by name.
        faults: what went wrong.
        broken: the cluster is of no more use.
    """

    def __init__(self, cluster: DaskCluster, seed: str, rounds: int) -> None:
        self.done: Counter[str] = Counter()
        self.acts: list[tuple[float, Act]] = []
        self.ends: Counter[str] = Counter()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.faults: list[str] = []
        self.broken = False
        self._cluster = cluster
        self._seed = seed
        self._rounds = rounds
        self._rng = random.Random(seed)
        self._killed_at: float | None = None

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="rounds-") as folder:
            printed = Path(folder, "printed")
            self._run(folder, printed)
            self._check(folder, printed)

    def _run(self, folder: str, printed: Path) -> None:
        module = [sys.executable, "-m", "benchmarks.soak.cluster_program"]
        arguments = [self._cluster.address, folder, self._seed, self._rng.choice(LOOPS)]
        self._cluster.wait_until_up()
        with open(printed, "wb") as out, open(Path(folder, "errors"), "wb") as errors:
            program = subprocess.Popen(module + arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=errors)
        victims = Victims(self._cluster, program.pid, self._rng)
        assert program.stdin is not None
        try:
            if not until(lambda: b"ended" in printed.read_bytes() or program.poll() is not None, PATIENCE):
                self.faults.append("no job has ended before the first signal")
            self._disturb(victims, program)
            program.stdin.close()
            if program.poll() is None and not until(lambda: program.poll() is not None, PATIENCE):
                self._hangs(program)
        finally:
            program.kill()
            program.wait()
            victims.resume()
        if program.returncode and self._killed_at is None:
            errors_text = Path(folder, "errors").read_text(errors="replace")
            self.faults.append(f"the program exited with {program.returncode}: {errors_text[-3000:]}")
        self._check_left(victims)

    def _disturb(self, victims: Victims, program: subprocess.Popen[bytes]) -> None:
        for _ in range(self._rounds):
            self._wait(victims, self._rng.random() * 1.0)
            act = self._rng.choices(ACTS, [act.weight for act in ACTS])[0]
            if program.poll() is not None or not victims.do(act):
                continue
            self.done[str(act)] += 1
            self.acts.append((time.monotonic(), act))
            if act.last:
                self._end_of(act, victims, program)
                return
        while victims.pending():
            self._wait(victims, 0.05)
        victims.resume()

    def _wait(self, victims: Victims, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            victims.follow()
            time.sleep(0.01)

    def _end_of(self, act: Act, victims: Victims, program: subprocess.Popen[bytes]) -> None:
        """The program is gone, or what connects it with its nodes."""
        if act.victim == "program":
            self._killed_at = time.monotonic()
            if act.then is None:
                program.wait()
            else:  # its jobs end while it is stopped
                time.sleep(STATED)
                program.kill()
        else:
            self.broken = True
            self._wait(victims, START_TIMEOUT / 4)
            victims.resume()

    def _hangs(self, program: subprocess.Popen[bytes]) -> None:
        stacks = subprocess.run(["py-spy", "dump", "--pid", str(program.pid)], capture_output=True, text=True).stdout
        tree = [sys.executable, "-m", "unified_exec", "tree", str(program.pid)]
        shown = subprocess.run(tree, capture_output=True, text=True).stdout
        self.faults.append(f"it hangs\n{shown}\n{stacks}")
        self._killed_at = time.monotonic()

    # -- checks

    def _check_left(self, victims: Victims) -> None:
        """Nothing of the program runs on: the workers of its jobs have exited."""
        if not until(lambda: not victims.find("inner worker"), STATED + 10):
            left = [process.pid for process in victims.find("inner worker")]
            self.faults.append(f"workers are left: {left}")

    def _check(self, folder: str, printed: Path) -> None:
        ended: dict[str, dict[str, Any]] = {}
        for line in printed.read_text().splitlines():
            if not line.endswith("}"):
                continue  # it was killed
            facts = json.loads(line)
            if "spawned" in facts:
                self.jobs[facts["spawned"]] = facts
            elif "ended" in facts:
                if facts["ended"] in ended:
                    self.faults.append(f"{facts['ended']} has ended twice")
                ended[facts["ended"]] = facts
        for name, job in self.jobs.items():
            starts, last = jobs.starts_of(folder, name), jobs.last_beat_of(folder, name)
            if starts > job.get("tries", 1):
                self.faults.append(f"{name} has started {starts} times")
            if name in ended:
                self._check_end(job, ended[name], last)
            elif self._killed_at is None:
                self.faults.append(f"{name} has not ended")
            elif last > self._killed_at + STATED:
                self.faults.append(f"{name} ran {last - self._killed_at:.3f} s after the program was gone")

    def _check_end(self, job: dict[str, Any], end: dict[str, Any], last: float) -> None:
        name, how = job["spawned"], end["how"]
        self.ends[how or "value"] += 1
        if last > end["at"]:
            self.faults.append(
                f"{name} ran {last - end['at']:.3f} s after it was told to have ended with {how} at {end['at']:.3f}"
            )
        allowed = {None, "TaskTimeout", *LOST}
        if job.get("cancelled"):
            allowed.add("Cancelled")
        if job["kind"] == "failing":
            allowed = (allowed - {None}) | {"ValueError"}
        if job.get("calm") and not self.broken:
            allowed = {None}
        if self.broken:
            allowed.add("WorkerStartError")
        expected = {"stream": "right", "map": "right", "big": 3 << 20}.get(job["kind"], name)
        if how not in allowed or (how is None and end["value"] != expected):
            self.faults.append(f"{name} ended with {how} {end['value']!r} {end['text']}: {job}")
