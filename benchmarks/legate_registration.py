"""Legate's registration of tasks, raw: how often does a process end in which tasks are registered while others run?

    python benchmarks/legate_registration.py [--processes 20] [--tasks 5087]

Each process registers tasks with ten libraries of its own, and then sixteen more, launching earlier ones in between.
Legate 26.6 has a library's tasks in a ``std::unordered_map`` (``Library::tasks_`` in its sources), in which its mapper
looks up every task that it maps, on another thread, without a lock. (25.10 has a lock there, and 26.1 does not look.)
While the map grows it does not find them: "Library ... does not have task ...", and the process ends. It grows at 13,
29, 59, 127, 257, 541, 1109, 2357, 5087 tasks, and the larger it is the longer it takes. With a blocking fence before
each registration nothing is being mapped then; so do ours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any

os.environ.setdefault("LEGATE_CONFIG", "--cpus 2 --gpus 0 --sysmem 500")


def register_and_launch(count: int, *, waits: bool) -> None:
    import xpdispatch  # noqa: F401  Legate without an NVIDIA driver

    # isort: split
    import legate.core as lg

    from xpdispatch.legate.releases import task_info

    def nothing(context: Any) -> None:
        pass

    def register() -> Any:
        task = library.get_new_task_id()
        library.register_task(task_info(library, task, "nothing", [(lg.VariantCode.CPU, nothing)]))
        return task

    runtime = lg.get_legate_runtime()
    for n in range(10):
        config = lg.ResourceConfig(max_tasks=count + 10, max_dyn_tasks=count + 9)
        library = runtime.find_or_create_library(f"raw{n}", config=config)[0]
        tasks = [register() for _ in range(count - 8)]
        for _ in range(16):
            for k in range(300):
                runtime.create_auto_task(library, tasks[37 * k % len(tasks)]).execute()
            runtime.issue_execution_fence(block=waits)
            tasks.append(register())
    runtime.issue_execution_fence(block=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=5087)
    parser.add_argument("--one", choices=("waits", "goes on"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        register_and_launch(args.tasks, waits=args.one == "waits")
        return
    for how in ("goes on", "waits"):
        line = [sys.executable, __file__, "--one", how, "--tasks", str(args.tasks)]
        ended = [subprocess.run(line, check=False, capture_output=True, text=True) for _ in range(args.processes)]
        missed = sum("does not have task" in done.stdout + done.stderr for done in ended)
        failed = sum(done.returncode != 0 for done in ended)
        print(
            f"a program that {how}: {failed} of {args.processes} processes failed, {missed} of them for a missed task"
        )


if __name__ == "__main__":
    main()
