"""The code that runs a step over time: kernels derived from the step, and the reference loop that defines the
result."""

from .differentiable import second_derivatives as second_derivatives
from .direct import (
    prepared_calls as prepared_calls,
    PreparedCalls as PreparedCalls,
    run_directly as run_directly,
    run_prepared as run_prepared,
    run_proved as run_proved,
    tensor_kinds as tensor_kinds,
    TensorKinds as TensorKinds,
)
from .direct_preparation import prepare_call as prepare_call
from .dispatch import is_special as is_special
from .fused import Fused as Fused, fused as fused
from .reference import reference as reference
from .source import source_of as source_of
from .step_content import step_content as step_content
