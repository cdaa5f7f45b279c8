/* The base layer: list, map, heap, arena, buffer, allocator hook and UTF-8 cuts. Where a
 * structure has many states, a long run of random steps is compared with a plain model of it. Its
 * JSON reader is in test_json.c. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/utf8.h"
#include "support/memory.h"
#include "support/must.h"
#include "support/suite.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

/* A fixed sequence, so that a failure is repeatable. */
static uint32_t rnd(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* ---- list ------------------------------------------------------------------------------------ */

struct item {
    int n;
    struct list link;
};

/* The numbers of a list's items, forwards; checks the way back too. */
static const char *numbers(const struct list *head)
{
    static char text[256];
    size_t n = 0, forth = 0, back = 0;

    text[0] = 0;
    list_each(l, head)
    {
        n += (size_t)snprintf(text + n, sizeof text - n, "%d ",
                              container_of(l, struct item, link)->n);
        forth++;
    }
    for (const struct list *l = head->prev; l != head; l = l->prev)
        back++;
    ck_assert_uint_eq(forth, back);
    return text;
}

static void items_init(struct list *head, struct item *items, int count)
{
    list_init(head);
    for (int i = 0; i < count; i++) {
        items[i].n = i;
        list_init(&items[i].link);
        list_push(head, &items[i].link);
    }
}

START_TEST(list_keeps_the_order_of_pushes)
{
    struct list head;
    struct item items[4], first = {.n = 9};

    items_init(&head, items, 4);
    ck_assert_str_eq(numbers(&head), "0 1 2 3 ");
    list_push_front(&head, &first.link);
    ck_assert_str_eq(numbers(&head), "9 0 1 2 3 ");
}
END_TEST

START_TEST(list_removal_works_anywhere_and_twice)
{
    struct list head;
    struct item items[4];

    items_init(&head, items, 4);
    list_del(&items[1].link);
    list_del(&items[1].link);
    ck_assert(list_empty(&items[1].link));
    ck_assert_str_eq(numbers(&head), "0 2 3 ");
    list_del(&items[0].link);
    list_del(&items[3].link);
    list_del(&items[2].link);
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(list_each_safe_lets_the_body_unlink_its_item)
{
    struct list head;
    struct item items[5];
    int seen = 0;

    items_init(&head, items, 5);
    list_each_safe(l, &head)
    {
        seen++;
        if (container_of(l, struct item, link)->n % 2 == 0)
            list_del(l);
    }
    ck_assert_int_eq(seen, 5);
    ck_assert_str_eq(numbers(&head), "1 3 ");
}
END_TEST

START_TEST(list_splice_moves_everything_to_the_end)
{
    struct list a, b;
    struct item x[2], y[2];

    items_init(&a, x, 2);
    items_init(&b, y, 2);
    list_splice(&a, &b);
    ck_assert_str_eq(numbers(&a), "0 1 0 1 ");
    ck_assert(list_empty(&b));
    list_splice(&a, &b);
    ck_assert_str_eq(numbers(&a), "0 1 0 1 ");
    list_splice(&b, &a);
    ck_assert_str_eq(numbers(&b), "0 1 0 1 ");
    ck_assert(list_empty(&a));
}
END_TEST

/* ---- map ------------------------------------------------------------------------------------- */

static const uint64_t seed[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

struct entry {
    struct map_node node;
    char key[16];
    bool in;
};

static void entry_key(struct entry *e, const char *key, size_t len)
{
    memcpy(e->key, key, len);
    e->node.key = e->key;
    e->node.len = len;
}

START_TEST(map_agrees_with_a_plain_table_over_random_steps)
{
    enum { KEYS = 700 };
    static struct entry entries[KEYS];
    struct memory memory = {0};
    struct mem mem;
    struct map m;
    size_t count = 0;

    mem_init(&mem, memory_realloc, &memory);
    map_init(&m, &mem, seed);
    for (int i = 0; i < KEYS; i++) {
        char key[16];

        entry_key(&entries[i], key, (size_t)snprintf(key, sizeof key, "key-%d", i));
    }
    for (int step = 0; step < 60000; step++) {
        struct entry *e = &entries[rnd() % (step % 20000 < 10000 ? KEYS : 9)];
        struct map_node *found = map_find(&m, e->key, e->node.len);

        must(found == (e->in ? &e->node : NULL));
        if (e->in)
            map_del(&m, &e->node);
        else
            must(map_add(&m, &e->node) == 0);
        e->in = !e->in;
        count += e->in ? 1 : (size_t)-1;
        must(m.count == count);
        must((map_any(&m) != NULL) == (count != 0));
    }
    for (struct map_node *n; (n = map_any(&m));)
        map_del(&m, n);
    ck_assert_uint_eq(memory.live, 0);
    map_fini(&m);
}
END_TEST

START_TEST(a_large_map_is_emptied_in_one_walk)
{
    enum { MANY = 300000 };
    struct entry *e = calloc(MANY, sizeof *e);
    struct mem mem;
    struct map m;

    ck_assert_ptr_nonnull(e);
    mem_init(&mem, NULL, NULL);
    map_init(&m, &mem, seed);
    for (int i = 0; i < MANY; i++) {
        entry_key(&e[i], (const char *)&i, sizeof i);
        ck_assert_int_eq(map_add(&m, &e[i].node), 0);
    }
    for (struct map_node *n; (n = map_any(&m));)
        map_del(&m, n);
    map_fini(&m);
    free(e);
}
END_TEST

START_TEST(map_keys_are_bytes_with_a_length)
{
    struct entry a = {0}, b = {0}, c = {0}, d = {0};
    struct mem mem;
    struct map m;

    mem_init(&mem, NULL, NULL);
    map_init(&m, &mem, seed);
    entry_key(&a, "a\0b", 3);
    entry_key(&b, "a\0c", 3);
    entry_key(&c, "a", 1);
    entry_key(&d, "", 0);
    ck_assert(!map_add(&m, &a.node) && !map_add(&m, &b.node) && !map_add(&m, &c.node) &&
              !map_add(&m, &d.node));
    ck_assert_ptr_eq(map_find(&m, "a\0b", 3), &a.node);
    ck_assert_ptr_eq(map_find(&m, "a\0c", 3), &b.node);
    ck_assert_ptr_eq(map_find(&m, "a", 1), &c.node);
    ck_assert_ptr_eq(map_find(&m, "", 0), &d.node);
    ck_assert_ptr_null(map_find(&m, "a\0", 2));
    for (struct map_node *n; (n = map_any(&m));)
        map_del(&m, n);
    map_fini(&m);
}
END_TEST

START_TEST(map_needs_no_memory_while_small_and_gives_it_back_when_emptied)
{
    struct entry e[32] = {0};
    struct memory memory = {0};
    struct mem mem;
    struct map m;

    mem_init(&mem, memory_realloc, &memory);
    map_init(&m, &mem, seed);
    for (int i = 0; i < 32; i++) {
        entry_key(&e[i], (char[]){(char)i}, 1);
        ck_assert_int_eq(map_add(&m, &e[i].node), 0);
        ck_assert_uint_eq(memory.live, (unsigned)i < MAP_INLINE ? 0 : 1);
    }
    for (int i = 0; i < 32; i++)
        map_del(&m, &e[i].node);
    ck_assert_uint_eq(memory.live, 0);
    map_fini(&m);
}
END_TEST

START_TEST(map_that_cannot_grow_stays_as_it_was)
{
    struct entry e[MAP_INLINE + 1] = {0};
    struct memory memory = {.fail_in = 1};
    struct mem mem;
    struct map m;

    mem_init(&mem, memory_realloc, &memory);
    map_init(&m, &mem, seed);
    for (unsigned i = 0; i <= MAP_INLINE; i++) {
        entry_key(&e[i], (char[]){(char)i}, 1);
        ck_assert_int_eq(map_add(&m, &e[i].node), i < MAP_INLINE ? 0 : -1);
    }
    ck_assert_uint_eq(m.count, MAP_INLINE);
    for (unsigned i = 0; i <= MAP_INLINE; i++)
        ck_assert_ptr_eq(map_find(&m, e[i].key, 1), i < MAP_INLINE ? &e[i].node : NULL);
    for (unsigned i = 0; i < MAP_INLINE; i++)
        map_del(&m, &e[i].node);
    map_fini(&m);
}
END_TEST

START_TEST(map_hash_is_siphash_1_3)
{
    static const unsigned char in[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                         11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                         22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    static const uint64_t other[2] = {1, 2};

    /* Of the published vectors: key 00 01 … 0f, input 00 01 … of that length. */
    ck_assert_uint_eq(map_hash(seed, in, 0), UINT64_C(0xabac0158050fc4dc));
    ck_assert_uint_ne(map_hash(seed, in, 8), map_hash(seed, in, 7));
    ck_assert_uint_ne(map_hash(seed, in, 8), map_hash(other, in, 8));
}
END_TEST

/* ---- heap ------------------------------------------------------------------------------------ */

START_TEST(heap_root_is_always_the_earliest)
{
    enum { NODES = 200 };
    static struct heap_node nodes[NODES];
    struct heap h = {NULL};

    for (int i = 0; i < NODES; i++)
        heap_node_init(&nodes[i]);
    for (int step = 0; step < 20000; step++) {
        struct heap_node *n = &nodes[rnd() % NODES];
        uint64_t least = HEAP_NONE;

        if (n->key == HEAP_NONE)
            heap_insert(&h, n, rnd() % 50);
        else
            heap_remove(&h, step % 3 ? h.root : n);
        for (int i = 0; i < NODES; i++)
            least = nodes[i].key < least ? nodes[i].key : least;
        must((h.root ? h.root->key : HEAP_NONE) == least);
    }
}
END_TEST

START_TEST(heap_gives_everything_back_in_order)
{
    enum { NODES = 1000 };
    static struct heap_node nodes[NODES];
    struct heap h = {NULL};
    uint64_t last = 0;
    int n = 0;

    for (int i = 0; i < NODES; i++)
        heap_insert(&h, &nodes[i], rnd() % 300);
    for (; h.root; n++) {
        ck_assert_uint_ge(h.root->key, last);
        last = h.root->key;
        heap_remove(&h, h.root);
    }
    ck_assert_int_eq(n, NODES);
}
END_TEST

START_TEST(heap_removal_of_a_node_that_is_in_none_is_harmless)
{
    struct heap_node a, b;
    struct heap h = {NULL};

    heap_node_init(&a);
    heap_node_init(&b);
    heap_remove(&h, &a);
    heap_insert(&h, &b, 5);
    heap_remove(&h, &a);
    ck_assert_ptr_eq(h.root, &b);
    heap_remove(&h, &b);
    heap_remove(&h, &b);
    ck_assert_ptr_null(h.root);
}
END_TEST

/* ---- arena ----------------------------------------------------------------------------------- */

struct block {
    unsigned char *p;
    size_t size;
    unsigned char fill;
};

static void check_block(const struct block *b)
{
    size_t i = 0;

    while (i < b->size && b->p[i] == b->fill)
        i++;
    must(i == b->size);
    must((uintptr_t)b->p % 16 == 0);
}

START_TEST(arena_blocks_keep_their_bytes_over_random_growth)
{
    enum { BLOCKS = 40 };
    static const size_t sizes[] = {1, 16, 100, 700, 1030, 1500, 3000, 9000};

    for (int round = 0; round < 60; round++) {
        struct block blocks[BLOCKS] = {{0}};
        struct memory memory = {0};
        struct mem mem;
        struct arena a;

        mem_init(&mem, memory_realloc, &memory);
        arena_init(&a, &mem, round % 3 ? 2048 : 64);
        for (int step = 0; step < 200; step++) {
            struct block *b = &blocks[rnd() % BLOCKS];
            size_t size = sizes[rnd() % 8] + rnd() % 64;

            if (b->p && size < b->size)
                b->size = size;
            b->p = arena_realloc(&a, b->p, b->p ? b->size : 0, size);
            ck_assert_ptr_nonnull(b->p);
            b->size = size;
            b->fill = (unsigned char)rnd();
            memset(b->p, b->fill, size);
            for (int i = 0; i < BLOCKS; i++)
                check_block(&blocks[i]);
        }
        arena_fini(&a);
        ck_assert_uint_eq(a.bytes, 0);
        ck_assert_uint_eq(memory.live, 0);
    }
}
END_TEST

START_TEST(arena_growing_a_block_of_an_old_chunk_leaves_its_neighbours_alone)
{
    struct mem mem;
    struct arena a;
    char *p, *q;

    mem_init(&mem, NULL, NULL);
    arena_init(&a, &mem, 2048);
    p = arena_alloc(&a, 1500);
    q = arena_alloc(&a, 400);
    ck_assert(p && q);
    memset(p, 'p', 1500);
    memset(q, 'q', 400);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1000));
    p = arena_realloc(&a, p, 1500, 3000);
    ck_assert_ptr_nonnull(p);
    for (int i = 0; i < 1500; i++)
        ck_assert_int_eq(p[i], 'p');
    for (int i = 0; i < 400; i++)
        ck_assert_int_eq(q[i], 'q');
    arena_fini(&a);
}
END_TEST

START_TEST(arena_grows_its_last_block_in_place_and_a_large_one_without_garbage)
{
    struct memory memory = {0};
    struct mem mem;
    struct arena a;
    char *p, *q;
    size_t before;

    mem_init(&mem, memory_realloc, &memory);
    arena_init(&a, &mem, 1024);
    p = arena_alloc(&a, 100);
    ck_assert_ptr_eq(arena_realloc(&a, p, 100, 600), p);
    q = arena_alloc(&a, 20000);
    before = a.bytes;
    q = arena_realloc(&a, q, 20000, 100000);
    ck_assert_ptr_nonnull(q);
    ck_assert_uint_le(a.bytes, before + 80000 + 64);
    ck_assert_uint_eq(memory.live, 2);
    arena_fini(&a);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

START_TEST(arena_reset_keeps_one_chunk_of_the_first_size_and_forgets_the_rest)
{
    struct memory memory = {0};
    struct mem mem;
    struct arena a;

    mem_init(&mem, memory_realloc, &memory);
    arena_init(&a, &mem, 1024);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 50; k++)
            ck_assert_ptr_nonnull(arena_alloc(&a, k % 10 ? 200 : 5000));
        arena_reset(&a);
        ck_assert_uint_eq(memory.live, 1);
        ck_assert_uint_le(a.bytes, 1024 + 64);
    }
    arena_fini(&a);
}
END_TEST

START_TEST(arena_that_gets_no_memory_says_so_and_keeps_what_it_has)
{
    struct memory memory = {0};
    struct mem mem;
    struct arena a;
    char *p, *q;

    mem_init(&mem, memory_realloc, &memory);
    arena_init(&a, &mem, 256);
    p = arena_dup(&a, "kept", 4);
    q = arena_alloc(&a, 8000);
    ck_assert(p && q);
    memset(q, 'q', 8000);
    memory.fail_in = 1;
    memory.fail_all = true;
    ck_assert_ptr_null(arena_alloc(&a, 5000));
    ck_assert_ptr_null(arena_zalloc(&a, 5000));
    ck_assert_ptr_null(arena_realloc(&a, q, 8000, 90000));
    ck_assert_ptr_null(arena_realloc(&a, p, 5, 5000));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 40));
    ck_assert_ptr_null(arena_realloc(&a, q, 8000, SIZE_MAX - 40));
    ck_assert_str_eq(p, "kept");
    ck_assert_int_eq(q[7999], 'q');
    arena_fini(&a);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

START_TEST(arena_copies_end_with_nul_and_zalloc_is_zero)
{
    struct mem mem;
    struct arena a;
    char *p;

    mem_init(&mem, NULL, NULL);
    arena_init(&a, &mem, 256);
    memset(arena_alloc(&a, 200), 0xff, 200);
    arena_reset(&a);
    p = arena_zalloc(&a, 200);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(p[i], 0);
    p = arena_dup(&a, "a\0b", 3);
    ck_assert_mem_eq(p, "a\0b", 4);
    ck_assert_str_eq(arena_dup(&a, NULL, 0), "");
    arena_fini(&a);
}
END_TEST

/* ---- buffer ---------------------------------------------------------------------------------- */

START_TEST(buf_gives_out_what_was_put_in_in_order)
{
    static char model[200000];
    size_t from = 0, to = 0;
    struct memory memory = {0};
    struct mem mem;
    struct buf b;

    mem_init(&mem, memory_realloc, &memory);
    buf_init(&b, &mem);
    for (int step = 0; step < 3000; step++) {
        size_t n = rnd() % (step % 100 < 50 ? 120 : 17);

        if (rnd() % 2 && to + n <= sizeof model) {
            for (size_t i = 0; i < n; i++)
                model[to + i] = (char)rnd();
            if (step % 3) {
                must(buf_append(&b, model + to, n) == 0);
            } else {
                char *p = buf_reserve(&b, n + 1);

                ck_assert_ptr_nonnull(p);
                memcpy(p, model + to, n);
                buf_commit(&b, n);
            }
            to += n;
        } else {
            n = n < b.len ? n : b.len;
            buf_consume(&b, n);
            from += n;
        }
        must(b.len == to - from);
        must(!b.len || !memcmp(buf_at(&b), model + from, b.len));
    }
    ck_assert_uint_gt(to, 10000);
    buf_fini(&b);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

START_TEST(buf_does_not_grow_while_it_is_consumed_as_fast_as_it_is_filled)
{
    struct memory memory = {0};
    struct mem mem;
    struct buf b;

    mem_init(&mem, memory_realloc, &memory);
    buf_init(&b, &mem);
    ck_assert_int_eq(buf_append(&b, "0123456789", 10), 0);
    for (int i = 0; i < 100000; i++) {
        must(buf_append(&b, "0123456789", 10) == 0);
        buf_consume(&b, 10);
    }
    ck_assert_uint_le(memory.largest, 4096);
    buf_fini(&b);
}
END_TEST

/* Held: at most a third more than what is left, and no second block meanwhile. */
START_TEST(buf_gives_back_what_it_has_consumed)
{
    struct memory memory = {0};
    struct mem mem;
    struct buf b;
    char *p;

    mem_init(&mem, memory_realloc, &memory);
    buf_init(&b, &mem);
    p = buf_reserve(&b, 1000000);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < 1000000; i++)
        p[i] = (char)(i % 251);
    buf_commit(&b, 1000000);
    for (size_t at = 0; at < 1000000; at += 1000) {
        must((uint8_t)*buf_at(&b) == at % 251 && (uint8_t)buf_at(&b)[b.len - 1] == 999999 % 251);
        buf_consume(&b, 1000);
        buf_shrink(&b);
        must(b.cap <= 65536 || b.cap <= (b.len + 4096) / 3 * 4 + 4);
        must(memory.live == 1);
    }
    memory.fail_in = 1;
    memory.fail_all = true;
    buf_shrink(&b);
    buf_fini(&b);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

/* An allocator that looks into each block that comes back for what was secret. */
static void *searching_realloc(void *ud, void *ptr, size_t size)
{
    bool *found = ud;

    if (size)
        return realloc(ptr, size);
    if (ptr && memmem(ptr, malloc_usable_size(ptr), "a-token", 7))
        *found = true;
    free(ptr);
    return NULL;
}

START_TEST(buf_wipes_each_block_of_a_secret)
{
    static const char more[10000];

    for (int secret = 0; secret < 2; secret++) {
        bool found = false;
        struct mem mem;
        struct buf b;

        mem_init(&mem, searching_realloc, &found);
        buf_init(&b, &mem);
        b.secret = secret;
        ck_assert_int_eq(buf_puts(&b, "a-token"), 0);
        ck_assert_int_eq(buf_append(&b, more, sizeof more), 0); /* moves to a larger block */
        ck_assert_int_eq(found, !secret);
        found = false;
        buf_fini(&b);
        ck_assert_int_eq(found, !secret);
        ck_assert_uint_eq(mem.live, 0);
    }
}
END_TEST

START_TEST(buf_that_gets_no_memory_appends_nothing)
{
    struct memory memory = {0};
    struct mem mem;
    struct buf b;
    char big[3000];

    mem_init(&mem, memory_realloc, &memory);
    buf_init(&b, &mem);
    memset(big, 'x', sizeof big);
    ck_assert_int_eq(buf_puts(&b, "kept"), 0);
    memory.fail_in = 1;
    memory.fail_all = true;
    ck_assert_int_eq(buf_append(&b, big, sizeof big), -1);
    ck_assert_int_eq(buf_printf(&b, "%.*s", (int)sizeof big, big), -1);
    ck_assert_int_eq(buf_json_string(&b, big, sizeof big), -1);
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX / 4 - 3));
    ck_assert_uint_eq(b.len, 4);
    ck_assert_mem_eq(buf_at(&b), "kept", 4);
    buf_fini(&b);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

START_TEST(buf_writes_json_strings_with_every_control_character_escaped)
{
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    ck_assert_int_eq(buf_json_string(&b, "", 0), 0);
    ck_assert_int_eq(buf_json_string(&b, "a\"\\/\n\r\t\0\x1f\x7f\xc3\xa9", 12), 0);
    ck_assert_int_eq(buf_append(&b, "", 1), 0);
    ck_assert_str_eq(buf_at(&b), "\"\"\"a\\\"\\\\/\\n\\r\\t\\u0000\\u001f\x7f\xc3\xa9\"");
    buf_fini(&b);
}
END_TEST

START_TEST(buf_writes_any_string_as_a_plain_loop_would)
{
    static const char specials[] = "\"\\\n\r\t\0\x1f\x20\x7f\x80\xc3\xff";
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    for (int step = 0; step < 30000; step++) {
        char in[40], want[300] = "\"";
        size_t n = rnd() % sizeof in;

        for (size_t i = 0; i < n; i++)
            in[i] = rnd() % 8   ? 'a'
                    : rnd() % 2 ? specials[rnd() % (sizeof specials - 1)]
                                : (char)rnd();
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char)in[i];
            const char *escaped = strchr("\"\\", c), *letter = strchr("\nn\rr\tt", c);

            if (c && escaped)
                snprintf(want + strlen(want), 8, "\\%c", c);
            else if (c < 0x20 && c && letter)
                snprintf(want + strlen(want), 8, "\\%c", letter[1]);
            else
                snprintf(want + strlen(want), 8, c < 0x20 ? "\\u%04x" : "%c", c);
        }
        strcat(want, "\"");
        must(buf_json_string(&b, in, n) == 0);
        must(b.len == strlen(want) && !memcmp(buf_at(&b), want, b.len));
        buf_consume(&b, b.len);
    }
    buf_fini(&b);
}
END_TEST

START_TEST(buf_printf_and_truncate_do_what_they_say)
{
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    ck_assert_int_eq(buf_printf(&b, "%s-%d", "abc", 42), 0);
    ck_assert_uint_eq(b.len, 6);
    ck_assert_mem_eq(buf_at(&b), "abc-42", 6);
    buf_truncate(&b, 3);
    ck_assert_int_eq(buf_printf(&b, "%0300d", 7), 0);
    ck_assert_uint_eq(b.len, 303);
    ck_assert_mem_eq(buf_at(&b), "abc000", 6);
    buf_fini(&b);
}
END_TEST

/* ---- allocator hook and UTF-8 ---------------------------------------------------------------- */

START_TEST(mem_counts_live_blocks_whatever_happens_to_them)
{
    struct memory memory = {0};
    struct mem mem;
    void *p, *q;

    mem_init(&mem, memory_realloc, &memory);
    p = mem_alloc(&mem, 0);
    q = mem_realloc(&mem, NULL, 10);
    ck_assert(p && q);
    ck_assert_uint_eq(mem.live, 2);
    q = mem_realloc(&mem, q, 1000);
    ck_assert_uint_eq(mem.live, 2);
    memory.fail_in = 1;
    ck_assert_ptr_null(mem_realloc(&mem, q, 5000));
    ck_assert_uint_eq(mem.live, 2);
    memory.failed = false;
    memory.fail_in = 1;
    ck_assert_ptr_null(mem_dup(&mem, "x", 1));
    ck_assert_uint_eq(mem.live, 2);
    mem_free(&mem, p);
    mem_free(&mem, q);
    mem_free(&mem, NULL);
    ck_assert_uint_eq(mem.live, 0);
    ck_assert_uint_eq(memory.live, 0);
}
END_TEST

START_TEST(utf8_cut_never_splits_a_character)
{
    static const char s[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* a é € 😀 z */
    static const size_t cut[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};

    for (size_t most = 0; most < sizeof cut / sizeof cut[0]; most++)
        ck_assert_uint_eq(utf8_cut(s, sizeof s - 1, most), cut[most]);
    ck_assert_uint_eq(utf8_cut(s, sizeof s - 1, 100), sizeof s - 1);
    ck_assert_uint_eq(utf8_cut(s, 0, 0), 0);
}
END_TEST

START_TEST(utf8_cut_end_drops_a_character_that_a_cut_has_split)
{
    static const char s[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    static const size_t cut[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};

    for (size_t len = 0; len < sizeof cut / sizeof cut[0]; len++)
        ck_assert_uint_eq(utf8_cut_end(s, len), cut[len]);
}
END_TEST

MAIN("base", list_keeps_the_order_of_pushes, list_removal_works_anywhere_and_twice,
     list_each_safe_lets_the_body_unlink_its_item, list_splice_moves_everything_to_the_end,
     map_agrees_with_a_plain_table_over_random_steps, a_large_map_is_emptied_in_one_walk,
     map_keys_are_bytes_with_a_length,
     map_needs_no_memory_while_small_and_gives_it_back_when_emptied,
     map_that_cannot_grow_stays_as_it_was, map_hash_is_siphash_1_3,
     heap_root_is_always_the_earliest, heap_gives_everything_back_in_order,
     heap_removal_of_a_node_that_is_in_none_is_harmless,
     arena_blocks_keep_their_bytes_over_random_growth,
     arena_growing_a_block_of_an_old_chunk_leaves_its_neighbours_alone,
     arena_grows_its_last_block_in_place_and_a_large_one_without_garbage,
     arena_reset_keeps_one_chunk_of_the_first_size_and_forgets_the_rest,
     arena_that_gets_no_memory_says_so_and_keeps_what_it_has,
     arena_copies_end_with_nul_and_zalloc_is_zero, buf_gives_out_what_was_put_in_in_order,
     buf_does_not_grow_while_it_is_consumed_as_fast_as_it_is_filled,
     buf_gives_back_what_it_has_consumed, buf_wipes_each_block_of_a_secret,
     buf_that_gets_no_memory_appends_nothing,
     buf_writes_json_strings_with_every_control_character_escaped,
     buf_writes_any_string_as_a_plain_loop_would, buf_printf_and_truncate_do_what_they_say,
     mem_counts_live_blocks_whatever_happens_to_them, utf8_cut_never_splits_a_character,
     utf8_cut_end_drops_a_character_that_a_cut_has_split)
