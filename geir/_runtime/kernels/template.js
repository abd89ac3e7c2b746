// The state at rest, one number for each part.
function restingState(parameters) {
  {{rest_constants}}
  {{rest_lines}}
  return [{{rest}}];
}

// From parameters to a function that runs one neuron over time. What depends on parameters only is computed once.
function prepareRun(parameters) {
  {{constants}}
  {{shared}}
  return (xs, initial) => {
    let [{{states}}] = initial;
    const zs = new Float64Array(xs.length);
    const recorded = initial.map(() => new Float64Array(xs.length));
    for (let t = 0; t < xs.length; t++) {
      const x = xs[t];
      {{step}}
      zs[t] = {{z}};
      [{{states}}] = [{{after}}];
      {{record}}
    }
    return { zs, states: recorded };
  };
}
