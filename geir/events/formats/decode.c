// Records of event files, and text, into columns. Each function reads as much as there is room for and says in S how much that was.
#define DOUBLE 0
#include "native.h"

// In S: records read and events written by this call; 1 if the next record is wrong; then what a decoder remembers from call to call.
enum { READ, WRITTEN, WRONG, TIMED, UNTIMED, HIGH, LOW, ROW, BASE, BRIGHTER };

#define COLUMNS                                                                                                  \
  const int64_t n = j->q[0], room = j->q[1];                                                                     \
  int64_t *restrict t = j->a[1];                                                                                 \
  int16_t *restrict x = j->a[2], *restrict y = j->a[3];                                                          \
  uint8_t *restrict p = j->a[4];                                                                                 \
  int64_t *restrict s = j->a[5], i = 0, k = 0;                                                                   \
  s[WRONG] = 0
#define DONE s[READ] = i, s[WRITTEN] = k

static inline uint16_t get16(const uint8_t *from) {
  uint16_t v;
  memcpy(&v, from, 2);
  return v;
}
static inline uint32_t get32(const uint8_t *from) {
  uint32_t v;
  memcpy(&v, from, 4);
  return v;
}
static inline uint64_t get64(const uint8_t *from) {
  uint64_t v;
  memcpy(&v, from, 8);
  return v;
}

// A counter of some bits, which has wrapped around where that is the shorter way from what it was.
static inline int64_t unwrapped(int64_t was, uint64_t now, int bits) {
  return was + ((int64_t)((now - (uint64_t)was) << (64 - bits)) >> (64 - bits));
}

static inline int64_t shifted(int64_t time, int bits) { return (int64_t)((uint64_t)time << bits); }

// The first time word says what time it is, the following by how much that has changed.
static inline int64_t time_word(int64_t *s, int64_t was, uint64_t now, int bits) {
  const int64_t high = s[TIMED] ? unwrapped(was, now, bits) : (int64_t)now;
  s[TIMED] = 1;
  return high;
}

// For each byte, which of its bits are set.
static uint8_t BITS[256][8];
static __attribute__((constructor)) void find_bits(void) {
  for (int byte = 0; byte < 256; byte++)
    for (int bit = 0, k = 0; bit < 8; bit++)
      if (byte >> bit & 1) BITS[byte][k++] = bit;
}

typedef int64_t eight64 __attribute__((vector_size(64)));
typedef int16_t eight16 __attribute__((vector_size(16)));
typedef uint8_t eight8 __attribute__((vector_size(8)));

// Events of one time and row, at the columns from `first` on whose bits are set: eight are written for each eight bits, of which those count that
// there are, for this is faster than to look at each. Returns how many.
static __attribute__((noinline)) int64_t vector(uint32_t mask, int bits, int64_t time, int first, int row, int polarity, int64_t *t, int16_t *x, int16_t *y, uint8_t *p) {
  const eight64 times = time - (eight64){};
  const eight16 rows = (int16_t)row - (eight16){};
  const eight8 polarities = (uint8_t)polarity - (eight8){};
  int64_t k = 0;
  for (int low = 0; low < bits; low += 8) {
    eight8 set;
    memcpy(&set, BITS[mask >> low & 255], 8);
    const eight16 columns = __builtin_convertvector(set, eight16) + (int16_t)(first + low);
    memcpy(t + k, &times, sizeof times);
    memcpy(x + k, &columns, sizeof columns);
    memcpy(y + k, &rows, sizeof rows);
    memcpy(p + k, &polarities, sizeof polarities);
    k += __builtin_popcount(mask >> low & 255);
  }
  return k;
}

// Type (4 bits), time (6), x (11), y (11); or type and time (28).
void evt2(job *j) {
  const uint8_t *words = j->a[0];
  COLUMNS;
  int64_t high = s[HIGH], timed = s[TIMED];
  for (; i < n && k < room; i++) {
    const uint32_t word = get32(words + 4 * i), type = word >> 28;
    t[k] = shifted(high, 6) | (word >> 22 & 63);
    x[k] = word >> 11 & 2047;
    y[k] = word & 2047;
    p[k] = type;
    const int64_t event = type <= 1;
    k += event & timed;
    if (event) {
      s[UNTIMED] += !timed;
      continue;
    }
    if (type == 8)
      high = time_word(s, high, word & 0xfffffff, 28), timed = 1;
    else if (type != 10 && type < 14) {
      s[WRONG] = 1;
      break;
    }
  }
  s[HIGH] = high;
  DONE;
}

// As evt2, and in other 32 bits which of the 32 pixels from x on it was.
static inline void evt21_words(job *j, int turn) {
  const uint8_t *words = j->a[0];
  COLUMNS;
  int64_t high = s[HIGH];
  for (; i < n && k + 32 <= room; i++) {
    const uint64_t raw = get64(words + 8 * i), word = turn ? raw << 32 | raw >> 32 : raw;
    const int type = word >> 60;
    if (type <= 1) {
      uint32_t mask = word;
      if (!s[TIMED]) s[UNTIMED] += __builtin_popcount(mask), mask = 0;
      const int64_t time = shifted(high, 6) | (word >> 54 & 63);
      const int16_t first = word >> 43 & 2047, row = word >> 32 & 2047;
      k += vector(mask, 32, time, first, row, type, t + k, x + k, y + k, p + k);
    } else if (type == 8)
      high = time_word(s, high, word >> 32 & 0xfffffff, 28);
    else if (type != 10 && type < 14) {
      s[WRONG] = 1;
      break;
    }
  }
  s[HIGH] = high;
  DONE;
}
void evt21(job *j) { evt21_words(j, 0); }
void evt21_legacy(job *j) { evt21_words(j, 1); }

// Type (4 bits) and what has changed (12 bits).
void evt3(job *j) {
  const uint8_t *words = j->a[0];
  COLUMNS;
  int64_t time = shifted(s[HIGH], 12) | s[LOW], timed = s[TIMED];
  int32_t row = s[ROW], base = s[BASE], brighter = s[BRIGHTER];
  for (; i < n && k + 16 <= room; i++) {
    const uint32_t word = get16(words + 2 * i), type = word >> 12;
    // Rows, times and single events come in no order that can be predicted, so that they had better not branch.
    if (1 << type & (1 << 0 | 1 << 2 | 1 << 6)) {
      row = type == 0 ? word & 2047 : row;
      time = type == 6 ? (time & ~(int64_t)4095) | (word & 4095) : time;
      t[k] = time;
      x[k] = word & 2047;
      y[k] = row;
      p[k] = word >> 11 & 1;
      k += (type == 2) & timed;
      s[UNTIMED] += (type == 2) & !timed;
    } else if (type == 3) {
      base = word & 2047;
      brighter = word >> 11 & 1;
    } else if (type == 4 || type == 5) {
      uint32_t mask = word & (type == 4 ? 4095 : 255);
      if (mask && base > 2047) {
        s[WRONG] = 1;
        break;
      }
      if (!timed) s[UNTIMED] += __builtin_popcount(mask), mask = 0;
      if (mask) k += vector(mask, 16, time, base, row, brighter, t + k, x + k, y + k, p + k);
      base += type == 4 ? 12 : 8;
      base = base > 2048 ? 2048 : base;
    } else if (type == 8) {
      // Until the lower bits follow they are not known; times do not step back if they are taken to be 0.
      const int64_t high = time_word(s, time >> 12, word & 4095, 12);
      time = high == time >> 12 ? time : shifted(high, 12);
      timed = 1;
    } else if (type != 7 && type != 10 && type < 14) {
      s[WRONG] = 1;
      break;
    }
  }
  s[HIGH] = time >> 12, s[LOW] = time & 4095;
  s[ROW] = row, s[BASE] = base, s[BRIGHTER] = brighter;
  DONE;
}

// Time (32 bits), x, y and polarity, which have so many bits each.
static inline void dat_records(job *j, int across, int down, int polarity) {
  const uint8_t *records = j->a[0];
  COLUMNS;
  int64_t time = s[HIGH];
  if (n && !s[TIMED]) time = get32(records), s[TIMED] = 1;
  for (; i < n && k < room; i++, k++) {
    const uint32_t place = get32(records + 8 * i + 4);
    time += (int32_t)(get32(records + 8 * i) - (uint32_t)time);
    t[k] = time;
    x[k] = place & ((1 << across) - 1);
    y[k] = place >> across & ((1 << down) - 1);
    p[k] = place >> (across + down) & ((1 << polarity) - 1);
  }
  s[HIGH] = time;
  DONE;
}
void dat1(job *j) { dat_records(j, 9, 8, 1); }
void dat2(job *j) { dat_records(j, 14, 14, 4); }

// x (8 bits), y (8), polarity (1), time (23), most significant first; y = 240 says that the counter of time has wrapped at 13 bits.
void nmnist(job *j) {
  const uint8_t *records = j->a[0];
  COLUMNS;
  int64_t wrapped = s[HIGH];
  for (; i < n && k < room; i++) {
    const uint8_t *record = records + 5 * i;
    wrapped += record[1] == 240 ? 1 << 13 : 0;
    t[k] = wrapped + ((record[2] & 127) << 16 | record[3] << 8 | record[4]);
    x[k] = record[0];
    y[k] = record[1];
    p[k] = record[2] >> 7;
    k += record[1] != 240;
  }
  s[HIGH] = wrapped;
  DONE;
}

// Time (64 bits), x (16), y (16), polarity (8), and three bytes of nothing; in parts, of which a table says where they are and how many bytes.
void aedat4(job *j) {
  const int64_t *table = j->a[0];
  int64_t *restrict t = j->a[1];
  int16_t *restrict x = j->a[2], *restrict y = j->a[3];
  uint8_t *restrict p = j->a[4];
  for (int64_t part = 0; part < j->q[0]; part++) {
    const uint8_t *records = (const uint8_t *)(uintptr_t)table[2 * part];
    const int64_t count = table[2 * part + 1] / 16;
    for (int64_t i = 0; i < count; i++) {
      const uint64_t rest = get64(records + 16 * i + 8);
      t[i] = (int64_t)get64(records + 16 * i);
      x[i] = rest;
      y[i] = rest >> 16;
      p[i] = (uint8_t)(rest >> 32) != 0;
    }
    t += count, x += count, y += count, p += count;
  }
}

static inline int blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Whole lines, each with its end, of numbers, of which q[2..5] say where t, x, y and p stand, q[6] how many there must be, and q[7] what
// separates them besides blanks. Lines may be empty or begin with #. S counts bytes instead of records.
void csv(job *j) {
  const char *text = j->a[0];
  COLUMNS;
  const int64_t T = j->q[2], X = j->q[3], Y = j->q[4], P = j->q[5], fields = j->q[6];
  const char separator = j->q[7];
  while (i < n && k < room) {
    int64_t values[16];
    const char *c = text + i;
    while (blank(*c)) c++;
    if (*c != '\n' && *c != '#') {
      int right = 1;
      for (int64_t field = 0; field < fields && right; field++) {
        const int negative = *c == '-';
        const char *first = c += negative;
        int64_t value = 0;
        for (unsigned digit; c - first < 18 && (digit = (unsigned char)*c - '0') <= 9; c++) value = value * 10 + digit;
        values[field] = negative ? -value : value;
        right = c > first;
        const char *end = c;
        while (blank(*c)) c++;
        if (*c == '\n')
          right &= field + 1 == fields;
        else if (separator == ' ')
          right &= c > end;
        else {
          right &= *c++ == separator;
          while (blank(*c)) c++;
        }
      }
      if (!right || values[X] != (int16_t)values[X] || values[Y] != (int16_t)values[Y] || values[P] < -1 || values[P] > 1) {
        s[WRONG] = 1;
        break;
      }
      t[k] = values[T];
      x[k] = values[X];
      y[k] = values[Y];
      p[k++] = values[P] > 0;
    }
    while (*c != '\n') c++;
    i = c + 1 - text;
  }
  DONE;
}

// The first event outside of the sensor, or earlier by more than so much than one before; and the latest time up to there.
void sound(job *j) {
  const int64_t n = j->q[0], width = j->q[1], height = j->q[2], back = j->q[3];
  const int64_t *restrict t = j->a[0];
  const int16_t *restrict x = j->a[1], *restrict y = j->a[2];
  const uint8_t *restrict p = j->a[3];
  int64_t *restrict s = j->a[4], latest = s[1], first = n;
  enum { PART = 1024 };
  const int64_t FAR = INT64_C(1) << 62;  // so that differences do not overflow
  for (int64_t o = 0; o < n && first == n; o += PART) {
    const int64_t end = o + PART < n ? o + PART : n;
    // A loop for each width of numbers, for these run in vectors. Negative coordinates become large ones.
    uint16_t right = 0, bottom = 0;
    for (int64_t i = o; i < end; i++) right = (uint16_t)x[i] > right ? x[i] : right;
    for (int64_t i = o; i < end; i++) bottom = (uint16_t)y[i] > bottom ? y[i] : bottom;
    uint8_t brightest = 0;
    for (int64_t i = o; i < end; i++) brightest = p[i] > brightest ? p[i] : brightest;
    int64_t late = latest, low = INT64_MAX;
    for (int64_t i = o; i < end; i++) late = t[i] > late ? t[i] : late, low = t[i] < low ? t[i] : low;
    if (right < width && bottom < height && brightest <= 1 && low >= late - back && low >= -FAR && late <= FAR) {
      latest = late;
      continue;
    }
    for (int64_t i = o; i < end && first == n; i++) {
      const int inside = (uint16_t)x[i] < width && (uint16_t)y[i] < height && p[i] <= 1;
      if (inside && t[i] >= latest - back && t[i] >= -FAR && t[i] <= FAR)
        latest = t[i] > latest ? t[i] : latest;
      else
        first = i;
    }
  }
  s[0] = first;
  s[1] = latest;
}
