/* malloc for a guest that lives for one request: memory is handed out and never taken back.
 *
 * A fresh instance's memory is zero, so calloc has nothing to clear, and libc's allocator would grow the memory several
 * times where once is enough; each growth is a system call of the host. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAGE_BYTES 65536UL
#define ALIGNMENT 16UL

extern uint8_t __heap_base; /* the linker's: where the module's own data ends */

static uintptr_t top;

void *malloc(size_t size) {
    if (!top) top = ((uintptr_t)&__heap_base + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    uintptr_t end = __builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (size > UINT32_MAX - top - PAGE_BYTES) return NULL;
    uintptr_t next = (top + size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    if (next > end && __builtin_wasm_memory_grow(0, (next - end + PAGE_BYTES - 1) / PAGE_BYTES) == SIZE_MAX) return NULL;
    void *block = (void *)top;
    top = next;
    return block;
}

void *calloc(size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    return malloc(count * size);
}

/* The old size is not kept: what lies between the block and the top is at least as long as the block. */
void *realloc(void *block, size_t size) {
    uintptr_t old_top = top;
    uint8_t *grown = malloc(size);
    if (!grown || !block) return grown;
    size_t most = old_top - (uintptr_t)block;
    return memcpy(grown, block, most < size ? most : size);
}

void free(void *block) { (void)block; }
