// Mathematics of generated JavaScript: functions that `Math` lacks, or defines otherwise than PyTorch.

// `Math.pow(1, NaN)` and `Math.pow(-1, Infinity)` are NaN; in C, as in PyTorch, they are 1.
function power(x, y) {
  return x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : Math.pow(x, y);
}

// The nearest integer; halves are rounded to even.
function rint(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// The error function: a power series near zero, and the complement of its tail elsewhere.
function erf(x) {
  return Math.abs(x) < 2 ? erfSeries(x) : Math.sign(x) * (1 - erfcTail(Math.abs(x)));
}

function erfc(x) {
  return x < 2 ? 1 - erf(x) : erfcTail(x);
}

// All terms have the sign of x, so that nothing cancels.
function erfSeries(x) {
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

// A continued fraction, for x >= 2.
function erfcTail(x) {
  if (x === Infinity) return 0;
  let fraction = x;
  for (let n = 80; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
