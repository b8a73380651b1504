"""Copy an array: the smallest kernel there is.

python examples/quick.py
xpdispatch run --cpus 2 --gpus 0 examples/quick.py
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed


@kernel("src[...] -> dst[...]")
def copy(xp, src):
    return xp.asarray(src, copy=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="elements")
    parser.add_argument("--output", metavar="PNG", help="draw the two arrays to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    np = array_module()
    in_arr = np.arange(args.size, dtype=np.float64)
    out_arr = np.zeros(args.size, dtype=np.float64)
    copy(in_arr, out=out_arr)
    with timed() as t:
        copy(in_arr, out=out_arr)
    print(f"Time elapsed for quick: {t.milliseconds:.6f} milliseconds")

    if args.check:
        numpy.testing.assert_array_equal(numpy.asarray(out_arr), numpy.arange(args.size, dtype=numpy.float64))
        print("equal to NumPy")
    if args.output:
        draw(args.output, numpy.asarray(in_arr), numpy.asarray(out_arr))


def draw(path, before, after):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, array, name in zip(figure.subplots(1, 2, sharey=True), (before, after), ("src", "dst"), strict=True):
        axes.plot(array)
        axes.set(title=name, xlabel="i")
    figure.savefig(path)


if __name__ == "__main__":
    main()
