// Conversion of AEDAT 4's records to columns. The Python function in aedat4_columns.py does the same.
#include "decoder.h"

// Records of time (64 bits), x (16), y (16), polarity (8) and three bytes of padding. The columns have room for all
// of them.
void decode_aedat4(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  for (int64_t i = 0; i < count; i++) {
    const uint64_t fields = load_u64(records + 16 * i + 8);
    t[i] = (int64_t)load_u64(records + 16 * i);
    x[i] = fields;
    y[i] = fields >> 16;
    p[i] = (uint8_t)(fields >> 32) != 0;
  }
  state->records_read = count;
  state->events_written = count;
}
