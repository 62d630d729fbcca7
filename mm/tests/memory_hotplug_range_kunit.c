// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for adding and removing a range of memory that holds its own memmap.
 *
 *  - A malformed altmap, or a misaligned range, is refused before anything is added.
 *  - A failed add leaves no trace, whichever page or section is missing, at every level.
 *    The same range can be added when enough memory is available.
 *  - What existed in the range before a failed add stays as it is.
 *  - Added memory is mapped and readable, and max_pfn covers it.
 *  - Adding and removing leaks nothing.
 *
 * For the hidden RAM that the suite needs, see vmt_memory.c. For memory blocks, see
 * memory_hotplug_block_kunit.c.
 */
#include <linux/limits.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>

#include "vmt_memory.h"

static const struct malformed {
	const char *name;
	enum vmt_level level;
	/* differences to an altmap of the range, in pages */
	long base, end;
	/* the window; a negative number counts from the size of the range */
	long reserve, free;
} malformeds[] = {
	{ "base_too_low", SECTIONS, .base = -1, .free = 1 },
	{ "base_too_high", SECTIONS, .base = 1, .free = 1 },
	{ "window_larger_than_the_range", SECTIONS, .reserve = 3, .free = -2 },
	{ "reserve_larger_than_the_range", SECTIONS, .reserve = -1, .free = 8 },
	{ "no_data_page", SECTIONS, .reserve = 2, .free = -2 },
	{ "device_without_a_data_page", DEVICE, .reserve = 2, .free = -2 },
	{ "end_too_low", SECTIONS, .end = -1, .free = 1 },
	{ "end_too_high", SECTIONS, .end = 1, .free = 1 },
	{ "zero_free", SECTIONS, .reserve = 1 },
	{ "base_and_end_swapped", SECTIONS, .base = 15, .end = -15, .free = 1 },
	{ "memory_without_a_free_page", MEMORY, .reserve = 1 },
	{ "device_without_a_free_page", DEVICE, .reserve = 1 },
};

KUNIT_ARRAY_PARAM_DESC(malformeds, malformeds, name);

/*
 * Test that a malformed altmap is refused before anything is added, and that the largest
 * window that leaves a data page is accepted.
 */
static void malformed_altmap_is_refused(struct kunit *test)
{
	const struct malformed *m = test->param_value;
	struct vmt_memory *f = test->priv;
	const unsigned long nr = PAGES_PER_SECTION;
	struct vmt_span *s = vmt_span(test, m->level, f->first_pfn + nr, nr);
	struct vmt_machine before;
	unsigned long share;

	vmt_look(test, &before);
	vmt_set_range(s, s->pfn + m->base, s->pfn + nr - 1 + m->end,
		      m->reserve < 0 ? nr + m->reserve : m->reserve,
		      m->free < 0 ? nr + m->free : m->free);
	KUNIT_EXPECT_EQ(test, vmt_add(test, s), -EINVAL);
	vmt_expect_machine(test, &before);

	vmt_set_altmap(s, 0, nr - 1);
	share = vmt_share(test, s, NULL);
	/* What an earlier user left in the private fields does not matter. */
	s->altmap->alloc = 1;
	s->altmap->align = ULONG_MAX;
	s->altmap->gap = 7;
	vmt_add_ok(test, s);
	KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
	vmt_remove(s);
	vmt_expect_removed(test, &before);
}

/* Test that a range that does not consist of whole sub-sections is refused. */
static void misaligned_range_is_refused(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = vmt_span(test, SECTIONS, f->first_pfn + 1, PAGES_PER_SUBSECTION);

	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, vmt_add(test, s), -EINVAL);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	vmt_expect_machine(test, &f->before);
}

static const struct failure {
	const char *name;
	enum vmt_level level;
	bool altmap;
} failures[] = {
	{ "sections_altmap_too_small", SECTIONS, true },
	{ "sections_ram_missing", SECTIONS, false },
	{ "memory_altmap_too_small", MEMORY, true },
	{ "memory_ram_missing", MEMORY, false },
	{ "device_altmap_too_small", DEVICE, true },
	{ "device_ram_missing", DEVICE, false },
};

KUNIT_ARRAY_PARAM_DESC(failures, failures, name);

/* Adds @s with @nr pages of the altmap, and RAM only for what cannot be in the altmap. */
static int add_with_altmap(struct kunit *test, struct vmt_span *s, unsigned long nr)
{
	struct vmt_memory *f = test->priv;
	unsigned long nr_ram;

	/* The window starts unaligned where base pages make up for it. */
	vmt_set_altmap(s, f->traits.base_pages, nr);
	vmt_share(test, s, &nr_ram);
	if (f->traits.ram_fallback)
		f->ram.nr_good_allocs = nr_ram;
	return vmt_add(test, s);
}

/* Fails to add @s with ever more pages in the altmap, at last one less than needed. */
static void fail_with_altmap(struct kunit *test, struct vmt_span *s, unsigned int nr_attempts)
{
	struct vmt_memory *f = test->priv;
	unsigned long need = vmt_share(test, s, NULL), nr, i;
	unsigned long step = max(vmt_memmap_nr(PAGES_PER_SECTION) / 2, need / nr_attempts);

	KUNIT_ASSERT_GT(test, need, 0);
	step = max(step, 1);
	for (i = step; i < need + step; i += step) {
		nr = min(i, need) - 1;
		if (nr)
			vmt_expect_no_trace(test, s, add_with_altmap(test, s, nr), &f->before);
	}
	KUNIT_ASSERT_EQ(test, add_with_altmap(test, s, need), 0);
	KUNIT_EXPECT_EQ(test, s->altmap->alloc, need);
}

/* Fails to add @s with ever more blocks of RAM, until they are enough. */
static void fail_with_ram(struct kunit *test, struct vmt_span *s, unsigned int nr_attempts)
{
	struct vmt_memory *f = test->priv;
	/* Base pages, or blocks, and page tables for them. */
	unsigned long limit = 2 * max(vmt_memmap_nr(s->nr), 16);
	unsigned long nr_leaves = s->nr * sizeof(struct page) / f->traits.leaf_size;
	unsigned long nr, step = max(nr_leaves / nr_attempts, 1);
	int err = -ENOMEM;

	for (nr = 0; nr <= limit; nr += step) {
		f->ram.nr_good_allocs = nr;
		err = vmt_add(test, s);
		if (!err)
			break;
		vmt_expect_no_trace(test, s, err, &f->before);
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_GE(test, nr, max(nr_leaves, 1));
}

/*
 * Test that wherever memory for the memmap runs out, in each section and at its end,
 * nothing is left of the sections before, and that the range can be added when there is
 * enough.
 */
static void failed_add_leaves_no_trace(struct kunit *test)
{
	const struct failure *failure = test->param_value;
	struct vmt_memory *f = test->priv;
	/* Limit the range, but cover at least one leaf. */
	unsigned long nr = max(2 * f->traits.leaf_size / sizeof(struct page),
			       32 * PAGES_PER_SECTION);
	struct vmt_span *s = vmt_span(test, failure->level, f->first_pfn,
				      min(f->nr_pfns, round_up(nr, PAGES_PER_SECTION)));
	unsigned int nr_attempts = failure->level == SECTIONS ? 64 : 8;

	if (failure->altmap)
		fail_with_altmap(test, s, nr_attempts);
	else
		fail_with_ram(test, s, nr_attempts);
	vmt_fill_span(s);
	vmt_expect_span(test, s);
	vmt_remove(s);
	vmt_expect_removed(test, &f->before);
	vmt_expect_unused(test, s->altmap);
}

static const struct there {
	const char *name;
	unsigned int which;
} theres[] = {
	{ "first", 0 },
	{ "middle", 1 },
	{ "last", 2 },
};

KUNIT_ARRAY_PARAM_DESC(theres, theres, name);

/*
 * Test that a part of the range that exists already does not change, and that nothing else
 * remains. Only sections are added: arch_add_memory() would remove the direct map of
 * that part, and relies on its callers to prevent it.
 */
static void part_that_is_there_stays(struct kunit *test)
{
	const struct there *there = test->param_value;
	struct vmt_memory *f = test->priv;
	unsigned long nr = vmt_section_nr();
	struct vmt_span *old = vmt_span(test, SECTIONS, f->first_pfn + there->which * nr, nr);
	struct vmt_span *s = vmt_span(test, SECTIONS, f->first_pfn, 3 * nr);
	struct vmt_machine before;

	vmt_set_altmap(old, 0, nr / 2);
	vmt_set_altmap(s, 0, nr / 2);
	vmt_add_ok(test, old);
	vmt_fill_span(old);
	vmt_look(test, &before);
	KUNIT_EXPECT_EQ(test, vmt_add(test, s), -EEXIST);
	vmt_expect_machine(test, &before);
	vmt_expect_unused(test, s->altmap);
	vmt_expect_span(test, old);
	vmt_remove(old);
	vmt_expect_unused(test, old->altmap);
}

static const struct odd_range {
	const char *name;
	/* after the start of a section, and the size, in sub-sections */
	unsigned int start, nr;
} odd_ranges[] = {
	{ "section", 0, SUBSECTIONS_PER_SECTION },
	{ "subsection", 0, 1 },
	{ "nine_subsections", 0, 9 },
	{ "second_subsection", 1, 1 },
	{ "starts_after_a_subsection", 1, 7 },
	{ "starts_and_ends_after_a_subsection", 1, 8 },
};

KUNIT_ARRAY_PARAM_DESC(odd_ranges, odd_ranges, name);

/*
 * Test that added memory is readable to its last page, or is refused without a trace if it
 * does not consist of what the direct map is made of.
 */
static void added_memory_is_readable_or_refused(struct kunit *test)
{
	const struct odd_range *o = test->param_value;
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = vmt_span(test, MEMORY, f->first_pfn + o->start * PAGES_PER_SUBSECTION,
				      o->nr * PAGES_PER_SUBSECTION);
	unsigned long pfn, unreadable = 0;

	if (vmt_add(test, s)) {
		KUNIT_EXPECT_FALSE(test, IS_ALIGNED(s->pfn | s->nr,
						    PHYS_PFN(memremap_compat_align())));
		vmt_expect_machine(test, &f->before);
		return;
	}
	for (pfn = s->pfn; pfn < s->pfn + s->nr; pfn++)
		unreadable += !vmt_readable(pfn);
	KUNIT_EXPECT_EQ(test, unreadable, 0);
	vmt_remove(s);
	vmt_expect_removed(test, &f->before);
}

static void expect_max_pfn(struct kunit *test, unsigned long pfn)
{
	KUNIT_EXPECT_EQ(test, max_pfn, pfn);
	KUNIT_EXPECT_EQ(test, max_low_pfn, pfn);
	if (IS_ENABLED(CONFIG_X86_64) || IS_ENABLED(CONFIG_PPC64))
		KUNIT_EXPECT_PTR_EQ(test, high_memory, __va(PFN_PHYS(pfn)));
}

/* Test that added memory raises max_pfn, and that memory below other memory leaves it. */
static void lower_memory_leaves_max_pfn(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	const unsigned long nr = PAGES_PER_SECTION, middle = f->first_pfn + nr;
	struct vmt_span *low = vmt_span(test, MEMORY, f->first_pfn, nr);
	struct vmt_span *high = vmt_span(test, MEMORY, middle, nr);

	KUNIT_EXPECT_LT(test, max_pfn, middle + nr);
	vmt_add_ok(test, high);
	expect_max_pfn(test, middle + nr);
	vmt_add_ok(test, low);
	expect_max_pfn(test, middle + nr);
}

static const struct level_param {
	const char *name;
	enum vmt_level level;
} levels[] = {
	{ "sections", SECTIONS },
	{ "memory", MEMORY },
	{ "device", DEVICE },
};

KUNIT_ARRAY_PARAM_DESC(levels, levels, name);

/* Adds and removes the span @arg. */
static void add_and_remove(struct kunit *test, void *arg)
{
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = arg;

	vmt_add_ok(test, s);
	vmt_remove(s);
	vmt_expect_unused(test, s->altmap);
	vmt_expect_removed(test, &f->before);
}

/* Test that adding and removing a range many times leaks nothing. */
static void many_cycles_leak_nothing(struct kunit *test)
{
	const struct level_param *l = test->param_value;
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = vmt_span(test, l->level, f->first_pfn, PAGES_PER_SECTION);

	vmt_set_altmap(s, 1, vmt_memmap_nr(s->nr));
	vmt_expect_balanced(test, add_and_remove, s);
}

static const struct folios {
	const char *name;
	bool altmap;
} folios[] = {
	{ "altmap", true },
	{ "ram", false },
};

KUNIT_ARRAY_PARAM_DESC(folios, folios, name);

/* How many pages of memmap from @start to @end are mapped to a page that came before? */
static unsigned long count_shared(unsigned long start, unsigned long end)
{
	unsigned long addr, other, nr = 0;

	for (addr = start; addr < end; addr += PAGE_SIZE)
		for (other = start; other < addr; other += PAGE_SIZE)
			if (vmt_pfn(addr) == vmt_pfn(other)) {
				nr++;
				break;
			}
	return nr;
}

/*
 * Test that all struct pages of large folios have memory of their own if there is an
 * altmap. Without one, most of them share a page where the architecture optimises that.
 */
static void large_folios_keep_their_memmap_with_an_altmap(struct kunit *test)
{
	const struct folios *p = test->param_value;
	struct vmt_memory *f = test->priv;
	/* At least two pages remain of the memmap of a folio, so take twice that. */
	const unsigned int order = ilog2(4 * PAGE_SIZE / sizeof(struct page));
	struct vmt_span *s = vmt_span(test, DEVICE, f->first_pfn,
				      max(PAGES_PER_SECTION, 2UL << order));
	unsigned long start = (unsigned long)pfn_to_page(s->pfn), share, nr_shared;

	s->pgmap.vmemmap_shift = order;
	share = vmt_share(test, s, NULL);
	/* Data begins with a folio. */
	if (p->altmap)
		vmt_set_altmap(s, 0, ALIGN(vmt_memmap_nr(s->nr), 1UL << order));
	vmt_add_ok(test, s);
	nr_shared = count_shared(start, start + s->nr * sizeof(struct page));
	if (p->altmap) {
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		KUNIT_EXPECT_EQ(test, nr_shared, 0);
	} else {
		KUNIT_EXPECT_EQ(test, nr_shared > 0, vmemmap_can_optimize(NULL, &s->pgmap));
	}
	vmt_remove(s);
	vmt_expect_removed(test, &f->before);
}

static const struct type {
	const char *name;
	enum memory_type type;
	int count;	/* of the pages with data */
} types[] = {
	{ "generic", MEMORY_DEVICE_GENERIC, 1 },
	{ "fs_dax", MEMORY_DEVICE_FS_DAX, 0 },
};

KUNIT_ARRAY_PARAM_DESC(types, types, name);

/*
 * Test that the struct pages of a device are initialised: those of its memmap and of its
 * data belong to ZONE_DEVICE, and only those of its data have a pgmap.
 */
static void device_struct_pages_are_initialised(struct kunit *test)
{
	const struct type *p = test->param_value;
	struct vmt_memory *f = test->priv;
	const unsigned long nr = 2 * vmt_section_nr(), reserve = 2;
	struct vmt_span *s = vmt_span(test, DEVICE, f->first_pfn, nr);
	unsigned long i, wrong = 0;

	s->pgmap.type = p->type;
	vmt_set_altmap(s, reserve, vmt_memmap_nr(2 * nr));
	vmt_add_ok(test, s);
	KUNIT_ASSERT_LT(test, vmem_altmap_offset(s->altmap), nr);
	/* Nobody initialises those of the driver's pages. */
	for (i = reserve; i < nr; i++) {
		struct page *page = pfn_to_page(s->pfn + i);
		bool data = i >= vmem_altmap_offset(s->altmap);

		wrong += page_zonenum(page) != ZONE_DEVICE || !PageReserved(page) ||
			 page_to_nid(page) != first_memory_node ||
			 page_count(page) != (data ? p->count : 1) ||
			 (page_folio(page)->pgmap == &s->pgmap) != data;
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

static struct kunit_case memory_hotplug_altmap_cases[] = {
	KUNIT_CASE_PARAM(malformed_altmap_is_refused, malformeds_gen_params),
	KUNIT_CASE(misaligned_range_is_refused),
	KUNIT_CASE_PARAM(failed_add_leaves_no_trace, failures_gen_params),
	KUNIT_CASE_PARAM(part_that_is_there_stays, theres_gen_params),
	KUNIT_CASE_PARAM(added_memory_is_readable_or_refused, odd_ranges_gen_params),
	KUNIT_CASE(lower_memory_leaves_max_pfn),
	KUNIT_CASE_PARAM(many_cycles_leak_nothing, levels_gen_params),
	KUNIT_CASE_PARAM(large_folios_keep_their_memmap_with_an_altmap, folios_gen_params),
	KUNIT_CASE_PARAM(device_struct_pages_are_initialised, types_gen_params),
	{}
};

static struct kunit_suite memory_hotplug_altmap_suite = {
	.name = "memory_hotplug_altmap",
	.suite_init = vmt_memory_suite_init,
	.init = vmt_memory_init,
	.exit = vmt_memory_exit,
	.test_cases = memory_hotplug_altmap_cases,
};

kunit_test_suite(memory_hotplug_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for adding and removing memory that holds its own memmap");
MODULE_LICENSE("GPL");
