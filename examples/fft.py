"""A batch of two-dimensional Fourier transforms: the batch is cut, the images stay whole.

python examples/fft.py --shape 128 256 256
xpdispatch run --cpus 2 --gpus 0 examples/fft.py --shape 128 256 256
"""

import argparse

from xpdispatch import array_module, kernel, timed


@kernel("src[b, :, :] -> dst[b, :, :]")
def fft2(xp, src):
    return xp.fft.fftn(src, axes=(1, 2))


def shape_of(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.strip("()").split(",") if word.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", nargs="+", default=["128,256,256"], help="batch, rows, columns: 128 256 256 or 128,256,256"
    )
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()
    shape = shape_of(",".join(args.shape))
    if len(shape) != 3:
        parser.error(f"--shape needs three extents, got {' '.join(args.shape)}")

    np = array_module()
    src = np.random.default_rng(1).random(shape).astype(np.complex64)
    dst = np.zeros(shape, dtype=np.complex64)
    fft2(src, out=dst)  # the first call sets things up
    with timed() as t:
        fft2(src, out=dst)
    print(f"Time elapsed for fft: {t.milliseconds:.6f} milliseconds")

    if args.check:
        import numpy

        expected = numpy.fft.fftn(numpy.asarray(src), axes=(1, 2))
        numpy.testing.assert_allclose(numpy.asarray(dst), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
        print("equal to NumPy")


if __name__ == "__main__":
    main()
