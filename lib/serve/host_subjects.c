/* The ids that the program sees. The memory of a subject is used again, and not given back before
 * the host is: so a thread may look at it with any id, and what it finds there says whether that id
 * is still the subject's. */
#include "serve/host_int.h"

#include <string.h>

#define CHUNK 256u
#define CHUNKS 16384u /* 4 Mi ids at a time: beyond every limit on calls */

int subjects_init(struct subjects *s)
{
    s->chunks = host_zalloc(CHUNKS * sizeof *s->chunks);
    if (!s->chunks)
        return ALK_ENOMEM;
    if (uv_mutex_init(&s->lock)) {
        host_free(s->chunks);
        return ALK_ENOMEM;
    }
    return ALK_OK;
}

void subjects_fini(struct subjects *s)
{
    for (uint32_t i = 0; i < CHUNKS && s->chunks[i]; i++)
        host_free(s->chunks[i]);
    host_free(s->chunks);
    uv_mutex_destroy(&s->lock);
}

static struct subject *at(struct subjects *s, uint32_t index)
{
    struct subject *chunk = index / CHUNK < CHUNKS
                                ? __atomic_load_n(&s->chunks[index / CHUNK], __ATOMIC_ACQUIRE)
                                : NULL;

    return chunk ? &chunk[index % CHUNK] : NULL;
}

/* Under the lock. */
static struct subject *take(struct subjects *s)
{
    struct subject *it = s->free;

    if (it) {
        s->free = it->next_free;
        return it;
    }
    if (s->used % CHUNK == 0) {
        struct subject *chunk =
            s->used / CHUNK < CHUNKS ? host_zalloc(CHUNK * sizeof *chunk) : NULL;

        if (!chunk)
            return NULL;
        __atomic_store_n(&s->chunks[s->used / CHUNK], chunk, __ATOMIC_RELEASE);
    }
    it = at(s, s->used);
    it->index = s->used++;
    return it;
}

static void give(struct subjects *s, struct subject *it)
{
    uv_mutex_lock(&s->lock);
    it->next_free = s->free;
    s->free = it;
    uv_mutex_unlock(&s->lock);
}

struct subject *subject_new(alk_host *h, enum subject_kind kind, uint32_t flags, uint64_t tag)
{
    struct event *end = event_new(ALK_HOST_END, NULL, 0);
    struct subject *s;
    uint64_t generation;

    if (!end)
        return NULL;
    uv_mutex_lock(&h->subjects.lock);
    s = take(&h->subjects);
    uv_mutex_unlock(&h->subjects.lock);
    if (!s) {
        event_free(end);
        return NULL;
    }
    s->h = h;
    s->tag = tag;
    s->end = end;
    s->call = NULL;
    s->room_wanted = s->lost = s->told = false;
    s->dialer = NULL;
    s->line = NULL;
    s->visit = NULL;
    s->dial = NULL;
    list_init(&s->held);
    list_init(&s->link);
    generation = (__atomic_load_n(&s->word, __ATOMIC_RELAXED) >> SUBJECT_GENERATION_SHIFT) + 1;
    __atomic_store_n(&s->word,
                     generation << SUBJECT_GENERATION_SHIFT | (uint64_t)kind << SUBJECT_KIND_SHIFT |
                         flags | SUBJECT_LIVE,
                     __ATOMIC_RELEASE);
    end->e.id = subject_id(s);
    end->e.tag = tag;
    return s;
}

void subject_free(struct subject *s)
{
    struct subjects *all = &s->h->subjects;

    event_free(s->end);
    s->end = NULL;
    __atomic_and_fetch(&s->word, ~(uint64_t)0 << SUBJECT_GENERATION_SHIFT, __ATOMIC_RELEASE);
    give(all, s);
}

/* Ids begin at 1: a generation does. */
uint64_t subject_id(const struct subject *s)
{
    return (__atomic_load_n(&s->word, __ATOMIC_RELAXED) & ~(uint64_t)0
                                                              << SUBJECT_GENERATION_SHIFT) |
           s->index;
}

static bool is_of(uint64_t word, uint64_t id)
{
    return word & SUBJECT_LIVE &&
           word >> SUBJECT_GENERATION_SHIFT == id >> SUBJECT_GENERATION_SHIFT;
}

struct subject *subject_find(struct subjects *all, uint64_t id, uint64_t *word)
{
    struct subject *s = at(all, (uint32_t)(id & ((1u << SUBJECT_GENERATION_SHIFT) - 1)));

    if (!s)
        return NULL;
    *word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);
    return is_of(*word, id) ? s : NULL;
}

static bool subject_change(struct subject *s, uint64_t *word, uint64_t to)
{
    return __atomic_compare_exchange_n(&s->word, word, to, true, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

int subject_answer(struct subject *s, uint64_t id, uint64_t word)
{
    do {
        if (!is_of(word, id) || word & SUBJECT_ANSWERED)
            return ALK_EENDED;
    } while (!subject_change(s, &word, word | SUBJECT_ANSWERED));
    return ALK_OK;
}

static uint64_t weight(size_t len)
{
    size_t more = len / EMIT_BYTES;

    return 1 + (more < EMITS_MAX ? more : EMITS_MAX);
}

int subject_emit(struct subject *s, uint64_t id, uint64_t word, size_t len, bool full)
{
    uint64_t to;

    do {
        if (!is_of(word, id) || word & SUBJECT_ANSWERED)
            return ALK_EENDED;
        if (word & SUBJECT_BLOCKED)
            return ALK_EAGAIN;
        full |= SUBJECT_EMITS(word) >= EMITS_MAX;
        to = full ? word | SUBJECT_BLOCKED : word + (weight(len) << SUBJECT_EMIT_SHIFT);
    } while (!subject_change(s, &word, to));
    return full ? SUBJECT_NOW_BLOCKED : ALK_OK;
}

void subject_emitted(struct subject *s, size_t len)
{
    __atomic_sub_fetch(&s->word, weight(len) << SUBJECT_EMIT_SHIFT, __ATOMIC_ACQ_REL);
}

/* One command at a time says that something has changed; what, is in the word. */
int subject_pause(struct subject *s, uint64_t id, uint64_t word, bool paused)
{
    uint64_t to;

    do {
        if (!is_of(word, id) || word & SUBJECT_ANSWERED)
            return ALK_EENDED;
        to = (paused ? word | SUBJECT_PAUSED : word & ~(uint64_t)SUBJECT_PAUSED) | SUBJECT_PAUSING;
    } while (!subject_change(s, &word, to));
    return !(word & SUBJECT_PAUSING);
}

uint64_t subject_clear(struct subject *s, uint64_t flags)
{
    return __atomic_and_fetch(&s->word, ~flags, __ATOMIC_ACQ_REL);
}
