"""Two hosts on one machine: the bytes that cross between two processes of Legate, beside those that explain foretells.

    python benchmarks/two_hosts.py [--json FILE]

It needs root on Linux, iproute2, Open MPI 4, and a Legate with UCX; the wheels of Legate 26.1 have it. Each host is a
network namespace with a name of its own, and a pair of virtual Ethernet devices joins the two. Nothing but this wire
leads from one to the other: UCX gets TCP alone. Each host has one process with one CPU, on cores of its own where there
are two. The bytes are those that the kernel of Linux counts on the wire, headers of TCP included.

A program is called once to set things up. Then its operands are written anew, by Legate and over whole arrays, which is
what an explanation takes for granted, and the call is measured between two waits. It is measured again without writing
them: Legion keeps what it has brought to a host, so that nothing is to be brought twice. Partial results are sent when
somebody reads their sum, which has a line of its own. Each process compares its results with NumPy's, and the tiles
that it made with those foretold. The status is 1 where a result is wrong.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from table import about_this_machine
from xpdispatch import Kernel, array_module, kernel, synchronize
from xpdispatch.machine.packages import version_of
from xpdispatch.testing import forced_tiles

WIRE = "wire"  # the device, in both namespaces
NETWORK = "198.18.0.0/24"  # addresses that are kept for measurements, by RFC 2544
ADDRESSES = ("198.18.0.1", "198.18.0.2")
PATIENCE = 600  # seconds that one process waits for the other
MESSAGES = 200_000
"""Bytes besides elements that Legion may send for a call: 4,000 to 20,000; up to 125,000 after arrays were dropped."""
NEEDED = {"ip": "iproute2", "unshare": "util-linux", "mpirun": "--no-install-recommends openmpi-bin libopenmpi-dev"}

# -- the programs -----------------------------------------------------------------------------------------------


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


@kernel("data[i] -> sum hist[:bins]")
def histogram(xp, data, bins):
    borders = xp.searchsorted(xp.sort(data), xp.arange(bins + 1))
    return borders[1:] - borders[:-1]


@kernel("u[i-1..i+1] -> v[i]", boundary="edge")
def stencil_of_line(xp, u):
    return u[:-2] + u[1:-1] + u[2:]


@kernel("u[i-16..i+16, j] -> v[i, j]", boundary="edge")
def stencil(xp, u):
    return u[:-32] + u[16:-16] + u[32:]


@kernel("a[m,k], b[k,n] -> sum c[m,n]")
def matmul(xp, a, b):
    return a @ b


@kernel("src[b, :, :] -> dst[b, :, :]")
def fft2(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


# The solution is zero on the boundary, one step outside of the grid.
@kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> v[i, j]", boundary={"u": 0.0})
def sweep(xp, u, f):
    return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + f) / 4


SWEEPS = 20


def jacobi(u: Any, f: Any) -> Any:
    buffers = [array_module().zeros_like(u) for _ in range(2)]
    for n in range(SWEEPS):
        u = sweep(u, f, out=buffers[n % 2])
    return u


def filled(xp: Any, *shape: int, dtype: str = "f8", below: int = 13) -> Any:
    """Small whole numbers that follow from an element's place: sums and products of them are exact."""
    places = (xp.arange(n).reshape([-1 if a == axis else 1 for a in range(len(shape))]) for axis, n in enumerate(shape))
    return (sum(n * (48271 + 2 * axis) for axis, n in enumerate(places)) % below).astype(dtype)


def stencil_by_numpy(u: Any, reach: int) -> Any:
    padded = np.pad(u, [(reach, reach)] + [(0, 0)] * (u.ndim - 1), mode="edge")
    return padded[: -2 * reach] + u + padded[2 * reach :]


def jacobi_by_numpy(u: Any, f: Any) -> Any:
    for _ in range(SWEEPS):
        p = np.pad(u, 1)
        u = (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] + f) / 4
    return u


@dataclass(frozen=True)
class Program:
    """A kernel, its arguments from a module of arrays, the same by NumPy, and why its bytes may not be those foretold.

    ``call`` makes ``launches`` launches of the kernel, each on arrays such as the arguments are.
    """

    kernel: Kernel
    arguments: Callable[[Any], tuple[Any, ...]]
    expected: Callable[..., Any]
    why: str = ""
    call: Callable[..., Any] | None = None
    launches: int = 1


SMALL = partial(filled, dtype="f4")
IMAGES = partial(filled, dtype="c8")
PROGRAMS = {
    "saxpy": Program(saxpy, lambda xp: (SMALL(xp, 8_000_000), SMALL(xp, 8_000_000), 2), lambda x, y, a: a * x + y),
    "saxpy, x of NumPy": Program(
        saxpy,
        lambda xp: (SMALL(np, 8_000_000), SMALL(xp, 8_000_000), 2),
        lambda x, y, a: a * x + y,
    ),
    "histogram, 10 bins": Program(
        histogram,
        lambda xp: (filled(xp, 4_000_000, dtype="i8", below=10), 10),
        lambda data, bins: np.bincount(data)[:bins],
    ),
    "histogram, 1,000,000 bins": Program(
        histogram,
        lambda xp: (filled(xp, 4_000_000, dtype="i8", below=10**6), 10**6),
        lambda data, bins: np.bincount(data)[:bins],
    ),
    "stencil of a line": Program(
        stencil_of_line, lambda xp: (SMALL(xp, 8_000_000),), partial(stencil_by_numpy, reach=1)
    ),
    "stencil, 2,100 x 2,000": Program(
        stencil, lambda xp: (filled(xp, 2100, 2000),), partial(stencil_by_numpy, reach=16)
    ),
    # As wide as it is long: along which axis it is cut is a matter of rules, Legate's and ours for halos.
    "stencil, 2,000 x 2,000": Program(
        stencil, lambda xp: (filled(xp, 2000, 2000),), partial(stencil_by_numpy, reach=16)
    ),
    "matmul, 2,000 x 2,000 x 2,000": Program(
        matmul, lambda xp: (filled(xp, 2000, 2000), filled(xp, 2000, 2000)), np.matmul
    ),
    "matmul, 1,000 x 3,000 x 1,000": Program(
        matmul, lambda xp: (filled(xp, 1000, 3000), filled(xp, 3000, 1000)), np.matmul
    ),
    "fft, 65,536 x 8 x 8": Program(fft2, lambda xp: (IMAGES(xp, 65536, 8, 8),), partial(np.fft.fftn, axes=(1, 2))),
    "fft, 64 x 256 x 256": Program(
        fft2,
        lambda xp: (IMAGES(xp, 64, 256, 256),),
        partial(np.fft.fftn, axes=(1, 2)),
        "Legate cut the operand along another axis when it was written, and an explanation does not count what is "
        "brought for that: a quarter of the array to each of two processors.",
    ),
    f"jacobi, 4,000 x 3,600, {SWEEPS} sweeps": Program(
        sweep,
        lambda xp: (filled(xp, 4000, 3600), filled(xp, 4000, 3600)),
        jacobi_by_numpy,
        call=jacobi,
        launches=SWEEPS,
    ),
}

# -- in each of the two processes -------------------------------------------------------------------------------


class Meter:
    """Counts what crosses the wire, between waits of both processes for each other that send nothing on it.

    Those go by files, which the two hosts share.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self.rank, self.meetings = folder, rank, 0

    def meet(self) -> None:
        """Wait until the other process is here too."""
        self.meetings += 1
        (self.folder / f"{self.meetings}.{self.rank}").touch()
        others, until = self.folder / f"{self.meetings}.{1 - self.rank}", time.monotonic() + PATIENCE
        while not others.exists():
            if time.monotonic() > until:
                raise TimeoutError(f"the other process did not come to meeting {self.meetings} in {PATIENCE} seconds")
            time.sleep(0.001)

    def read(self) -> dict[str, int]:
        """Bytes received and sent up to now."""
        self.meet()
        counters = Path("/sys/class/net", WIRE, "statistics")
        found = {what: int((counters / f"{name}_bytes").read_text()) for what, name in (("in", "rx"), ("out", "tx"))}
        self.meet()
        return found

    def bytes_of(self, call: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
        """What a call returns, and the bytes received and sent from its beginning to the end of all its tasks."""
        synchronize()
        before = self.read()
        result = call()
        synchronize()
        after = self.read()
        return result, {way: after[way] - before[way] for way in after}


def is_close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    """Whether two results differ by no more than floats' rounding."""
    rounding = np.finfo(found.dtype).eps if found.dtype.kind in "fc" else 0
    return found.shape == expected.shape and bool(abs(found - expected).max() <= 100 * rounding * abs(expected).max())


def measured(program: Program, meter: Meter, tiles: list[Any]) -> dict[str, Any]:
    """What one program takes in this process, and what was foretold for it."""
    import cupynumeric as cn

    arguments, own = program.arguments(cn), program.arguments(np)
    call = partial(program.call or program.kernel, *arguments)
    call() + 0
    synchronize()
    for array in (*arguments, *own):
        if hasattr(array, "shape"):
            array[...] = array + 1

    _, idle = meter.bytes_of(lambda: None)
    tiles.clear()
    result, bytes_of_call = meter.bytes_of(call)
    made = sorted({rect for _, rect in tiles})
    _, bytes_of_use = meter.bytes_of(lambda: result + 0)
    result_again, bytes_again = meter.bytes_of(call)

    foretold = program.kernel.explain(*arguments).on(2, partitioning_threshold=1)
    partials = sum(array.received for array in foretold.arrays.values() if array.is_result)
    receives = foretold.shares[meter.rank].receives
    expected = program.expected(*own)
    return {
        "bytes of arrays": sum(array.nbytes for array in foretold.arrays.values()),
        "tiles": made,
        "tiles foretold": sorted(foretold.tiles()),
        "foretold": (receives - partials) * program.launches,
        "foretold of partial results": partials,
        "call": bytes_of_call,
        "first use of the result": bytes_of_use,
        "call again": bytes_again,
        "nothing": idle,
        "right": all(is_close(np.asarray(found), expected) for found in (result, result_again)),
    }


def check_network() -> None:
    """Refuse a Legate that runs each process for itself: nothing would cross, and all results be right."""
    from legate.core import get_legate_runtime

    nodes = get_legate_runtime().node_count
    if nodes != 2:
        raise RuntimeError(f"Legate {version_of('legate')} sees {nodes} process instead of 2: it needs UCX")


def in_process(folder: Path) -> None:
    """Measure all programs, and write what was found to a file."""
    rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
    # Each polls the network without pause. On one core the two would take turns, ten times slower.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[rank::2] or cores)
    try:
        meter, found = Meter(folder, rank), {}
        check_network()
        with forced_tiles(1) as tiles:
            for name, program in PROGRAMS.items():
                found[name] = measured(program, meter, tiles)
                if rank == 0:
                    print(f"measured: {name}", file=sys.stderr)
        (folder / f"{rank}.json").write_text(json.dumps(found))
    except BaseException:  # noqa: BLE001
        # The end of a process waits for the other one, which waits for this: end now.
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
def two_hosts() -> Iterator[tuple[str, str]]:
    """The names of two network namespaces that a wire joins; at the end they and all that runs in them are gone."""
    names = f"xpdispatch-{os.getpid()}-a", f"xpdispatch-{os.getpid()}-b"
    with ExitStack() as stack:
        for name in names:
            run("ip", "netns", "add", name)
            stack.callback(remove, name)
        run("ip", "link", "add", WIRE, "netns", names[0], "type", "veth", "peer", "name", WIRE, "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/{NETWORK.split('/')[1]}", "dev", WIRE)
            for device in (WIRE, "lo"):
                run("ip", "-n", name, "link", "set", device, "up")
        yield names


def remove(host: str) -> None:
    """End what still runs on a host, and delete it."""
    for process in run("ip", "netns", "pids", host).split():
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended by itself
    run("ip", "netns", "delete", host)


def inside(host: str, command: str) -> list[str]:
    """The words that run a line of the shell on a host, whose further words are its arguments."""
    words = f"ip netns exec {host} unshare --uts sh -c".split()
    return [*words, f"echo {host} > /proc/sys/kernel/hostname; {command}", "sh"]


def on_both(hosts: tuple[str, str], folder: Path) -> list[dict[str, Any]]:
    """Run the programs in one process on each host: what they wrote."""
    # mpirun starts its daemon on the other host by this in the place of ssh: with the host, and a line for its shell.
    agent = folder / "agent"
    agent.write_text("#!/bin/sh\nshift\nexec " + " ".join(f"'{w}'" for w in inside(hosts[1], 'eval "$*"')) + ' "$@"\n')
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
        "OMPI_MCA_btl_tcp_if_include": NETWORK,
        "OMPI_MCA_oob_tcp_if_include": NETWORK,
    }
    mpirun = ["mpirun", "--host", ",".join(f"{a}:1" for a in ADDRESSES), "-n", "2", "--bind-to", "none"]
    command = [*mpirun, sys.executable, str(Path(__file__).resolve()), "--process", str(folder)]
    words = [*inside(hosts[0], 'exec "$@"'), *command]
    done = subprocess.run(words, env=os.environ | settings, check=False, timeout=3 * PATIENCE)
    if done.returncode:
        sys.exit(f"mpirun ended with status {done.returncode}")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def rows_of(name: str, sides: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A program's call, and the first use of its result where that is a sum of partial results."""
    made = sorted(tile for side in sides for tile in side["tiles"])
    partials = [side["foretold of partial results"] for side in sides]
    received = [side["call"]["in"] for side in sides]
    row = {
        "program": name,
        "bytes of arrays": sides[0]["bytes of arrays"],
        "tiles of each process": [len(side["tiles"]) for side in sides],
        "tiles as foretold": made == sides[0]["tiles foretold"],
        "foretold": [side["foretold"] for side in sides],
        "received": received,
        "received again": [side["call again"]["in"] for side in sides],
        "sent": [side["call"]["out"] for side in sides],
        "received by waits alone": [side["nothing"]["in"] for side in sides],
        "right": all(side["right"] for side in sides),
    }
    yield row | {"agrees": agrees(row["foretold"], received)}
    if any(partials):
        received = [side["first use of the result"]["in"] for side in sides]
        first_use = {"program": f"{name}: first use", "foretold": partials, "received": received}
        yield first_use | {"agrees": agrees(partials, received)}


def agrees(foretold: list[int], received: list[int]) -> bool:
    """Whether each process received what was foretold within a factor of two, Legion's messages aside."""
    return all(f / 2 <= r <= 2 * f + MESSAGES for f, r in zip(foretold, received, strict=True))


def show(rows: list[dict[str, Any]]) -> None:
    what = "bytes that each process receives"
    print(f"{what:42} {'foretold':>23} {'received':>23} {'ratio':>6} {'called again':>15}  tiles")
    for row in rows:
        pairs = [" ".join(f"{n:>11,}" for n in row[key]) for key in ("foretold", "received")]
        ratio = sum(row["received"]) / sum(row["foretold"]) if sum(row["foretold"]) > MESSAGES else None
        again = " ".join(f"{n:>7,}" for n in row.get("received again", ()))
        tiles = " + ".join(map(str, row.get("tiles of each process", ())))
        tiles += "" if row.get("tiles as foretold", True) else ", not as foretold"
        print(f"{row['program']:42}", *pairs, f"{f'{ratio:.2f}' if ratio else '':>6} {again:>15}  {tiles}")
    waits = max(n for row in rows for n in row.get("received by waits alone", ()))
    print(f"Two waits with nothing between them: {waits:,} at most")
    for row in rows:
        if not row["agrees"]:
            why = PROGRAMS[row["program"]].why if row["program"] in PROGRAMS else ""
            print(f"{row['program']}: not within a factor of two. {why}".rstrip())
        if not row.get("right", True):
            print(f"{row['program']}: WRONG, the result is not NumPy's")


def about() -> dict[str, Any]:
    found = about_this_machine()
    mpi = re.search(r"[\d.]+", run("mpirun", "--version"))
    ucx = version_of("libucx-cu12") or version_of("libucx-cu13")
    found["versions"] |= {"xpdispatch": version_of("xpdispatch"), "UCX": ucx, "Open MPI": mpi.group() if mpi else ""}
    return found | {"Linux": os.uname().release, "hosts": "two network namespaces, one process of one CPU in each"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--process", type=Path, help=argparse.SUPPRESS)  # one of the two, and the folder they share
    args = parser.parse_args()
    if args.process:
        in_process(args.process)
        return
    for command, package in NEEDED.items():
        if not shutil.which(command):
            sys.exit(f"there is no command {command!r} here: apt-get install {package}")
    if os.geteuid():
        sys.exit("only root may make network namespaces: run it as root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # so that the namespaces go
    with tempfile.TemporaryDirectory() as folder, two_hosts() as hosts:
        sides = on_both(hosts, Path(folder))
    rows = [row for name in PROGRAMS for row in rows_of(name, [side[name] for side in sides])]
    show(rows)
    if args.json:
        Path(args.json).write_text(json.dumps({"about": about(), "rows": rows}, indent=1) + "\n")
    if not all(row.get("right", True) for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
