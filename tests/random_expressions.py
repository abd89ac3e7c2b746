"""The expressions and numbers that random neurons are made of."""

# Expressions from tensors to a tensor. Placeholders: {r} a real tensor, {p} one that is positive, {b} one between -3
# and 3, {f} a new one in the shape of the input, {a} a real tensor or a number, {m} a mask, {i} a tensor of integers,
# {n} a number, {u} a positive number.
REAL = """
torch.abs({r})
torch.sign({r})
torch.exp({b})
torch.exp2({b})
torch.expm1({b})
torch.log({p})
torch.log2({p})
torch.log1p({p})
torch.sqrt({p})
torch.rsqrt({p})
torch.tanh({r})
torch.sigmoid({r})
torch.sin({r})
torch.cos({r})
torch.atan({r})
torch.erf({r})
torch.erfc({r})
torch.relu({r})
torch.neg({r})
-{r}
+{r}
torch.reciprocal({p})
torch.square({r})
torch.floor({r})
torch.ceil({r})
torch.round({r})
torch.trunc({r})
torch.frac({r})
torch.nan_to_num({r})
torch.nan_to_num({r}, nan=0.5, posinf=2.0, neginf=-2.0)
F.softplus({r})
F.softplus({r}, beta=2, threshold=1)
F.silu({r})
F.mish({r})
F.gelu({r})
F.gelu({r}, approximate="tanh")
F.elu({r})
F.elu({r}, alpha=0.3)
F.selu({r})
F.celu({r}, alpha=0.7)
F.leaky_relu({r})
F.leaky_relu({r}, negative_slope=0.3)
F.relu6({r})
F.hardtanh({r})
F.hardtanh({r}, min_val=-0.3, max_val=0.6)
F.hardswish({r})
F.softsign({r})
F.logsigmoid({r})
F.tanhshrink({r})
F.threshold({r}, 0.1, -0.2)
{r}**2
{r}**3
{r}**4
{r}**0
{r}**1
{p}**-1
{p}**-2
{p}**0.5
{p}**-0.5
{p}**1.7
{p}**-1.5
{p}**{b}
{u}**{b}
torch.pow({p}, {n})
{r} + {a}
{a} + {r}
{r} + {r}
{r} - {a}
{a} - {r}
{r} - {r}
{r} * {a}
{a} * {r}
{r} * {r}
{r} / {p}
{r} / {u}
{n} / {p}
{r} / ({n} - 4.5)
torch.add({r}, {r}, alpha={n})
torch.add({r}, {n}, alpha={n})
torch.sub({r}, {r}, alpha={n})
torch.sub({r}, {n}, alpha={n})
torch.rsub({r}, {r})
torch.rsub({r}, {n})
torch.rsub({r}, {r}, alpha={n})
torch.rsub({r}, {n}, alpha={n})
torch.multiply({r}, {a})
torch.subtract({r}, {a})
torch.true_divide({r}, {p})
torch.div({r}, {p}, rounding_mode="trunc")
torch.div({r}, {p}, rounding_mode="floor")
torch.div({r}, {u}, rounding_mode="trunc")
torch.div({r}, {u}, rounding_mode="floor")
torch.maximum({r}, {r})
torch.minimum({r}, {r})
torch.xlogy({r}, {p})
torch.clamp({r}, -0.4, 0.7)
torch.clamp({r}, min={n})
torch.clamp({r}, max={n})
torch.clamp({r}, {r}, {r})
torch.clamp({r}, min={r})
torch.clamp({r}, max={r})
torch.clamp({r}, {n}, 0.5)
torch.clip({r}, -1, 1)
torch.clamp_min({r}, {n})
torch.clamp_max({r}, {n})
torch.clamp_min({r}, {r})
torch.clamp_max({r}, {r})
torch.lerp({r}, {r}, 0.3)
torch.lerp({r}, {r}, {n})
torch.addcmul({r}, {r}, {r})
torch.addcmul({r}, {r}, {r}, value={n})
torch.where({m}, {r}, {r})
torch.where({m}, {r}, {n})
torch.where({m}, {n}, {r})
{r}.masked_fill({m}, {n})
{r}.masked_fill({m}, float("inf")).clamp(max=2)
torch.where({m}, {r}, float("nan")).nan_to_num()
{r} * {m}
{m} * {r}
{r} + {m}
{m}.to(x.dtype)
{m}.type_as(x)
{m}.int() * {r}
{i}.to(x.dtype)
{i} * {r}
{r} - {i}
{r}.to(x.dtype)
{r}.bool().to(x.dtype)
{r}.detach()
{r}.detach() + {r} - {r}.detach()
{r}.clone()
{r}.contiguous()
{f}.view_as(x)
{f}.unsqueeze(-1).squeeze(-1)
{f}.expand_as(x)
{r} + torch.zeros_like({r})
{r} * torch.ones_like({r})
{r} + torch.full_like({r}, 2.5)
{r} * torch.full_like({i}, 2.5)
{r} * torch.tensor(1.5)
{r} * x.new_tensor(0.7)
{r} + x.new_zeros(())
{r} + torch.zeros((), dtype=x.dtype)
{r} * x.new_full((), {n})
{r} * torch.ones(())
{r} + torch.full((), 0.25)
{f}.mul_({n}).add_({r})
{r}.clone().clamp_(-0.5, 0.5)
{f}.masked_fill_({m}, {n})
{r}.clone().zero_() + {r}
{r}.clone().fill_({n}) * {r}
torch.zeros_like(x).copy_({r})
{f}.addcmul_({r}, {r}, value={n})
{f}.sub_({r}, alpha={n})
{f}.tanh_()
({r} if self.flag else {r})
sum([{r}, {r}, {n}])
functools.reduce(torch.maximum, [{r}, {r}, {r}])
self.helper({r})
self.surrogate({r})
surrogates.SuperSpike(alpha=3.0)({r})
surrogates.Sigmoid(alpha=2.0)({r})
surrogates.ATan()({r})
surrogates.Triangle()({r})
surrogates.Rectangle()({r})
surrogates.Gaussian()({r})
surrogates.MultiGaussian()({r})
surrogates.Erfc()({r})
surrogates.Tanh()({r})
surrogates.Circle()({r})
surrogates.PiecewiseExponential()({r})
surrogates.StraightThrough()({r})
surrogates.SparseFastSigmoid()({r})
"""
MASK = """
{r} > {a}
{r} >= {a}
{r} < {a}
{r} <= {a}
{r} == {a}
{r} != {a}
{n} > {r}
{n} <= {r}
torch.gt({r}, {r})
torch.eq({r}, {n})
torch.isnan({r})
torch.isfinite({r})
torch.isinf({r})
torch.logical_and({m}, {m})
torch.logical_or({m}, {r})
torch.logical_xor({m}, {m})
torch.logical_not({r})
torch.logical_not({m})
{m} & {m}
{m} | {m}
{m} ^ {m}
~{m}
{m} * {m}
{m} + {m}
{m} == {m}
{m} != {m}
{r}.bool()
{r}.to(torch.bool)
{i} > {n}
{i} == {i}
{i}.bool()
torch.ones_like(x, dtype=torch.bool) & {m}
"""
INTEGER = """
{m}.int()
{m}.to(torch.uint8).long()
{m}.long()
{m} + {i}
{i} + {i}
{i} - 2
{i} * {i}
-{i}
torch.abs({i})
torch.where({m}, {i}, {i})
torch.maximum({i}, {i})
{i}.clamp(-2, 2)
{i} // 2
torch.full_like({i}, 2)
"""
# Those that kernels do not know: the step runs on the reference loop.
UNKNOWN_REAL = """
torch.round({r}, decimals=1)
{r}.to(torch.int32).to(x.dtype)
torch.sgn({r})
torch.log10({p})
torch.tan(0.3 * {b})
torch.asinh({r})
torch.sinh({b})
torch.cosh({b})
F.softshrink({r}, lambd=0.2)
F.hardshrink({r}, lambd=0.2)
{r} // {u}
torch.remainder({r}, {u})
{r} % {p}
torch.fmod({r}, {u})
torch.fmod({r}, {p})
torch.fmax({r}, {r})
torch.fmin({r}, {r})
torch.atan2({r}, {p})
torch.hypot({r}, {p})
torch.copysign({r}, {a})
torch.heaviside({r}, {r})
torch.logaddexp({r}, {r})
torch.dist({r}, {r}) * 0
torch.lerp({r}, {r}, {r})
torch.addcdiv({r}, {r}, {p})
torch.addcdiv({r}, {r}, {p}, value={n})
{m}.float() * {r}
{i}.float() * {r}
({i} / 3).to(x.dtype)
"""
UNKNOWN_MASK = """
{m}.masked_fill({m}, False)
torch.signbit({r})
torch.where({m}, {m}, {m})
"""
UNKNOWN_INTEGER = """
({b} * 200).to(torch.int32).to(torch.uint8).to(torch.int32)
torch.floor({b}).long()
(3 * {b}).int()
(3 * {b}).to(torch.int64)
{i} % 3
"""
# How the next state follows from a real tensor {r} and the state before, {s}.
NEXT_STATE = """
0.9 * {s} + 0.1 * torch.tanh({r})
torch.tanh({r})
{s} + 0.3 * torch.clamp({r}, -1, 1)
0.5 * ({s} + {r})
{r}
{r}.detach()
({s} + x) * (1 - torch.sigmoid({r}))
torch.where({m}, {s}, torch.clamp({r}, -2, 2))
{s} * 0.8 + x
x
{s}
torch.zeros_like(x)
"""
OUTPUT = """
self.surrogate({r})
self.surrogate({r} - 0.3)
{r}
({r} > 0.1).to(x.dtype)
torch.tanh({r})
"""
REST = ("torch.zeros(())", "torch.tensor(0.5)", "torch.full((), -0.25)", "0 * self.p0 + 0.125", "self.p0")
PREPARED = ("torch.exp(-self.p0)", "self.p0 * 2", "1 / (1 + self.p1**2)", "self.k0 + 0.5", "self.p0 > self.p1")
SURROGATES = ("SuperSpike(alpha=5.0)", "Triangle()", "Sigmoid()", "ZeroGradient()", "Circle()")
NUMBERS = (
    "-2",
    "-1",
    "-0.5",
    "0.0",
    "0.1",
    "0.3",
    "0.5",
    "1",
    "1.0",
    "2",
    "3",
    "1e-3",
    "self.k0",
    "self.k0",
    "self.n0",
    "2 * self.k0",
    "1 + self.k0",
)
POSITIVE_NUMBERS = ("0.1", "0.25", "0.5", "1", "1.5", "2", "3")
KINDS = {"r": REAL, "m": MASK, "i": INTEGER}
UNKNOWN = {"r": UNKNOWN_REAL, "m": UNKNOWN_MASK, "i": UNKNOWN_INTEGER}
# What stands for a value of a kind when a program is made smaller.
SMALLEST = {"r": "x", "m": "(x > 0)", "i": "(x > 0).long()"}
