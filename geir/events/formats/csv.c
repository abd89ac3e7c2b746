// Decoder of lines of text. The Python decoder in csv.py does the same.
#include "decoder.h"

// The same fields as `LineLayout` in csv.py.
typedef struct {
  int64_t t_field, x_field, y_field, p_field;  // indices of the columns in a line, at most 15
  int64_t field_count;                         // fields that a line has at least, all of them numbers
  int64_t separator;                           // a character; a space stands for any run of spaces and tabs
} LineLayout;

enum { MAX_FIELDS = 16, MAX_DIGITS = 18 };

static inline int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Parse the fields of a line and skip blanks around them. Returns whether all were numbers, and
// moves `*position` to where parsing stopped, which is on the line or at its end.
static inline int parse_fields(const char **position, const LineLayout *layout, int64_t values[MAX_FIELDS]) {
  const int64_t field_count = layout->field_count;
  const char separator = layout->separator, *c = *position;
  int valid = 1;
  for (int64_t field = 0; field < field_count && valid; field++) {
    const int negative = *c == '-';
    const char *first_digit = c += negative;
    int64_t value = 0;
    for (unsigned digit; c - first_digit < MAX_DIGITS && (digit = (unsigned char)*c - '0') <= 9; c++)
      value = value * 10 + digit;
    values[field] = negative ? -value : value;
    valid = c > first_digit;
    const char *end = c;
    while (is_blank(*c)) c++;
    if (*c == '\n')
      valid &= field + 1 == field_count;
    else if (separator == ' ')
      valid &= c > end;
    else {
      valid &= *c++ == separator;
      while (is_blank(*c)) c++;
    }
  }
  *position = c;
  return valid;
}

// Whole lines, each with its newline; empty lines and those that begin with # are skipped. The state counts
// bytes.
void decode_csv(const uint8_t *bytes, int64_t count, const EventColumns *out, DecoderState *state,
                const LineLayout *layout) {
  const char *text = (const char *)bytes;
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t capacity = out->capacity;
  const LineLayout fields = *layout;
  int64_t i = 0, k = 0;
  state->invalid = 0;
  while (i < count && k < capacity) {
    int64_t values[MAX_FIELDS];
    const char *c = text + i;
    while (is_blank(*c)) c++;
    if (*c != '\n' && *c != '#') {
      if (!parse_fields(&c, &fields, values)) {
        state->invalid = 1;
        break;
      }
      const int64_t column = values[fields.x_field], row = values[fields.y_field], polarity = values[fields.p_field];
      if (column != (int16_t)column || row != (int16_t)row || polarity < -1 || polarity > 1) {
        state->invalid = 1;
        break;
      }
      t[k] = values[fields.t_field];
      x[k] = column;
      y[k] = row;
      p[k] = polarity > 0;
      k++;
    }
    while (*c != '\n') c++;
    i = c + 1 - text;
  }
  state->records_read = i;
  state->events_written = k;
}
