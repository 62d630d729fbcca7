// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for requests that memory hotplug refuses: nothing may be added or removed.
 *
 *  - Memory without a page protection, or outside of what the kernel can map.
 *  - Devices in System RAM, over other devices, or with an altmap for several ranges.
 *  - Removal of what is not there, or of less than a sub-section.
 *
 * Some of these are bugs of the caller, for which the kernel warns. The suite suppresses the
 * warnings. For altmaps that are refused, see memory_hotplug_range_kunit.c.
 *
 * Needs hidden RAM, see vmt_memory.c.
 */
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>

#include "vmt_memory.h"

/* Test that memory is refused that would be mapped without any permission. */
static void memory_without_a_protection_is_refused(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	struct mhp_params params = {};
	int err = 0;

	kunit_warning_suppress(test) {
		mem_hotplug_begin();
		err = __add_pages(first_memory_node, f->first_pfn, PAGES_PER_SECTION, &params);
		mem_hotplug_done();
	}
	KUNIT_EXPECT_EQ(test, err, -EINVAL);
	vmt_expect_machine(test, &f->before);
}

static const struct misplaced {
	const char *name;
	int err;
} misplaced[] = {
	{ "in_system_ram", -ENXIO },
	{ "after_the_last_address", -EINVAL },
	{ "over_a_device", -ENOMEM },
	{ "into_the_start_of_a_device", -ENOMEM },
	{ "into_the_end_of_a_device", -ENOMEM },
};

KUNIT_ARRAY_PARAM_DESC(misplaced, misplaced, name);

/* Test that a device is refused where its memory cannot be. */
static void misplaced_device_is_refused(struct kunit *test)
{
	const struct misplaced *p = test->param_value;
	struct vmt_memory *f = test->priv;
	const unsigned long nr = PHYS_PFN(max(memremap_compat_align(),
					      PFN_PHYS(PAGES_PER_SECTION)));
	struct vmt_span *old = vmt_span(test, DEVICE, f->first_pfn + nr, nr);
	struct vmt_span *s = vmt_span(test, DEVICE, f->first_pfn + nr, nr);
	struct vmt_machine before;
	unsigned long pfn = old->pfn;
	int err = 0;

	switch (p - misplaced) {
	case 0:
		pfn = ALIGN_DOWN(page_to_pfn(virt_to_page(f)), nr);
		break;
	case 1:
		pfn = PHYS_PFN(mhp_get_pluggable_range(true).end + 1);
		break;
	case 3:
		pfn -= nr / 2;
		break;
	case 4:
		pfn += nr / 2;
		break;
	}
	if (p - misplaced >= 2)
		vmt_add_ok(test, old);
	s->pgmap.range.start = PFN_PHYS(pfn);
	s->pgmap.range.end = PFN_PHYS(pfn + nr) - 1;
	vmt_look(test, &before);
	kunit_warning_suppress(test) {
		err = vmt_add(test, s);
	}
	KUNIT_EXPECT_EQ(test, err, p->err);
	vmt_expect_machine(test, &before);
}

/* A device of the sections 0 and 2 of the hidden RAM. */
static struct dev_pagemap *two_ranges(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	const unsigned long nr = vmt_section_nr();
	struct dev_pagemap *pgmap = kunit_kzalloc(test, struct_size(pgmap, ranges, 2), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, pgmap);
	pgmap->type = MEMORY_DEVICE_GENERIC;
	pgmap->nr_range = 2;
	for (i = 0; i < 2; i++) {
		pgmap->ranges[i].start = PFN_PHYS(f->first_pfn + 2 * i * nr);
		pgmap->ranges[i].end = PFN_PHYS(f->first_pfn + (2 * i + 1) * nr) - 1;
	}
	return pgmap;
}

/* Test that an altmap is refused for a device with two ranges, of which it covers one. */
static void altmap_for_two_ranges_is_refused(struct kunit *test)
{
	struct dev_pagemap *pgmap = two_ranges(test);
	struct vmt_memory *f = test->priv;
	const unsigned long nr = vmt_section_nr();
	const struct vmem_altmap altmap = {
		.base_pfn = f->first_pfn,
		.end_pfn = f->first_pfn + nr - 1,
		.free = vmt_memmap_nr(nr),
	};
	void *p = NULL;

	memcpy(&pgmap->altmap, &altmap, sizeof(altmap));
	pgmap->flags = PGMAP_ALTMAP_VALID;
	kunit_warning_suppress(test) {
		p = memremap_pages(pgmap, first_memory_node);
	}
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(p), -EINVAL);
	/* The first range was added, and removed again. */
	vmt_expect_removed(test, &f->before);
	vmt_expect_unused(test, &pgmap->altmap);
}

/*
 * Test that without an altmap, a device can have two ranges and no node, and that what is
 * between the ranges is not touched.
 */
static void device_can_have_two_ranges(struct kunit *test)
{
	struct dev_pagemap *pgmap = two_ranges(test);
	struct vmt_memory *f = test->priv;
	const unsigned long nr = vmt_section_nr();
	struct vmt_machine now;
	unsigned long i, wrong = 0;

	KUNIT_ASSERT_EQ(test, PTR_ERR_OR_ZERO(memremap_pages(pgmap, NUMA_NO_NODE)), 0);
	vmt_look(test, &now);
	KUNIT_EXPECT_EQ(test, now.sections, 2 * nr / PAGES_PER_SECTION);
	for (i = 0; i < nr; i++)
		wrong += page_pgmap(pfn_to_page(f->first_pfn + i)) != pgmap ||
			 page_pgmap(pfn_to_page(f->first_pfn + 2 * nr + i)) != pgmap ||
			 pfn_valid(f->first_pfn + nr + i);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	memunmap_pages(pgmap);
	vmt_expect_removed(test, &f->before);
}

static const struct removal {
	const char *name;
	/* after the start of the sub-sections that are there, and size, in pages */
	long start, nr;
} removals[] = {
	{ "a_page", 0, 1 },
	{ "starts_inside_a_subsection", 1, PAGES_PER_SUBSECTION },
	{ "before", -(long)PAGES_PER_SUBSECTION, PAGES_PER_SUBSECTION },
	{ "after", 2 * PAGES_PER_SUBSECTION, PAGES_PER_SUBSECTION },
	{ "too_early", -(long)PAGES_PER_SUBSECTION, 2 * PAGES_PER_SUBSECTION },
	{ "too_much", PAGES_PER_SUBSECTION, 2 * PAGES_PER_SUBSECTION },
	{ "another_section", PAGES_PER_SECTION, PAGES_PER_SECTION },
};

KUNIT_ARRAY_PARAM_DESC(removals, removals, name);

/*
 * Test that the removal of a wrong range changes nothing. Two sub-sections are there, the
 * second and third of a section.
 */
static void removal_of_a_wrong_range_is_refused(struct kunit *test)
{
	const struct removal *p = test->param_value;
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = vmt_span(test, SECTIONS, f->first_pfn + PAGES_PER_SUBSECTION,
				      2 * PAGES_PER_SUBSECTION);
	unsigned long pfn = s->pfn + p->start;
	struct vmt_machine before;

	if (pfn >= f->first_pfn + PAGES_PER_SECTION)
		pfn = ALIGN_DOWN(pfn, PAGES_PER_SECTION);
	vmt_add_ok(test, s);
	vmt_fill_span(s);
	vmt_look(test, &before);
	kunit_warning_suppress(test) {
		mem_hotplug_begin();
		__remove_pages(pfn, p->nr, NULL, NULL);
		mem_hotplug_done();
	}
	vmt_expect_machine(test, &before);
	vmt_expect_span(test, s);
}

static struct kunit_case memory_hotplug_refuse_cases[] = {
	KUNIT_CASE(memory_without_a_protection_is_refused),
	KUNIT_CASE_PARAM(misplaced_device_is_refused, misplaced_gen_params),
	KUNIT_CASE(altmap_for_two_ranges_is_refused),
	KUNIT_CASE(device_can_have_two_ranges),
	KUNIT_CASE_PARAM(removal_of_a_wrong_range_is_refused, removals_gen_params),
	{}
};

static struct kunit_suite memory_hotplug_refuse_suite = {
	.name = "memory_hotplug_refuse",
	.suite_init = vmt_memory_suite_init,
	.init = vmt_memory_init,
	.exit = vmt_memory_exit,
	.test_cases = memory_hotplug_refuse_cases,
};

kunit_test_suite(memory_hotplug_refuse_suite);
