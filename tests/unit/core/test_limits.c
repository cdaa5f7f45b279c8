/* Limits: which must not be 0 and which may, and what happens with those that a node is given. */
#include "support/suite.h"
#include "support/world.h"

#include <stddef.h>

#define AT(member)                                                                                 \
    {                                                                                              \
#member, offsetof(alk_limits, member)                                                      \
    }

static const struct {
    const char *name;
    size_t at;
} needed[] = {
    AT(frame_bytes),        AT(websocket_bytes),
    AT(body_bytes),         AT(anonymous_bytes),
    AT(output_bytes),       AT(json_values),
    AT(json_depth),         AT(schema_steps),
    AT(message_budget),     AT(header_bytes),
    AT(header_count),       AT(url_bytes),
    AT(connection_calls),   AT(batch),
    AT(queue_high),         AT(deadline_ms),
    AT(header_timeout_ms),  AT(body_timeout_ms),
    AT(keepalive_ms),       AT(write_timeout_ms),
    AT(heartbeat_ms),       AT(websocket_fragments),
    AT(websocket_controls), AT(close_ms),
    AT(evict_ms),           AT(http2_streams),
    AT(http2_resets),       AT(quic_handshakes),
    AT(quic_streams),       AT(quic_stream_window),
    AT(quic_window),        AT(quic_idle_ms),
};

static bool is_needed(size_t at)
{
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].at == at)
            return true;
    }
    return false;
}

static uint32_t *member(alk_limits *l, size_t at)
{
    return (uint32_t *)(void *)((char *)l + at);
}

START_TEST(a_limit_without_which_nothing_works_is_not_0)
{
    struct world *w = world_new();
    alk_limits l;

    world_start(w);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        alk_limits_init(&l, sizeof l);
        *member(&l, needed[i].at) = 0;
        ck_assert_msg(alk_node_set_limits(w->node, &l) == ALK_EINVAL, "%s", needed[i].name);
        *member(&l, needed[i].at) = 1;
        ck_assert_msg(alk_node_set_limits(w->node, &l) == ALK_OK, "%s", needed[i].name);
    }
    world_free(w);
}
END_TEST

START_TEST(every_other_limit_may_be_0)
{
    struct world *w = world_new();
    alk_limits l;

    world_start(w);
    for (size_t at = offsetof(alk_limits, size) + sizeof l.size; at < sizeof l;
         at += sizeof(uint32_t)) {
        alk_limits_init(&l, sizeof l);
        *member(&l, at) = 0;
        ck_assert_msg(alk_node_set_limits(w->node, &l) == (is_needed(at) ? ALK_EINVAL : ALK_OK),
                      "at %zu", at);
    }
    world_free(w);
}
END_TEST

START_TEST(a_frame_and_a_depth_have_a_most)
{
    struct world *w = world_new();
    alk_limits l;

    world_start(w);
    alk_limits_init(&l, sizeof l);
    l.frame_bytes = 64u << 20;
    l.json_depth = 1024;
    ck_assert_int_eq(alk_node_set_limits(w->node, &l), ALK_OK);
    l.frame_bytes++;
    ck_assert_int_eq(alk_node_set_limits(w->node, &l), ALK_EINVAL);
    l.frame_bytes--;
    l.json_depth++;
    ck_assert_int_eq(alk_node_set_limits(w->node, &l), ALK_EINVAL);
    world_free(w);
}
END_TEST

MAIN("limits", a_limit_without_which_nothing_works_is_not_0, every_other_limit_may_be_0,
     a_frame_and_a_depth_have_a_most)
