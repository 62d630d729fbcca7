/* SPDX-License-Identifier: GPL-2.0-only */
/* For the suites of the altmap's arithmetic: altmaps of memory that does not exist. */
#ifndef _MM_TESTS_VMEM_ALTMAP_KUNIT_H
#define _MM_TESTS_VMEM_ALTMAP_KUNIT_H

#include <linux/memremap.h>
#include <linux/mm.h>

#include "../vmem_altmap.h"

/* Aligned to all block sizes in use here, and not 0. */
#define BASE		0x100000UL
#define DATA		64UL

static inline struct vmem_altmap altmap_of(unsigned long base, unsigned long reserve,
					   unsigned long free)
{
	return (struct vmem_altmap) {
		.base_pfn = base,
		.end_pfn = base + reserve + free + DATA - 1,
		.reserve = reserve,
		.free = free,
	};
}

/* The pages after all that were allocated or skipped. */
static inline unsigned long nr_untouched(const struct vmem_altmap *altmap)
{
	return altmap->free - altmap->alloc - altmap->align;
}

#endif /* _MM_TESTS_VMEM_ALTMAP_KUNIT_H */
