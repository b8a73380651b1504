"""A drum: the wave equation on a square by leapfrog, whose discrete energy stays what it was.

python examples/waves.py --size 1000 --steps 100
xpdispatch run --cpus 2 --gpus 0 examples/waves.py --size 1000 --steps 100
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed

COURANT = 0.5  # cells that a wave travels in one step; stable below 0.707


# The skin is held at its rim. What was two steps ago is overwritten by what is next.
@kernel("now[i-1..i+1, j-1..j+1], old[i, j] -> old[i, j]", boundary={"now": 0.0})
def leap(xp, now, old, courant):
    here = now[1:-1, 1:-1]
    around = now[:-2, 1:-1] + now[2:, 1:-1] + now[1:-1, :-2] + now[1:-1, 2:]
    return 2 * here - old + courant**2 * (around - 4 * here)


# Kinetic energy at the half step and potential energy between the two: their sum is what leapfrog keeps.
@kernel("now[i-1..i+1, j-1..j+1], old[i, j] -> sum energy[]", boundary={"now": 0.0})
def energy(xp, now, old, courant):
    here = now[1:-1, 1:-1]
    around = now[:-2, 1:-1] + now[2:, 1:-1] + now[1:-1, :-2] + now[1:-1, 2:]
    return xp.sum((here - old) ** 2 - courant**2 * old * (around - 4 * here)) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50, help="rows and columns inside of the rim")
    parser.add_argument("--steps", type=int, default=100, help="time steps")
    parser.add_argument("--output", metavar="PNG", help="draw the drum at first and at last to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    # A bump off the center, wider than it is tall, at rest.
    x = numpy.arange(1, args.size + 1) / (args.size + 1)
    bump = numpy.outer(numpy.exp(-200 * (x - 0.4) ** 2), numpy.exp(-90 * (x - 0.7) ** 2))

    np = array_module()
    old = np.array(bump)
    now = (old + leap(old, np.array(bump), COURANT)) / 2  # at rest, a step forward is as good as one back
    start = float(energy(now, old, COURANT))
    with timed() as t:
        for _ in range(args.steps - 1):
            leap(now, old, COURANT)
            now, old = old, now
    end = float(energy(now, old, COURANT))
    skin = numpy.asarray(now)
    print(f"energy         {start:.9f} at first, {end:.9f} after {args.steps} steps")
    print(f"energy drift   {abs(end / start - 1):.1e}")
    print(f"highest point  {skin.max():.6f}")
    print(f"Time elapsed for waves: {t.milliseconds:.6f} milliseconds")

    if args.check:
        # In the basis of the drum's modes every amplitude is a cosine of time.
        modes = numpy.sin(numpy.pi * numpy.outer(numpy.arange(1, args.size + 1), x)) * (2 / (args.size + 1)) ** 0.5
        cosines = numpy.cos(numpy.pi * x)
        turn = numpy.arccos(1 - COURANT**2 * (2 - cosines[:, None] - cosines[None, :]))
        expected = modes @ (numpy.cos(args.steps * turn) * (modes @ bump @ modes)) @ modes
        numpy.testing.assert_allclose(skin, expected, rtol=0, atol=1e-10)
        numpy.testing.assert_allclose(end, start, rtol=1e-9)
        print("equal to NumPy")
    if args.output:
        draw(args.output, bump, skin, args.steps)


def draw(path, first, last, steps):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, skin, title in zip(panels, (first, last), ("At first", f"After {steps} steps"), strict=True):
        image = axes.imshow(skin, cmap="PuOr", vmin=-0.5, vmax=0.5)
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(image, ax=panels, label="height")
    figure.savefig(path)


if __name__ == "__main__":
    main()
