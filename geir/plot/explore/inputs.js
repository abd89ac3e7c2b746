// The input: its kind and strength, and the numbers that follow.

const amplitude = {
  name: "amplitude", symbol: "<i>x</i>", meaning: "amplitude", unit: "", scale: 1, value: 1, low: -1, high: 4,
  logarithmic: false, above: null, atLeast: null, below: null, atMost: null,
};
const rate = {
  name: "rate", symbol: "<i>r</i>", meaning: "rate", unit: "Hz", scale: 1, value: 100, low: 5, high: 1000,
  logarithmic: true, above: 0, atLeast: null, below: null, atMost: null,
};
const duration = {
  name: "duration", symbol: "<i>T</i>", meaning: "duration", unit: "ms", scale: 1e3, value: 0.2, low: 0.02, high: 2,
  logarithmic: true, above: 0, atLeast: null, below: null, atMost: null,
};
const inputControls = [amplitude, rate, duration];

const MAX_STEPS = 200_000;
const MAX_DURATION = 60;
duration.below = MAX_DURATION;

// Input is silent in the first tenth and the last 15 % of a run.
const ONSET = 0.1;
const OFFSET = 0.85;

// Uniform numbers, the same ones for every run: the generator mulberry32 of T. Ettinger.
function randomNumbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function makeInput(kind, strength) {
  const dt = stepSize();
  const steps = Math.max(2, Math.min(MAX_STEPS, Math.round(duration.value / dt)));
  const first = Math.round(ONSET * steps);
  const last = Math.round(OFFSET * steps);
  const random = randomNumbers(3);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const period = 1 / (rate.value * dt);
  const stepsPerMillisecond = Math.max(1, Math.round(1e-3 / dt));
  let level = 0;
  const kinds = {
    step: () => strength,
    ramp: (step) => (strength * step) / (last - first),
    pulses: (step) => (step % period < Math.max(1, period / 4) ? strength : 0),
    noise(step) {
      if (step % stepsPerMillisecond === 0) level = strength * (1 + normal());
      return level;
    },
    spikes: () => (random() < rate.value * dt ? strength : 0),
  };
  const xs = new Float64Array(steps);
  for (let t = first; t < last; t++) xs[t] = kinds[kind](t - first);
  return xs;
}

function meanInput(xs) {
  return sum(xs) / Math.max(1, Math.round(OFFSET * xs.length) - Math.round(ONSET * xs.length));
}

// The weakest of a series of strengths that makes the neuron spike at least 6 times. Where more input silences it, that
// with the most spikes before.
function findStrength(kind) {
  const { run, rest } = prepare();
  let best = { strength: 1, spikes: 0 };
  if (!model.spiking) return best.strength;
  for (let k = -16; k < 24; k++) {
    const strength = roundTo(2 ** (k / 2), 2);
    const spikes = sum(run(makeInput(kind, strength), rest).zs);
    if (best.spikes > 1 && spikes < best.spikes / 2) break;
    if (spikes > best.spikes) best = { strength, spikes };
    if (spikes >= 6) break;
  }
  return best.strength;
}
