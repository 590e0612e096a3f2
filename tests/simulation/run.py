"""Runs many seeds on all processors: ``python -m tests.simulation.run --seeds 20000 --from 0``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback

from tests.simulation.simulation import run


def _one(seed: int) -> tuple[int, str]:
    try:
        run(seed)
    except BaseException:
        return seed, traceback.format_exc(limit=-6)
    return seed, ""


def main() -> int:
    """Run the seeds and print those that failed.

    Returns:
        The exit code: 1 if one failed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int, default=3, help="how many failures to print in full")
    args = parser.parse_args()
    began = time.perf_counter()
    failed: list[int] = []
    with multiprocessing.get_context("spawn").Pool(min(args.processes, args.seeds)) as workers:
        seeds = range(args.first, args.first + args.seeds)
        for seed, problem in workers.imap_unordered(_one, seeds, chunksize=max(1, min(50, args.seeds // 8))):
            if problem:
                failed.append(seed)
                print(problem if len(failed) <= args.show else f"seed {seed} failed", file=sys.stderr, flush=True)
    took_s = time.perf_counter() - began
    each_ms = took_s / args.seeds * 1000
    print(f"{args.seeds} seeds from {args.first}, {len(failed)} failed, {took_s:.1f} s ({each_ms:.0f} ms a seed)")
    if failed:
        print(f"failed: {sorted(failed)}\nrepeat one with: python -m tests.simulation.run --from {failed[0]} --seeds 1")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
