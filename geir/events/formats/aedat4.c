// Conversion of AEDAT 4's records to columns. The Python function in aedat4.py does the same.
#include "decoder.h"

// The same fields as `PacketPointer` in aedat4.py.
typedef struct {
  const uint8_t *records;
  int64_t count;
} PacketRecords;

// Records of time (64 bits), x (16), y (16), polarity (8) and three bytes of padding, from several
// packets. The columns have room for all of them.
void gather_aedat4(const PacketRecords *packets, int64_t packet_count, const EventColumns *out) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  for (int64_t packet = 0; packet < packet_count; packet++) {
    const uint8_t *records = packets[packet].records;
    const int64_t count = packets[packet].count;
    for (int64_t i = 0; i < count; i++) {
      const uint64_t fields = load_u64(records + 16 * i + 8);
      t[i] = (int64_t)load_u64(records + 16 * i);
      x[i] = fields;
      y[i] = fields >> 16;
      p[i] = (uint8_t)(fields >> 32) != 0;
    }
    t += count;
    x += count;
    y += count;
    p += count;
  }
}
