// One neuron model over time, forward and backward. The generator fills in what stands between double braces.
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef {{real}} real;
enum { BLOCK = 256, K = {{K}} };
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define EACH for (int64_t n = 0; n < m; n++)
{{functions}}
// exp without branches, so that it runs in vectors: two parts of x ln 2 and a polynomial of degree 6; within 2 units in the last place.
static inline float exp_float(float x) {
  const float c = x < -87.3f ? -87.3f : x > 88.7f ? 88.7f : x;
  const float n = rintf(c * 1.44269504088896341f);
  const float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  const int32_t bits = ((int32_t)n + 127) << 23;
  float scale;
  memcpy(&scale, &bits, 4);
  return x != x ? x : x > 88.7f ? (x > 88.72283f ? INFINITY : p * scale) : x < -103.9f ? 0 : p * scale;
}

// Neurons first to last; x and z (T, N), state s, checkpoints c (one every K steps); fixed values p of `size` numbers that repeat every `inner` * `size` neurons.
void forward(const real *restrict x, real *restrict z, {{forward_arguments}} int64_t T, int64_t N, int64_t first, int64_t last) {
  {{scalars}}
  for (int64_t b = first; b < last; b += BLOCK) {
    const int64_t m = MIN(BLOCK, last - b);
    {{own}}
    {{load_state}}
    for (int64_t t = 0; t < T; t++) {
      {{checkpoint}}
      const real *restrict xt = x + t * N + b;
      real *restrict zt = z + t * N + b;
      for (int64_t n = 0; n < m; n++) {
        const real x_ = xt[n];
        {{state_from_block}}
        {{step}}
        zt[n] = {{z}};
        {{state_to_block}}
      }
    }
    {{store_state}}
  }
}

void backward(const real *restrict x, const real *restrict dz, real *restrict dx, {{backward_arguments}} int64_t T, int64_t N, int64_t first, int64_t last) {
  {{scalars}}
  for (int64_t b = first; b < last; b += BLOCK) {
    const int64_t m = MIN(BLOCK, last - b);
    {{own}}
    {{load_gradient}}
    for (int64_t from = (T - 1) / K * K; from >= 0; from -= K) {
      const int64_t until = MIN(T, from + K);
      {{recall}}
      for (int64_t t = from; t < until - 1; t++) {
        const real *restrict xt = x + t * N + b;
        const int64_t j = t - from;
        for (int64_t n = 0; n < m; n++) {
          const real x_ = xt[n];
          {{state_from_history}}
          {{step}}
          {{state_to_history}}
        }
      }
      {{backward_scalars}}
      {{backward_own}}
      for (int64_t t = until - 1; t >= from; t--) {
        const real *restrict xt = x + t * N + b, *restrict dzt = dz + t * N + b;
        real *restrict dxt = dx + t * N + b;
        const int64_t j = t - from;
        for (int64_t n = 0; n < m; n++) {
          const real x_ = xt[n], dz_ = dzt[n];
          {{state_from_history}}
          {{gradient_from_block}}
          {{backward_step}}
          dxt[n] = {{dx}};
          {{gradient_to_block}}
        }
      }
    }
    {{store_gradient}}
  }
}
