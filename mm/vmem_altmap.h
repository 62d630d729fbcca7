/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MM_VMEM_ALTMAP_H
#define _MM_VMEM_ALTMAP_H

#include <linux/kconfig.h>
#include <linux/types.h>

struct vmem_altmap;
struct vmem_altmap_state;

void *altmap_alloc_block_buf(unsigned long size, struct vmem_altmap *altmap);
bool vmem_altmap_had_free(const struct vmem_altmap *altmap,
			  const struct vmem_altmap_state *before, unsigned long pfn);

#if IS_ENABLED(CONFIG_KUNIT)
unsigned long vmem_altmap_next_pfn(const struct vmem_altmap *altmap);
unsigned long vmem_altmap_nr_free(const struct vmem_altmap *altmap);
int vmem_altmap_alloc(struct vmem_altmap *altmap, unsigned long nr_pfns,
		      unsigned long *pfn);
#endif

#endif /* _MM_VMEM_ALTMAP_H */
