// Voxel grids and time surfaces.
#define DOUBLE 0
#include "native.h"

// Bin k of OUT (bins, channels, height, width) adds up 1 - |bins since the first - k| of events CUTS[k] to CUTS[k + 2], all that lie within one bin of it.
void voxels(job *j) {
  const int64_t *t = j->a[0], *cuts = j->a[4], bins = j->q[0], channels = j->q[1], width = j->q[2], pixels = width * j->q[3], first = j->q[4];
  const int16_t *x = j->a[1], *y = j->a[2];
  const uint8_t *p = j->a[3];
  const double bins_a_microsecond = *(const double *)j->a[5];
  const int32_t apart = (channels - 1) * pixels;
  const float dark = channels == 1 ? -1 : 1;
  BLOCKS(bins)
    for (int64_t k = o; k < bins && k < o + j->block; k++) {
      float *grid = (float *)j->a[6] + k * channels * pixels;
      memset(grid, 0, channels * pixels * sizeof(float));
      // Addresses and weights in vectors, some at a time, then the sums.
      enum { SOME = 256 };
      for (int64_t from = cuts[k]; from < cuts[k + 2]; from += SOME) {
        const int64_t some = cuts[k + 2] - from < SOME ? cuts[k + 2] - from : SOME;
        int32_t at[SOME];
        float weight[SOME];
        INDEPENDENT for (int64_t i = 0; i < some; i++) {
          at[i] = p[from + i] * apart + y[from + i] * (int32_t)width + x[from + i];
          weight[i] = (1 - (float)fabs((t[from + i] - first) * bins_a_microsecond - k)) * (dark + (1 - dark) * p[from + i]);
        }
        for (int64_t i = 0; i < some; i++) grid[at[i]] += weight[i];
      }
    }
}

// Frame k of OUT (frames, 2, height, width) is the decay since the last event at ENDS[k] in each place of a block. LAST keeps its time.
void surface(job *j) {
  const int64_t *t = j->a[0], *cuts = j->a[4], *ends = j->a[5], frames = j->q[0], width = j->q[1], pixels = width * j->q[2], linear = j->q[3];
  const int16_t *x = j->a[1], *y = j->a[2];
  const uint8_t *p = j->a[3];
  const double rate = *(const double *)j->a[6];
  double *last = j->a[7];
  BLOCKS(2 * pixels) {
    const int64_t size = 2 * pixels - o < j->block ? 2 * pixels - o : j->block;
    for (int64_t k = 0; k < frames; k++) {
      for (int64_t i = cuts[k]; i < cuts[k + 1]; i++) {
        const int64_t at = p[i] * pixels + y[i] * width + x[i] - o;
        if (at >= 0 && at < size) last[o + at] = t[i];
      }
      float *restrict out = (float *)j->a[8] + 2 * k * pixels + o;
      const double *restrict since = last + o, end = ends[k];
      if (linear)
        INDEPENDENT for (int64_t n = 0; n < size; n++) {
          const float left = 1 - (float)((end - since[n]) * rate);
          out[n] = left > 0 ? left : 0;
        }
      else
        INDEPENDENT for (int64_t n = 0; n < size; n++) out[n] = exp_((float)((since[n] - end) * rate));
    }
  }
}
