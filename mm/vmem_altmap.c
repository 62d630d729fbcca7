// SPDX-License-Identifier: GPL-2.0-only
/*
 * The allocator for struct vmem_altmap: pages for the memmap of hot-added
 * memory, taken from that memory itself.
 */
#include <kunit/visibility.h>
#include <linux/align.h>
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/printk.h>

#include "vmem_altmap.h"

/**
 * vmem_altmap_alloc - allocate a block of pages from an altmap
 * @altmap: the altmap
 * @nr_pfns: size of the block, in pages, at least 1
 * @pfn: set to the first pfn of the block
 *
 * The block is aligned to the largest power of two that divides @nr_pfns. The
 * pages skipped for that are counted in @altmap->align, and serve requests for
 * a single page. On failure, neither @altmap nor @pfn changes.
 *
 * If all requests are for single pages and for blocks of one size, as those of
 * the vmemmap are, no skipped page is lost: single pages are available until
 * all pages are allocated. With blocks of several sizes, only the largest gap
 * is remembered.
 *
 * Return: 0, or -ENOMEM if the altmap has no room for the block.
 */
VISIBLE_IF_KUNIT
inline int vmem_altmap_alloc(struct vmem_altmap *altmap, unsigned long nr_pfns,
			     unsigned long *pfn)
{
	unsigned long used, next, nr_align;

	if (nr_pfns == 1 && altmap->gap) {
		altmap->gap--;
		altmap->align--;
		altmap->alloc++;
		*pfn = altmap->gap_pfn++;
		return 0;
	}

	used = altmap->alloc + altmap->align;
	next = altmap->base_pfn + altmap->reserve + used;
	nr_align = ALIGN(next, nr_pfns & -nr_pfns) - next;
	if (nr_pfns + nr_align > altmap->free - used)
		return -ENOMEM;

	altmap->alloc += nr_pfns;
	altmap->align += nr_align;
	*pfn = next + nr_align;
	if (nr_align > altmap->gap) {
		altmap->gap = nr_align;
		altmap->gap_pfn = next;
	}

	pr_debug("%s: pfn: %#lx alloc: %lu align: %lu nr: %#lx\n",
		 __func__, *pfn, altmap->alloc, altmap->align, nr_pfns);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_alloc);

/**
 * vmem_altmap_free - return pages to an altmap
 * @altmap: the altmap
 * @nr_pfns: number of pages
 *
 * Blocks are freed in any order, and the altmap does not record which pages are
 * in use. So freed pages are only handed out again after all pages were freed.
 *
 * Freeing more pages than are in use is a bug. It is reported once, and the
 * request is ignored.
 */
void vmem_altmap_free(struct vmem_altmap *altmap, unsigned long nr_pfns)
{
	if (WARN_ONCE(nr_pfns > altmap->alloc, "%lu pages freed, %lu in use\n",
		      nr_pfns, altmap->alloc))
		return;

	altmap->alloc -= nr_pfns;
	if (altmap->alloc) {
		altmap->align += nr_pfns;
	} else {
		altmap->align = 0;
		altmap->gap = 0;
		altmap->gap_pfn = 0;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_free);

/**
 * altmap_alloc_block_buf - allocate a block of memory from an altmap
 * @size: size of the block, in bytes
 * @altmap: the altmap
 *
 * Return: the address of the block in the direct map, or %NULL if @size is 0 or
 * not a multiple of PAGE_SIZE, or the altmap has no room for the block.
 */
void *altmap_alloc_block_buf(unsigned long size, struct vmem_altmap *altmap)
{
	unsigned long pfn;

	if (!size || size & ~PAGE_MASK) {
		pr_warn_once("%s: allocations must be multiple of PAGE_SIZE (%lu)\n",
			     __func__, size);
		return NULL;
	}

	if (vmem_altmap_alloc(altmap, size >> PAGE_SHIFT, &pfn))
		return NULL;

	return __va(__pfn_to_phys(pfn));
}
EXPORT_SYMBOL_IF_KUNIT(altmap_alloc_block_buf);
