"""Random numbers that test files draw while they are imported have a separate seed."""

import torch
from seeding import seeded


def test_seeded_draws_the_same_numbers_and_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    first = seeded(lambda: torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(seeded(lambda: torch.rand(3)), first)
