"""A pyramid of a photograph: blocks of 2 x 2 pixels become one, and each level is blown up again and compared.

The photograph of Grace Hopper comes with matplotlib.

python examples/pooling.py --levels 3
xpdispatch run --cpus 2 --gpus 0 examples/pooling.py --levels 3
"""

import argparse
import math

import numpy
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread

from xpdispatch import array_module, kernel, timed


@kernel("image[2*i, 2*j, c] -> half[i, j, c]")
def pool(xp, image):
    rows, columns, channels = image.shape
    return xp.mean(xp.reshape(image, (rows // 2, 2, columns // 2, 2, channels)), axis=(1, 3))


@kernel("half[i, j, c] -> image[2*i, 2*j, c]")
def upsample(xp, half):
    return xp.repeat(xp.repeat(half, 2, axis=0), 2, axis=1)


@kernel("a[...], b[...] -> sum squares[]")
def squared_difference(xp, a, b):
    return xp.sum((a - b) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=3, help="times that the photograph is halved")
    parser.add_argument("--output", metavar="PNG", help="draw the levels to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    with get_sample_data("grace_hopper.jpg") as file:
        photo = imread(file, format="jpg") / 255
    whole = 2**args.levels  # what does not divide is cut off
    photo = photo[: photo.shape[0] // whole * whole, : photo.shape[1] // whole * whole]

    np = array_module()
    image = np.asarray(photo)
    squared_difference(image, upsample(pool(image)))  # the first calls set things up
    pyramid, blown_up, errors = [image], [image], []
    with timed() as t:
        for level in range(1, args.levels + 1):
            pyramid.append(pool(pyramid[-1]))
            full = pyramid[-1]
            for _ in range(level):
                full = upsample(full)
            blown_up.append(full)
            errors.append(squared_difference(full, image))
    psnr = [10 * math.log10(photo.size / float(squares)) for squares in errors]
    print(f"photograph  {photo.shape[0]} x {photo.shape[1]} pixels")
    for level, decibels in enumerate(psnr, start=1):
        rows, columns, _ = pyramid[level].shape
        print(f"level {level}     {rows} x {columns} pixels, PSNR {decibels:.4f} dB")
    print(f"Time elapsed for pooling: {t.milliseconds:.6f} milliseconds")

    if args.check:
        for level in range(1, args.levels + 1):
            step = 2**level
            offsets = [(a, b) for a in range(step) for b in range(step)]
            small = sum(photo[a::step, b::step] for a, b in offsets) / step**2
            large = numpy.kron(small, numpy.ones((step, step, 1)))
            numpy.testing.assert_allclose(numpy.asarray(pyramid[level]), small, rtol=1e-12)
            numpy.testing.assert_allclose(numpy.asarray(blown_up[level]), large, rtol=1e-12)
            numpy.testing.assert_allclose(psnr[level - 1], -10 * math.log10(((large - photo) ** 2).mean()), rtol=1e-12)
        print("equal to NumPy")
    if args.output:
        draw(args.output, [numpy.asarray(level) for level in pyramid], psnr)


def draw(path, pyramid, psnr):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    titles = "Photograph", *(f"Level {level}, {decibels:.1f} dB" for level, decibels in enumerate(psnr, start=1))
    for axes, image, title in zip(figure.subplots(1, len(pyramid)), pyramid, titles, strict=True):
        axes.imshow(image)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main()
