// Tensors of zeros and ones as bits.
#define DOUBLE 0
#include "native.h"

// Pack `items` numbers, of which eight make a byte, the first the lowest bit. The last byte is filled with zeros. If a
// number is neither 0 nor `one`, `other` becomes 1, and the bits mean nothing.
#define PACK(name, integer)                                                             \
  void name(job *j) {                                                                   \
    const integer *from = j->a[0];                                                      \
    uint8_t *to = j->a[1];                                                              \
    int64_t *other = j->a[2];                                                           \
    const int64_t items = j->q[0];                                                      \
    const integer one = (integer)j->q[1];                                               \
    BLOCKS(items) {                                                                     \
      if (__atomic_load_n(other, __ATOMIC_RELAXED)) return;                             \
      const int64_t end = items - o < j->block ? items : o + j->block;                  \
      integer wrong = 0;                                                                \
      int64_t i = o;                                                                    \
      for (; i + 8 <= end; i += 8) {                                                    \
        unsigned byte = 0;                                                              \
        for (int k = 0; k < 8; k++) {                                                   \
          const integer value = from[i + k];                                            \
          wrong |= (integer)((value != 0) & (value != one));                            \
          byte |= (unsigned)(value != 0) << k;                                          \
        }                                                                               \
        to[i / 8] = (uint8_t)byte;                                                      \
      }                                                                                 \
      if (i < end) {                                                                    \
        unsigned byte = 0;                                                              \
        for (int k = 0; i + k < end; k++) {                                             \
          wrong |= (integer)((from[i + k] != 0) & (from[i + k] != one));                \
          byte |= (unsigned)(from[i + k] != 0) << k;                                    \
        }                                                                               \
        to[i / 8] = (uint8_t)byte;                                                      \
      }                                                                                 \
      if (wrong) __atomic_store_n(other, 1, __ATOMIC_RELAXED);                          \
    }                                                                                   \
  }

#define UNPACK(name, integer)                                                           \
  void name(job *j) {                                                                   \
    const uint8_t *from = j->a[0];                                                      \
    integer *to = j->a[1];                                                              \
    const int64_t items = j->q[0];                                                      \
    const integer one = (integer)j->q[1];                                               \
    BLOCKS(items) {                                                                     \
      const int64_t end = items - o < j->block ? items : o + j->block;                  \
      int64_t i = o;                                                                    \
      for (; i + 8 <= end; i += 8)                                                      \
        for (int k = 0; k < 8; k++) to[i + k] = (integer)(-(integer)(from[i / 8] >> k & 1) & one); \
      for (; i < end; i++) to[i] = (integer)(-(integer)(from[i / 8] >> i % 8 & 1) & one); \
    }                                                                                   \
  }

PACK(pack_2, uint16_t)
PACK(pack_4, uint32_t)
PACK(pack_8, uint64_t)
UNPACK(unpack_2, uint16_t)
UNPACK(unpack_4, uint32_t)
UNPACK(unpack_8, uint64_t)
