/* SPDX-License-Identifier: GPL-2.0-only */
/* Included by each file with mutants, see tools/mutants.py. */
#ifndef VMEM_ALTMAP_MUTANTS_H
#define VMEM_ALTMAP_MUTANTS_H

#include <linux/errno.h>
#include <linux/mm.h>

extern unsigned int mutant_selected;
extern unsigned char mutant_reached[];

static __always_inline bool MUTANT(unsigned int number)
{
	mutant_reached[number] = 1;
	return mutant_selected == number;
}

/* copies */
#endif
