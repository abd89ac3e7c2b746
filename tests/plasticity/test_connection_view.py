"""Rules in convolutions, against a dense layer at each place."""

import pytest
import torch
from plasticity_cases import DOUBLE, double, every_rule, RULES
from torch import nn
from torch.nn import functional

from geir.plasticity import ConnectionView

CONVOLUTIONS = [
    ({"stride": 2, "padding": 1, "groups": 2}, "constant"),
    ({"dilation": 2, "padding": 1}, "constant"),
    ({"padding": 1, "padding_mode": "circular"}, "circular"),
]


@every_rule
@pytest.mark.parametrize(("settings", "padding_mode"), CONVOLUTIONS)
def test_a_convolution_learns_as_a_dense_layer_does_at_each_place(name, settings, padding_mode):
    """The change is the sum over places, and the mean over the batch, of the changes of a dense layer."""
    rule, groups = double(RULES[name]), settings.get("groups", 1)
    conv = nn.Conv2d(2, 4, 3, bias=False, dtype=DOUBLE, **settings)
    nn.init.uniform_(conv.weight, 0.3, 0.6)
    pre = (torch.rand(5, 3, 2, 7, 7) < 0.3).double()
    post = (torch.rand(5, *conv(pre[0]).shape) < 0.3).double()
    weight, state = conv.weight.detach(), None
    for t in range(4):
        _, state = rule(pre[t], post[t], weight, state, conv)
    learned, _ = rule(pre[4], post[4], weight, state, conv)

    def patches(x):
        padded = functional.pad(x, (1,) * 4, mode=padding_mode)
        stride, dilation = settings.get("stride", 1), settings.get("dilation", 1)
        return functional.unfold(padded, 3, stride=stride, dilation=dilation).transpose(1, 2)

    expected = torch.empty_like(weight)
    for group in range(groups):
        inputs, outputs = (x.chunk(groups, 2)[group] for x in (pre, post))
        filters = weight.chunk(groups)[group].flatten(1)
        dense_pre = torch.stack([patches(x) for x in inputs]).flatten(1, 2)
        dense_post = outputs.flatten(3).transpose(2, 3).flatten(1, 2)
        dense_state = None
        for t in range(4):
            _, dense_state = rule(dense_pre[t], dense_post[t], filters, dense_state)
        mean, _ = rule(dense_pre[4], dense_post[4], filters, dense_state)
        places = dense_post.shape[1] // 3
        part = expected.chunk(groups)[group]
        part.copy_((filters + places * (mean - filters)).view_as(part))
    # The factors of scaling multiply over places, which is the sum to first order.
    tolerance = 1e-3 if name in ("scaling", "sum") else 1e-9
    torch.testing.assert_close(learned, expected, rtol=0, atol=tolerance)
    assert (learned != weight).any() or "sensor" in name


def test_results_per_sample_average_to_those_of_the_batch():
    for connection in (nn.Linear(6, 4), nn.Conv2d(2, 3, 3)):
        view = ConnectionView(connection.weight.detach(), connection)
        shape = (5, 6) if isinstance(connection, nn.Linear) else (5, 2, 6, 6)
        pre = torch.rand(shape)
        post = connection(pre).detach()
        for per_sample, mean in (
            (view.per_sample().outer(post, pre), view.outer(post, pre)),
            (view.per_sample().broadcast_post(post), view.broadcast_post(post)),
        ):
            assert len(per_sample) == 5
            torch.testing.assert_close(per_sample.mean(0), mean)
