/* The model test at length: make soak runs it 20 times with seeds of its own, 10,000,000 steps in all. */
#include <time.h>
#include <unistd.h>

#define MODEL_STEPS 500000
#define MODEL_SEED ((uint64_t)time(NULL) << 20 ^ (uint64_t)getpid())

#include "sim/test_model.c"
