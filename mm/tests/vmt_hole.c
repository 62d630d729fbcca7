// SPDX-License-Identifier: GPL-2.0-only
/*
 * Finds a hole in the vmemmap: the memmap of sections that do not exist, and whose
 * neighbours do not exist either. A test can map it without disturbing the system.
 *
 * Only reads. Nothing reserves the hole: no memory may be added there meanwhile.
 */
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>

/**
 * vmt_hole_unit - the memmap of a section, rounded up to whole leaves
 *
 * Return: bytes of memmap.
 */
unsigned long vmt_hole_unit(void)
{
	return roundup(PAGES_PER_SECTION * sizeof(struct page), vmt_traits().leaf_size);
}

/**
 * vmt_hole_size - size of the hole
 *
 * Blocks of the hash MMU can be so large that RAM is too small for twice as many.
 *
 * Return: bytes of memmap.
 */
unsigned long vmt_hole_size(void)
{
	return (vmt_traits().page_tables ? 2 : 1) * VMT_HOLE_UNITS * vmt_hole_unit();
}

/**
 * vmt_hole_last_pfn - the last pfn that a hole describes, if only in part
 * @first_pfn: the first one
 *
 * Return: the pfn.
 */
unsigned long vmt_hole_last_pfn(unsigned long first_pfn)
{
	return first_pfn + (vmt_hole_size() - 1) / sizeof(struct page);
}

static bool is_hole(unsigned long pfn, long max_tables)
{
	unsigned long addr = (unsigned long)pfn_to_page(pfn);
	unsigned long end = SECTION_ALIGN_UP(vmt_hole_last_pfn(pfn) + 1) + PAGES_PER_SECTION;
	long tables, leaves;

	if (!IS_ALIGNED(addr, vmt_traits().leaf_size))
		return false;
	for (pfn -= PAGES_PER_SECTION; pfn < end; pfn += PAGES_PER_SECTION)
		if (present_section_nr(pfn_to_section_nr(pfn)))
			return false;
	vmt_count_entries(addr, addr + vmt_hole_size(), &tables, &leaves);
	return tables <= max_tables && !leaves;
}

/* The hole may share @max_tables tables with others, whose entries span @span bytes or more. */
static unsigned long find_hole(unsigned long span, long max_tables)
{
	unsigned long last = PHYS_PFN(mhp_get_pluggable_range(true).end);
	unsigned long step = roundup_pow_of_two(max(span, vmt_hole_size()) / sizeof(struct page));
	unsigned long pfn;

	for (pfn = step; pfn + step <= last; pfn += step)
		if (is_hole(pfn, max_tables))
			return pfn;
	return 0;
}

/**
 * vmt_find_hole - find a hole whose page tables are still to be made
 *
 * Return: first pfn that the hole describes, or 0.
 */
unsigned long vmt_find_hole(void)
{
	unsigned long pfn;

	if (!vmt_traits().page_tables)
		return find_hole(vmt_traits().leaf_size, 0);
	/* The highest table may also serve the memmap of RAM. */
	pfn = find_hole(PUD_SIZE, 1);
	/* An entry of it may span all of the vmemmap. */
	return pfn ?: find_hole(PMD_SIZE, 2);
}

/**
 * vmt_find_hole_across - find a hole of which half is before, half after a boundary
 * @addr: lowest address of the hole's middle
 * @boundary: a power of two, in bytes of the vmemmap
 *
 * Return: first pfn that the hole describes, or 0.
 */
unsigned long vmt_find_hole_across(unsigned long addr, unsigned long boundary)
{
	unsigned long last = PHYS_PFN(mhp_get_pluggable_range(true).end);
	unsigned long vmemmap_start = (unsigned long)pfn_to_page(0), start, pfn;

	for (addr = ALIGN(addr, boundary);; addr += boundary) {
		start = addr - vmt_hole_size() / 2;
		pfn = (start - vmemmap_start) / sizeof(struct page);
		if (vmt_hole_last_pfn(pfn) + 2 * PAGES_PER_SECTION > last)
			return 0;
		if ((unsigned long)pfn_to_page(pfn) == start && is_hole(pfn, LONG_MAX))
			return pfn;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmt_find_hole_across);
