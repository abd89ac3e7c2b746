// The firing rate, or the output of a model that does not spike, as a function of a constant input.

const CURVE_HEIGHT = 320;
const CURVE_POINTS = 49;
const SETTLE_FRACTION = 0.25;
const MAX_CURVE_STEPS = 20_000;
const TYPICAL_RATE = 100;

// The answer to a constant input; see `geir.plot.f_i_curve`.
function answerTo(input, { run, rest }) {
  const dt = stepSize();
  const steps = Math.round(Math.min(MAX_CURVE_STEPS, Math.max(400, 1 / dt)));
  const { zs } = run(new Float64Array(steps).fill(input), rest);
  if (!model.spiking) return zs[steps - 1];
  let first = -1;
  let last = -1;
  let count = 0;
  for (let t = Math.round(SETTLE_FRACTION * steps); t < steps; t++) {
    if (!zs[t]) continue;
    if (first < 0) first = t;
    else count += zs[t];
    last = t;
  }
  return last > first ? count / ((last - first) * dt) : 0;
}

// Measure the curve point by point, so that the page can do other things in between. Yields what is known so far.
function* measureCurve(mean) {
  const prepared = prepare();
  let top = 1;
  if (model.spiking) {
    const wanted = Math.min(TYPICAL_RATE, 0.1 / stepSize());
    let fastest = 0;
    for (let k = -20; k < 24; k++) {
      top = 2 ** (k / 2);
      const rate = answerTo(top, prepared);
      // The latter where more input silences the neuron.
      if (rate >= wanted || rate < fastest / 2) break;
      fastest = Math.max(fastest, rate);
      yield null;
    }
  }
  top *= 1.6;
  if (Math.abs(mean) > top && Math.abs(mean) < 4 * top) top = 1.2 * Math.abs(mean);
  const inputs = linspace(0, mean < 0 ? -top : top, CURVE_POINTS);
  const marked = { input: mean, answer: answerTo(mean, prepared) };
  const answers = [];
  for (const input of inputs) {
    answers.push(answerTo(input, prepared));
    yield { inputs, answers, marked };
  }
}

function drawCurve(canvas, { inputs, answers, marked }) {
  const { context, width } = clearCanvas(canvas, CURVE_HEIGHT);
  const frame = {
    left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right,
    height: CURVE_HEIGHT - MARGIN.top - MARGIN.bottom,
  };
  const axes = new Axes(context, frame, rangeOf(inputs, 0.02), rangeOf([0, marked.answer, ...answers]));
  const title = model.spiking ? "firing rate (Hz)" : "output at the end";
  axes.drawFrame({ title, xLabel: model.impulse ? "input of every step" : "input" });
  axes.clip(() => {
    axes.lines([answers.map((answer, k) => [inputs[k], answer])], color("blue"));
    axes.dot(marked.input, marked.answer, color("orange"));
  });
}
