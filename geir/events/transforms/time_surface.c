// Time surfaces.
#define DOUBLE 0
#include "native.h"

// out[k], shape (2, height, width), is the decay from the last event of each pixel and polarity
// until ends[k], in microseconds. `last` holds the times of the last events. A block is a range of
// pixels and polarities.
void time_surface(job *j) {
  const int64_t *t = j->a[0];
  const int16_t *x = j->a[1], *y = j->a[2];
  const uint8_t *p = j->a[3];
  const int64_t *offsets = j->a[4], *ends = j->a[5];
  const double rate = *(const double *)j->a[6];
  double *last = j->a[7];
  float *out = j->a[8];
  const int64_t frames = j->q[0], width = j->q[1], pixels = width * j->q[2], linear = j->q[3];
  BLOCKS(2 * pixels) {
    const int64_t size = 2 * pixels - o < j->block ? 2 * pixels - o : j->block;
    for (int64_t k = 0; k < frames; k++) {
      for (int64_t i = offsets[k]; i < offsets[k + 1]; i++) {
        const int64_t at = p[i] * pixels + y[i] * width + x[i] - o;
        if (at >= 0 && at < size) last[o + at] = t[i];
      }
      float *restrict surface = out + 2 * k * pixels + o;
      const double *restrict since = last + o;
      const double end = ends[k];
      if (linear)
        INDEPENDENT for (int64_t n = 0; n < size; n++) {
          const float recency = 1 - (float)((end - since[n]) * rate);
          surface[n] = recency > 0 ? recency : 0;
        }
      else
        INDEPENDENT for (int64_t n = 0; n < size; n++) surface[n] = exp_((float)((since[n] - end) * rate));
    }
  }
}
