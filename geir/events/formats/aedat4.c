// Packets of AEDAT 4, and conversion of their records to columns. The Python functions in aedat4_packets.py and
// aedat4_columns.py do the same.
#include "decoder.h"

// The same fields as `PacketPlace` in aedat4_packets.py.
typedef struct {
  const uint8_t *content;
  int64_t size, begin, number;
} PacketPlace;

// The same fields as `PacketWalk` in aedat4_packets.py.
typedef struct {
  int64_t next, number, found, bytes;
} PacketWalk;

enum { PACKET_HEADER_SIZE = 8, RECORD_SIZE = 16 };

static int contains(const int64_t *numbers, int64_t count, int64_t number) {
  for (int64_t i = 0; i < count; i++)
    if (numbers[i] == number) return 1;
  return 0;
}

// Locate packets of the first of the streams, up to the first packet that is invalid or not wholly in the piece, or
// until there is no room for more places.
void find_packets(const uint8_t *piece, int64_t piece_size, const int64_t *streams, int64_t stream_count,
                  PacketWalk *walk, PacketPlace *places, int64_t capacity) {
  walk->found = walk->bytes = 0;
  while (walk->found < capacity && walk->next <= piece_size - PACKET_HEADER_SIZE) {
    const int32_t stream = (int32_t)load_u32(piece + walk->next);
    const int32_t size = (int32_t)load_u32(piece + walk->next + 4);
    const int64_t begin = walk->next + PACKET_HEADER_SIZE;
    if (!contains(streams, stream_count, stream) || size < 0 || size > piece_size - begin) break;
    if (stream == streams[0]) {
      places[walk->found++] = (PacketPlace){piece + begin, size, begin, walk->number};
      walk->bytes += size;
    }
    walk->next = begin + size;
    walk->number++;
  }
}

// Find the records in the content of a packet if its FlatBuffer has a layout: the bytes between its size and the number
// of its records. Returns their number, or -1 if it has another layout or is too short.
static int64_t find_records(const uint8_t *content, int64_t size, const uint8_t *layout, int64_t layout_size) {
  const int64_t begin = 4 + layout_size + 4;
  if (!layout_size || size < begin || memcmp(content + 4, layout, layout_size)) return -1;
  const int64_t stated_size = load_u32(content), count = load_u32(content + begin - 4);
  return stated_size > size - 4 || count * RECORD_SIZE > size - begin ? -1 : count;
}

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

// `decode_checked` in columns.c.
typedef void (*DecodeChecked)(DecodeRecords decode, const uint8_t *records, int64_t count, int64_t record_size,
                              const EventColumns *out, DecoderState *state, int64_t first_time,
                              const ValidityLimits *limits, CheckedEvents *checked);

// Decode packets up to the first one that does not have the layout, and move the columns on behind their events. There is
// room for the events of all packets. Returns the number of packets that were decoded.
int64_t decode_packets(const PacketPlace *packets, int64_t count, const uint8_t *layout, int64_t layout_size,
                       DecodeChecked decode_checked, EventColumns *out, const ValidityLimits *limits,
                       CheckedEvents *checked) {
  for (int64_t k = 0; k < count; k++) {
    const int64_t events = find_records(packets[k].content, packets[k].size, layout, layout_size);
    if (events < 0) return k;
    DecoderState state = {0};
    decode_checked(decode_aedat4, packets[k].content + 4 + layout_size + 4, events, RECORD_SIZE, out, &state, 0, limits,
                   checked);
    *out = (EventColumns){out->t + events, out->x + events, out->y + events, out->p + events, out->capacity - events};
  }
  return count;
}
