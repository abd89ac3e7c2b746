// The input, the states and the spikes over time.

const TRACE_GAP = 28;
const TRACE_HEIGHTS = { input: 54, potential: 168, other: 84 };

// The parts of the state that are drawn: the potential first, and no generators of random numbers.
function shownStates() {
  const shown = model.states.map((state, k) => ({ ...state, k })).filter((state) => state.shown);
  const potential = shown.find((state) => state.potential) ?? shown[0];
  return potential ? [potential, ...shown.filter((state) => state !== potential)] : [];
}

function drawTraces(canvas, result, cursor) {
  const shown = shownStates();
  const rows = [{ kind: "input" }, ...shown.map((state, k) => ({ kind: k ? "other" : "potential", state }))];
  const heights = rows.map(({ kind }) => TRACE_HEIGHTS[kind]);
  const height = MARGIN.top + sum(heights) + TRACE_GAP * (rows.length - 1) + MARGIN.bottom;
  const { context, width } = clearCanvas(canvas, height);
  const milliseconds = 1e3 * stepSize();
  const steps = result.xs.length;
  let top = MARGIN.top;
  rows.forEach(({ kind, state }, row) => {
    const values = state ? result.states[state.k] : result.xs;
    const range = rangeOf(state ? [result.rest[state.k], ...values] : [0, ...values]);
    if (kind === "potential" && model.spiking) range[1] += 0.2 * (range[1] - range[0]);
    const frame = { left: MARGIN.left, top, width: width - MARGIN.left - MARGIN.right, height: TRACE_HEIGHTS[kind] };
    const axes = new Axes(context, frame, [0, steps * milliseconds], range);
    const now = cursor === null ? "" : ` = ${formatNumber(values[cursor])}`;
    const isLast = row === rows.length - 1;
    axes.drawFrame({
      title: state ? `${state.short}${now}` : `x${now}`,
      note: state ? state.meaning : "input",
      xLabel: isLast ? "time (ms)" : "",
      xTicks: isLast,
    });
    const stroke = color({ input: "soft", potential: "blue", other: "green" }[kind]);
    axes.clip(() => {
      if (kind === "potential" && model.spiking) drawSpikes(axes, result, values, milliseconds);
      axes.lines([state ? trace(values, result.rest[state.k], milliseconds) : staircase(values, milliseconds)], stroke);
      if (cursor !== null) {
        const time = (cursor + 1) * milliseconds;
        axes.segment([axes.x(time), top], [axes.x(time), top + frame.height], color("soft"));
        axes.dot(time, values[cursor], stroke);
      }
    });
    top += TRACE_HEIGHTS[kind] + TRACE_GAP;
  });
}

// A state from rest on; that after step t is at the end of the step.
function trace(values, rest, milliseconds) {
  return [[0, rest], ...Array.from(values, (value, t) => [(t + 1) * milliseconds, value])];
}

// An input, constant during a step.
function staircase(values, milliseconds) {
  return Array.from(values).flatMap((value, t) => [
    [t * milliseconds, value],
    [(t + 1) * milliseconds, value],
  ]);
}

// A line up to the upper edge for every spike, from where the potential was before it.
function drawSpikes(axes, result, potential, milliseconds) {
  const spikes = [];
  result.zs.forEach((z, t) => {
    if (!z) return;
    const time = (t + 1) * milliseconds;
    spikes.push([[time, t ? potential[t - 1] : potential[t]], [time, axes.yRange[1]]]);
  });
  axes.lines(spikes, color("orange"), { width: 1.4, opacity: 0.85 });
}

// The step at a horizontal position on the canvas, or null outside of the axes.
function stepAt(canvas, position, steps) {
  const width = canvas.clientWidth - MARGIN.left - MARGIN.right;
  const step = Math.ceil(((position - MARGIN.left) / width) * steps) - 1;
  return step >= 0 && step < steps ? step : null;
}

function describeSpikes(result) {
  const milliseconds = 1e3 * stepSize();
  return Array.from(result.zs)
    .map((z, t) => (z ? `${formatNumber((t + 1) * milliseconds, 6)}${z > 1 ? ` (${z})` : ""}` : ""))
    .filter(Boolean);
}
