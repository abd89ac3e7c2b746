// Whether dictionaries hold the objects that they held before, by identity. Python compares them one by one, which
// changes the reference count of each; this reads only the dictionaries.
#include <stdint.h>

typedef struct object object;

// Functions of Python's stable ABI, by address: so neither its headers nor its library are needed to compile this.
static object *(*tuple_item)(object *tuple, intptr_t index);  // PyTuple_GetItem
static int (*dict_next)(object *dict, intptr_t *position, object **key, object **value);  // PyDict_Next

void set_functions(void *get_tuple_item, void *get_dict_next) {
  tuple_item = get_tuple_item;
  dict_next = get_dict_next;
}

// `expected` holds for each of the dictionaries the number of its items, and then its keys and values in their order.
// The caller holds the interpreter's lock.
int same_items(object *dicts, int64_t count, const intptr_t *expected) {
  for (int64_t k = 0; k < count; k++) {
    object *dict = tuple_item(dicts, k), *key, *value;
    intptr_t position = 0, items = *expected++;
    for (; dict_next(dict, &position, &key, &value); items--, expected += 2)
      if (!items || (intptr_t)key != expected[0] || (intptr_t)value != expected[1]) return 0;
    if (items) return 0;
  }
  return 1;
}
