r"""The least time that a machine can take for a step, from its data sheet alone.

A step of decoding reads every weight and every remembered key and value once, and
multiplies each weight with one vector per text. Whichever takes longer, reading or
computing, is the least time of the step: the roofline of Williams et al. (2009), put
to language models by Pope et al. (2022, section 2). Left out: the time that starting
a kernel takes, caches of the chip, and links between machines.
"""


def step_seconds(
    parameters: float,
    batch: int,
    cached_bytes: float,
    bandwidth: float,
    peak: float,
    bytes_each: float = 2.0,
) -> float:
    r"""The least time of a step: $\max(R/\text{bandwidth},\;2NB/\text{peak})$.

    A step writes one token in each of B = batch texts and reads R bytes: all
    parameters, N of bytes_each bytes, and cached_bytes, the keys and values of all
    texts together. bandwidth in bytes per second, peak in FLOP/s. Returns seconds.

    How: the weights are read once for the whole batch, and all cached bytes once;
    reading and computing go on at the same time, so the slower one counts.

    >>> seconds = step_seconds(7e9, 1, 0.0, bandwidth=2.039e12, peak=312e12)
    >>> round(1000 * seconds, 1)  # milliseconds, on an A100
    6.9
    """
    assert batch >= 1, f"a step writes for one text at least: {batch=}"
    reading = (parameters * bytes_each + cached_bytes) / bandwidth
    computing = 2 * parameters * batch / peak
    return max(reading, computing)
