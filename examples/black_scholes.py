"""European options: prices and sensitivities by Black and Scholes, each option for itself.

python examples/black_scholes.py --size 10000000
xpdispatch run --cpus 2 --gpus 0 examples/black_scholes.py --size 10000000
"""

import argparse
import math

import numpy

from xpdispatch import array_module, kernel, timed

RATE, VOLATILITY = 0.02, 0.3


# To 15 digits: J. F. Hart, Computer Approximations, 1968, algorithm 5666, with the coefficients as in G. West, Better
# approximations to cumulative normal functions, Wilmott, 2005.
def normal_cdf(xp, x):
    a = xp.abs(x)
    above = 3.52624965998911e-02 * a + 0.700383064443688
    for c in (6.37396220353165, 33.912866078383, 112.079291497871, 221.213596169931, 220.206867912376):
        above = above * a + c
    below = (8.83883476483184e-02 * a + 1.75566716318264) * a + 16.064177579207
    for c in (86.7807322029461, 296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752):
        below = below * a + c
    tail = xp.exp(-a * a / 2) * above / below
    return xp.where(x > 0, 1 - tail, tail)


@kernel("spot[i], strike[i], years[i] -> call[i], put[i], delta[i], gamma[i], vega[i]")
def black_scholes(xp, spot, strike, years, rate, volatility):
    spread = volatility * xp.sqrt(years)
    d1 = (xp.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
    d2 = d1 - spread
    discounted = strike * xp.exp(-rate * years)
    delta = normal_cdf(xp, d1)
    call = spot * delta - discounted * normal_cdf(xp, d2)
    put = discounted * normal_cdf(xp, -d2) - spot * normal_cdf(xp, -d1)
    density = xp.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    return call, put, delta, density / (spot * spread), spot * density * xp.sqrt(years)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="options")
    parser.add_argument("--output", metavar="PNG", help="draw the prices to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    random = numpy.random.default_rng(0)
    market = [random.uniform(low, high, args.size) for low, high in ((5, 30), (5, 30), (0.25, 10))]

    np = array_module()
    spot, strike, years = map(np.asarray, market)
    black_scholes(spot, strike, years, RATE, VOLATILITY)  # the first call sets things up
    with timed() as t:
        results = black_scholes(spot, strike, years, RATE, VOLATILITY)
    call, put, delta, gamma, vega = map(numpy.asarray, results)
    # A call less a put is a forward, whatever the volatility.
    gap = abs(call - put - (market[0] - market[1] * numpy.exp(-RATE * market[2]))).max()
    print(f"mean call, put         {call.mean():.6f}, {put.mean():.6f}")
    print(f"mean delta, vega       {delta.mean():.6f}, {vega.mean():.6f}")
    print(f"put-call parity within {gap:.1e}")
    print(f"Time elapsed for black_scholes: {t.milliseconds:.6f} milliseconds")

    if args.check:
        assert gap < 1e-12
        numpy.testing.assert_allclose(call, price(*market), rtol=0, atol=1e-12)
        h = 1e-3
        up, down = (price(market[0] + d, *market[1:]) for d in (h, -h))
        numpy.testing.assert_allclose(delta, (up - down) / (2 * h), rtol=0, atol=1e-6)
        numpy.testing.assert_allclose(gamma, (up - 2 * call + down) / h**2, rtol=0, atol=1e-6)
        up, down = (price(*market, VOLATILITY + d) for d in (h, -h))
        numpy.testing.assert_allclose(vega, (up - down) / (2 * h), rtol=0, atol=1e-3)
        print("equal to NumPy")
    if args.output:
        draw(args.output, *market, call, delta)


def draw(path, spot, strike, years, call, delta):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, values, title in zip(panels, (call / strike, delta), ("Price of a call / strike", "Delta"), strict=True):
        points = axes.scatter(spot / strike, values, c=years, s=4)
        axes.set(title=title, xlabel="spot / strike")
    figure.colorbar(points, ax=panels, label="years")
    figure.savefig(path)


def price(spot, strike, years, volatility=VOLATILITY):
    """Prices of calls by math.erf."""
    cdf = numpy.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)
    forward, spread = spot * numpy.exp(RATE * years), volatility * numpy.sqrt(years)
    middle = numpy.log(forward / strike) / spread
    return numpy.exp(-RATE * years) * (forward * cdf(middle + spread / 2) - strike * cdf(middle - spread / 2))


if __name__ == "__main__":
    main()
