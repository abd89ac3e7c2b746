"""Random recordings for the tests of transforms and datasets."""

import torch

from geir.events import Events

SIZE = (9, 7)


def recording(number=500, duration=40_000, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    t = 1_000_000 + torch.randint(duration, (number,), generator=generator).sort().values
    x, y, p = (torch.randint(n, (number,), generator=generator) for n in (*size, 2))
    return Events(t, x, y, p, sensor_size=size)


def rows(events):
    """Events as a list of tuples (t, x, y, p)."""
    return list(zip(*(column.tolist() for column in events.columns()), strict=True))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)
