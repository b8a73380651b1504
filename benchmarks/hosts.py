"""Several hosts on one machine: one process of Legate on each, and the bytes that each receives.

Each host is a network namespace with a name of its own. A pair of virtual Ethernet devices joins it to a bridge, which
has a namespace for itself. Nothing but these wires leads from one host to another: UCX gets TCP alone. The bytes are
those that the kernel of Linux counts on a host's wire, headers of TCP included.

A script that measures this way calls :func:`main`. It is started once more by mpirun on every host, where
``--process FOLDER`` tells it to measure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from measuring import about_this_machine
from xpdispatch import synchronize
from xpdispatch.machine.packages import version_of
from xpdispatch.testing import forced_tiles

WIRE = "wire"  # the device in each host's namespace
NETWORK = "198.18.0"  # addresses that are kept for measurements, by RFC 2544
PATIENCE = 600  # seconds that one process waits for the others
NEEDED = {"ip": "iproute2", "unshare": "util-linux", "mpirun": "--no-install-recommends openmpi-bin libopenmpi-dev"}

# -- in each of the processes -----------------------------------------------------------------------------------


class Meter:
    """Counts what crosses a host's wire, between waits of all processes for each other that send nothing on it.

    Those go by files, which the hosts share.
    """

    def __init__(self, folder: Path, rank: int, count: int) -> None:
        self.folder, self.rank, self.count, self.meetings = folder, rank, count, 0

    def meet(self) -> None:
        """Wait until all other processes are here too."""
        self.meetings += 1
        (self.folder / f"{self.meetings}.{self.rank}").touch()
        until = time.monotonic() + PATIENCE
        for rank in range(self.count):
            while not (self.folder / f"{self.meetings}.{rank}").exists():
                if time.monotonic() > until:
                    raise TimeoutError(f"process {rank} did not come to meeting {self.meetings} in {PATIENCE} seconds")
                time.sleep(0.001)

    def read(self) -> dict[str, int]:
        """Bytes received and sent up to now."""
        self.meet()
        counters = Path("/sys/class/net", WIRE, "statistics")
        found = {what: int((counters / f"{name}_bytes").read_text()) for what, name in (("in", "rx"), ("out", "tx"))}
        self.meet()
        return found

    def bytes_of(self, call: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
        """What a call returns, and the bytes received and sent from its beginning to the end of all its tasks.

        What processes tell one another when they synchronize, of failures and of the tiles noted, is not in it.
        """
        from legate.core import get_legate_runtime

        synchronize()
        before = self.read()
        result = call()
        get_legate_runtime().issue_execution_fence(block=True)
        after = self.read()
        synchronize()
        return result, {way: after[way] - before[way] for way in after}


def seconds_of(call: Callable[[], Any]) -> float:
    """What a call takes until all of its tasks have ended, from a moment at which no process has anything to do."""
    from legate.core import get_legate_runtime

    synchronize()
    get_legate_runtime().issue_execution_fence(block=True)
    start = time.perf_counter()
    call()
    get_legate_runtime().issue_execution_fence(block=True)
    return time.perf_counter() - start


Measure = Callable[[Meter, list[Any]], dict[str, Any]]
"""What is done in each process, given what counts bytes and a list of the tiles that Legate makes: what was found."""


def filled(xp: Any, *shape: int, dtype: str = "f8", below: int = 13) -> Any:
    """Small whole numbers that follow from an element's place: sums and products of them are exact."""
    places = (xp.arange(n).reshape([-1 if a == axis else 1 for a in range(len(shape))]) for axis, n in enumerate(shape))
    return (sum(n * (48271 + 2 * axis) for axis, n in enumerate(places)) % below).astype(dtype)


def write_anew(arguments: tuple[Any, ...]) -> None:
    """Let arrays be written by operations over whole arrays, as an explanation takes it that they were."""
    for array in arguments:
        if hasattr(array, "shape"):
            array[...] = array + 1


def is_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    """Whether two results differ by no more than floats' rounding."""
    rounding = np.finfo(found.dtype).eps if found.dtype.kind in "fc" else 0
    return found.shape == expected.shape and bool(abs(found - expected).max() <= 100 * rounding * abs(expected).max())


def check_network(count: int) -> None:
    """Refuse a Legate that runs each process for itself: nothing would cross, and all results be right."""
    from legate.core import get_legate_runtime

    nodes = get_legate_runtime().node_count
    if nodes != count:
        raise RuntimeError(f"Legate {version_of('legate')} sees {nodes} process instead of {count}: it needs UCX")


def in_process(folder: Path, measure: Measure) -> None:
    """Measure, and write what was found to a file."""
    rank, count = (int(os.environ[f"OMPI_COMM_WORLD_{name}"]) for name in ("RANK", "SIZE"))
    # Each polls the network without pause. On one core two would take turns, ten times slower. And one process has one,
    # as each of several has.
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= count:
        os.sched_setaffinity(0, cores[rank : rank + 1])
    try:
        check_network(count)
        with forced_tiles(1) as tiles:
            found = measure(Meter(folder, rank, count), tiles)
        (folder / f"{rank}.json").write_text(json.dumps(found))
    except BaseException:  # noqa: BLE001
        # The end of a process waits for the others, which wait for this: end now.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


# -- around them ------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    """What a command prints; the end of this program, with what it complained of, where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stderr}")
    return done.stdout


@contextmanager
def network(count: int) -> Iterator[str]:
    """So many hosts, named by what is given and their numbers from 1; at the end they and all in them are gone."""
    prefix = f"xpdispatch-{os.getpid()}-"
    switch = f"{prefix}switch"
    with ExitStack() as stack:
        for name in (switch, *(f"{prefix}{n}" for n in range(1, count + 1))):
            run("ip", "netns", "add", name)
            stack.callback(remove, name)
        run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "bridge", "up")
        for n in range(1, count + 1):
            host, port = f"{prefix}{n}", f"port{n}"
            run("ip", "link", "add", WIRE, "netns", host, "type", "veth", "peer", "name", port, "netns", switch)
            run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
            run("ip", "-n", host, "address", "add", f"{NETWORK}.{n}/24", "dev", WIRE)
            for device in (WIRE, "lo"):
                run("ip", "-n", host, "link", "set", device, "up")
        yield prefix


def remove(host: str) -> None:
    """End what still runs on a host, and delete it."""
    for process in run("ip", "netns", "pids", host).split():
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended by itself
    run("ip", "netns", "delete", host)


INSIDE = 'ip netns exec "$host" unshare --uts sh -c \'echo "$0" > /proc/sys/kernel/hostname; {}\' "$host" "$@"'
"""A line of the shell that runs another on a host, with this one's arguments."""


def on_hosts(count: int, script: str) -> list[dict[str, Any]]:
    """Run a script in one process on each of so many hosts: what each of them wrote."""
    with tempfile.TemporaryDirectory() as name, network(count) as prefix:
        folder = Path(name)
        # mpirun starts its daemons on other hosts by this in the place of ssh: with an address, and a line for a shell.
        agent = folder / "agent"
        start_there, start_here = (INSIDE.format(line) for line in ('eval "$*"', 'exec "$@"'))
        agent.write_text(f"#!/bin/sh\nhost={prefix}${{1##*.}}\nshift\nexec {start_there}\n")
        agent.chmod(0o700)
        settings = {
            "LEGATE_CONFIG": "--cpus 1 --gpus 0 --sysmem 3000",
            "LEGATE_MIN_CPU_CHUNK": "1",  # without it Legate before 26.3 makes one tile of a batch of 64
            "REALM_DEFAULT_ARGS": "-ll:bgwork 1",
            "UCX_TLS": "tcp,self",
            "UCX_NET_DEVICES": WIRE,  # through lo they would not find each other
            "UCX_WARN_UNUSED_ENV_VARS": "n",
            "UCX_LOG_LEVEL": "error",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMPI_MCA_mpi_warn_on_fork": "0",
            "OMPI_MCA_plm_rsh_agent": str(agent),
            "OMPI_MCA_btl_tcp_if_include": f"{NETWORK}.0/24",
            "OMPI_MCA_oob_tcp_if_include": f"{NETWORK}.0/24",
        }
        places = ",".join(f"{NETWORK}.{n}:1" for n in range(1, count + 1))
        mpirun = ["mpirun", "--host", places, "-n", str(count), "--bind-to", "none"]
        command = [*mpirun, sys.executable, str(Path(script).resolve()), "--process", name]
        words = ["sh", "-c", f"host={prefix}1; exec {start_here}", "sh", *command]
        done = subprocess.run(words, env=os.environ | settings, check=False, timeout=3 * PATIENCE)
        if done.returncode:
            sys.exit(f"mpirun ended with status {done.returncode}")
        return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def about() -> dict[str, Any]:
    """When, where and with what it is measured."""
    found = about_this_machine()
    mpi = re.search(r"[\d.]+", run("mpirun", "--version"))
    ucx = version_of("libucx-cu12") or version_of("libucx-cu13")
    found["versions"] |= {"xpdispatch": version_of("xpdispatch"), "UCX": ucx, "Open MPI": mpi.group() if mpi else ""}
    return found | {"Linux": os.uname().release, "hosts": "network namespaces, one process of one CPU in each"}


def main(
    doc: str | None,
    script: str,
    measure: Measure,
    gather: Callable[[Callable[[int], list[dict[str, Any]]]], dict[str, Any]],
) -> None:
    """Measure on hosts, show what was found, and write it to a file.

    Parameters
    ----------
    doc : str
        For ``--help``.
    script : str
        The file that calls this.
    measure : callable
    gather : callable
        Is given a function that measures on a number of hosts, and gives what each process found. It shows the figures
        and returns them; the program ends with status 1 where a row of ``rows`` is not right.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)  # one of several, and the folder they share
    args = parser.parse_args()
    if args.process:
        in_process(args.process, measure)
        return
    for command, package in NEEDED.items():
        if not shutil.which(command):
            sys.exit(f"there is no command {command!r} here: apt-get install {package}")
    if os.geteuid():
        sys.exit("only root may make network namespaces: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that the namespaces go
    found = gather(lambda count: on_hosts(count, script))
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about(), **found}, indent=1) + "\n")
    if not all(row.get("right", True) for row in found["rows"]):
        sys.exit(1)
