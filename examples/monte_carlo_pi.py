"""Pi from random points in a square: n samples and no array, and the same count however they are cut.

python examples/monte_carlo_pi.py --size 10000000
xpdispatch run --cpus 2 --gpus 0 examples/monte_carlo_pi.py --size 10000000
"""

import argparse
import math
from itertools import islice

from xpdispatch import array_module, kernel, timed


# Number i of the stream comes from i and the seed alone: SplitMix64, by Steele, Lea and Flood, Fast splittable
# pseudorandom number generators, OOPSLA 2014, with the constants of Vigna's splitmix64.c. Products wrap at 2**64.
def splitmix64(xp, seed, i):
    h = xp.asarray(seed, dtype=xp.uint64) + xp.asarray(0x9E3779B97F4A7C15, dtype=xp.uint64) * (i + 1)
    h = (h ^ (h >> 30)) * xp.asarray(0xBF58476D1CE4E5B9, dtype=xp.uint64)
    h = (h ^ (h >> 27)) * xp.asarray(0x94D049BB133111EB, dtype=xp.uint64)
    return h ^ (h >> 31)


# 31 bits for each coordinate: the squares are exact, so the count is too.
@kernel("[i=n] -> sum hits[]")
def count_hits(xp, tile, n, seed):
    bits = splitmix64(xp, seed, xp.astype(tile.coords("i"), xp.uint64))
    x, y = bits >> 33, bits & 0x7FFFFFFF
    return xp.count_nonzero(x * x + y * y < 2**62)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10000, help="points")
    parser.add_argument("--seed", type=int, default=1, help="where the stream begins, from 0 to 2**64 - 1")
    parser.add_argument("--output", metavar="PNG", help="draw the first points to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    np = array_module()
    total = np.zeros((), dtype=np.int64)  # the only array: it says where to run
    count_hits(args.size, args.seed, out=total)  # the first call sets things up
    with timed() as t:
        count_hits(args.size, args.seed, out=total)
    hits = int(total)
    estimate = 4 * hits / args.size
    print(f"hits      {hits} of {args.size}")
    print(f"pi        {estimate:.6f}, off by {estimate - math.pi:+.6f}")
    print(f"expected  to be off by {math.sqrt(math.pi * (4 - math.pi) / args.size):.6f}")
    print(f"Time elapsed for monte_carlo_pi: {t.milliseconds:.6f} milliseconds")

    if args.check:
        # The generator as published: a state that steps, in Python's own integers.
        known = stream(1234567)
        assert [next(known) for _ in range(2)] == [6457827717110365317, 3203168211198807973]
        points = ((bits >> 33, bits & 0x7FFFFFFF) for bits in islice(stream(args.seed), args.size))
        assert hits == sum(x**2 + y**2 < 2**62 for x, y in points)
        print("equal to NumPy")
    if args.output:
        draw(args.output, islice(stream(args.seed), min(args.size, 4000)))


def draw(path, numbers):
    from matplotlib.figure import Figure

    points = [((bits >> 33) / 2**31, (bits & 0x7FFFFFFF) / 2**31) for bits in numbers]
    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*zip(*points, strict=True), c=[x**2 + y**2 < 1 for x, y in points], cmap="PuOr", s=3)
    axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1), xticks=(0, 1), yticks=(0, 1))
    figure.savefig(path)


def stream(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


if __name__ == "__main__":
    main()
