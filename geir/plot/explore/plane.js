// The phase plane: the trajectory of two parts of the state, with the flow and the nullclines.

const PLANE_HEIGHT = 320;
const PLANE_GRID = 48;
const ARROW_EVERY = 4;
const ARROW_LENGTH = 11;

// What an axis can show: a part of the state, or its rate of change.
function planeQuantities() {
  const states = shownStates();
  return [
    ...states.map(({ k, short }) => ({ id: `state-${k}`, k, isRate: false, label: short })),
    ...states.map(({ k, short }) => ({ id: `rate-${k}`, k, isRate: true, label: `d${short}/dt` })),
  ];
}

// The values of a quantity over time. The rate of change is that of the next step, and NaN where it spikes.
function valuesOf({ k, isRate }, result) {
  const values = result.states[k];
  if (!isRate) return values;
  const dt = stepSize();
  return values.map((value, t) =>
    t + 1 < values.length && !(model.spiking && result.zs[t + 1]) ? (values[t + 1] - value) / dt : NaN,
  );
}

// One step from a state, in which parts of a given state are replaced.
function makeStepper(result, cursor) {
  const { run, rest } = prepare();
  const base = cursor === null ? rest : result.states.map((values) => values[cursor]);
  // An input that makes the state jump is an event; a current has an effect all the time.
  const held = model.impulse ? 0 : cursor === null ? meanInput(result.xs) : result.xs[cursor];
  const dt = stepSize();
  return (replaced) => {
    const state = [...base];
    for (const [k, value] of replaced) state[k] = value;
    const { zs, states } = run([held], state);
    return { rates: states.map((values, k) => (values[0] - state[k]) / dt), spikes: model.spiking && zs[0] !== 0 };
  };
}

function drawPlane(canvas, result, horizontal, vertical, cursor) {
  const { context, width } = clearCanvas(canvas, PLANE_HEIGHT);
  const first = valuesOf(horizontal, result);
  const second = valuesOf(vertical, result);
  const frame = {
    left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right,
    height: PLANE_HEIGHT - MARGIN.top - MARGIN.bottom,
  };
  const axes = new Axes(context, frame, rangeOf(first), rangeOf(second));
  axes.drawFrame({ title: vertical.label, xLabel: horizontal.label });
  const isPlane = !horizontal.isRate && !vertical.isRate && horizontal.k !== vertical.k;
  const isLine = !horizontal.isRate && vertical.isRate && horizontal.k === vertical.k;
  axes.clip(() => {
    const stepFrom = makeStepper(result, cursor);
    if (isPlane) drawFlow(axes, horizontal.k, vertical.k, stepFrom);
    if (isLine) drawRate(axes, horizontal.k, stepFrom);
    drawTrajectory(axes, first, second, result);
    if (cursor !== null && Number.isFinite(first[cursor] + second[cursor])) {
      axes.dot(first[cursor], second[cursor], color("orange"));
    }
  });
  return { isPlane, isLine };
}

function drawFlow(axes, k, j, stepFrom) {
  const xs = linspace(...axes.xRange, PLANE_GRID + 1);
  const ys = linspace(...axes.yRange, PLANE_GRID + 1);
  const field = ys.map((y) => xs.map((x) => ({ x, y, ...stepFrom([[k, x], [j, y]]) })));
  const context = axes.context;
  context.save();
  context.globalAlpha = 0.4;
  context.lineWidth = 1;
  for (let row = 2; row <= PLANE_GRID; row += ARROW_EVERY) {
    for (let column = 2; column <= PLANE_GRID; column += ARROW_EVERY) {
      const { x, y, rates, spikes } = field[row][column];
      if (!spikes) axes.arrow(x, y, rates[k], rates[j], ARROW_LENGTH, color("soft"));
    }
  }
  context.restore();
  for (const [part, stroke] of [[k, "soft"], [j, "green"]]) {
    axes.lines(findNullcline(field, part), color(stroke), { width: 2 });
  }
}

// Where a part of the state does not change: marching squares on the grid, one segment for each cell that it crosses.
function findNullcline(field, part) {
  const segments = [];
  for (let row = 0; row < PLANE_GRID; row++) {
    for (let column = 0; column < PLANE_GRID; column++) {
      const corners = [
        field[row][column], field[row][column + 1], field[row + 1][column + 1], field[row + 1][column],
      ];
      if (corners.some(({ spikes }) => spikes)) continue;
      const crossings = [];
      corners.forEach((from, k) => {
        const to = corners[(k + 1) % 4];
        const [a, b] = [from.rates[part], to.rates[part]];
        if (a < 0 === b < 0 || !Number.isFinite(a - b)) return;
        const fraction = a / (a - b);
        crossings.push([from.x + fraction * (to.x - from.x), from.y + fraction * (to.y - from.y)]);
      });
      if (crossings.length >= 2) segments.push(crossings.slice(0, 2));
    }
  }
  return segments;
}

// The rate of change of a part of the state as a function of it.
function drawRate(axes, k, stepFrom) {
  const points = linspace(...axes.xRange, 160).map((x) => ({ x, ...stepFrom([[k, x]]) }));
  const curve = points.filter(({ spikes }) => !spikes).map(({ x, rates }) => [x, rates[k]]);
  axes.lines([[[axes.xRange[0], 0], [axes.xRange[1], 0]]], color("soft"), { width: 1 });
  axes.lines([curve], color("green"), { width: 2 });
}

function drawTrajectory(axes, first, second, result) {
  const moves = [];
  const jumps = [];
  for (let t = 1; t < first.length; t++) {
    const segment = [[first[t - 1], second[t - 1]], [first[t], second[t]]];
    if (segment.flat().some(Number.isNaN)) continue;
    (model.spiking && result.zs[t] ? jumps : moves).push(segment);
  }
  axes.lines(moves, color("blue"), { width: 1.3 });
  axes.lines(jumps, color("orange"), { width: 1.2, dash: [2, 3], opacity: 0.7 });
}
