"""SAXPY: z = a * x + y.

python examples/saxpy.py --size 10000000
xpdispatch run --cpus 2 --gpus 0 examples/saxpy.py --size 10000000
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed


@kernel("x[i], y[i] -> z[i]")
def saxpy(xp, x, y, a):
    return a * x + y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="elements of each array")
    parser.add_argument("--output", metavar="PNG", help="draw the three arrays to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    np = array_module()
    x = np.arange(args.size, dtype=np.float32)
    y = np.ones(args.size, dtype=np.float32)
    z = np.zeros(args.size, dtype=np.float32)
    saxpy(x, y, 2.0, out=z)  # the first call sets things up
    with timed() as t:
        saxpy(x, y, 2.0, out=z)
    print(f"Time elapsed for saxpy: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = 2.0 * numpy.arange(args.size, dtype=numpy.float32) + 1
        numpy.testing.assert_array_equal(numpy.asarray(z), expected)
        print("equal to NumPy")
    if args.output:
        draw(args.output, *map(numpy.asarray, (x, y, z)))


def draw(path, x, y, z):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for array, name in ((z, "z = 2 x + y"), (x, "x"), (y, "y")):
        axes.plot(array, label=name)
    axes.set(xlabel="i", xlim=(0, len(z)))
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
