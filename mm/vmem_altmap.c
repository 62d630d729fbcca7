// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmem_altmap: storage for the memmap of hot-added memory, taken from that
 * very memory instead of from System RAM.
 */
#include <kunit/visibility.h>
#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/printk.h>

#include "vmem_altmap.h"

/*
 * Nobody validates the fields before the first allocation. An altmap whose
 * window is not inside [base_pfn, end_pfn] has nothing to give. Only
 * subtractions, as the sums may wrap.
 */
static bool vmem_altmap_window_ok(const struct vmem_altmap *altmap)
{
	unsigned long last = altmap->end_pfn - altmap->base_pfn;

	return altmap->end_pfn >= altmap->base_pfn && altmap->reserve <= last &&
	       altmap->free - 1 <= last - altmap->reserve;
}

/**
 * vmem_altmap_next_pfn - the first pfn that was not considered yet
 * @altmap: the altmap
 *
 * Return: the pfn behind all pages that were handed out or skipped.
 */
VISIBLE_IF_KUNIT
unsigned long vmem_altmap_next_pfn(const struct vmem_altmap *altmap)
{
	return altmap->base_pfn + altmap->reserve + altmap->alloc
		+ altmap->align;
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_next_pfn);

/**
 * vmem_altmap_nr_free - what an altmap has left for blocks
 * @altmap: the altmap
 *
 * Return: the number of pages from vmem_altmap_next_pfn() to the window's end,
 * 0 if the fields contradict each other. Skipped pages, which serve single pages,
 * do not count.
 */
VISIBLE_IF_KUNIT
inline unsigned long vmem_altmap_nr_free(const struct vmem_altmap *altmap)
{
	if (!vmem_altmap_window_ok(altmap) || altmap->alloc > altmap->free ||
	    altmap->align > altmap->free - altmap->alloc)
		return 0;

	return altmap->free - altmap->alloc - altmap->align;
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_nr_free);

/**
 * vmem_altmap_alloc - take a block of pages from an altmap
 * @altmap: the altmap
 * @nr_pfns: size of the block, in pages
 * @pfn: where to put the first pfn of the block
 *
 * The block is aligned to the largest power of two that divides @nr_pfns. The
 * pages skipped for that are added to @altmap->align, and serve requests for a
 * single page before any other page does. So if all requests are for single pages
 * or for blocks of one size, none is lost, and a single page is to be had as long
 * as one is free. On failure, neither @altmap nor @pfn changes.
 *
 * Return: 0, -EINVAL if @nr_pfns is 0, or -ENOMEM if the altmap has no such
 * block left.
 */
VISIBLE_IF_KUNIT
inline int vmem_altmap_alloc(struct vmem_altmap *altmap, unsigned long nr_pfns,
			     unsigned long *pfn)
{
	unsigned long next, nr_align;

	if (!nr_pfns)
		return -EINVAL;

	if (nr_pfns == 1 && altmap->gap && altmap->gap <= altmap->align &&
	    vmem_altmap_owns_pfn(altmap, altmap->gap_pfn)) {
		altmap->gap--;
		altmap->align--;
		altmap->alloc++;
		*pfn = altmap->gap_pfn++;
		return 0;
	}

	next = vmem_altmap_next_pfn(altmap);
	nr_align = 1UL << find_first_bit(&nr_pfns, BITS_PER_LONG);
	nr_align = ALIGN(next, nr_align) - next;
	/* Does not wrap: nr_align is less than the lowest bit of nr_pfns. */
	if (nr_pfns + nr_align > vmem_altmap_nr_free(altmap))
		return -ENOMEM;

	altmap->alloc += nr_pfns;
	altmap->align += nr_align;
	*pfn = next + nr_align;
	/* With sizes of several kinds there may be a gap already: keep the larger. */
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
 * vmem_altmap_owns_pfn - does a page belong to an altmap's storage?
 * @altmap: the altmap, or %NULL
 * @pfn: the page
 *
 * Return: true if @pfn is one of the pages that @altmap sets aside for the
 * memmap; false for the driver's reserved pages, for everything outside, and
 * if there is no altmap.
 */
bool vmem_altmap_owns_pfn(const struct vmem_altmap *altmap, unsigned long pfn)
{
	return altmap && vmem_altmap_window_ok(altmap) &&
	       pfn - altmap->base_pfn - altmap->reserve < altmap->free;
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_owns_pfn);

/**
 * vmem_altmap_free - give pages back to an altmap
 * @altmap: the altmap
 * @nr_pfns: number of pages
 *
 * The pages are handed out again only after all others came back, too: blocks
 * are freed in any order, and the altmap does not know which page is whose.
 * When nothing is in use any more, @altmap is as good as new.
 *
 * Freeing more than is in use is a bug of the caller. It is reported and
 * changes nothing, for the pages that really are in use stay accounted for.
 */
void vmem_altmap_free(struct vmem_altmap *altmap, unsigned long nr_pfns)
{
	if (WARN(nr_pfns > altmap->alloc, "%lu pages freed, %lu in use\n",
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
 * vmem_altmap_had_free - was a page free at some earlier time?
 * @altmap: the altmap
 * @before: its state at that time
 * @pfn: the page
 *
 * Return: true if @pfn is one of the pages that the altmap could still hand out
 * then.
 */
bool vmem_altmap_had_free(const struct vmem_altmap *altmap,
			  const struct vmem_altmap_state *before, unsigned long pfn)
{
	unsigned long next = altmap->base_pfn + altmap->reserve + before->alloc + before->align;

	return vmem_altmap_owns_pfn(altmap, pfn) &&
	       (pfn >= next || pfn - before->gap_pfn < before->gap);
}
EXPORT_SYMBOL_IF_KUNIT(vmem_altmap_had_free);

/**
 * altmap_alloc_block_buf - take a block of memory from an altmap
 * @size: size of the block, in bytes
 * @altmap: the altmap
 *
 * Return: the block's address in the direct map, or %NULL if @size is 0 or not
 * a multiple of PAGE_SIZE, or the altmap has no such block left.
 */
void *altmap_alloc_block_buf(unsigned long size, struct vmem_altmap *altmap)
{
	unsigned long pfn;

	if (size & ~PAGE_MASK) {
		pr_warn_once("%s: allocations must be multiple of PAGE_SIZE (%lu)\n",
			     __func__, size);
		return NULL;
	}

	if (vmem_altmap_alloc(altmap, size >> PAGE_SHIFT, &pfn))
		return NULL;

	return __va(__pfn_to_phys(pfn));
}
EXPORT_SYMBOL_IF_KUNIT(altmap_alloc_block_buf);
