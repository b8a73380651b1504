"""Rows of samples and their Fourier transforms."""

import numpy as np

from suite_programs.program import program
from xpdispatch import kernel


def rows(m, n):
    return np.random.default_rng(0).normal(size=(m, n))


@kernel("x[i,:n] -> power[i,:n//2+1]")
def power_of_rows(xp, x):
    return xp.abs(xp.fft.rfft(x, axis=1)) ** 2


@program(
    power_of_rows,
    arguments=lambda m, n: (rows(m, n),),
    small=(80, 128),
    middle=(500, 1024),
    large=(5000, 2048),
    on_legate=False,  # which has no transforms on CPUs
)
def power_spectrum(call, x):
    return call.power_of_rows(x)


@kernel("x[i,:n], response[:m] -> y[i,:n]")
def filtered(xp, x, response):
    return xp.fft.irfft(xp.fft.rfft(x, axis=1) * response, n=x.shape[1], axis=1)


@program(
    filtered,
    arguments=lambda m, n: (rows(m, n), 1 / (1 + np.arange(n // 2 + 1) / 10.0)),
    small=(40, 128),
    middle=(300, 1024),
    large=(4000, 2048),
    on_legate=False,  # which has no transforms on CPUs
)
def filter_rows(call, x, response):
    return call.filtered(x, response)
