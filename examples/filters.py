"""A bank of recursive filters as a scan: an electroencephalogram in its bands of frequencies, parallel along time.

A filter that feeds its output back looks sequential. But all that it carries from sample to sample are two numbers, by
a linear map, and such maps may be joined stretch by stretch. The recording, of four electrodes, comes with matplotlib.

python examples/filters.py --check
xpdispatch run --cpus 2 --gpus 0 examples/filters.py --times 1000 --check
"""

import argparse
import math

import numpy
from matplotlib.cbook import get_sample_data

from xpdispatch import array_module, folds, kernel, timed

RATE = 80.0  # samples a second
BANDS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}  # Hz


# Two stretches of time, one after the other: the state before them is multiplied, and what came in on the way is added.
def joined(xp, a, b):
    (power, state), (then, added) = a, b
    return xp.matmul(then, power), xp.matmul(then, state) + added


# Transposed direct form II: a filter's state after each sample, for all channels beside each other.
@kernel("x[t, :c], A[b, :2, :2], B[b, :2] -> fold power[..t, b, :2, :2], fold state[..t, b, :2, :c]", fold=joined)
def states(xp, x, A, B):
    power = xp.broadcast_to(A[None, ...], (x.shape[0], *A.shape))
    return folds.scan(xp, joined, (power, B[None, :, :, None] * x[:, None, None, :]))


# What comes out needs the state before, which is a halo; before the first sample there is silence.
@kernel("x[t, c], state[t-1..t, b, :2, c], gain[b] -> y[t, b, c], sum squares[b, c]", boundary={"state": 0.0})
def output(xp, x, state, gain):
    y = gain[:, None] * x[:, None, :] + state[:-1, :, 0, :]
    return y, xp.sum(y**2, axis=0)


def bandpass(low, high):
    """Coefficients of what comes in and of what is fed back, with no loss at the middle of the band.

    R. Bristow-Johnson, Cookbook formulae for audio equalizer biquad filter coefficients, which the W3C publishes.
    """
    middle = 2 * math.pi * math.sqrt(low * high) / RATE
    alpha = math.sin(middle) * (high - low) / (2 * math.sqrt(low * high))
    b, a = numpy.asarray([alpha, 0, -alpha]), numpy.asarray([1 + alpha, -2 * math.cos(middle), 1 - alpha])
    return b / a[0], a / a[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1, help="recordings in a row")
    parser.add_argument("--output", metavar="PNG", help="draw one electrode and its bands to this file")
    parser.add_argument("--check", action="store_true", help="compare with scipy")
    args = parser.parse_args()

    recording = numpy.fromfile(get_sample_data("eeg.dat", asfileobj=False)).reshape(-1, 4)
    recording = numpy.tile(recording - recording.mean(axis=0), (args.times, 1))
    bank = [bandpass(*band) for band in BANDS.values()]
    A = numpy.asarray([[[-a[1], 1], [-a[2], 0]] for _, a in bank])
    B = numpy.asarray([b[1:] - a[1:] * b[0] for b, a in bank])

    np = array_module()
    x, A, B, gain = map(np.asarray, (recording, A, B, numpy.asarray([b[0] for b, _ in bank])))
    output(x, states(x, A, B)[1], gain)  # the first calls set things up
    with timed() as t:
        y, squares = output(x, states(x, A, B)[1], gain)
    y, squares = numpy.asarray(y), numpy.asarray(squares)
    print(f"recording  {len(recording)} samples of {recording.shape[1]} electrodes, {len(recording) / RATE:.0f} s")
    for name, rms in zip(BANDS, numpy.sqrt(squares / len(recording)), strict=True):
        low, high = BANDS[name]
        print(f"{name}      {low:4.0f} to {high:2.0f} Hz, rms {' '.join(f'{value:7.3f}' for value in rms)}")
    print(f"Time elapsed for filters: {t.milliseconds:.6f} milliseconds")

    if args.check:
        from scipy.signal import lfilter

        for k, (b, a) in enumerate(bank):
            expected = lfilter(b, a, recording, axis=0)
            numpy.testing.assert_allclose(y[:, k], expected, rtol=0, atol=1e-11 * abs(recording).max())
            numpy.testing.assert_allclose(squares[k], (expected**2).sum(axis=0), rtol=1e-9)
        print("equal to scipy")
    if args.output:
        draw(args.output, recording[:, 0], y[:, :, 0])


def draw(path, recording, y):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    panels = figure.subplots(1 + len(BANDS), 1, sharex=True)
    for axes, line, name in zip(panels, (recording, *y.T), ("recorded", *BANDS), strict=True):
        axes.plot(numpy.arange(len(line)) / RATE, line, linewidth=0.8, color="C0" if name == "recorded" else "C1")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set(yticks=[], xlim=(0, min(len(line), 800) / RATE))
    panels[-1].set_xlabel("seconds")
    figure.savefig(path)


if __name__ == "__main__":
    main()
