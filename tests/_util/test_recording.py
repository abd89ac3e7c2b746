import pytest
import torch
from torch import nn

from geir._util.recording import record_calls


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x, scale=1.0):
        return self.inner(input=scale * self.inner(x))


def test_every_call_is_reported_with_name_arguments_and_result():
    model = Twice()
    calls = []
    x = torch.ones(2, 3)
    with record_calls(model, calls.append):
        y = model(x, scale=2.0)
    assert [call.name for call in calls] == ["inner", "inner", ""]
    assert [call.module for call in calls] == [model.inner, model.inner, model]
    assert torch.equal(calls[0].arguments[0], x)
    # Keyword arguments are reported at the position of their parameter.
    assert torch.equal(calls[1].arguments[0], 2.0 * calls[0].result)
    assert calls[2].arguments[1] == 2.0
    assert torch.equal(calls[2].result, y)


def test_calls_made_by_the_callback_are_not_reported():
    model = Twice()
    names = []

    def callback(call):
        names.append(call.name)
        model.inner(torch.ones(1, 3))

    with record_calls(model, callback):
        model(torch.ones(2, 3))
    assert names == ["inner", "inner", ""]


def test_recording_ends_with_the_context_even_after_an_error():
    model = Twice()
    calls = []
    with pytest.raises(RuntimeError, match="shapes"), record_calls(model, calls.append):
        model(torch.ones(2, 5))
    model(torch.ones(2, 3))
    assert not calls
    assert all(not module._forward_hooks for module in model.modules())
