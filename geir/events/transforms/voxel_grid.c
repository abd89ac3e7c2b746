// Voxel grids.
#define DOUBLE 0
#include "native.h"

// out[k], shape (channels, height, width), adds the weight 1 - |t* - k| of the events from
// offsets[k] to offsets[k + 2], which are those whose time t*, in bins since the first event, lies
// within one bin of k. With one channel, weights are signed.
void voxel_grid(job *j) {
  const int64_t *t = j->a[0];
  const int16_t *x = j->a[1], *y = j->a[2];
  const uint8_t *p = j->a[3];
  const int64_t *offsets = j->a[4];
  const double bins_per_us = *(const double *)j->a[5];
  float *out = j->a[6];
  const int64_t bins = j->q[0], channels = j->q[1], width = j->q[2], pixels = width * j->q[3], first = j->q[4];
  const int32_t channel_stride = (channels - 1) * pixels;
  const float darker = channels == 1 ? -1 : 1;  // sign of polarity 0
  BLOCKS(bins)
    for (int64_t k = o; k < bins && k < o + j->block; k++) {
      float *grid = out + k * channels * pixels;
      memset(grid, 0, channels * pixels * sizeof(float));
      // A batch of indices and weights is computed in vectors; then the weights are added one at a time.
      enum { BATCH = 256 };
      for (int64_t from = offsets[k]; from < offsets[k + 2]; from += BATCH) {
        const int64_t count = offsets[k + 2] - from < BATCH ? offsets[k + 2] - from : BATCH;
        int32_t at[BATCH];
        float weight[BATCH];
        INDEPENDENT for (int64_t i = 0; i < count; i++) {
          at[i] = p[from + i] * channel_stride + y[from + i] * (int32_t)width + x[from + i];
          const float distance = (float)fabs((t[from + i] - first) * bins_per_us - k);
          weight[i] = (1 - distance) * (darker + (1 - darker) * p[from + i]);
        }
        for (int64_t i = 0; i < count; i++) grid[at[i]] += weight[i];
      }
    }
}
