"""Pulses in a noisy signal: what is kept is as long as the data say.

python examples/compaction.py --size 10000000
xpdispatch run --cpus 2 --gpus 0 examples/compaction.py --size 10000000
"""

import argparse
import math

import numpy

from xpdispatch import array_module, kernel, timed

THRESHOLD = 1.0


# Two results of unknown size beside a mask of the signal's own length and a count.
@kernel(
    "signal[i-1..i+1] -> height[?], place[?], loud[i], sum samples[]",
    boundary={"signal": -math.inf},
)
def peaks(xp, tile, signal, threshold):
    before, here, after = signal[:-2], signal[1:-1], signal[2:]
    loud = here > threshold
    top = loud & (here > before) & (here >= after)
    return here[top], tile.coords("i")[top], loud, xp.count_nonzero(loud)


# A run starts where the sample before it is not part of one, which may lie in another tile.
@kernel("loud[i-1..i+1] -> start[?], end[?]", boundary={"loud": False})
def runs(xp, tile, loud):
    before, here, after = loud[:-2], loud[1:-1], loud[2:]
    place = tile.coords("i")
    return place[here & ~before], place[here & ~after] + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10000, help="samples")
    parser.add_argument("--output", metavar="PNG", help="draw a stretch of the signal to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    random = numpy.random.default_rng(0)
    samples = random.normal(scale=0.1, size=args.size)
    shape = numpy.exp(-(numpy.arange(-12, 13) ** 2) / 32)
    arrivals = random.random(args.size) < 0.01
    samples += numpy.convolve(numpy.where(arrivals, random.exponential(2, args.size), 0), shape, mode="same")

    np = array_module()
    signal = np.asarray(samples)
    runs(peaks(signal, THRESHOLD)[2])  # the first calls set things up
    with timed() as t:
        height, place, loud, count = peaks(signal, THRESHOLD)
        start, end = runs(loud)
    height, place, loud, start, end = map(numpy.asarray, (height, place, loud, start, end))
    longest = int(numpy.argmax(end - start))
    print(f"pulses       {arrivals.sum()} in {args.size} samples")
    print(f"peaks        {len(height)} above {THRESHOLD}, the highest {height.max():.6f} at {place[height.argmax()]}")
    print(f"runs         {len(start)} of {int(count)} samples, the longest {start[longest]} to {end[longest]}")
    print(f"Time elapsed for compaction: {t.milliseconds:.6f} milliseconds")

    if args.check:
        above = samples > THRESHOLD
        rise = numpy.diff(samples, prepend=-math.inf) > 0
        fall = numpy.diff(samples, append=-math.inf) <= 0
        numpy.testing.assert_array_equal(place, numpy.flatnonzero(above & rise & fall))
        numpy.testing.assert_array_equal(height, samples[place])
        numpy.testing.assert_array_equal(loud, above)
        steps = numpy.diff(above.astype(int), prepend=0, append=0)
        numpy.testing.assert_array_equal(start, numpy.flatnonzero(steps == 1))
        numpy.testing.assert_array_equal(end, numpy.flatnonzero(steps == -1))
        assert int(count) == (end - start).sum() == above.sum()
        print("equal to NumPy")
    if args.output:
        draw(args.output, samples[:1000], height, place, start, end)


def draw(path, samples, height, place, start, end):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(samples, linewidth=0.8)
    axes.plot(place, height, "v", markersize=5, label="peaks")
    axes.hlines([THRESHOLD] * len(start), start, end, colors="C3", linewidth=3, label="runs")
    axes.set(xlim=(0, len(samples)), xlabel="sample")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
