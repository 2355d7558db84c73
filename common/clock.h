/* clock - time in milliseconds and microseconds. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

int64_t clock_wall_ms(void); /* since the Unix epoch; may jump */
int64_t clock_mono_ms(void); /* never goes back */
int64_t clock_mono_us(void);

#endif
