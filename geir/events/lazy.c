// A layer of LIF neurons that events advance: only the neurons that an event reaches, from their own last time to its time, in closed form.
// SYNAPSE: events make the synaptic current jump, and a neuron can cross its threshold between them; else they make the potential jump.
#define DOUBLE {{double}}
#define SYNAPSE {{synapse}}
#include "native.h"

enum { SOME = 64, AHEAD = 8 };
typedef struct {
  double mem, syn, slow, between, peak, gain, threshold, rest, reset, subtract;  // rates in 1/us; potentials from rest
} constants;
typedef struct { int64_t event, place, spikes; } progress;
typedef struct {
  real *v, *i;
  double *t, *times;
  int64_t *who, room;
  constants c;
  progress *at;
} layer;

static int emit(layer *l, double time, int64_t n) {
  if (l->at->spikes == l->room) return 0;
  l->times[l->at->spikes] = time;
  l->who[l->at->spikes++] = n;
  return 1;
}

#if SYNAPSE
// Potential after s of one that starts at u with a current i.
static double potential(const constants *c, double u, double i, double s) {
  return u * exp(-s * c->mem) - i * c->gain * exp(-s * c->slow) * expm1(-s * c->between);
}

// Whether the potential exceeds the threshold before d, and when first. It rises to one peak at most, where it equals the current, and falls.
static int crossing(const constants *c, double u, double i, double d, double *when) {
  *when = 0;
  if (u > c->threshold) return 1;
  const double above = 1 - u / i, r = (c->mem / c->syn - 1) * above;
  if (above <= 0 || r <= -1) return 0;
  const double peak = above / c->syn * (fabs(r) < 1e-12 ? 1 : log1p(r) / r), highest = i * exp(-peak * c->syn);
  if (highest <= c->threshold || (d < peak && potential(c, u, i, d) <= c->threshold)) return 0;
  double low = 0, high = d < peak ? d : peak, s = peak - sqrt(2 * (highest / c->threshold - 1) / (highest / c->threshold * c->mem * c->syn));
  for (int k = 0; k < 100; k++) {
    if (!(s > low && s < high)) s = low + (high - low) / 2;
    const double over = potential(c, u, i, s) - c->threshold, step = over / (c->mem * (i * exp(-s * c->syn) - over - c->threshold));
    *(over > 0 ? &high : &low) = s;
    s -= step;
    // Microseconds; less is not to be had.
    if (fabs(step) < 1e-9 || high - low < 1e-9) break;
  }
  *when = s < low ? low : s > high ? high : s;
  return 1;
}

// Spikes of a neuron before a time; 0 if there is no room for them. What is left is without a spike.
static int spikes_until(layer *l, int64_t n, double time) {
  for (double s; l->i[n] > 0 && crossing(&l->c, l->v[n] - l->c.rest, l->i[n], time - l->t[n], &s);) {
    if (!emit(l, l->t[n] + s, n)) return 0;
    l->t[n] += s;
    l->i[n] *= exp(-s * l->c.syn);
    l->v[n] = l->c.reset;
  }
  return 1;
}

// Whether a neuron might cross the threshold, at any time.
static inline int risky(const constants *c, real v, real i) {
  const real u = v - (real)c->rest;
  return i > 0 && (u > 0 ? u : 0) + i * (real)c->peak > (real)c->threshold;
}
#endif

void advance(job *j) {
  layer l = {.v = j->a[0], .i = j->a[1], .t = j->a[2], .times = j->a[9], .who = j->a[10], .room = j->q[0], .c = *(constants *)j->a[8], .at = j->a[11]};
  const double *time = j->a[3];
  const int32_t *site = j->a[4];   // (3, events): channel, row, column
  const int32_t *reach = j->a[5];  // what it reaches: output channel, rows down, columns to the right, before the stride
  const real *weights = j->a[6];   // (input channels, reached)
  const double until = *(double *)j->a[7];
  const int64_t events = j->q[1], reached = j->q[2], out = j->q[3], high = j->q[4], wide = j->q[5], stride = j->q[6],
                own = j->q[7];  // whether output channels are counted from the event's own
  const real mem = l.c.mem, slow = l.c.slow, between = l.c.between, gain = l.c.gain, rest = l.c.rest;
  (void)slow, (void)between, (void)gain, (void)until;
  for (; l.at->event < events; l.at->event++, l.at->place = 0) {
    const double now = time[l.at->event];
    const int32_t channel = site[l.at->event], row = site[events + l.at->event], column = site[2 * events + l.at->event];
    if (l.at->event + AHEAD < events && stride == 1) {
      // What an event reaches can lie anywhere: ask memory for it early.
      const int32_t *s = site + l.at->event + AHEAD;
      const int64_t soon = ((own * s[0]) * high + s[events] + reach[1]) * wide + s[2 * events] + reach[2];
      __builtin_prefetch(l.v + soon), __builtin_prefetch(l.i + soon), __builtin_prefetch(l.t + soon);
    }
    for (int64_t f = l.at->place; f < reached;) {
      int64_t at[SOME], place[SOME];
      real v[SOME], i[SOME], w[SOME];
      int some = 0;
      for (; f < reached && some < SOME; f++) {
        int64_t y = row + reach[3 * f + 1], x = column + reach[3 * f + 2];
        if (stride > 1) {
          if (y % stride | x % stride) continue;
          y /= stride, x /= stride;
        }
        if (y < 0 || y >= high || x < 0 || x >= wide) continue;
        at[some] = ((reach[3 * f] + own * channel) * high + y) * wide + x;
        w[some] = weights[channel * reached + f];
        place[some++] = f;
      }
      int any = 0;
      INDEPENDENT for (int n = 0; n < some; n++) {
        const double d = now - l.t[at[n]];
        const real u = l.v[at[n]] - rest, current = l.i[at[n]];
#if SYNAPSE
        const real e = exp_((real)(-d * slow)), m = expm1_((real)(-d * between)), fast = e + e * m;
        const int slow_membrane = l.c.mem < l.c.syn;
        v[n] = rest + u * (slow_membrane ? e : fast) - current * gain * e * m;
        i[n] = current * (slow_membrane ? fast : e);
        any |= risky(&l.c, l.v[at[n]], current);
#else
        v[n] = rest + u * exp_((real)(-d * mem)) + w[n];
        i[n] = current;
        any |= v[n] - rest > (real)l.c.threshold;
#endif
      }
      for (int n = 0; n < some; n++) {
        const int64_t own = at[n];
#if SYNAPSE
        if (any && risky(&l.c, l.v[own], l.i[own])) {
          const double before = l.t[own];
          if (!spikes_until(&l, own, now)) { l.at->place = place[n]; return; }
          if (l.t[own] != before) {
            v[n] = rest + potential(&l.c, l.v[own] - rest, l.i[own], now - l.t[own]);
            i[n] = l.i[own] * exp((l.t[own] - now) * l.c.syn);
          }
        }
        i[n] += w[n];
#else
        if (any && v[n] - rest > (real)l.c.threshold) {
          if (!emit(&l, now, own)) { l.at->place = place[n]; return; }
          v[n] = l.c.subtract ? v[n] - (rest + l.c.threshold - l.c.reset) : l.c.reset;
        }
#endif
        l.v[own] = v[n];
        l.i[own] = i[n];
        l.t[own] = now;
      }
    }
  }
#if SYNAPSE
  for (; l.at->place < out * high * wide; l.at->place++) {
    const int64_t n = l.at->place;
    if (risky(&l.c, l.v[n], l.i[n]) && !spikes_until(&l, n, until)) return;
  }
#endif
}
