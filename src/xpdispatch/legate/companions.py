"""A program that runs as several processes: what MPI, UCX and Realm are told, and each one's share of the machine.

The wheels of Legate 25.7 to 26.1, and conda's Legate, have a network (UCX) and are started by MPI's ``mpirun`` or by a
batch system. What is chosen here are settings without which that does not start, is loud or is slow on an ordinary
machine; what the user has set stays. ``xpdispatch run`` hands them to the launcher, and each process looks for them
once more when it imports Legate, for it may have been started by ``mpirun`` itself.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from xpdispatch.errors import MissingError
from xpdispatch.machine import hardware
from xpdispatch.machine.packages import release_of, version_of

_TOLD_BY = {
    "OMPI_COMM_WORLD_SIZE": ("OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
    "MV2_COMM_WORLD_SIZE": ("MV2_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),  # MVAPICH
    "PMI_SIZE": ("MPI_LOCALNRANKS", "MPI_LOCALRANKID"),  # MPICH
    "SLURM_STEP_NUM_TASKS": ("SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),  # srun; a batch job itself is no step
}
"""By the variable with the number of processes: those with how many this machine has, and which of them this one is."""

_FEW = 4
"""Cores of a process from which on two threads of Realm's may watch the network, which they do without a pause."""

CHUNK = "1024"
"""Elements of a tile at least before Legate 26.3, which counts those along axes that may be cut alone, such as the rows
of an array with a halo, and has 16,384."""

_WITH_NETWORK = (
    "pip install -U pip; pip install 'legate==26.1.*' 'nvidia-cupynumeric==26.1.*' 'libucx-cu12==1.19.*' "
    "nvidia-cuda-runtime-cu12 'numpy<2.4', or conda install -c conda-forge -c legate cupynumeric"
)
_LATEST_UCX = (1, 19)
"""Later ones refuse a setting of Legate's, which then ends the process."""


class Place(NamedTuple):
    """Where a process stands among those of its program.

    Attributes
    ----------
    processes : int
        Of the program.
    here : int
        Those on this machine.
    rank : int
        Which of them this one is.
    """

    processes: int
    here: int
    rank: int


ALONE = Place(1, 1, 0)


def place() -> Place:
    """What the launcher tells in the environment; one process alone where there was none."""
    for total, (here, rank) in _TOLD_BY.items():
        count = os.environ.get(total, "1")
        if count != "1" and count.isdecimal():
            local = os.environ.get(here, "").split("(")[0]
            of = int(local) if local.isdecimal() else 1
            own = os.environ.get(rank, "0")
            return Place(int(count), max(1, of), int(own) if own.isdecimal() else 0)
    return ALONE


def settings(environment: Mapping[str, str], here: int) -> dict[str, str]:
    """The variables that several processes need, so many of them on this machine, and `environment` does not have.

    Warnings of UCX about Legate's own settings are left out. On few cores one thread of Realm's watches the network,
    and MPI gives its core away while it waits; what is known of no cores here, each process chooses where it runs.
    Legate of that age cuts arrays of fewer elements than it does by itself.
    """
    wanted = {"UCX_WARN_UNUSED_ENV_VARS": "n", "UCX_LOG_LEVEL": "error", "OMPI_MCA_mpi_warn_on_fork": "0"}
    if os.geteuid() == 0:
        wanted |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if release_of("legate") < (26, 3):
        wanted["LEGATE_MIN_CPU_CHUNK"] = CHUNK
    few = hardware.cores() < _FEW * here
    if few:
        wanted["OMPI_MCA_mpi_yield_when_idle"] = "1"
    found = {name: value for name, value in wanted.items() if name not in environment}
    told = environment.get("REALM_DEFAULT_ARGS", "")
    if few and "-ll:bgwork" not in told.split():
        found["REALM_DEFAULT_ARGS"] = f"{told} -ll:bgwork 1".strip()
    return found


def take_share(place: Place) -> None:
    """Keep this process, and all threads that it starts, to its share of the machine's cores.

    Realm gives its threads cores of their own, and all processes begin with the same ones. Where there is a share
    already, by the launcher or the batch system, it stays.
    """
    if place.here == 1 or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < (os.cpu_count() or 1):
        return
    share, rank = len(cores) / place.here, place.rank % place.here
    first = int(rank * share)
    os.sched_setaffinity(0, cores[first : max(first + 1, int((rank + 1) * share))])


def check(launcher: str, networks: Sequence[str]) -> None:
    """Refuse to start several processes where something is missing.

    Parameters
    ----------
    launcher : str
        By Legate's name for it; "none" where it is somebody else's business.
    networks : sequence of str
        Those that Legate was built with.

    Raises
    ------
    MissingError
        With the command that installs it.
    """
    if not networks:
        raise MissingError(
            f"Legate {version_of('legate')} was built without a network, and runs as one process only",
            hint=_WITH_NETWORK,
        )
    ucx = version_of("libucx-cu12")
    if "ucx" in networks and ucx and tuple(int(n) for n in ucx.split(".")[:2]) > _LATEST_UCX:
        raise MissingError(
            f"Legate {version_of('legate')} ends when several processes of it start with libucx-cu12 {ucx}",
            hint="pip install 'libucx-cu12==1.19.*'",
        )
    install = "apt-get install --no-install-recommends openmpi-bin libopenmpi-dev, or conda install openmpi"
    if launcher != "none" and shutil.which(launcher) is None:
        hint = install if launcher == "mpirun" else f"use a machine, or a batch job, that has {launcher}"
        raise MissingError(f"there is no program {launcher!r} here, which would start the processes", hint=hint)
    if launcher == "mpirun" and sys.platform.startswith("linux") and not _has_mpi():
        raise MissingError("Legate loads libmpi.so, which the linker does not find", hint=install)


def _has_mpi() -> bool:
    if Path(sys.prefix, "lib", "libmpi.so").exists():  # conda's, whose Legate looks there
        return True
    try:
        ctypes.CDLL("libmpi.so")
    except OSError:
        return False
    return True
