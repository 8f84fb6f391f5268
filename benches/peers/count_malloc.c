// Counts allocations of a whole process: preloaded into Python by windows.py, read through ctypes. For glibc.
#include <stddef.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *pointer, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static unsigned long count;

unsigned long alfred_allocations(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }

static void add(void) { __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED); }

void *malloc(size_t bytes) {
  add();
  return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes) {
  add();
  return __libc_calloc(number, bytes);
}

void *realloc(void *pointer, size_t bytes) {
  add();
  return __libc_realloc(pointer, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
  add();
  return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void **pointer, size_t alignment, size_t bytes) {
  void *found = memalign(alignment, bytes);
  if (!found) return 12;  // ENOMEM
  *pointer = found;
  return 0;
}
