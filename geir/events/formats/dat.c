// Decoders of DAT 1 and 2. The Python decoder in dat.py does the same.
#include "decoder.h"

// Records of time (32 bits) and, from the least significant bit on, x, y and polarity, of widths that depend
// on the version.
static inline void decode_dat(const uint8_t *records, int64_t count, const EventColumns *out,
                              DecoderState *state, int x_bits, int y_bits, int p_bits) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t capacity = out->capacity;
  int64_t time = state->time_high, i = 0;
  state->invalid = 0;
  if (count && !state->has_time) {
    time = load_u32(records);
    state->has_time = 1;
  }
  for (; i < count && i < capacity; i++) {
    const uint32_t stamp = load_u32(records + 8 * i), fields = load_u32(records + 8 * i + 4);
    // A difference of 32 bits with a sign, because the counter of time wraps around.
    time += (int32_t)(stamp - (uint32_t)time);
    t[i] = time;
    x[i] = fields & ((1 << x_bits) - 1);
    y[i] = fields >> x_bits & ((1 << y_bits) - 1);
    p[i] = fields >> (x_bits + y_bits) & ((1 << p_bits) - 1);
  }
  state->time_high = time;
  state->records_read = i;
  state->events_written = i;
}
void decode_dat1(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_dat(records, count, out, state, 9, 8, 1);
}
void decode_dat2(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_dat(records, count, out, state, 14, 14, 4);
}
