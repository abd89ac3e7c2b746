// The page: what is computed and drawn when something changes.

const element = (id) => document.getElementById(id);

let result = null;
let cursor = null;
let frameRequest = 0;
let curveTimer = 0;

function update() {
  const { run, rest } = prepare();
  const kind = element("input-kind").value;
  const xs = makeInput(kind, amplitude.value);
  result = { xs, rest, ...run(xs, rest) };
  if (cursor !== null && cursor >= xs.length) cursor = null;
  rate.row.hidden = !["pulses", "spikes"].includes(kind);
  element("expression").textContent = pythonExpression();
  showSpikes();
  draw();
  restartCurve();
}

// Redraw at most once a frame, however many events arrive.
function requestUpdate() {
  if (!frameRequest) {
    frameRequest = requestAnimationFrame(() => {
      frameRequest = 0;
      update();
    });
  }
}

function showSpikes() {
  const times = describeSpikes(result);
  const count = sum(result.zs);
  const length = formatNumber(1e3 * stepSize() * result.xs.length);
  const text = model.spiking ? `${count} spike${count === 1 ? "" : "s"} in ${length} ms` : `${length} ms`;
  element("spike-count").value = text;
  element("spike-times").hidden = !model.spiking;
  element("spike-times").querySelector("p").textContent = times.length ? `${times.join(", ")} ms` : "none";
  element("traces").setAttribute("aria-label", `Input and state of ${model.name} over time: ${text}`);
}

function draw() {
  const quantities = planeQuantities();
  const find = (id) => quantities.find((quantity) => quantity.id === element(id).value);
  drawTraces(element("traces"), result, cursor);
  if (!quantities.length) return;
  const [horizontal, vertical] = [find("horizontal"), find("vertical")];
  const { isPlane, isLine } = drawPlane(element("plane"), result, horizontal, vertical, cursor);
  const legends = [
    ["first-nullcline", isPlane, `d${horizontal.label}/dt = 0`],
    ["second-nullcline", isPlane || isLine, isPlane ? `d${vertical.label}/dt = 0` : `${vertical.label} of ${horizontal.label}`],
  ];
  for (const [id, visible, text] of legends) {
    element(id).hidden = !visible;
    element(id).lastElementChild.textContent = text;
  }
  element("plane").setAttribute("aria-label", `Phase plane: ${vertical.label} against ${horizontal.label}`);
}

// Measure the curve in short slices of time, and draw it at the end of each.
function restartCurve() {
  clearTimeout(curveTimer);
  const points = measureCurve(meanInput(result.xs));
  function slice() {
    const end = performance.now() + 12;
    let latest = null;
    let step = points.next();
    while (!step.done) {
      latest = step.value;
      if (performance.now() > end) break;
      step = points.next();
    }
    if (latest) showCurve(latest);
    if (!step.done) curveTimer = setTimeout(slice, 0);
  }
  curveTimer = setTimeout(slice, 120);
}

function showCurve(measured) {
  drawCurve(element("curve"), measured);
  const { input, answer } = measured.marked;
  const text = `mean input ${formatNumber(input, 3)}: ${formatNumber(answer, 3)}${model.spiking ? " Hz" : ""}`;
  element("curve-value").value = text;
  element("curve").setAttribute("aria-label", `Answer of ${model.name} to constant input; ${text}`);
}

function chooseStrength() {
  const strength = findStrength(element("input-kind").value);
  Object.assign(amplitude, { low: -strength, high: 4 * strength, initial: strength });
  amplitude.set(strength);
}

function moveCursor(step) {
  cursor = step;
  draw();
}

function fillAxisChoices() {
  const quantities = planeQuantities();
  const states = quantities.filter(({ isRate }) => !isRate);
  const fill = (id, choices) => {
    element(id).replaceChildren(...choices.map(({ id: value, label }) => new Option(label, value)));
    element(id).addEventListener("change", draw);
  };
  fill("horizontal", states);
  fill("vertical", quantities);
  if (!states.length) return;
  // A synaptic current follows the input, so another part of the state says more.
  const other = states.slice(1).find(({ label }) => label !== "i") ?? states[1];
  element("vertical").value = other ? other.id : `rate-${states[0].k}`;
}

function start() {
  for (const control of inputControls) {
    control.initial = control.value;
    addControl(element("input-controls"), control, requestUpdate);
  }
  for (const parameter of model.parameters) addControl(element("parameter-controls"), parameter, requestUpdate);
  fillAxisChoices();
  element("curve-legend").textContent = model.spiking ? "firing rate" : "output";
  element("input-kind").value = model.impulse ? "spikes" : "step";
  element("input-kind").addEventListener("change", () => {
    chooseStrength();
    update();
  });
  element("reset").addEventListener("click", () => {
    for (const control of [...inputControls, ...model.parameters]) control.set(control.initial);
    chooseStrength();
    update();
  });
  const traces = element("traces");
  traces.addEventListener("pointermove", (event) => moveCursor(stepAt(traces, event.offsetX, result.xs.length)));
  traces.addEventListener("pointerleave", () => moveCursor(null));
  traces.addEventListener("keydown", (event) => {
    const steps = result.xs.length;
    const stride = event.shiftKey ? Math.ceil(steps / 20) : 1;
    const moves = {
      ArrowRight: () => Math.min(steps - 1, (cursor ?? -1) + stride),
      ArrowLeft: () => Math.max(0, (cursor ?? steps) - stride),
      Home: () => 0,
      End: () => steps - 1,
      Escape: () => null,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moveCursor(moves[event.key]());
  });
  followSurroundings();
  chooseStrength();
  update();
}

// The size of the window, the colors of the system, and of a page around this one.
function followSurroundings() {
  document.documentElement.classList.toggle("embedded", window.location.hash === "#embedded");
  new ResizeObserver(() => {
    requestUpdate();
    if (window.parent !== window) window.parent.postMessage({ geirHeight: document.body.scrollHeight }, "*");
  }).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", requestUpdate);
  window.addEventListener("message", ({ source, data }) => {
    if (source !== window.parent || !["light", "dark"].includes(data?.geirTheme)) return;
    document.documentElement.dataset.theme = data.geirTheme;
    requestUpdate();
  });
}

start();
