"""From operations to days, money, energy and carbon dioxide.

A GPU's data sheet gives the rate it could reach; a training reaches a share of it,
the model FLOPs utilisation, MFU (Chowdhery et al. 2022, appendix B). Tera is 1e12.
Energy and emissions follow Touvron et al. (2023, section 6). Left out: failed runs,
salaries, and what making the machines costs.
"""

from dataclasses import dataclass

HOUR = 3600.0  # seconds
DAY = 24 * HOUR


@dataclass(frozen=True)
class Gpu:
    """One accelerator, by its data sheet."""

    peak: float  # FLOP/s in 16 bits, dense: makers also print twice that, for sparse
    watts: float  # thermal design power
    memory: float  # bytes
    bandwidth: float  # bytes/s between memory and cores


GPUS = {  # NVIDIA's data sheets: V100 SXM2 32 GB, A100 SXM 80 GB, H100 SXM
    "V100": Gpu(125e12, 300, 32e9, 900e9),
    "A100": Gpu(312e12, 400, 80e9, 2039e9),
    "H100": Gpu(989e12, 700, 80e9, 3.35e12),
    # An H100 with slower links between GPUs, for China. There is no public data
    # sheet; the watts are those of an H100.
    "H800": Gpu(989e12, 700, 80e9, 3.35e12),
}


def gpu_days(compute: float, peak: float, mfu: float = 0.4) -> float:
    r"""Days of one GPU: $C / (\text{peak} \cdot \text{mfu})$ seconds, in days.

    compute: C operations in all; peak in FLOP/s, from the data sheet; mfu: the share
    of it that a training reaches, above 0 and at most 1. A day has 86,400 seconds.

    >>> [round(gpu_days(5.88e21, peak=312e12, mfu=mfu)) for mfu in (1.0, 0.4)]
    [218, 545]
    """
    assert 0 < mfu <= 1, f"mfu is a share of the peak, above 0 and at most 1: {mfu=}"
    seconds = compute / (peak * mfu)
    return seconds / DAY


def gpu_hours(compute: float, peak: float, mfu: float = 0.4) -> float:
    """The same in hours, in which machines are rented.

    >>> round(gpu_hours(5.88e21, peak=312e12, mfu=0.4))
    13088
    """
    return gpu_days(compute, peak, mfu) * DAY / HOUR


def utilisation(compute: float, hours: float, peak: float) -> float:
    """MFU: operations the model needs over what so many hours of a GPU could do.

    >>> round(utilisation(5.88e21, hours=13088, peak=312e12), 3)
    0.4
    """
    return compute / (hours * HOUR * peak)


def wall_days(hours: float, gpus: int) -> float:
    """Days on the calendar when this many GPUs share the hours evenly.

    >>> wall_days(4800.0, gpus=100)
    2.0
    """
    if gpus < 1:
        raise ValueError(f"At least one GPU has to work, not {gpus}.")
    return hours * HOUR / DAY / gpus


def price(hours: float, per_hour: float) -> float:
    """Rent: GPU hours times the price of one, in any currency.

    >>> price(2.788e6, per_hour=2.0)
    5576000.0
    """
    return hours * per_hour


def energy(hours: float, watts: float, overhead: float = 1.1) -> float:
    """Energy in kWh; overhead: what cooling and the building add (PUE), 1 = nothing.

    >>> round(energy(1000.0, watts=400))
    440
    """
    if overhead < 1:
        raise ValueError(f"A building adds energy: overhead is at least 1: {overhead}.")
    return hours * watts / 1000 * overhead


def emissions(kwh: float, per_kwh: float = 0.385) -> float:
    """Tonnes of CO2 equivalent; per_kwh: kilograms that the power plants emit.

    The default is the mean of the United States that Touvron et al. (2023) use.

    >>> emissions(1000.0, per_kwh=0.5)
    0.5
    """
    return kwh * per_kwh / 1000
