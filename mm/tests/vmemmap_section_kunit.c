// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for adding and removing sections and sub-sections that have no memory, with
 * the memmap in System RAM or in a struct vmem_altmap.
 *
 *  - The state of a section, and pfn_valid(), follow from the sub-sections that are there.
 *  - Their memmap is counted, and every struct page keeps its value until its own
 *    sub-section is removed.
 *  - A sub-section that is there cannot be added again. After a failed add, everything is
 *    as before.
 *  - The last sub-section frees the section's usage map.
 *
 * After each case, vmt_exit() expects that nothing is mapped, all counters are as before,
 * the altmaps are unused, and the device's pages are intact.
 *
 * Not covered: sections that exist since boot, zones and the content of struct pages, see
 * memory_hotplug_altmap_kunit.c; how the memmap is mapped, see vmemmap_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/slab.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* First pfn of a sub-section of the case's section. */
static unsigned long sub_section_pfn(const struct vmt *f, unsigned int i)
{
	return f->hole_pfn + i * PAGES_PER_SUBSECTION;
}

/*
 * Expects that exactly the sub-sections in @map are there, and that their struct pages
 * still hold what was written to them.
 */
static void expect_sub_sections(struct vmt *f, const unsigned long *map)
{
	const struct mem_section *ms = __pfn_to_section(f->hole_pfn);
	const bool empty = bitmap_empty(map, SUBSECTIONS_PER_SECTION);
	const long nr = DIV_ROUND_UP(PAGES_PER_SUBSECTION * sizeof(struct page), PAGE_SIZE);
	struct vmt_counters now;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(f->test, ms);
	KUNIT_EXPECT_EQ(f->test, ms->section_mem_map,
			empty ? 0 : (unsigned long)pfn_to_page(0) | SECTION_MARKED_PRESENT |
				    SECTION_HAS_MEM_MAP);
	KUNIT_EXPECT_EQ(f->test, !ms->usage, empty);
	for (i = 0; i < SUBSECTIONS_PER_SECTION; i++) {
		unsigned long pfn = sub_section_pfn(f, i), last = sub_section_pfn(f, i + 1) - 1;

		KUNIT_EXPECT_EQ_MSG(f->test, pfn_valid(pfn), test_bit(i, map), "%u", i);
		KUNIT_EXPECT_EQ_MSG(f->test, pfn_valid(last), test_bit(i, map), "%u", i);
		if (test_bit(i, map))
			KUNIT_EXPECT_EQ_MSG(f->test,
					    vmt_wrong_struct_pages(pfn, PAGES_PER_SUBSECTION), 0,
					    "struct pages of sub-section %u changed", i);
	}
	vmt_count(f, &now);
	KUNIT_EXPECT_EQ(f->test, now.nr_memmap - f->before.nr_memmap,
			bitmap_weight(map, SUBSECTIONS_PER_SECTION) * nr);
}

/* Adds a sub-section, and writes to its struct pages. */
static void add_sub_section(struct vmt *f, unsigned int i, struct vmem_altmap *altmap)
{
	unsigned long pfn = sub_section_pfn(f, i), nr_poisoned = 0, k;

	KUNIT_ASSERT_EQ(f->test, vmt_add_section(pfn, PAGES_PER_SUBSECTION, altmap), 0);
	for (k = 0; k < PAGES_PER_SUBSECTION; k++)
		if (vmt_pfn((unsigned long)pfn_to_page(pfn + k)) != VMT_UNMAPPED)
			nr_poisoned += PagePoisoned(pfn_to_page(pfn + k));
	if (IS_ENABLED(CONFIG_DEBUG_VM))
		KUNIT_EXPECT_EQ(f->test, nr_poisoned, PAGES_PER_SUBSECTION);
	KUNIT_EXPECT_EQ_MSG(f->test, vmt_write_struct_pages(pfn, PAGES_PER_SUBSECTION), 0,
			    "struct pages of sub-section %u are not mapped", i);
}

/*
 * Test that a section counts as memmap while it is there, and that removing it restores
 * all counters.
 */
static void section_is_counted_as_memmap(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, f->unit_nr);
	long nr = DIV_ROUND_UP(PAGES_PER_SECTION * sizeof(struct page), PAGE_SIZE);
	struct vmt_counters now;

	KUNIT_ASSERT_EQ(test, vmt_add_section(f->hole_pfn, PAGES_PER_SECTION, altmap), 0);
	vmt_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.nr_memmap - f->before.nr_memmap, nr);
	KUNIT_EXPECT_TRUE(test, pfn_valid(f->hole_pfn));
	KUNIT_EXPECT_TRUE(test, pfn_valid(f->hole_pfn + PAGES_PER_SECTION - 1));
	KUNIT_EXPECT_TRUE(test, present_section_nr(pfn_to_section_nr(f->hole_pfn)));
	vmt_remove_section(f->hole_pfn, PAGES_PER_SECTION, altmap);
	KUNIT_EXPECT_FALSE(test, pfn_valid(f->hole_pfn));
	KUNIT_EXPECT_FALSE(test, present_section_nr(pfn_to_section_nr(f->hole_pfn)));
}

/*
 * Test that the section's state follows from its sub-sections, also if it comes back after
 * the last of them was removed.
 */
static void section_state_follows_its_sub_sections(struct kunit *test)
{
	const unsigned int last = SUBSECTIONS_PER_SECTION - 1;
	/* Each step adds the sub-section, or removes it if it is there. */
	const unsigned int steps[] = { 1, 3, last, 1, 0, 3, last, 0, last, last };
	DECLARE_BITMAP(map, SUBSECTIONS_PER_SECTION) = {};
	struct vmt *f = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		if (test_bit(steps[i], map))
			vmt_remove_section(sub_section_pfn(f, steps[i]), PAGES_PER_SUBSECTION,
					   NULL);
		else
			add_sub_section(f, steps[i], NULL);
		__change_bit(steps[i], map);
		expect_sub_sections(f, map);
	}
}

static const struct overlap {
	const char *name;
	unsigned int first, nr;
} overlaps[] = {
	{ "the_same", 1, 1 },
	{ "begins_before", 0, 2 },
	{ "ends_after", 1, 2 },
	{ "whole_section", 0, SUBSECTIONS_PER_SECTION },
};

KUNIT_ARRAY_PARAM_DESC(overlaps, overlaps, name);

/* Test that a range with a sub-section that is there is refused, and changes nothing. */
static void present_sub_section_is_not_added_again(struct kunit *test)
{
	const struct overlap *o = test->param_value;
	DECLARE_BITMAP(map, SUBSECTIONS_PER_SECTION) = { BIT(1) };
	struct vmt *f = test->priv;
	struct vmt_counters before;

	add_sub_section(f, 1, NULL);
	vmt_count(f, &before);
	KUNIT_EXPECT_EQ(test, vmt_add_section(sub_section_pfn(f, o->first),
					      o->nr * PAGES_PER_SUBSECTION, NULL), -EEXIST);
	expect_sub_sections(f, map);
	vmt_expect_same(f, &before);
	vmt_remove_section(sub_section_pfn(f, 1), PAGES_PER_SUBSECTION, NULL);
}

/* Test that a range without a sub-section is refused, and leaves no section. */
static void empty_range_is_refused(struct kunit *test)
{
	DECLARE_BITMAP(none, SUBSECTIONS_PER_SECTION) = {};
	struct vmt *f = test->priv;

	KUNIT_EXPECT_EQ(test, vmt_add_section(sub_section_pfn(f, 1), 0, NULL), -EINVAL);
	expect_sub_sections(f, none);
}

/* Test that a range with a part of a sub-section is refused, and leaves no section. */
static void misaligned_range_is_refused(struct kunit *test)
{
	DECLARE_BITMAP(none, SUBSECTIONS_PER_SECTION) = {};
	struct vmt *f = test->priv;
	const unsigned long nr = PAGES_PER_SUBSECTION;

	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, vmt_add_section(f->hole_pfn + 1, nr, NULL), -ENOMEM);
		KUNIT_EXPECT_EQ(test, vmt_add_section(f->hole_pfn, nr + 1, NULL), -ENOMEM);
	}
	expect_sub_sections(f, none);
}

/* Test that a section whose memmap has no room is not there, but can be added later. */
static void section_without_room_is_not_there(struct kunit *test)
{
	const unsigned long nr = DIV_ROUND_UP(PAGES_PER_SECTION * sizeof(struct page), PAGE_SIZE);
	DECLARE_BITMAP(none, SUBSECTIONS_PER_SECTION) = {};
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, nr - 1);

	/* Without an altmap, there is a page for a page table at most. */
	if (!altmap)
		f->ram.nr_good_allocs = f->traits.ram_tables;
	vmt_no_ram_fallback(f, altmap);
	KUNIT_EXPECT_EQ(test, vmt_add_section(f->hole_pfn, PAGES_PER_SECTION, altmap), -ENOMEM);
	expect_sub_sections(f, none);
	vmt_expect_as_before(f);
	vmt_expect_altmaps_unused(&f->dev);

	f->ram.nr_good_allocs = UINT_MAX;
	KUNIT_EXPECT_EQ(test, vmt_add_section(f->hole_pfn, PAGES_PER_SECTION, NULL), 0);
	vmt_remove_section(f->hole_pfn, PAGES_PER_SECTION, NULL);
	expect_sub_sections(f, none);
}

/* Test that removing a sub-section that is not there is reported, and changes nothing. */
static void absent_sub_section_is_not_removed(struct kunit *test)
{
	DECLARE_BITMAP(map, SUBSECTIONS_PER_SECTION) = { BIT(1) };
	struct vmt *f = test->priv;
	struct vmt_counters before;

	if (!IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "needs CONFIG_BUG to warn");

	add_sub_section(f, 1, NULL);
	vmt_count(f, &before);
	kunit_warning_suppress(test) {
		vmt_remove_section(sub_section_pfn(f, 0), PAGES_PER_SUBSECTION, NULL);
		vmt_remove_section(sub_section_pfn(f, 1), 2 * PAGES_PER_SUBSECTION, NULL);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 2);
	}
	expect_sub_sections(f, map);
	vmt_expect_same(f, &before);
	vmt_remove_section(sub_section_pfn(f, 1), PAGES_PER_SUBSECTION, NULL);
}

static const struct sub_sections {
	const char *name;
	unsigned int nr_altmaps;
	bool second_goes_first;
} sub_sections[] = {
	{ "two_altmaps_first_goes_first", 2, false },
	{ "two_altmaps_second_goes_first", 2, true },
	{ "altmap_and_ram_first_goes_first", 1, false },
	{ "altmap_and_ram_second_goes_first", 1, true },
	{ "ram_first_goes_first", 0, false },
	{ "ram_second_goes_first", 0, true },
};

KUNIT_ARRAY_PARAM_DESC(sub_sections, sub_sections, name);

/*
 * Expects each of two sub-sections to have its memmap in its own altmap, or in System RAM.
 * Pages or blocks that both need are always in System RAM.
 */
static void expect_in_their_altmaps(struct vmt *f, struct vmem_altmap *const *altmap)
{
	const unsigned long nr = PAGES_PER_SUBSECTION;
	const unsigned long nr_memmap = nr * sizeof(struct page) / PAGE_SIZE;
	long nr_ram = 0;
	int k;

	for (k = 0; k < 2; k++) {
		KUNIT_EXPECT_EQ(f->test, vmt_struct_pages_in(altmap[k],
							     sub_section_pfn(f, !k), nr), 0);
		nr_ram += altmap[k] ? 0 : nr_memmap;
	}
	if (!f->traits.base_pages || f->traits.ram_fallback ||
	    !PAGE_ALIGNED(nr * sizeof(struct page)))
		return;
	for (k = 0; k < 2; k++)
		vmt_expect_altmap(f->test, altmap[k], nr_memmap, 0);
	KUNIT_EXPECT_EQ(f->test, vmt_ram_memmap(f), nr_ram);
}

/*
 * Test that each of two sub-sections of a section can be removed without changing the
 * struct pages of the other, and that its altmap is unused then. So they must not share a
 * page of memmap, except in System RAM.
 */
static void removed_sub_section_keeps_the_neighbours_memmap(struct kunit *test)
{
	const struct sub_sections *s = test->param_value;
	DECLARE_BITMAP(map, SUBSECTIONS_PER_SECTION) = { BIT(0) | BIT(1) };
	struct vmem_altmap *altmap[2] = {};
	struct vmt *f = test->priv;
	int k, round;

	for (k = 0; k < s->nr_altmaps; k++)
		altmap[k] = vmt_device_altmap(&f->dev, f->dev.pfn + k * f->unit_nr,
					      sub_section_pfn(f, k + 1) - 1, 0, f->unit_nr);
	for (k = 0; k < 2; k++)
		add_sub_section(f, k, altmap[k]);
	expect_in_their_altmaps(f, altmap);
	expect_sub_sections(f, map);
	for (round = 0; round < 2; round++) {
		k = round ^ s->second_goes_first;
		vmt_remove_section(sub_section_pfn(f, k), PAGES_PER_SUBSECTION, altmap[k]);
		__clear_bit(k, map);
		expect_sub_sections(f, map);
		vmt_expect_altmap(test, altmap[k], 0, 0);
	}
}

/*
 * Test that memmap that begins and ends within a page is complete. It does if pages are so
 * large that sub-sections share them.
 */
static void memmap_that_begins_within_a_page_is_complete(struct kunit *test)
{
	const unsigned long sub_section = PAGES_PER_SUBSECTION * sizeof(struct page);
	const unsigned long nr_sub = min(DIV_ROUND_UP(PAGE_SIZE, sub_section),
					 SUBSECTIONS_PER_SECTION - 1);
	const unsigned long nr = nr_sub * PAGES_PER_SUBSECTION;
	struct vmt *f = test->priv;
	const unsigned long pfn = sub_section_pfn(f, 1);
	struct vmem_altmap *altmap = NULL;

	if (vmt_has_altmap(test))
		altmap = vmt_device_altmap(&f->dev, f->dev.pfn, pfn + nr - 1, 0, f->unit_nr);
	KUNIT_ASSERT_EQ(test, vmt_add_section(pfn, nr, altmap), 0);
	KUNIT_EXPECT_EQ_MSG(test, vmt_write_struct_pages(pfn, nr), 0,
			    "struct pages are not mapped");
	KUNIT_EXPECT_EQ_MSG(test, vmt_wrong_struct_pages(pfn, nr), 0, "struct pages are lost");
	vmt_remove_section(pfn, nr, altmap);
}

/* With 4 KiB pages, usage maps of so many sections fill a slab page. */
#define NR_USAGE_MAPS	64

static void add_and_remove(struct kunit *test, void *unused)
{
	struct vmt *f = test->priv;
	unsigned int i;

	for (i = 0; i < NR_USAGE_MAPS; i++) {
		KUNIT_ASSERT_EQ(test, vmt_add_section(f->hole_pfn, PAGES_PER_SUBSECTION, NULL), 0);
		vmt_remove_section(f->hole_pfn, PAGES_PER_SUBSECTION, NULL);
		KUNIT_EXPECT_EQ(test, vmt_add_section(sub_section_pfn(f, 1), 0, NULL), -EINVAL);
		/* Until then, the ledger holds the memmap: up to 16 MiB. */
		vmt_ram_sweep(&f->ram);
	}
	/* Usage maps are freed by kfree_rcu(). */
	kvfree_rcu_barrier();
	vmt_expect_as_before(f);
}

/* Test that cycles of adding and removing sections leak nothing. */
static void repeated_cycles_of_sections_leak_nothing(struct kunit *test)
{
	vmt_expect_balanced(test, add_and_remove, NULL);
}

static struct kunit_case vmemmap_section_cases[] = {
	KUNIT_CASE_PARAM(section_is_counted_as_memmap, vmt_backings),
	KUNIT_CASE(section_state_follows_its_sub_sections),
	KUNIT_CASE_PARAM(present_sub_section_is_not_added_again, overlaps_gen_params),
	KUNIT_CASE(empty_range_is_refused),
	KUNIT_CASE(misaligned_range_is_refused),
	KUNIT_CASE_PARAM(section_without_room_is_not_there, vmt_backings),
	KUNIT_CASE(absent_sub_section_is_not_removed),
	KUNIT_CASE_PARAM(removed_sub_section_keeps_the_neighbours_memmap,
			 sub_sections_gen_params),
	KUNIT_CASE_PARAM(memmap_that_begins_within_a_page_is_complete, vmt_backings),
	KUNIT_CASE(repeated_cycles_of_sections_leak_nothing),
	{}
};

static struct kunit_suite vmemmap_section_suite = {
	.name = "vmemmap_section",
	.suite_init = vmt_suite_init,
	.init = vmt_init,
	.exit = vmt_exit,
	.test_cases = vmemmap_section_cases,
};

kunit_test_suite(vmemmap_section_suite);

MODULE_DESCRIPTION("KUnit tests for adding sections to the vmemmap");
MODULE_LICENSE("GPL");
