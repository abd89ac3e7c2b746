"""Arguments of compiled functions: the C struct and the `ctypes` structure are the same."""

import ctypes

import pytest
import torch

from geir._runtime import compiler
from geir._runtime.arguments import c_struct, ctypes_structure, fill_structure, Number, Pointer
from geir._runtime.kernels import arguments as declared
from geir._runtime.template import render_template

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


@pytest.mark.parametrize("kind", [[*declared.FORWARD, *declared.RECURRENCE], [*declared.BACKWARD, declared.WORKSPACE]])
def test_offsets_in_c_and_ctypes_are_equal(kind):
    arguments = declared.with_constants(kind, ["tau_mem", "v_th"])
    structure = ctypes_structure(arguments)
    offsets = ", ".join(f"offsetof(arguments, {argument.name})" for argument in arguments)
    library = compiler.load(
        "#include <stddef.h>\n#include <stdint.h>\ntypedef float in_t, out_t, real;\n"
        f"{c_struct('arguments', arguments)}\n"
        f"int64_t offset(int64_t k) {{ const int64_t all[] = {{{offsets}, sizeof(arguments)}}; return all[k]; }}\n"
    )
    library.offset.restype = ctypes.c_int64
    found = [library.offset(k) for k in range(len(arguments) + 1)]
    assert found == [*(getattr(structure, argument.name).offset for argument in arguments), ctypes.sizeof(structure)]


def test_arguments_that_are_not_given_are_null_or_zero():
    structure = ctypes_structure([Pointer("a", "real", ""), Pointer("b", "real", ""), Number("n"), Number("m")])
    tensor = torch.zeros(3)
    filled = fill_structure(structure, {"a": tensor, "b": None, "m": 5})
    assert (filled.a, filled.b, filled.n, filled.m) == (tensor.data_ptr(), None, 0, 5)


def test_regions_of_a_template_are_indented_and_empty_ones_are_removed():
    template = "begin\n  {{body}}\n  {{empty}}\nend {{name}}\n"
    text = render_template(template, {"body": "a;\nb;", "empty": "", "name": "x"})
    assert text == "begin\n  a;\n  b;\nend x\n"
    with pytest.raises(KeyError):
        render_template("{{missing}}", {})
