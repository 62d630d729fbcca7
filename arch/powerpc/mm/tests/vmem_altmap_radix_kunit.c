// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for memmap that the radix MMU of powerpc maps, with and without a struct
 * vmem_altmap.
 *
 * The memmap is mapped by huge pages and by base pages:
 *
 *  - Huge pages of the altmap are tried first, then base pages of the altmap, then base
 *    pages of System RAM.
 *  - Pages that also describe memory outside of the altmap's range come from RAM.
 *  - Without an altmap, a huge page may extend beyond what is requested. Base pages do not.
 *  - The tail struct pages of a compound page can share one page of memmap.
 *
 * For what holds for both MMUs, see vmem_altmap_powerpc_kunit.c. For what all architectures
 * have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>

#include <asm/cpu_has_feature.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* f->leaf_size as a constant, for tables. */
#define HUGE_SIZE	(PAGE_SIZE << RADIX_PTE_INDEX_SIZE)

static void expect_leaf(struct kunit *test, unsigned long addr, unsigned long size,
			unsigned long pfn)
{
	struct vmt_leaf leaf = vmt_leaf(addr);

	KUNIT_EXPECT_EQ_MSG(test, leaf.size, size, "at %#lx", addr);
	KUNIT_EXPECT_EQ_MSG(test, leaf.pfn, pfn, "at %#lx", addr);
}

/*
 * Test the order in which memory is looked for: a huge page of the altmap, base pages of
 * the altmap, base pages of RAM.
 */
static void huge_page_then_altmap_pages_then_ram(struct kunit *test)
{
	struct vmt *f = test->priv;
	const unsigned long nr_base = 5;
	struct vmem_altmap *altmap = vmt_altmap(f, f->leaf_nr, f->leaf_nr + nr_base);
	unsigned long start = vmt_addr(f, 0), end = start + 2 * f->leaf_size, addr, i;

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	expect_leaf(test, start, f->leaf_size, f->dev.pfn + f->leaf_nr);
	for (i = 0; i < f->leaf_nr; i++) {
		addr = start + f->leaf_size + i * PAGE_SIZE;
		if (i < nr_base) {
			expect_leaf(test, addr, PAGE_SIZE, f->dev.pfn + 2 * f->leaf_nr + i);
		} else {
			KUNIT_EXPECT_EQ(test, vmt_leaf(addr).size, PAGE_SIZE);
			KUNIT_EXPECT_TRUE(test, vmt_ram_owns(&f->ram, vmt_pfn(addr)));
		}
	}
	vmt_expect_altmap(test, altmap, f->leaf_nr + nr_base, 0);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), f->leaf_nr - nr_base);
	vmt_set_unit(f, f->leaf_size);
	vmt_expect_usable(f, 0, 2);
	vmt_free_range(f, start, end, altmap);
}

/*
 * Test that a request that starts inside a huge page gets base pages from there to the
 * next huge page, and huge pages after that.
 */
static void unaligned_start_takes_base_pages(struct kunit *test)
{
	struct vmt *f = test->priv;
	const unsigned long skip = 3, nr_base = f->leaf_nr - skip;
	struct vmem_altmap *altmap = vmt_altmap(f, f->leaf_nr + skip, nr_base + f->leaf_nr);
	unsigned long hole = vmt_addr(f, 0), start = hole + skip * PAGE_SIZE;
	unsigned long end = hole + 2 * f->leaf_size, addr;

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	vmt_set_unit(f, PAGE_SIZE);
	vmt_expect_unmapped(f, 0, skip);
	for (addr = start; addr < hole + f->leaf_size; addr += PAGE_SIZE)
		expect_leaf(test, addr, PAGE_SIZE,
			    f->dev.pfn + f->leaf_nr + (addr - hole) / PAGE_SIZE);
	expect_leaf(test, hole + f->leaf_size, f->leaf_size, f->dev.pfn + 2 * f->leaf_nr);
	vmt_expect_altmap(test, altmap, altmap->free, 0);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
	vmt_expect_usable(f, skip, nr_base + f->leaf_nr);
	vmt_free_range(f, start, end, altmap);
}

/*
 * Test that without an altmap a huge page is mapped even if only a part of it is
 * requested, and that it is freed with that part.
 */
static void without_altmap_takes_the_whole_huge_page(struct kunit *test)
{
	struct vmt *f = test->priv;
	unsigned long hole = vmt_addr(f, 0), start = hole + 3 * PAGE_SIZE;
	unsigned long end = hole + f->leaf_size - 5 * PAGE_SIZE;

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, NULL), 0);
	KUNIT_EXPECT_EQ(test, vmt_leaf(hole).size, f->leaf_size);
	KUNIT_EXPECT_EQ(test, vmt_leaf(hole + f->leaf_size).size, 0);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), f->leaf_nr);
	vmt_free_range(f, start, end, NULL);
	vmt_expect_as_before(f);
}

/* Parts of the memmap: offsets in bytes from the start of a huge page. */
static const struct part {
	const char *name;
	unsigned long from, to;
} parts[] = {
	{ "whole_huge_page", 0, HUGE_SIZE },
	{ "inside_a_huge_page", 3 * PAGE_SIZE, HUGE_SIZE - 5 * PAGE_SIZE },
	{ "across_huge_pages", HUGE_SIZE - PAGE_SIZE, HUGE_SIZE + PAGE_SIZE },
	/* This can be less than a page, and can start inside a page. */
	{ "sub_section", 9 * PAGES_PER_SUBSECTION * sizeof(struct page),
	  10 * PAGES_PER_SUBSECTION * sizeof(struct page) },
};

KUNIT_ARRAY_PARAM_DESC(parts, parts, name);

/*
 * Test that without an altmap and without a huge page, exactly the base pages of the
 * request are mapped, and that freeing the request frees all of them, even if the last one
 * was not available.
 */
static void without_huge_page_maps_what_is_asked_for(struct kunit *test)
{
	const struct part *p = test->param_value;
	struct vmt *f = test->priv;
	unsigned long hole = vmt_addr(f, 0), start = hole + p->from, end = hole + p->to;
	unsigned long first = p->from / PAGE_SIZE, nr = DIV_ROUND_UP(p->to, PAGE_SIZE) - first;
	struct vmt_counters now;

	f->ram.fail_huge = true;
	f->ram.nr_good_allocs = nr - 1;
	KUNIT_EXPECT_EQ(test, vmt_populate_range(f, start, end, NULL), -ENOMEM);
	vmt_free_range(f, start, end, NULL);
	vmt_expect_as_before(f);

	f->ram.nr_good_allocs = UINT_MAX;
	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, NULL), 0);
	vmt_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves, nr);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), nr);
	vmt_set_unit(f, PAGE_SIZE);
	vmt_expect_usable(f, first, nr);
	vmt_free_range(f, start, end, NULL);
	vmt_expect_as_before(f);

	/* Do not let what is mapped by mistake fail the next case. */
	vmt_free_range(f, hole, hole + 2 * f->leaf_size, NULL);
}

/* How many pages of RAM are available for the memmap of a compound page. */
static const struct supply {
	const char *name;
	unsigned int nr_ram;
	int err;
} supplies[] = {
	{ "no_page", 0, -ENOMEM },
	{ "one_page", 1, -ENOMEM },
	{ "two_pages", 2, 0 },
};

KUNIT_ARRAY_PARAM_DESC(supplies, supplies, name);

/*
 * Test that two pages of RAM are enough for the memmap of a compound page: one for the
 * head, and one that all other pages of memmap share. With less RAM, the result is -ENOMEM.
 * No page is shared if a struct page can cross a page boundary.
 */
static void compound_page_is_mapped_or_enomem(struct kunit *test)
{
	const struct supply *s = test->param_value;
	const unsigned int nr_pages = 16;
	struct dev_pagemap pgmap = {
		.vmemmap_shift = ilog2(nr_pages * PAGE_SIZE / sizeof(struct page)),
	};
	bool shared = is_power_of_2(sizeof(struct page));
	struct vmt *f = test->priv;
	unsigned int nr, i;

	KUNIT_EXPECT_EQ(test, vmemmap_can_optimize(NULL, &pgmap), shared);
	for (nr = 2; nr <= nr_pages && shared; nr++) {
		unsigned long start = vmt_addr(f, 0), end = start + nr * PAGE_SIZE;
		int err;

		f->ram.nr_good_allocs = s->nr_ram;
		mem_hotplug_begin();
		err = vmemmap_populate_compound_pages(f->hole_pfn, start, end,
						      first_memory_node, &pgmap);
		mem_hotplug_done();
		KUNIT_EXPECT_EQ_MSG(test, err, s->err, "%u pages of memmap", nr);
		KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), s->nr_ram);
		for (i = 0; i < nr && !err; i++) {
			unsigned long addr = start + i * PAGE_SIZE;

			KUNIT_EXPECT_EQ_MSG(test, vmt_leaf(addr).size, PAGE_SIZE,
					    "page %u of %u", i, nr);
			KUNIT_EXPECT_EQ(test, vmt_pfn(addr) == vmt_pfn(start + PAGE_SIZE), i > 0);
		}
		vmt_free_range(f, start, end, NULL);
		vmt_expect_as_before(f);
	}
}

/*
 * Ranges of pfns that NR_HUGE huge pages describe, without the first or the last ones:
 *
 *   memmap:   huge page 0 | huge page 1 | huge page 2 | huge page 3    (vmemmap addresses)
 *   pfns:     first | base_pfn . . . . . . . . . . . end_pfn | last
 *
 * The altmap has pages for all of the memmap.
 */
#define NR_HUGE		4
#define HALF_PAGE	(HUGE_SIZE / 2 / sizeof(struct page) + 1)

static const struct cut {
	const char *name;
	/* Number of pfns that the range lacks. */
	unsigned long first, last;
} cuts[] = {
	{ "nothing_outside", 0, 0 },
	{ "first_pfn_outside", 1, 0 },
	{ "last_pfn_outside", 0, 1 },
	{ "half_a_huge_page_outside_at_both_ends", HALF_PAGE, HALF_PAGE },
};

KUNIT_ARRAY_PARAM_DESC(cuts, cuts, name);

/*
 * Test that base pages are used where a huge page would also describe memory outside of
 * the range. A base page comes from RAM if it describes such memory, too. All others come
 * from the altmap.
 */
static void pages_outside_the_range_come_from_ram(struct kunit *test)
{
	const struct cut *c = test->param_value;
	struct vmt *f = test->priv;
	unsigned long start = vmt_addr(f, 0), end = start + NR_HUGE * f->leaf_size, addr;
	unsigned long base = f->hole_pfn + c->first;
	unsigned long last = f->hole_pfn + (end - start - 1) / sizeof(struct page) - c->last;
	/* The memmap that describes only pfns of the range. */
	unsigned long inner = (unsigned long)pfn_to_page(base);
	unsigned long inner_end = (unsigned long)pfn_to_page(last + 1);
	unsigned long nr_ram = 0, nr_huge = 0, wrong = 0;
	struct vmem_altmap *altmap;

	/* The kernel does not access the memmap, but on bare metal the CPU might prefetch it. */
	if (cpu_has_feature(CPU_FTR_HVMODE))
		kunit_skip(test, "needs a hypervisor: the altmap has pfns of absent memory");
	f->dev.pfn = ALIGN_DOWN(base, f->leaf_nr);
	altmap = vmt_device_altmap(&f->dev, base, last, 0, NR_HUGE * f->leaf_nr);

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		unsigned long block = ALIGN_DOWN(addr, f->leaf_size);
		bool huge = block >= inner && block + f->leaf_size <= inner_end;
		bool inside = addr >= inner && addr + PAGE_SIZE <= inner_end;

		nr_huge += huge;
		nr_ram += !inside;
		wrong += vmt_leaf(addr).size != (huge ? f->leaf_size : PAGE_SIZE) ||
			 vmt_in_window(altmap, vmt_pfn(addr)) != inside;
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, nr_huge, (NR_HUGE - !!c->first - !!c->last) * f->leaf_nr);
	KUNIT_EXPECT_EQ(test, nr_ram > 0, c->first || c->last);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), nr_ram);
	KUNIT_EXPECT_EQ(test, altmap->alloc, NR_HUGE * f->leaf_nr - nr_ram);
	vmt_free_range(f, start, end, altmap);
}

static struct kunit_case vmem_altmap_radix_cases[] = {
	KUNIT_CASE(huge_page_then_altmap_pages_then_ram),
	KUNIT_CASE(unaligned_start_takes_base_pages),
	KUNIT_CASE(without_altmap_takes_the_whole_huge_page),
	KUNIT_CASE_PARAM(without_huge_page_maps_what_is_asked_for, parts_gen_params),
	KUNIT_CASE_PARAM(compound_page_is_mapped_or_enomem, supplies_gen_params),
	KUNIT_CASE_PARAM(pages_outside_the_range_come_from_ram, cuts_gen_params),
	{}
};

static int vmem_altmap_radix_suite_init(struct kunit_suite *suite)
{
	if (!radix_enabled()) {
		kunit_mark_skipped(suite, "needs the radix MMU");
		return 0;
	}
	return vmt_suite_init(suite);
}

static struct kunit_suite vmem_altmap_radix_suite = {
	.name = "vmem_altmap_radix",
	.suite_init = vmem_altmap_radix_suite_init,
	.init = vmt_init,
	.exit = vmt_exit,
	.test_cases = vmem_altmap_radix_cases,
};

kunit_test_suite(vmem_altmap_radix_suite);

MODULE_DESCRIPTION("KUnit tests for memmap that the radix MMU maps");
MODULE_LICENSE("GPL");
