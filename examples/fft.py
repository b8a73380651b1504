"""A batch of two-dimensional Fourier transforms: the batch is cut, the images stay whole.

python examples/fft.py --shape 128 256 256
xpdispatch run --cpus 2 --gpus 0 examples/fft.py --shape 128 256 256
"""

import argparse
import math

import numpy

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
    parser.add_argument("--output", metavar="PNG", help="draw four images and their spectra to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()
    shape = shape_of(",".join(args.shape))
    if len(shape) != 3:
        parser.error(f"--shape needs three extents, got {' '.join(args.shape)}")

    np = array_module()
    # Image b has b + 1 waves from top to bottom and twice as many from left to right, in noise.
    batch, rows, columns = (np.arange(n, dtype=np.float32) for n in shape)
    across = rows[:, None] / shape[1] + 2 * columns[None, :] / shape[2]
    waves = np.cos(2 * math.pi * (batch[:, None, None] + 1) * across[None, :, :])
    src = (waves + np.random.default_rng(1).random(shape)).astype(np.complex64)
    dst = np.zeros(shape, dtype=np.complex64)
    fft2(src, out=dst)  # the first call sets things up
    with timed() as t:
        fft2(src, out=dst)
    print(f"Time elapsed for fft: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = numpy.fft.fftn(numpy.asarray(src), axes=(1, 2))
        numpy.testing.assert_allclose(numpy.asarray(dst), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
        print("equal to NumPy")
    if args.output:
        draw(args.output, numpy.asarray(src[:4]), numpy.asarray(dst[:4]))


def draw(path, images, spectra):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panels = figure.subplots(2, len(images), squeeze=False)
    for (above, below), image, spectrum in zip(panels.T, images, spectra, strict=True):
        above.imshow(image.real, cmap="gray")
        # Its middle, where the long waves are; the zero wave itself is the mean.
        size = numpy.log(abs(numpy.fft.fftshift(spectrum)) + 1)
        rows, columns = (n // 2 for n in size.shape)
        below.imshow(size[max(rows - 24, 0) : rows + 25, max(columns - 24, 0) : columns + 25], cmap="magma")
    panels[0, 0].set_title("Images")
    panels[1, 0].set_title("The middle of their spectra")
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()
