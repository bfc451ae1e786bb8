"""Resources as whole numbers: 1 CPU is 10,000 units, so that adding and taking away leave no rounding dust.

Names: "CPU", "GPU", "memory" (bytes, also times 10,000), and any custom name.
"""

from collections.abc import Mapping

UNITS = 10_000

Resources = dict[str, int]


def to_units(amounts: Mapping[str, float]) -> Resources:
    """Whole units of each amount; zero amounts are left out.

    Raises:
        ValueError: An amount is negative, not finite, or finer than 0.0001.
    """
    units: Resources = {}
    for name, amount in amounts.items():
        if not amount >= 0 or amount == float("inf"):
            raise ValueError(f"resource {name!r} must be a finite number that is not negative, not {amount!r}")
        whole = round(amount * UNITS)
        if amount > 0 and (whole == 0 or abs(whole - amount * UNITS) > 1e-3):
            raise ValueError(f"resource {name!r}: {amount!r} is finer than 0.0001")
        if name == "GPU" and whole > UNITS and whole % UNITS:
            raise ValueError(f"num_gpus above 1 must be whole, not {amount!r}")
        if whole:
            units[name] = whole
    return units


def to_amounts(units: Mapping[str, int]) -> dict[str, float]:
    return {name: whole / UNITS for name, whole in units.items()}


def fits(need: Mapping[str, int], free: Mapping[str, int]) -> bool:
    return all(free.get(name, 0) >= amount for name, amount in need.items())
