"""Real clusters, on this machine: dask's and MPI's. Each starts and stops by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DASK = r"""
import os, sys, threading, time, logging
from pathlib import Path
import numpy as np
from dask.distributed import Client, LocalCluster
from fastgrad import numerical_gradient
from fastgrad.core.call import Call
from fastgrad.core.errors import WorkerError
from fastgrad.executors.executor import Rows, Serial
from fastgrad.executors.table import executor_for
from tests.executors.functions import Meeting

POINTS = Rows(np.random.default_rng(1).normal(size=(60, 3)), (3,))

def evaluated(f, workers):
    return executor_for(Call(f, workers=workers)).evaluate(f, POINTS)

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    client = Client(cluster)
    client.wait_for_workers(2)
    weights = np.arange(3.0)
    f = lambda x: float(np.exp(x) @ weights)
    expected = Serial("").evaluate(f, POINTS).tobytes()
    assert evaluated(f, client).tobytes() == expected
    assert evaluated(f, client.get_executor()).tobytes() == expected
    x = np.linspace(0.0, 1.0, 20)
    g = lambda x: float(np.sum(np.sin(x)))
    gradient, info = numerical_gradient(g, x, workers=client, full_output=True)
    plain, other = numerical_gradient(g, x, backend="python", full_output=True)
    assert gradient.tobytes() == plain.tobytes() and info.nfev == other.nfev and info.way == "executor"

    os.mkdir("dask")
    seen = set(evaluated(Meeting(Path("dask").absolute(), 2), client))
    assert len(seen) == 2 and os.getpid() not in seen

    class Heavy:
        def __init__(self):
            self.data = np.ones(1_000_000)
        def __getstate__(self):
            noted("sent")
            return {"data": self.data}
        def __setstate__(self, state):
            noted("received")
            self.data = state["data"]
        def __call__(self, x):
            return float(x.sum() + self.data[0])

    def noted(what, file=os.path.abspath("notes")):
        with open(file, "a") as notes:
            notes.write(f"{what} {os.getpid()}\n")

    heavy = Heavy()
    executor = executor_for(Call(heavy, workers=client))
    for _ in range(3):
        executor.evaluate(heavy, POINTS)
    with open("notes") as notes:
        lines = notes.read().split("\n")[:-1]
    assert 2 <= len(lines) == len(set(lines)) <= 3, lines  # a worker that is busy elsewhere may get no part of it
    assert lines[0] == f"sent {os.getpid()}", lines

    def failing(x):
        raise StopIteration(7)

    try:
        evaluated(failing, client)
    except StopIteration as error:
        assert error.value == 7 and "in failing" in str(error.__cause__)
    else:
        raise AssertionError("nothing was raised")

    failures = {}
    half = lambda x: f(x) if x[0] > 0.0 else 1 / 0
    values = executor_for(Call(half, workers=client)).evaluate(half, POINTS, None, failures)
    assert sorted(failures) == np.flatnonzero(POINTS.rows[:, 0] <= 0.0).tolist()
    assert sorted(failures) == np.flatnonzero(np.isnan(values)).tolist()
    try:
        numerical_gradient(g, x, workers=client, timeout=1.0)
    except ValueError as error:
        assert "`timeout` cannot be kept by executor" in str(error)
    else:
        raise AssertionError("nothing was raised")

    def slow(x):
        time.sleep(0.03)
        return f(x)

    victim = next(iter(client.run(os.getpid).values()))
    killer = threading.Timer(0.4, os.kill, (victim, 9))
    killer.start()
    assert evaluated(slow, client).tobytes() == expected
    killer.join()
    client.wait_for_workers(2)
    logging.disable(logging.CRITICAL)
    try:
        evaluated(lambda x: os.kill(os.getpid(), 9), client)
    except WorkerError as error:
        assert "`workers` lost point" in str(error) and "KilledWorker" in str(error)
    else:
        raise AssertionError("nothing was raised")
    client.wait_for_workers(2)  # a cluster that is closed while workers start again fails at that
    client.close()
    cluster.close()
    print("all well")
"""

MPI = """
import os
from pathlib import Path
import numpy as np
from mpi4py.futures import MPIPoolExecutor
from fastgrad import numerical_gradient
from fastgrad.core.call import Call
from fastgrad.executors.executor import Rows
from fastgrad.executors.table import executor_for
from tests.executors.functions import Meeting

if __name__ == "__main__":
    x = np.linspace(0.0, 1.0, 20)
    with MPIPoolExecutor() as pool:
        f = lambda x: float(np.sum(np.sin(x)))
        gradient, info = numerical_gradient(f, x, workers=pool, full_output=True)
        plain, other = numerical_gradient(f, x, backend="python", full_output=True)
        assert gradient.tobytes() == plain.tobytes() and info.nfev == other.nfev and info.way == "executor"
        points = Rows(np.ones((400, 3)), (3,))
        os.mkdir("mpi")
        process = Meeting(Path("mpi").absolute(), 2)
        seen = set(executor_for(Call(process, workers=pool)).evaluate(process, points))
        assert len(seen) == 2 and os.getpid() not in seen
    print("all well")
"""


def ran(command: list[str], script: Path, code: str) -> str:
    """Run a script in a session of its own, of which nothing is left."""
    script.write_text(code)
    run = subprocess.Popen(
        [*command, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        return run.communicate(timeout=600.0)[0]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


@pytest.mark.slow
def test_dask(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    said = ran([sys.executable], tmp_path / "script.py", DASK)
    assert said.rstrip().endswith("all well"), said


def test_mpi(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).parent / "mpiexec"
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        pytest.skip("there is no mpiexec")
    said = ran([launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures"], tmp_path / "script.py", MPI)
    if "cannot load MPI library" in said:
        pytest.skip("mpi4py finds no MPI library")
    assert said.rstrip().endswith("all well"), said
