// Convolutions of sparse images: every input that is not zero adds its kernel to the sums.
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

// The sums of one sample have the channels last: (out_height, out_width, out_channels). The weights lie as
// (channels, kernel_height, kernel_width reversed, outputs of a group). So the contribution of one input to a
// row of sums is one run of both, unless the convolution is strided, dilated or grouped.

// Forward: sums += z weights; backward: weights += z sums.
static inline void add_run(real z, int64_t width, real *weights, real *sums, int backward) {
  add_scaled(z, backward ? sums : weights, width, backward ? weights : sums);
}

// One input z at column x, one row of the kernel, one row of the sums:
//
//   for each column k of the kernel
//     if the column of the sums, (x + pad - k dilation) / stride, exists
//       add_run over the outputs of the group
static inline void add_kernel_row(const arguments *args, real z, int64_t x, real *weights, real *sums, int backward) {
  const int64_t size = args->out_channels / args->groups;
  const int64_t stride = args->stride_x, dilation = args->dilation_x, width = args->kernel_width;
  // column of the sums for the first of the reversed columns
  const int64_t left = x + args->pad_x - (width - 1) * dilation;
  if (stride == 1 && dilation == 1 && args->groups == 1) {
    const int64_t first = left < 0 ? -left : 0, last = args->out_width - left < width ? args->out_width - left : width;
    if (first < last) add_run(z, (last - first) * size, weights + first * size, sums + (left + first) * size, backward);
    return;
  }
  for (int64_t k = 0; k < width; k++) {
    const int64_t position = left + k * dilation, column = stride == 1 ? position : position / stride;
    if (position >= 0 && column * stride == position && column < args->out_width)
      add_run(z, size, weights + k * size, sums + column * args->out_channels, backward);
  }
}

// One sample:
//
//   for each channel, for each row of the image
//     find the inputs that are not zero
//     for each row of the kernel whose row of the sums exists
//       for each input found
//         add_kernel_row
static inline void add_sample(const arguments *args, const real *image, real *weights, real *sums, int backward) {
  const int64_t size = args->out_channels / args->groups, group_channels = args->channels / args->groups;
  const int64_t width = args->width;
  for (int64_t channel = 0; channel < args->channels; channel++)
    for (int64_t y = 0; y < args->height; y++, image += width)
      for (int64_t first = 0; first < width; first += CHUNK) {
        int32_t fired[CHUNK];
        const int32_t count = find_fired(image, first, first + CHUNK < width ? first + CHUNK : width, fired);
        for (int64_t k = 0; count && k < args->kernel_height; k++) {
          const int64_t position = y + args->pad_y - k * args->dilation_y, row = position / args->stride_y;
          if (position < 0 || row * args->stride_y != position || row >= args->out_height) continue;
          real *kernel_row = weights + (channel * args->kernel_height + k) * args->kernel_width * size;
          real *sums_row = sums + row * args->out_width * args->out_channels + channel / group_channels * size;
          for (int32_t f = 0; f < count; f++)
            add_kernel_row(args, image[fired[f]], fired[f], kernel_row, sums_row, backward);
        }
      }
}

static int64_t thread_number(job *j) { return __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED); }

#define EACH_SAMPLE BLOCKS(args->samples) for (int64_t n = o; n < o + j->block && n < args->samples; n++)

// output = image * weights + bias:
//
//   for each sample                        on threads
//     sums = bias
//     add_sample
//     output = sums, channels first
void convolve(job *j) {
  const arguments *args = j->arguments;
  const int64_t positions = args->out_height * args->out_width, out_channels = args->out_channels;
  real *sums = args->sums + thread_number(j) * positions * out_channels;
  EACH_SAMPLE {
    for (int64_t p = 0; p < positions; p++)
      for (int64_t k = 0; k < out_channels; k++) sums[p * out_channels + k] = args->bias ? args->bias[k] : 0;
    add_sample(args, args->image + n * args->channels * args->height * args->width, args->weights, sums, 0);
    transpose(sums, positions, out_channels, args->output + n * out_channels * positions, positions);
  }
}

// The gradient of the weights from that of the output; each thread adds to weights that no other thread has:
//
//   for each sample                        on threads
//     sums = gradient of the output, channels last
//     add_sample, backward
void convolve_weights(job *j) {
  const arguments *args = j->arguments;
  const int64_t positions = args->out_height * args->out_width, out_channels = args->out_channels;
  const int64_t thread = thread_number(j);
  real *sums = args->sums + thread * positions * out_channels;
  real *weights = args->weights
      + thread * args->channels * args->kernel_height * args->kernel_width * (out_channels / args->groups);
  EACH_SAMPLE {
    transpose(args->output + n * out_channels * positions, out_channels, positions, sums, out_channels);
    add_sample(args, args->image + n * args->channels * args->height * args->width, weights, sums, 1);
  }
}
