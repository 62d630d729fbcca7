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

/**
 * vmem_altmap_covers - check whether memmap describes only an altmap's own memory
 * @altmap: the altmap
 * @offset: offset of the memmap in the vmemmap, in bytes
 * @size: size of the memmap, in bytes
 * @entry: size of a struct page, in bytes
 *
 * Memmap can begin and end inside a struct page if its size is not a power of two.
 *
 * Return: true if all pages that the memmap describes, also those that it describes
 * only in part, are in [base_pfn, end_pfn].
 */
static inline bool vmem_altmap_covers(const struct vmem_altmap *altmap,
				      unsigned long offset, unsigned long size,
				      unsigned long entry)
{
	return offset / entry >= altmap->base_pfn &&
	       (offset + size - 1) / entry <= altmap->end_pfn;
}

#if IS_ENABLED(CONFIG_KUNIT)
int vmem_altmap_alloc(struct vmem_altmap *altmap, unsigned long nr_pfns,
		      unsigned long *pfn);
#endif

#endif /* _MM_VMEM_ALTMAP_H */
