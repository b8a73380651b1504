"""K-means by Lloyd's method: every tile sums up the points near each center, and the sums are added.

python examples/kmeans.py --size 1000000 --clusters 8
xpdispatch run --cpus 2 --gpus 0 examples/kmeans.py --size 1000000 --clusters 8
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed


@kernel("points[i, :d], centers[:k, :d] -> sum sums[:k, :d], sum counts[:k], sum inertia[]")
def assign(xp, points, centers):
    distance = xp.sum((points[:, None, :] - centers[None, :, :]) ** 2, axis=2)
    nearest = xp.argmin(distance, axis=1)
    member = nearest[:, None] == xp.arange(centers.shape[0], dtype=nearest.dtype)[None, :]
    sums = xp.astype(member, points.dtype).T @ points
    return sums, xp.count_nonzero(member, axis=0), xp.sum(xp.min(distance, axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="points")
    parser.add_argument("--clusters", type=int, default=4, help="centers")
    parser.add_argument("--steps", type=int, default=10, help="times that the centers move")
    parser.add_argument("--output", metavar="PNG", help="draw the points and their centers to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    random = numpy.random.default_rng(0)
    origins = random.uniform(-10, 10, (args.clusters, 2))
    cloud = origins[numpy.arange(args.size) % args.clusters] + random.normal(size=(args.size, 2))

    np = array_module()
    points = np.asarray(cloud)
    centers = np.asarray(cloud[: args.clusters])
    assign(points, centers)  # the first call sets things up
    history = []
    with timed() as t:
        for _ in range(args.steps):
            sums, counts, inertia = assign(points, centers)
            centers = sums / np.maximum(counts, 1)[:, None]
            history.append(inertia)
    history = [float(inertia) / args.size for inertia in history]
    print(f"inertia        {history[0]:.6f} a point at first, {history[-1]:.6f} after {args.steps - 1} steps")
    print(f"cluster sizes  {', '.join(str(int(count)) for count in counts)}")
    print(f"Time elapsed for kmeans: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = cloud[: args.clusters]
        for step in range(args.steps):
            distance = numpy.stack([numpy.hypot(*(cloud - center).T) for center in expected])
            numpy.testing.assert_allclose(history[step], (distance.min(axis=0) ** 2).mean(), rtol=1e-9)
            label = distance.argmin(axis=0)
            expected = numpy.stack([cloud[label == k].mean(axis=0) for k in range(args.clusters)])
        numpy.testing.assert_allclose(numpy.asarray(centers), expected, rtol=1e-9)
        numpy.testing.assert_array_equal(numpy.asarray(counts), numpy.bincount(label, minlength=args.clusters))
        assert sorted(history, reverse=True) == history
        print("equal to NumPy")
    if args.output:
        draw(args.output, cloud, numpy.asarray(centers))


def draw(path, cloud, centers):
    from matplotlib.figure import Figure

    nearest = numpy.stack([numpy.hypot(*(cloud - center).T) for center in centers]).argmin(axis=0)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*cloud.T, c=nearest, cmap="tab10", vmax=9, s=4, alpha=0.6)
    axes.plot(*centers.T, "k+", markersize=14, markeredgewidth=2)
    axes.set_aspect("equal")
    figure.savefig(path)


if __name__ == "__main__":
    main()
