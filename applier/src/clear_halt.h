/* clear_halt - `redis-applier clear-halt`: lets the applier go on after a divergence. */
#ifndef APPLIER_CLEAR_HALT_H
#define APPLIER_CLEAR_HALT_H

int clear_halt_run(int argc, char **argv);

#endif
