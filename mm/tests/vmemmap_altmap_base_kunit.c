// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for base pages of a struct vmem_altmap, on architectures that use them
 * where no huge page fits.
 *
 *  - Alignment does not matter: n pages of memmap can be populated if and only if the
 *    altmap has n pages left.
 *  - System RAM is used for page tables only, and at most one whole leaf is replaced by
 *    base pages.
 *  - After a failure, the caller's clean-up restores all counters.
 *  - No page of the altmap describes memory outside of the altmap's range.
 *
 * After each case, vmt_exit() expects that nothing is mapped, all counters are as before,
 * and the altmaps are unused.
 *
 * Not covered: which pages of the altmap are used, which is up to the allocator, see
 * vmem_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/prandom.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* The number of whole leaves of the hole that are replaced by base pages. */
static unsigned int nr_split_leaves(const struct vmt *f)
{
	unsigned long addr = vmt_addr(f, 0), end = addr + f->hole_size;
	unsigned int nr = 0;

	for (; addr < end; addr += f->leaf_size)
		nr += vmt_leaf(addr).size < f->leaf_size;
	return nr;
}

/*
 * Test that an altmap with exactly the pages of the memmap is enough, wherever its window
 * begins: pages before and after the aligned blocks are used as base pages.
 */
static void any_alignment_is_enough(struct kunit *test)
{
	struct vmt *f = test->priv;
	const unsigned long nr = f->nr_units * f->unit_nr;
	unsigned long reserve;

	for (reserve = 0; reserve < f->leaf_nr; reserve++) {
		struct vmem_altmap *altmap = vmt_altmap(f, reserve, nr);

		KUNIT_ASSERT_EQ_MSG(test, vmt_populate(f, 0, f->nr_units, altmap), 0,
				    "reserve %lu", reserve);
		KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
		vmt_expect_altmap(test, altmap, nr, 0);
		KUNIT_EXPECT_EQ(test, nr_split_leaves(f), !!reserve);
		if (reserve % 5 == 1)
			vmt_expect_usable(f, 0, f->nr_units);
		vmt_free(f, 0, f->nr_units, altmap);
		vmt_expect_altmap(test, altmap, 0, 0);
	}
}

/*
 * Test that with one page less, the last unit cannot be populated wherever the window
 * begins, and that the caller's clean-up restores the counters and keeps the other units.
 */
static void any_alignment_with_a_page_less_is_cleaned_up(struct kunit *test)
{
	struct vmt *f = test->priv;
	const unsigned int last = f->nr_units - 1;
	const unsigned long nr = f->nr_units * f->unit_nr;
	struct vmt_counters before;
	unsigned long reserve;

	for (reserve = 0; reserve < f->leaf_nr; reserve++) {
		struct vmem_altmap *altmap = vmt_altmap(f, reserve, nr - 1);

		vmt_no_ram_fallback(f, altmap);
		vmt_populate_ok(f, 0, last, altmap);
		vmt_count(f, &before);

		KUNIT_EXPECT_EQ_MSG(test, vmt_populate(f, last, 1, altmap), -ENOMEM,
				    "reserve %lu", reserve);
		vmt_free(f, last, 1, altmap);
		KUNIT_EXPECT_EQ(test, altmap->alloc, last * f->unit_nr);
		vmt_expect_same(f, &before);

		vmt_free(f, 0, last, altmap);
		vmt_expect_altmap(test, altmap, 0, 0);
	}
}

struct part {
	unsigned long start, end;
};

/* Chooses a random part of the hole, from page @page of it on. False if there is none. */
static bool choose_part(const struct vmt *f, struct rnd_state *rnd, unsigned long page,
			struct part *part)
{
	unsigned long nr_hole = f->hole_size >> PAGE_SHIFT;
	unsigned long size = 1 + prandom_u32_state(rnd) % (2 * f->leaf_nr);

	if (prandom_u32_state(rnd) % 2)
		page = ALIGN(page, f->leaf_nr);
	if (page >= nr_hole)
		return false;
	/* radix maps a huge page even if only its first part is populated. */
	if (f->traits.ram_fallback && IS_ALIGNED(page, f->leaf_nr))
		size = ALIGN(size, f->leaf_nr);
	/* Not all architectures take more than a unit at once. */
	size = min3(size, nr_hole - page, f->unit_nr - page % f->unit_nr);
	part->start = vmt_addr(f, 0) + page * PAGE_SIZE;
	part->end = part->start + size * PAGE_SIZE;
	return true;
}

#define NR_PARTS	8

/*
 * Populates random parts of the hole until one does not fit, and frees them in random
 * order. Returns the number of parts that fit.
 */
static unsigned int populate_parts(struct vmt *f, struct rnd_state *rnd,
				   struct vmem_altmap *altmap, bool *refused)
{
	struct part part[NR_PARTS];
	unsigned long page = 0;
	unsigned int i, nr, served;

	*refused = false;
	for (nr = 0; nr < NR_PARTS && choose_part(f, rnd, page, &part[nr]); nr++) {
		unsigned long in_use = altmap->alloc;
		unsigned long size = (part[nr].end - part[nr].start) >> PAGE_SHIFT;

		*refused = in_use + size > altmap->free;
		KUNIT_ASSERT_EQ_MSG(f->test,
				    vmt_populate_range(f, part[nr].start, part[nr].end, altmap),
				    *refused ? -ENOMEM : 0,
				    "reserve %lu, free %lu, in use %lu, page %lu: %lu pages",
				    altmap->reserve, altmap->free, in_use, page, size);
		if (*refused) {
			/* Pages that are freed now are only available after all are freed. */
			vmt_free_range(f, part[nr].start, part[nr].end, altmap);
			KUNIT_ASSERT_EQ(f->test, altmap->alloc, in_use);
			break;
		}
		KUNIT_ASSERT_EQ(f->test, altmap->alloc, in_use + size);
		page = (part[nr].end - vmt_addr(f, 0)) >> PAGE_SHIFT;
	}
	KUNIT_EXPECT_EQ(f->test, vmt_ram_memmap(f), 0);
	for (served = nr; nr; part[i] = part[nr]) {
		i = prandom_u32_state(rnd) % nr--;
		vmt_free_range(f, part[i].start, part[i].end, altmap);
	}
	return served;
}

#define SEED		0x6d656d6d61700001ULL
#define NR_LAYOUTS	300

/*
 * Test that with random windows and random parts of the hole, a part can be populated if
 * and only if the altmap has as many pages left.
 */
static void pages_that_are_free_are_enough(struct kunit *test)
{
	struct vmt *f = test->priv;
	/* Keep windows and parts apart in size also where a leaf is one page. */
	const unsigned long scale = max(f->leaf_nr, 4UL);
	unsigned int layout, served = 0, nr_refused = 0;
	struct rnd_state rnd;
	bool refused;

	prandom_seed_state(&rnd, SEED);
	kunit_info(test, "seed %#llx, %d layouts\n", SEED, NR_LAYOUTS);
	for (layout = 0; layout < NR_LAYOUTS; layout++) {
		unsigned long reserve = prandom_u32_state(&rnd) % (2 * scale);
		struct vmem_altmap *altmap =
			vmt_altmap(f, reserve, prandom_u32_state(&rnd) % (6 * scale));

		vmt_no_ram_fallback(f, altmap);
		served += populate_parts(f, &rnd, altmap, &refused);
		nr_refused += refused;
		vmt_expect_altmap(test, altmap, 0, 0);
		vmt_expect_as_before(f);
	}
	KUNIT_EXPECT_GT(test, served, 3 * NR_LAYOUTS / 2);
	KUNIT_EXPECT_GT(test, nr_refused, NR_LAYOUTS / 3);
}

static void populate_and_free(struct kunit *test, void *altmap)
{
	struct vmt *f = test->priv;

	vmt_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, 1) - PAGE_SIZE).size, PAGE_SIZE);
	vmt_free(f, 0, 1, altmap);
	vmt_expect_as_before(f);
}

/* Test that cycles leak nothing if base pages, and their page tables, come and go. */
static void repeated_cycles_of_base_pages_leak_nothing(struct kunit *test)
{
	struct vmt *f = test->priv;

	f->ram.fail_huge = true;
	/* The window has enough pages for the unit, but not if every leaf is aligned. */
	vmt_expect_balanced(test, populate_and_free, vmt_backing(f, 1, f->unit_nr));
}

/*
 * Test that base pages of an altmap describe no other memory. Memmap of a sub-section that
 * fills whole pages is in the altmap, and the rest in System RAM.
 */
static void altmap_describes_only_its_own_range(struct kunit *test)
{
	struct vmt *f = test->priv;
	const unsigned long nr = PAGES_PER_SUBSECTION;
	const bool shared = !IS_ALIGNED(nr * sizeof(struct page), PAGE_SIZE);
	int k;

	/* Both ends of the range matter, so the device has the pfns that the hole describes. */
	f->dev.pfn = f->hole_pfn;
	for (k = 0; k < 2; k++) {
		unsigned long pfn = f->hole_pfn + k * nr;
		unsigned long start = ALIGN_DOWN((unsigned long)pfn_to_page(pfn), PAGE_SIZE);
		unsigned long end = ALIGN((unsigned long)pfn_to_page(pfn + nr), PAGE_SIZE);
		unsigned long nr_memmap = (end - start) / PAGE_SIZE;
		struct vmem_altmap *altmap =
			vmt_device_altmap(&f->dev, pfn, pfn + nr - 1, 0, min(nr, f->unit_nr));

		KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
		KUNIT_EXPECT_EQ(test, vmt_struct_pages_in(altmap, pfn, nr), shared ? 0 : nr);
		vmt_expect_altmap(test, altmap, shared ? 0 : nr_memmap, 0);
		KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), shared ? nr_memmap : 0);
		vmt_free_range(f, start, end, altmap);
		vmt_expect_altmap(test, altmap, 0, 0);
	}
}

static struct kunit_case vmemmap_altmap_base_cases[] = {
	KUNIT_CASE(any_alignment_is_enough),
	KUNIT_CASE(any_alignment_with_a_page_less_is_cleaned_up),
	KUNIT_CASE(pages_that_are_free_are_enough),
	KUNIT_CASE_PARAM(repeated_cycles_of_base_pages_leak_nothing, vmt_backings),
	KUNIT_CASE(altmap_describes_only_its_own_range),
	{}
};

static int vmemmap_altmap_base_suite_init(struct kunit_suite *suite)
{
	if (!vmt_traits().base_pages) {
		kunit_mark_skipped(suite, "memmap is never mapped by base pages of an altmap");
		return 0;
	}
	return vmt_suite_init(suite);
}

static struct kunit_suite vmemmap_altmap_base_suite = {
	.name = "vmemmap_altmap_base",
	.suite_init = vmemmap_altmap_base_suite_init,
	.init = vmt_init,
	.exit = vmt_exit,
	.test_cases = vmemmap_altmap_base_cases,
};

kunit_test_suite(vmemmap_altmap_base_suite);

MODULE_DESCRIPTION("KUnit tests for base pages of an altmap");
MODULE_LICENSE("GPL");
