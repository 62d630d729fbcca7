// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for memmap with and without a struct vmem_altmap on powerpc, for both MMUs.
 *
 * A mapping of the vmemmap can describe more than one section. So ranges that are added
 * one after the other can share it:
 *
 *  - No memmap of a range is in the altmap of another range.
 *  - A range can be removed while the memmap of the others stays as it is.
 *  - Any sub-section can be added and removed alone, in any order.
 *  - System RAM that starts where the altmap's window ends returns to RAM.
 *
 * For what only one MMU does, see vmem_altmap_hash_kunit.c and vmem_altmap_radix_kunit.c.
 * For what all architectures have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define SECTION_MEMMAP	(PAGES_PER_SECTION * sizeof(struct page))

/*
 * With the hash MMU: addresses of blocks that are mapped to the end of the device while a
 * section is added. Struct pages that the kernel does not map fail the case. Without the
 * guard, the kernel would crash when it writes to them.
 */
static unsigned long guard, guard_end;

/* Replaces hash__vmemmap_create_mapping(): unmaps the guard first. */
static int create_mapping(unsigned long start, unsigned long page_size, unsigned long phys)
{
	struct kunit *test = kunit_get_current_test();
	int rc;

	if (start >= guard && start < guard_end)
		hash__vmemmap_remove_mapping(start, page_size);
	kunit_deactivate_static_stub(test, hash__vmemmap_create_mapping);
	rc = hash__vmemmap_create_mapping(start, page_size, phys);
	kunit_activate_static_stub(test, hash__vmemmap_create_mapping, create_mapping);
	return rc;
}

/* Maps the blocks that adding [@start, @end) of the vmemmap has to map. */
static void map_guard(struct vmt *f, unsigned long start, unsigned long end)
{
	unsigned long pfn = page_to_pfn(f->dev.page) + f->dev.nr - f->leaf_nr, addr;

	guard = ALIGN_DOWN(start, f->leaf_size);
	guard_end = ALIGN(end, f->leaf_size);
	while (guard < guard_end && vmt_leaf(guard).size)
		guard += f->leaf_size;
	while (guard < guard_end && vmt_leaf(guard_end - 1).size)
		guard_end -= f->leaf_size;
	for (addr = guard; addr < guard_end; addr += f->leaf_size)
		KUNIT_EXPECT_EQ(f->test, hash__vmemmap_create_mapping(addr, f->leaf_size,
								      PFN_PHYS(pfn)), 0);
}

/* Unmaps the rest of the guard. Returns the number of blocks that the kernel did not map. */
static unsigned long unmap_guard(struct vmt *f)
{
	unsigned long nr = 0;

	for (; guard < guard_end; guard += f->leaf_size) {
		if (vmt_leaf(guard).size)
			continue;
		hash__vmemmap_remove_mapping(guard, f->leaf_size);
		nr++;
	}
	return nr;
}

static int add_section(struct vmt *f, unsigned long pfn, unsigned long nr,
		       struct vmem_altmap *altmap)
{
	unsigned long nr_unmapped;
	int err;

	if (radix_enabled())
		return vmt_add_section(pfn, nr, altmap);
	map_guard(f, (unsigned long)pfn_to_page(pfn), (unsigned long)pfn_to_page(pfn + nr));
	kunit_activate_static_stub(f->test, hash__vmemmap_create_mapping, create_mapping);
	err = vmt_add_section(pfn, nr, altmap);
	kunit_deactivate_static_stub(f->test, hash__vmemmap_create_mapping);
	nr_unmapped = unmap_guard(f);
	KUNIT_EXPECT_EQ_MSG(f->test, nr_unmapped, 0, "blocks for %#lx-%#lx", pfn, pfn + nr - 1);
	if (err || !nr_unmapped)
		return err;
	vmt_remove_section(pfn, nr, altmap);
	return -EFAULT;
}

/* Pages that are added section by section. The first and last section may be partial. */
struct span {
	unsigned long pfn, nr, nr_added;
	struct vmem_altmap *altmap;
};

static void add_span(struct vmt *f, struct span *r)
{
	int err = 0;

	while (r->nr_added < r->nr && !err) {
		unsigned long pfn = r->pfn + r->nr_added;
		unsigned long nr = min(r->nr - r->nr_added, SECTION_ALIGN_UP(pfn + 1) - pfn);

		err = add_section(f, pfn, nr, r->altmap);
		if (!err)
			r->nr_added += nr;
	}
	KUNIT_EXPECT_EQ_MSG(f->test, err, 0, "%#lx pages from %#lx", r->nr, r->pfn);
}

static void remove_span(struct span *r)
{
	while (r->nr_added) {
		unsigned long end = r->pfn + r->nr_added;
		unsigned long pfn = max(SECTION_ALIGN_DOWN(end - 1), r->pfn);

		vmt_remove_section(pfn, end - pfn, r->altmap);
		r->nr_added -= end - pfn;
	}
}

static const struct neighbours {
	const char *name;
	/* The border is inside a section. */
	bool within_section;
	/* The second range, which has the higher pfns, is added, or removed, before the first. */
	bool second_comes_first, second_goes_first;
	/* The first range always has an altmap. */
	bool second_has_altmap;
} neighbours[] = {
	{ "first_in_first_out" },
	{ "last_in_first_out", .second_goes_first = true },
	{ "second_in_first_first_out_first", .second_comes_first = true },
	{ "second_in_first_out_first", .second_comes_first = true, .second_goes_first = true },
	{ "two_altmaps_first_in_first_out", .second_has_altmap = true },
	{ "two_altmaps_last_in_first_out",
	  .second_has_altmap = true, .second_goes_first = true },
	{ "within_a_section_first_in_first_out", .within_section = true },
	{ "within_a_section_last_in_first_out",
	  .within_section = true, .second_goes_first = true },
	{ "within_a_section_second_in_first_first_out_first",
	  .within_section = true, .second_comes_first = true },
	{ "within_a_section_second_in_first_out_first",
	  .within_section = true, .second_comes_first = true, .second_goes_first = true },
	{ "within_a_section_two_altmaps_first_in_first_out",
	  .within_section = true, .second_has_altmap = true },
	{ "within_a_section_two_altmaps_last_in_first_out",
	  .within_section = true, .second_has_altmap = true, .second_goes_first = true },
};

KUNIT_ARRAY_PARAM_DESC(neighbours, neighbours, name);

/*
 * Two ranges that meet inside a block, and inside a section if n->within_section:
 *
 *   sections:  0 | ... | ... | border       |
 *   ranges:    0 ............... 0 | 1 .... 1
 *
 * The first range has at least one block for itself. The second one ends with a section.
 */
static void make_neighbours(struct vmt *f, const struct neighbours *n, struct span *range)
{
	unsigned long nr_cut = n->within_section ? PAGES_PER_SUBSECTION : 0;
	unsigned long border = f->hole_pfn + nr_cut +
			       (f->leaf_size / SECTION_MEMMAP + 1) * PAGES_PER_SECTION;
	unsigned long end = border - nr_cut + PAGES_PER_SECTION;

	range[0] = (struct span) { .pfn = f->hole_pfn, .nr = border - f->hole_pfn };
	range[0].altmap = vmt_device_altmap(&f->dev, f->dev.pfn, border - 1, 0, 2 * f->unit_nr);
	range[1] = (struct span) { .pfn = border, .nr = end - border };
	if (n->second_has_altmap)
		range[1].altmap = vmt_device_altmap(&f->dev, f->dev.pfn + 2 * f->unit_nr,
						    end - 1, 0, 2 * f->unit_nr);
}

/*
 * Test that neither of two neighbours has memmap in the altmap of the other one, and that
 * the struct pages of the one that stays do not change when the other one is removed.
 */
static void removed_range_keeps_the_neighbours_memmap(struct kunit *test)
{
	const struct neighbours *n = test->param_value;
	struct vmt *f = test->priv;
	struct span range[2], *gone, *left;
	unsigned long border, nr;

	make_neighbours(f, n, range);
	gone = &range[n->second_goes_first];
	left = &range[!n->second_goes_first];
	border = range[1].pfn;
	/* Only the sections at the border can share a block. */
	nr = range[1].nr;

	add_span(f, &range[n->second_comes_first]);
	add_span(f, &range[!n->second_comes_first]);
	KUNIT_EXPECT_TRUE(test, vmt_in_window(range[0].altmap, vmt_pfn(vmt_addr(f, 0))));
	KUNIT_EXPECT_EQ(test, vmt_struct_pages_in(range[0].altmap, border, nr), 0);
	KUNIT_EXPECT_EQ(test, vmt_struct_pages_in(range[1].altmap, border - nr, nr), 0);
	KUNIT_EXPECT_EQ(test, vmt_write_struct_pages(border - nr, 2 * nr), 0);
	KUNIT_EXPECT_EQ(test, vmt_wrong_struct_pages(border - nr, 2 * nr), 0);

	remove_span(gone);
	if (gone->altmap)
		KUNIT_EXPECT_EQ(test, gone->altmap->alloc, 0);
	KUNIT_EXPECT_EQ(test, vmt_wrong_struct_pages(left == range ? border - nr : border, nr), 0);
	remove_span(left);
	vmt_expect_as_before(f);
}

static const struct order {
	const char *name;
	bool altmap;
	/* The first sub-section, and the distance to the next one, modulo their number. */
	unsigned int first, step;
} orders[] = {
	{ "altmap_ascending", true, 0, 1 },
	{ "altmap_descending", true, SUBSECTIONS_PER_SECTION - 1, SUBSECTIONS_PER_SECTION - 1 },
	{ "altmap_every_third", true, 1, 3 },
	{ "ram_ascending", false, 0, 1 },
	{ "ram_descending", false, SUBSECTIONS_PER_SECTION - 1, SUBSECTIONS_PER_SECTION - 1 },
	{ "ram_every_third", false, 1, 3 },
};

KUNIT_ARRAY_PARAM_DESC(orders, orders, name);

/*
 * Test that the sub-sections of a section can be added in any order, also if the section
 * needs two blocks, and that each of them can be removed while the others stay.
 */
static void sub_sections_come_and_go_in_any_order(struct kunit *test)
{
	const struct order *o = test->param_value;
	struct vmt *f = test->priv;
	/* If blocks are large, the second block starts in the memmap of this section. */
	unsigned long section = f->hole_pfn + f->leaf_size / SECTION_MEMMAP * PAGES_PER_SECTION;
	struct span range[SUBSECTIONS_PER_SECTION] = {}, *r, *left;
	struct vmem_altmap *altmap = NULL;
	unsigned int i = o->first;

	if (o->altmap)
		altmap = vmt_device_altmap(&f->dev, f->dev.pfn, section + PAGES_PER_SECTION - 1,
					   0, f->unit_nr);
	for (r = range; r < range + ARRAY_SIZE(range); r++) {
		r->pfn = section + i * PAGES_PER_SUBSECTION;
		r->nr = PAGES_PER_SUBSECTION;
		r->altmap = altmap;
		add_span(f, r);
		KUNIT_EXPECT_EQ(test, vmt_write_struct_pages(r->pfn, r->nr), 0);
		i = (i + o->step) % SUBSECTIONS_PER_SECTION;
	}
	for (r = range; r < range + ARRAY_SIZE(range); r++) {
		for (left = r; left < range + ARRAY_SIZE(range); left++)
			KUNIT_EXPECT_EQ_MSG(test, vmt_wrong_struct_pages(left->pfn, left->nr), 0,
					    "of %#lx, before %#lx goes", left->pfn, r->pfn);
		remove_span(r);
	}
	vmt_expect_as_before(f);
}

/*
 * Test that RAM that starts where the altmap's window ends returns to RAM. It is not in
 * the altmap, no matter how many pages of the altmap are in use.
 */
static void ram_after_the_window_is_not_the_altmaps(struct kunit *test)
{
	struct vmt *f = test->priv;
	/* The altmap lacks one mapping. With radix, this is a base page. */
	const unsigned long nr_ram = radix_enabled() ? 1 : f->leaf_nr;
	const unsigned long nr_altmap = 2 * f->leaf_nr - nr_ram;
	struct vmem_altmap *altmap;

	vmt_set_unit(f, f->leaf_size);
	f->ram.next_block = vmt_device_shrink(&f->dev, nr_ram);
	f->ram.next_nr = nr_ram;
	altmap = vmt_altmap(f, f->dev.nr - nr_altmap, nr_altmap);

	vmt_populate_ok(f, 0, 1, altmap);
	vmt_populate_ok(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, nr_altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), nr_ram);
	KUNIT_EXPECT_EQ(test, vmt_pfn(vmt_addr(f, 2) - nr_ram * PAGE_SIZE),
			f->dev.pfn + f->dev.nr);
	vmt_expect_usable(f, 0, 2);

	vmt_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
	KUNIT_EXPECT_EQ(test, altmap->alloc, f->leaf_nr);
	vmt_free(f, 0, 1, altmap);
}

static struct kunit_case vmem_altmap_powerpc_cases[] = {
	KUNIT_CASE_PARAM(removed_range_keeps_the_neighbours_memmap, neighbours_gen_params),
	KUNIT_CASE_PARAM(sub_sections_come_and_go_in_any_order, orders_gen_params),
	KUNIT_CASE(ram_after_the_window_is_not_the_altmaps),
	{}
};

static struct kunit_suite vmem_altmap_powerpc_suite = {
	.name = "vmem_altmap_powerpc",
	.suite_init = vmt_suite_init,
	.init = vmt_init,
	.exit = vmt_exit,
	.test_cases = vmem_altmap_powerpc_cases,
};

kunit_test_suite(vmem_altmap_powerpc_suite);

MODULE_DESCRIPTION("KUnit tests for memmap with an altmap on powerpc");
MODULE_LICENSE("GPL");
