// Sliders with number fields.

const SLIDER_STEPS = 1000;
const VALUE_DIGITS = 4;

function fractionOf({ low, high, logarithmic }, value) {
  return logarithmic ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

function valueAt({ low, high, logarithmic }, fraction) {
  const value = logarithmic ? low * (high / low) ** fraction : low + fraction * (high - low);
  return roundTo(value, VALUE_DIGITS);
}

// Append the control of a parameter, and give the parameter a method `set`. `onChange` is called when the user moves it.
function addControl(parent, parameter, onChange) {
  const { name, symbol, meaning, unit, scale } = parameter;
  const row = document.createElement("div");
  row.className = "control";
  row.innerHTML = `
    <label class="name" for="number-${name}">
      <span class="symbol">${symbol}</span>
      <span class="meaning">${meaning}</span>
    </label>
    <input type="number" id="number-${name}" step="any">
    <span class="unit">${unit}</span>
    <input type="range" id="slider-${name}" min="0" max="${SLIDER_STEPS}" step="1" aria-label="${name}">
    <span class="error" role="alert"></span>`;
  const number = row.querySelector("input[type=number]");
  const slider = row.querySelector("input[type=range]");
  const error = row.querySelector(".error");

  function show(violation) {
    error.textContent = violation;
    number.setAttribute("aria-invalid", String(Boolean(violation)));
  }

  parameter.row = row;
  parameter.set = (value) => {
    parameter.value = value;
    number.value = roundTo(value * scale, 6);
    slider.value = SLIDER_STEPS * fractionOf(parameter, value);
    slider.setAttribute("aria-valuetext", `${formatNumber(value * scale)} ${unit}`.trim());
    show("");
  };
  slider.addEventListener("input", () => {
    parameter.set(valueAt(parameter, slider.valueAsNumber / SLIDER_STEPS));
    onChange();
  });
  // The field takes every value in the range of the parameter, also beyond the ends of the slider.
  number.addEventListener("change", () => {
    const value = number.valueAsNumber / scale;
    const violation = findViolation(parameter, value);
    if (violation) {
      show(`${name} ${violation}.`);
    } else {
      parameter.set(value);
      onChange();
    }
  });
  row.addEventListener("dblclick", (event) => {
    if (event.target === number) return;
    parameter.set(parameter.initial);
    onChange();
  });
  parent.append(row);
  parameter.set(parameter.value);
}

// The Python expression that makes the neuron with the present parameters.
function pythonExpression(prefix = "") {
  const { path, settings, inner } = model.modules[prefix];
  const arguments_ = inner === null ? [] : [pythonExpression(inner)];
  for (const parameter of model.parameters) {
    if (parameter.module === prefix && parameter.value !== parameter.default) {
      arguments_.push(`${parameter.keyword}=${parameter.value}`);
    }
  }
  return `${path}(${[...arguments_, ...settings].join(", ")})`;
}
