// Event-driven layer of LIF neurons. An event updates only the neurons that it reaches, each from
// the time of its last update to the time of the event, in closed form.
// SYNAPSE 1: an event adds to the synaptic current, and a neuron can cross its threshold between
// events.
// SYNAPSE 0: an event adds to the potential, and a neuron can spike only at an event.
#define DOUBLE {{double}}
#define SYNAPSE {{synapse}}
#include "native.h"

enum { BATCH = 64, PREFETCH_DISTANCE = 8 };

// As `_constants` in event_driven.py. Rates in 1/us; the threshold is relative to the resting potential.
typedef struct {
  double mem, syn;     // 1 / tau_mem, 1 / tau_syn
  double slow;         // the smaller of the two
  double difference;   // absolute difference of the two
  double peak;         // largest potential evoked by a current of 1
  double gain;         // tau_syn / |tau_syn - tau_mem|
  double threshold, rest, reset;
  double subtract;     // whether a spike subtracts from the potential instead of resetting it
} constants;

// Where to continue when the room for spikes is exhausted.
typedef struct { int64_t event, position, spikes; } progress;

typedef struct {
  real *v, *i;              // state of each neuron
  double *t;                // time of its last update
  double *spike_times;
  int64_t *spike_neurons, capacity;
  constants c;
  progress *done;
} layer;

// Append a spike. Returns 0 if there is no room.
static int emit(layer *l, double time, int64_t neuron) {
  if (l->done->spikes == l->capacity) return 0;
  l->spike_times[l->done->spikes] = time;
  l->spike_neurons[l->done->spikes++] = neuron;
  return 1;
}

#if SYNAPSE
// Potential (from rest) after a duration s, starting from potential u and current i.
static double potential(const constants *c, double u, double i, double s) {
  return u * exp(-s * c->mem) - i * c->gain * exp(-s * c->slow) * expm1(-s * c->difference);
}

// Find the first threshold crossing within a duration d, starting from potential u (from rest) and
// current i. Returns whether there is one. The potential has at most one peak, at which it equals
// the current. The crossing, if any, lies on the rising flank before the peak and is found there by
// Newton's method, safeguarded by bisection.
static int find_crossing(const constants *c, double u, double i, double d, double *crossing) {
  *crossing = 0;
  if (u > c->threshold) return 1;
  const double above = 1 - u / i;
  const double r = (c->mem / c->syn - 1) * above;
  if (above <= 0 || r <= -1) return 0;
  const double peak_time = above / c->syn * (fabs(r) < 1e-12 ? 1 : log1p(r) / r);
  const double peak = i * exp(-peak_time * c->syn);
  if (peak <= c->threshold || (d < peak_time && potential(c, u, i, d) <= c->threshold)) return 0;
  // The initial guess is the crossing of the parabola at the peak.
  const double excess = peak / c->threshold;
  double low = 0, high = d < peak_time ? d : peak_time;
  double s = peak_time - sqrt(2 * (excess - 1) / (excess * c->mem * c->syn));
  for (int k = 0; k < 100; k++) {
    if (!(s > low && s < high)) s = low + (high - low) / 2;
    const double over = potential(c, u, i, s) - c->threshold;
    const double step = over / (c->mem * (i * exp(-s * c->syn) - over - c->threshold));
    *(over > 0 ? &high : &low) = s;
    s -= step;
    // In microseconds: the limit of double precision.
    if (fabs(step) < 1e-9 || high - low < 1e-9) break;
  }
  *crossing = s < low ? low : s > high ? high : s;
  return 1;
}

// Emit the spikes of neuron n before a time and update the neuron to its last spike. Returns 0 if
// there is no room for them.
static int emit_crossings(layer *l, int64_t n, double time) {
  for (double s; l->i[n] > 0 && find_crossing(&l->c, l->v[n] - l->c.rest, l->i[n], time - l->t[n], &s);) {
    if (!emit(l, l->t[n] + s, n)) return 0;
    l->t[n] += s;
    l->i[n] *= exp(-s * l->c.syn);
    l->v[n] = l->c.reset;
  }
  return 1;
}

// Whether a neuron can cross the threshold at any later time. A cheap upper bound.
static inline int may_spike(const constants *c, real v, real i) {
  const real u = v - (real)c->rest;
  return i > 0 && (u > 0 ? u : 0) + i * (real)c->peak > (real)c->threshold;
}
#endif

void advance(job *j) {
  layer l = {
      .v = j->a[0], .i = j->a[1], .t = j->a[2], .spike_times = j->a[9], .spike_neurons = j->a[10],
      .capacity = j->q[0], .c = *(constants *)j->a[8], .done = j->a[11],
  };
  const double *time = j->a[3];
  const int32_t *sites = j->a[4];     // (3, events): channel, row, column
  // (targets, 3): output channel, row offset, column offset, before division by the stride
  const int32_t *targets = j->a[5];
  const real *weights = j->a[6];      // (input channels, targets)
  const double until = *(double *)j->a[7];
  const int64_t events = j->q[1], target_count = j->q[2];
  const int64_t channels = j->q[3], height = j->q[4], width = j->q[5], stride = j->q[6];
  const int64_t relative = j->q[7];   // 1 if output channels are relative to the channel of the event
  const real mem = l.c.mem, slow = l.c.slow, difference = l.c.difference, gain = l.c.gain, rest = l.c.rest;
  (void)slow, (void)difference, (void)gain, (void)until, (void)channels;
  for (; l.done->event < events; l.done->event++, l.done->position = 0) {
    const int64_t event = l.done->event;
    const double now = time[event];
    const int32_t channel = sites[event], row = sites[events + event], column = sites[2 * events + event];
    if (event + PREFETCH_DISTANCE < events && stride == 1) {
      // Events reach arbitrary neurons, so their state is requested from memory early.
      const int32_t *s = sites + event + PREFETCH_DISTANCE;
      const int64_t soon = ((relative * s[0]) * height + s[events] + targets[1]) * width + s[2 * events] + targets[2];
      __builtin_prefetch(l.v + soon), __builtin_prefetch(l.i + soon), __builtin_prefetch(l.t + soon);
    }
    for (int64_t f = l.done->position; f < target_count;) {
      // Collect the next targets that lie within the layer: neuron, index of the target, weight.
      int64_t neuron[BATCH], position[BATCH];
      real v[BATCH], i[BATCH], w[BATCH];
      int count = 0;
      for (; f < target_count && count < BATCH; f++) {
        int64_t y = row + targets[3 * f + 1], x = column + targets[3 * f + 2];
        if (stride > 1) {
          if (y % stride | x % stride) continue;
          y /= stride, x /= stride;
        }
        if (y < 0 || y >= height || x < 0 || x >= width) continue;
        neuron[count] = ((targets[3 * f] + relative * channel) * height + y) * width + x;
        w[count] = weights[channel * target_count + f];
        position[count++] = f;
      }
      // Update them to the time of the event as if none of them had spiked, vectorized; note
      // whether one may have.
      int any = 0;
      INDEPENDENT for (int n = 0; n < count; n++) {
        const double d = now - l.t[neuron[n]];
        const real u = l.v[neuron[n]] - rest, current = l.i[neuron[n]];
#if SYNAPSE
        const real e = exp_((real)(-d * slow)), m = expm1_((real)(-d * difference)), fast = e + e * m;
        const int membrane_is_slow = l.c.mem < l.c.syn;
        v[n] = rest + u * (membrane_is_slow ? e : fast) - current * gain * e * m;
        i[n] = current * (membrane_is_slow ? fast : e);
        any |= may_spike(&l.c, l.v[neuron[n]], current);
#else
        v[n] = rest + u * exp_((real)(-d * mem)) + w[n];
        i[n] = current;
        any |= v[n] - rest > (real)l.c.threshold;
#endif
      }
      // Handle spikes one neuron at a time, and write the new state.
      for (int n = 0; n < count; n++) {
        const int64_t k = neuron[n];
#if SYNAPSE
        if (any && may_spike(&l.c, l.v[k], l.i[k])) {
          const double before = l.t[k];
          if (!emit_crossings(&l, k, now)) { l.done->position = position[n]; return; }
          if (l.t[k] != before) {
            v[n] = rest + potential(&l.c, l.v[k] - rest, l.i[k], now - l.t[k]);
            i[n] = l.i[k] * exp((l.t[k] - now) * l.c.syn);
          }
        }
        i[n] += w[n];
#else
        if (any && v[n] - rest > (real)l.c.threshold) {
          if (!emit(&l, now, k)) { l.done->position = position[n]; return; }
          v[n] = l.c.subtract ? v[n] - (rest + l.c.threshold - l.c.reset) : l.c.reset;
        }
#endif
        l.v[k] = v[n];
        l.i[k] = i[n];
        l.t[k] = now;
      }
    }
  }
#if SYNAPSE
  // Spikes between the last event of each neuron and `until`.
  for (; l.done->position < channels * height * width; l.done->position++) {
    const int64_t n = l.done->position;
    if (may_spike(&l.c, l.v[n], l.i[n]) && !emit_crossings(&l, n, until)) return;
  }
#endif
}
