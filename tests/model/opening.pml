/* How a pair of hubs is opened, by either or by both: OPEN, ACCEPT, CONFIRM, and the PING by which
 * who opened hears that the other has the pair. What is in flight is a bag, so that anything may
 * overtake anything; the bus may also lose and repeat so many messages as LOSSES and REPEATS say,
 * and HASTE of the time limits may run out while something is still under way.
 *
 * It holds: when nothing moves any more, both hubs have the same pair, and so one. With a good bus
 * that takes one attempt of each at most, and no time limit. WANT says who opens: 1 and 2 are the
 * hubs, 3 is both.
 *
 * tests/check_model.sh defines one of the names MUTANT_ to take a rule away; then it must not
 * hold. */
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef REPEATS
#define REPEATS 0
#endif
#ifndef HASTE
#define HASTE 0
#endif
#ifndef WANT
#define WANT 3
#endif
#define ATTEMPTS (LOSSES + HASTE + 2)
#define ANSWERS (ATTEMPTS + REPEATS)

#define NONE 0
#define OPENED 1
#define CONFIRMED 2

/* One opening: of the hub I, its attempt A, the answer N of the other. */
#define PAIR(i, a, n) (((i) * ATTEMPTS + (a)) * ANSWERS + (n))
#define PAIRS (2 * ATTEMPTS * ANSWERS)

/* Copies in flight. */
byte open[2 * ATTEMPTS];
byte accept[PAIRS], confirm[PAIRS], ping[PAIRS];
byte flying; /* of all */

bool wants[2];
byte stage[2], attempt[2], attempt_pair[2]; /* the attempt that is under way */
byte tries[2], answers[2];
bool half[PAIRS]; /* answered, and not confirmed; by who did not open it */
byte up[2];       /* 1 and which; 0: none */
byte losses = LOSSES, repeats = REPEATS, haste = HASTE;
bool waited;

/* Hub 0 has the smaller name. */
#ifdef MUTANT_BOTH_IGNORE
#define OURS_FIRST(h) (stage[h] != NONE)
#else
#define OURS_FIRST(h) (stage[h] != NONE && h == 0)
#endif

#ifdef MUTANT_NO_ORDER
#define IGNORES_CONFIRM(h) (false)
#else
#define IGNORES_CONFIRM(h) OURS_FIRST(h)
#endif

inline begin(h) {
    stage[h] = OPENED;
    attempt[h] = tries[h];
    open[h * ATTEMPTS + tries[h]]++;
    flying++;
    tries[h]++
}

/* The other's record of this very opening is there. */
inline find_half(i, a) {
    found = false;
    k = 0;
    do
    :: k < ANSWERS -> found = found || half[PAIR(i, a, k)]; k++
    :: else -> break
    od;
    k = 0
}

inline hear_open(h, a) {
    find_half(1 - h, a);
    if
    :: OURS_FIRST(h) || found || answers[h] == ANSWERS -> skip
    :: else ->
        half[PAIR(1 - h, a, answers[h])] = true;
        accept[PAIR(1 - h, a, answers[h])]++;
        flying++;
        answers[h]++
    fi;
    found = false
}

inline hear_accept(h, a, n) {
    if
    :: stage[h] == OPENED && attempt[h] == a ->
        stage[h] = CONFIRMED;
        attempt_pair[h] = PAIR(h, a, n);
        confirm[PAIR(h, a, n)]++;
        flying++
    :: else -> skip
    fi
}

/* What was answered before makes room; answers are in the order of N. */
inline forget_older(i, n) {
    k = 0;
    do
    :: k < ATTEMPTS * ANSWERS ->
        if
        :: k % ANSWERS <= n -> half[(i) * ATTEMPTS * ANSWERS + k] = false
        :: else -> skip
        fi;
        k++
    :: else -> break
    od;
    k = 0
}

inline hear_confirm(h, a, n) {
    if
    :: !half[PAIR(1 - h, a, n)] || IGNORES_CONFIRM(h) -> skip
    :: else ->
        forget_older(1 - h, n);
        stage[h] = NONE;
        up[h] = 1 + PAIR(1 - h, a, n);
        ping[PAIR(1 - h, a, n)]++;
        flying++
    fi
}

inline hear_ping(h, a, n) {
    if
    :: stage[h] == CONFIRMED && attempt_pair[h] == PAIR(h, a, n) ->
#ifndef MUTANT_KEEP
        forget_older((1 - h), ANSWERS);
#endif
        stage[h] = NONE;
        up[h] = 1 + PAIR(h, a, n)
    :: else -> skip
    fi
}

/* A copy arrives, is lost, or arrives and will once more. */
#define FATE(bag, which, hear) \
    if \
    :: true -> bag[which]--; flying--; hear \
    :: losses -> bag[which]--; flying--; losses-- \
    :: repeats -> repeats--; hear \
    fi

#define HAS(h, other) (up[other] == up[h] || (stage[other] == CONFIRMED && 1 + attempt_pair[other] == up[h]))

/* The time limits: nothing is heard of who has another pair, or none; an attempt, and what was
 * answered, end. */
inline time_limit(h) {
    if
    :: up[h] && !HAS(h, 1 - h) -> up[h] = 0
    :: stage[h] != NONE -> stage[h] = NONE
    fi
}

#define LIMITED(h) (stage[h] != NONE || (up[h] && !HAS(h, 1 - h)))

active proctype all() {
    byte i, a, n, k;
    bool found;

    atomic { wants[0] = (WANT & 1) != 0; wants[1] = (WANT & 2) != 0 }
    do
    :: atomic { wants[0] && !up[0] && stage[0] == NONE && tries[0] < ATTEMPTS -> begin(0) }
    :: atomic { wants[1] && !up[1] && stage[1] == NONE && tries[1] < ATTEMPTS -> begin(1) }
    :: atomic { flying ->
        /* some place of some bag */
        i = 0; a = 0; n = 0;
        do
        :: i < 1 -> i++
        :: a < ATTEMPTS - 1 -> a++
        :: n < ANSWERS - 1 -> n++
        :: true -> break
        od;
        if
        :: open[i * ATTEMPTS + a] && n == 0 ->
            FATE(open, i * ATTEMPTS + a, hear_open((1 - i), a))
        :: accept[PAIR(i, a, n)] -> FATE(accept, PAIR(i, a, n), hear_accept(i, a, n))
        :: confirm[PAIR(i, a, n)] -> FATE(confirm, PAIR(i, a, n), hear_confirm((1 - i), a, n))
        :: ping[PAIR(i, a, n)] -> FATE(ping, PAIR(i, a, n), hear_ping(i, a, n))
        :: else -> skip
        fi;
        i = 0; a = 0; n = 0 }
    :: atomic { haste && LIMITED(0) -> haste--; time_limit(0) }
    :: atomic { haste && LIMITED(1) -> haste--; time_limit(1) }
    :: atomic { timeout ->
        if
        :: LIMITED(0) -> waited = true; time_limit(0)
        :: LIMITED(1) -> waited = true; time_limit(1)
        :: !LIMITED(0) && !LIMITED(1) -> break
        fi }
    od;
    assert(up[0] && up[0] == up[1]);
    assert(LOSSES || REPEATS || HASTE || (!waited && tries[0] <= 1 && tries[1] <= 1))
}
