/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included before all sources of the ppc64le guests of tools/e2e.py. QEMU 7.2 does not emulate the cache instructions
 * for persistent memory (dcbstps, dcbfps, phwsync). Plain dcbst, dcbf and sync do for memory that only has to survive
 * the guest's reboot.
 */
#include <asm/ppc-opcode.h>

#undef PPC_RAW_PHWSYNC
#undef PPC_RAW_DCBFPS
#undef PPC_RAW_DCBSTPS
#define PPC_RAW_PHWSYNC		(0x7c0004ac)
#define PPC_RAW_DCBFPS(a, b)	(0x7c0000ac | ___PPC_RA(a) | ___PPC_RB(b))
#define PPC_RAW_DCBSTPS(a, b)	(0x7c00006c | ___PPC_RA(a) | ___PPC_RB(b))
