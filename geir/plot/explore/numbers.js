// Helpers for numbers.

function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function roundTo(value, digits) {
  return Number(value.toPrecision(digits));
}

// As text with up to `digits` digits and a typographic minus sign.
function formatNumber(value, digits = 4) {
  if (!(Math.abs(value) < 1e12)) return "diverged";
  return String(roundTo(value, digits)).replace("-", "−");
}

function linspace(low, high, count) {
  return Array.from({ length: count }, (_, k) => low + ((high - low) * k) / (count - 1));
}

// The range of finite values, widened by a margin.
function rangeOf(values, margin = 0.07) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!(Math.abs(value) < 1e12)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) [low, high] = [0, 0];
  const width = high - low;
  if (!(width > 1e-9 * Math.max(Math.abs(low), Math.abs(high), 1e-6))) {
    const half = Math.abs(low) / 2 || 0.5;
    return [low - half, high + half];
  }
  return [low - margin * width, high + margin * width];
}

// Round numbers in a range, about `count` of them.
function ticksOf([low, high], count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const spacing = power * [1, 2, 5, 10].find((factor) => factor * power >= (high - low) / count);
  const first = Math.ceil(low / spacing);
  const last = Math.floor(high / spacing);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, k) => roundTo((first + k) * spacing, 10));
}
