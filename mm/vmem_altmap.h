/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MM_VMEM_ALTMAP_H
#define _MM_VMEM_ALTMAP_H

#include <linux/kconfig.h>
#include <linux/memremap.h>

void *altmap_alloc_block_buf(unsigned long size, struct vmem_altmap *altmap);

/**
 * vmem_altmap_fits - check an altmap against the memory that it is for
 * @altmap: the altmap
 * @pfn: first pfn of the memory
 * @nr_pages: size of the memory, in pages
 *
 * Only compare differences here: any sum of two fields may wrap.
 *
 * Return: true if @altmap describes exactly this memory, sets at least one page
 * of it aside for the memmap, and leaves at least one data page.
 */
static inline bool vmem_altmap_fits(const struct vmem_altmap *altmap,
				    unsigned long pfn, unsigned long nr_pages)
{
	return altmap->base_pfn == pfn && altmap->end_pfn - pfn == nr_pages - 1 &&
	       altmap->reserve < nr_pages && altmap->free &&
	       altmap->free < nr_pages - altmap->reserve;
}

#if IS_ENABLED(CONFIG_KUNIT)
int vmem_altmap_alloc(struct vmem_altmap *altmap, unsigned long nr_pfns,
		      unsigned long *pfn);
#endif

#endif /* _MM_VMEM_ALTMAP_H */
