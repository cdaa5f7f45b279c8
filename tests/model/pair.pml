/* A pair of hubs that is up: numbers, credit, heartbeat, and calls from hub 0 to hub 1. What is in
 * flight is a bag, so that anything may overtake anything; the bus may also lose and repeat so many
 * messages as LOSSES and REPEATS say, and a hub may be killed. With ORDERED it is a good bus.
 *
 * It holds: no call is done twice; nobody sends more than he has credit for; there is no deadlock,
 * and at the end both hubs agree on whether there is a pair, and each call has been answered unless
 * there is none, in which case its caller has been told. With a good bus, each is answered.
 *
 * tests/check_model.sh defines one of the names MUTANT_ to take a rule away; then it must not
 * hold. */
#ifndef CALLS
#define CALLS 3
#endif
#define WINDOW 2 /* envelopes that may be under way */
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef REPEATS
#define REPEATS 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#define NUMBERS 14
#define PINGS (LOSSES + 2)

/* What the number N of hub S is. */
#define NOTHING 0
#define PING 1
#define CLOSE 2
#define CALL 10   /* and its index: the request, or the answer */
#define CREDIT 20 /* and what is granted */

byte what[2 * NUMBERS];
byte flying[2 * NUMBERS]; /* copies */

bool up[2] = true;
bool killed;
byte next_out[2], next_in[2];
byte sent[2], may_send[2] = WINDOW; /* envelopes, since the opening */
byte received[2], taken[2], granted[2] = WINDOW;
byte asked;           /* requests that were sent */
byte done;            /* requests that were done: a bit each */
byte to_answer;       /* requests that were done and not answered; their answers go in order */
byte first_answer;
byte answered;        /* at hub 0: a bit each */
byte losses = LOSSES, repeats = REPEATS, kills = KILLS;
byte pings[2] = PINGS;

#define ALL ((1 << CALLS) - 1)

inline say(s, kind) {
    assert(next_out[s] < NUMBERS);
    what[s * NUMBERS + next_out[s]] = kind;
    flying[s * NUMBERS + next_out[s]]++;
    next_out[s]++
}

/* All calls that hub 0 waits for are told with it: what is not answered and has no pair. */
inline end_with_close(s) {
    say(s, CLOSE);
    up[s] = false
}

inline envelope(s, i) {
    /* Both reckon alike: who sends more is cut, so nobody may. */
    assert(received[s] - taken[s] < WINDOW);
    received[s]++;
    if
    :: s == 1 ->
        assert(!(done & (1 << i)));
        done = done | (1 << i);
        to_answer++
    :: s == 0 ->
        assert(!(answered & (1 << i)));
        answered = answered | (1 << i)
    fi
}

inline accept(s, kind) {
    if
    :: kind == CLOSE -> up[s] = false
    :: kind == PING -> skip
    :: kind >= CREDIT -> may_send[s] = kind - CREDIT
    :: kind >= CALL && kind < CREDIT -> envelope(s, kind - CALL)
    fi
}

/* Hub s hears number n of the other. */
inline hear(s, n) {
    if
    :: !up[s] -> skip
    :: up[s] && n < next_in[s] ->
#ifdef MUTANT_REPETITION
        accept(s, what[(1 - s) * NUMBERS + n])
#else
        skip
#endif
    :: up[s] && n == next_in[s] ->
        next_in[s]++;
        accept(s, what[(1 - s) * NUMBERS + n])
    :: up[s] && n > next_in[s] ->
#ifdef MUTANT_GAP
        next_in[s] = n + 1;
        accept(s, what[(1 - s) * NUMBERS + n])
#else
        end_with_close(s)
#endif
    fi
}

#ifdef MUTANT_CREDIT
#define MAY_SEND(s) (1)
#else
#define MAY_SEND(s) (sent[s] < may_send[s])
#endif

/* Some message of the other to hub s; with a good bus, the next. */
inline pick(s) {
    n = 0;
    do
    :: n < NUMBERS - 1 && !flying[(1 - s) * NUMBERS + n] -> n++
    :: n < NUMBERS - 1 && flying[(1 - s) * NUMBERS + n] ->
#ifdef ORDERED
        break
#else
        if
        :: true -> break
        :: true -> n++
        fi
#endif
    :: n == NUMBERS - 1 -> break
    od
}

#define WAITS(s) (flying[(1 - s) * NUMBERS] || flying[(1 - s) * NUMBERS + 1] || \
    flying[(1 - s) * NUMBERS + 2] || flying[(1 - s) * NUMBERS + 3] || \
    flying[(1 - s) * NUMBERS + 4] || flying[(1 - s) * NUMBERS + 5] || \
    flying[(1 - s) * NUMBERS + 6] || flying[(1 - s) * NUMBERS + 7] || \
    flying[(1 - s) * NUMBERS + 8] || flying[(1 - s) * NUMBERS + 9] || \
    flying[(1 - s) * NUMBERS + 10] || flying[(1 - s) * NUMBERS + 11] || \
    flying[(1 - s) * NUMBERS + 12] || flying[(1 - s) * NUMBERS + 13])

inline arrive(s) {
    pick(s);
    if
    :: !flying[(1 - s) * NUMBERS + n] -> skip
    :: flying[(1 - s) * NUMBERS + n] ->
        if
        :: true ->
            flying[(1 - s) * NUMBERS + n]--;
            hear(s, n)
        :: losses && what[(1 - s) * NUMBERS + n] != NOTHING ->
            flying[(1 - s) * NUMBERS + n]--;
            losses--
        :: repeats ->
            repeats--;
            hear(s, n)
        fi
    fi;
    n = 0
}

/* A quarter of the window is one envelope or none, here. */
inline take(s) {
    taken[s]++
}

inline grant(s) {
    granted[s] = taken[s] + WINDOW;
    say(s, CREDIT + granted[s])
}

#ifdef MUTANT_GRANT
#define MAY_GRANT(s) (0)
#else
#define MAY_GRANT(s) (taken[s] + WINDOW > granted[s])
#endif

/* Nothing moves. A hub that is up has said nothing for a while, so it says PING; where the other is
 * not up any more, nothing is heard, and it ends. */
inline silence(s) {
    if
#ifndef MUTANT_HEARTBEAT
    :: up[s] && !up[1 - s] -> up[s] = false
    :: up[s] && up[1 - s] && pings[s] -> pings[s]--; say(s, PING)
#endif
    :: else -> skip
    fi
}

active proctype all() {
    byte n;

    do
    /* hub 0 asks */
    :: atomic { up[0] && asked < CALLS && MAY_SEND(0) ->
        sent[0]++; say(0, CALL + asked); asked++ }
    /* hub 1 answers */
    :: atomic { up[1] && to_answer && MAY_SEND(1) ->
        sent[1]++; say(1, CALL + first_answer); first_answer++; to_answer-- }
    /* a connection takes what was received, now or later; and more is granted */
    :: atomic { up[0] && received[0] > taken[0] -> take(0) }
    :: atomic { up[1] && received[1] > taken[1] -> take(1) }
    :: atomic { up[0] && MAY_GRANT(0) -> grant(0) }
    :: atomic { up[1] && MAY_GRANT(1) -> grant(1) }
    /* the bus */
    :: atomic { WAITS(0) -> arrive(0) }
    :: atomic { WAITS(1) -> arrive(1) }
    :: atomic { kills && up[1] -> kills--; killed = true; up[1] = false }
    :: atomic { timeout ->
        if
        :: (up[0] != up[1] || (up[0] && (pings[0] || pings[1]))) ->
#ifdef MUTANT_HEARTBEAT
            break
#else
            silence(0);
            silence(1)
#endif
        :: else -> break
        fi }
    od;
    assert(up[0] == up[1]);
    assert(!up[0] || answered == ALL);
#ifdef ORDERED
    assert(KILLS || (up[0] && done == ALL))
#endif
}
