"""What a build costs on many machines that die: a simulation, shard by shard.

    python benchmarks/scaling_simulation.py [--rows 1000000000] [--languages 14] [--rate 400] [--workers 20 100 500]

Every worker takes a shard that nobody has claimed, works on it, and takes the next, as `spanferry build --join` does. A
worker dies after a time that is exponentially distributed, loses the shard it was working on, and is back, with its
model loaded, after a while. Printed are the wall time of the build, the share of all work that was lost and done again,
and how long the last shards kept the other workers waiting. `expected` is the loss by the formula (e^x - 1) / x - 1
with x = time of a shard / mean time between deaths, which the simulation is to agree with.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a simulated build cost, in seconds: its wall time, work that was lost, time workers waited at the end."""

    wall: float
    lost: float
    idle: float


def simulate(shards: int, seconds: float, workers: int, *, between_deaths: float, restart: float, seed: int) -> Outcome:
    """Run a build of ``shards`` shards of ``seconds`` each.

    Args:
        shards: how many.
        seconds: that one takes.
        workers: how many.
        between_deaths: mean time between two deaths of one worker, in seconds.
        restart: time from a death until the worker takes a shard again, in seconds.
        seed: of the deaths.
    """
    chance = random.Random(seed)
    # A claim is let go by a death, so a lost shard is open again; which shard it is does not matter.
    free = [(0.0, chance.expovariate(1 / between_deaths)) for _ in range(workers)]
    heapq.heapify(free)
    left, lost, last = shards, 0.0, 0.0
    while left:
        now, death = heapq.heappop(free)
        if death < now + seconds:
            lost += death - now
            back = death + restart
            heapq.heappush(free, (back, back + chance.expovariate(1 / between_deaths)))
            continue
        left -= 1
        last = max(last, now + seconds)
        heapq.heappush(free, (now + seconds, death))

    return Outcome(last, lost, sum(max(0.0, last - end) for end, _ in free))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000_000)
    options.add_argument("--languages", type=int, default=14)
    options.add_argument("--rate", type=float, default=400.0, help="rows a second of one worker")
    options.add_argument("--workers", type=int, nargs="+", default=[20, 100, 500])
    options.add_argument("--shard-rows", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    options.add_argument("--hours-between-deaths", type=float, default=24.0, help="of one worker, in the mean")
    options.add_argument("--restart", type=float, default=120.0, help="seconds until a dead worker works again")
    options.add_argument("--most", type=int, default=500_000, help="shards to simulate; the rest is extrapolated")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    total, death = given.rows * given.languages, given.hours_between_deaths * 3600
    print(
        f"{total:,} rows to translate, {given.rate:,.0f} a second on one worker, which dies every {death / 3600:.0f} h"
    )
    print(f"{'workers':>8}{'rows a shard':>14}{'shards':>12}{'days':>9}{'lost':>9}{'expected':>10}{'idle at end':>13}")
    for workers in given.workers:
        for rows in given.shard_rows:
            shards, seconds = -(-total // rows), rows / given.rate
            few = min(shards, given.most)
            found = simulate(few, seconds, workers, between_deaths=death, restart=given.restart, seed=given.seed)
            x = seconds / death
            work = few * seconds
            days = found.wall * shards / few / 86_400
            print(
                f"{workers:>8,}{rows:>14,}{shards:>12,}{days:>9.1f}{found.lost / work:>9.3%}"
                f"{math.expm1(x) / x - 1:>10.3%}{found.idle / workers:>11,.0f} s"
            )


if __name__ == "__main__":
    main()
