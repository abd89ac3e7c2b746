// Products with spikes: only the rows of neurons that fired are read.
#define DOUBLE {{double}}
#include "native.h"
#define EACH(k, size) BLOCKS(size) for (int64_t k = o; k < o + j->block && k < size; k++)

// Rows of OUT that a thread takes at a time, at most, and rows of W that stay in cache while it does.
enum { BLOCK = {{block}}, PART = 128 };

// OUT (rows, width) += Z (rows, inner) W (inner, width), of which Z may have any strides.
void add_product(job *j) {
  const int64_t rows = j->q[0], inner = j->q[1], width = j->q[2], down = j->q[3], across = j->q[4];
  const real *Z = j->a[0], *W = j->a[1];
  BLOCKS(rows)
    for (int64_t first = 0; first < inner; first += PART) {
      const int64_t block = rows - o < j->block ? rows - o : j->block, size = inner - first < PART ? inner - first : PART;
      real part[BLOCK][PART];
      const real *from = Z + o * down + first * across;
      if (across == 1)
        for (int64_t i = 0; i < block; i++) memcpy(part[i], from + i * down, size * sizeof(real));
      else
        for (int64_t k = 0; k < size; k++)
          for (int64_t i = 0; i < block; i++) part[i][k] = from[i * down + k * across];
      for (int64_t i = 0; i < block; i++) add_rows(part[i], size, W + first * width, width, (real *)j->a[2] + (o + i) * width);
    }
}

// A convolution: its numbers in the order of `q`. Sums lie with their channels last, weights as (channels, height, width reversed, outputs of a group):
// so what one input adds to a row of sums is a run of both, where nothing is strided, dilated or grouped.
enum { SAMPLES, CHANNELS, HEIGHT, WIDTH, OUT, OUT_HEIGHT, OUT_WIDTH, KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE, STRIDE_X, PAD, PAD_X, DILATION, DILATION_X, GROUPS };

// An input Z at x, and one row of the kernel: add what it does to a row of sums, or what these do to the weights.
static inline void add_run(real z, int64_t width, real *weights, real *sums, int backward) {
  add_scaled(z, backward ? sums : weights, width, backward ? weights : sums);
}
static inline void footprint(const int64_t *q, real z, int64_t x, real *weights, real *sums, int backward) {
  const int64_t size = q[OUT] / q[GROUPS], stride = q[STRIDE_X], dilation = q[DILATION_X], width = q[KERNEL_WIDTH];
  const int64_t left = x + q[PAD_X] - (width - 1) * dilation;  // where the first of the reversed columns falls
  if (stride == 1 && dilation == 1 && q[GROUPS] == 1) {
    const int64_t first = left < 0 ? -left : 0, last = q[OUT_WIDTH] - left < width ? q[OUT_WIDTH] - left : width;
    if (first < last) add_run(z, (last - first) * size, weights + first * size, sums + (left + first) * size, backward);
    return;
  }
  for (int64_t k = 0; k < width; k++) {
    const int64_t across = left + k * dilation, column = stride == 1 ? across : across / stride;
    if (across >= 0 && column * stride == across && column < q[OUT_WIDTH])
      add_run(z, size, weights + k * size, sums + column * q[OUT], backward);
  }
}

// All inputs of a sample that are not zero.
static inline void footprints(const int64_t *q, const real *x, real *weights, real *sums, int backward) {
  const int64_t size = q[OUT] / q[GROUPS], members = q[CHANNELS] / q[GROUPS];
  for (int64_t c = 0; c < q[CHANNELS]; c++)
    for (int64_t y = 0; y < q[HEIGHT]; y++, x += q[WIDTH])
      for (int64_t first = 0; first < q[WIDTH]; first += CHUNK) {
        int32_t fired[CHUNK + 1];
        const int32_t count = find_fired(x, first, q[WIDTH], fired);
        for (int64_t k = 0; count && k < q[KERNEL_HEIGHT]; k++) {
          const int64_t down = y + q[PAD] - k * q[DILATION], row = down / q[STRIDE];
          if (down < 0 || row * q[STRIDE] != down || row >= q[OUT_HEIGHT]) continue;
          real *w = weights + (c * q[KERNEL_HEIGHT] + k) * q[KERNEL_WIDTH] * size, *to = sums + row * q[OUT_WIDTH] * q[OUT] + c / members * size;
          for (int32_t f = 0; f < count; f++) footprint(q, x[fired[f]], fired[f], w, to, backward);
        }
      }
}

// To (columns, rows) from (rows, columns).
static void transpose(const real *restrict from, int64_t rows, int64_t columns, real *restrict to) {
  for (int64_t first = 0; first < rows; first += 16)
    for (int64_t k = 0; k < columns; k++)
      for (int64_t i = first; i < first + 16 && i < rows; i++) to[k * rows + i] = from[i * columns + k];
}

// A thread takes its part of a[4], room for the sums of one sample, and of the gradient a[1], by counting in a[5].
static int64_t thread(job *j) { return __atomic_fetch_add((int64_t *)j->a[5], 1, __ATOMIC_RELAXED); }

// Y a[3] of X a[0], by weights a[1] and perhaps a bias a[2]
void convolve(job *j) {
  const int64_t *q = j->q, places = q[OUT_HEIGHT] * q[OUT_WIDTH], out = q[OUT];
  const real *bias = j->a[2];
  real *sums = (real *)j->a[4] + thread(j) * places * out;
  EACH(n, q[SAMPLES]) {
    for (int64_t p = 0; p < places; p++)
      for (int64_t k = 0; k < out; k++) sums[p * out + k] = bias ? bias[k] : 0;
    footprints(q, (const real *)j->a[0] + n * q[CHANNELS] * q[HEIGHT] * q[WIDTH], j->a[1], sums, 0);
    transpose(sums, places, out, (real *)j->a[3] + n * out * places);
  }
}

// The gradient a[1] of the weights, for each thread, from that of Y, a[3]
void convolve_weights(job *j) {
  const int64_t *q = j->q, places = q[OUT_HEIGHT] * q[OUT_WIDTH], out = q[OUT], mine = thread(j);
  real *sums = (real *)j->a[4] + mine * places * out;
  real *weights = (real *)j->a[1] + mine * q[CHANNELS] * q[KERNEL_HEIGHT] * q[KERNEL_WIDTH] * (out / q[GROUPS]);
  EACH(n, q[SAMPLES]) {
    transpose((const real *)j->a[3] + n * out * places, out, places, sums);
    footprints(q, (const real *)j->a[0] + n * q[CHANNELS] * q[HEIGHT] * q[WIDTH], weights, sums, 1);
  }
}

// Connections by their source: those of source k are from[k] to from[k + 1], each with a target and a weight. A thread works on LANES rows at once,
// which lie side by side: X (blocks, sources, LANES), Y (blocks, targets, LANES).
enum { LANES = {{lanes}} };

// Y += X W
void connect(job *j) {
  const int64_t blocks = j->q[0], sources = j->q[1], targets = j->q[2], *from = j->a[1], *target = j->a[2];
  const real *weights = j->a[3];
  EACH(b, blocks)
    for (int64_t k = 0; k < sources; k++) {
      const real *x = (const real *)j->a[0] + (b * sources + k) * LANES;
      int silent = 1;
      for (int64_t n = 0; n < LANES; n++) silent &= x[n] == 0;
      for (int64_t c = from[k]; !silent && c < from[k + 1]; c++) {
        real *y = (real *)j->a[4] + (b * targets + target[c]) * LANES;
        for (int64_t n = 0; n < LANES; n++) y[n] += weights[c] * x[n];
      }
    }
}

// X = Y W', the gradient of the sources from that of the targets
void connect_back(job *j) {
  const int64_t blocks = j->q[0], sources = j->q[1], targets = j->q[2], *from = j->a[1], *target = j->a[2];
  const real *weights = j->a[3];
  EACH(b, blocks)
    for (int64_t k = 0; k < sources; k++) {
      real sum[LANES] = {0};
      for (int64_t c = from[k]; c < from[k + 1]; c++) {
        const real *y = (const real *)j->a[4] + (b * targets + target[c]) * LANES;
        for (int64_t n = 0; n < LANES; n++) sum[n] += weights[c] * y[n];
      }
      memcpy((real *)j->a[0] + (b * sources + k) * LANES, sum, sizeof sum);
    }
}

// The gradient of the weights: of each connection its source times its target's gradient, over all rows
void connect_weights(job *j) {
  const int64_t blocks = j->q[0], sources = j->q[1], targets = j->q[2], *from = j->a[1], *target = j->a[2];
  EACH(k, sources)
    for (int64_t b = 0; b < blocks; b++) {
      const real *x = (const real *)j->a[0] + (b * sources + k) * LANES;
      int silent = 1;
      for (int64_t n = 0; n < LANES; n++) silent &= x[n] == 0;
      for (int64_t c = from[k]; !silent && c < from[k + 1]; c++) {
        const real *y = (const real *)j->a[4] + (b * targets + target[c]) * LANES;
        real sum[LANES];
        for (int64_t n = 0; n < LANES; n++) sum[n] = x[n] * y[n];
        for (int64_t half = LANES / 2; half; half /= 2)
          for (int64_t n = 0; n < half; n++) sum[n] += sum[n + half];
        ((real *)j->a[3])[c] += sum[0];
      }
    }
}
