// The model: its description, and runs of one neuron.

const model = JSON.parse(document.getElementById("model").textContent);

// Every parameter has its present `value` here, and keeps its initial one.
for (const parameter of model.parameters) parameter.initial = parameter.value;
const parametersByName = new Map(model.parameters.map((parameter) => [parameter.name, parameter]));

// What is wrong with a value of a parameter; empty if nothing is.
function findViolation(parameter, value) {
  const { above, atLeast, below, atMost, unit, scale } = parameter;
  const bound = (number) => `${formatNumber(number * scale)}${unit && ` ${unit}`}`;
  if (!Number.isFinite(value)) return "must be a number";
  if (above !== null && !(value > above)) return `must be > ${bound(above)}`;
  if (atLeast !== null && !(value >= atLeast)) return `must be >= ${bound(atLeast)}`;
  if (below !== null && !(value < below)) return `must be < ${bound(below)}`;
  if (atMost !== null && !(value <= atMost)) return `must be <= ${bound(atMost)}`;
  return "";
}

// The values in the order in which the generated functions take them.
function argumentsOf(valueOf) {
  return model.arguments.map((name) => (parametersByName.has(name) ? valueOf(parametersByName.get(name)) : model.constants[name]));
}

// The functions that run the neuron at the present values: `rest` is the state at rest, a number for each part.
function prepare() {
  const values = argumentsOf((parameter) => parameter.value);
  return { run: prepareRun(values), rest: restingState(values) };
}

function stepSize() {
  return parametersByName.has("dt") ? parametersByName.get("dt").value : model.dt;
}

// The interface for other scripts: outputs and states of a run from rest, in float64.
function run(xs, parameters = {}) {
  for (const [name, value] of Object.entries(parameters)) {
    const parameter = parametersByName.get(name);
    if (!parameter) {
      const names = [...parametersByName.keys()].join(", ");
      throw new TypeError(`${model.name} has no parameter '${name}'. It has: ${names}.`);
    }
    const violation = findViolation({ ...parameter, unit: "", scale: 1 }, value);
    if (violation) throw new RangeError(`${model.name}.${name} ${violation}, got ${value}.`);
  }
  const values = argumentsOf((parameter) => parameters[parameter.name] ?? parameter.initial);
  const { zs, states } = prepareRun(values)(Float64Array.from(xs), restingState(values));
  return { zs, states: Object.fromEntries(model.states.map((state, k) => [state.name, states[k]])) };
}

window.geir = { model, run };
