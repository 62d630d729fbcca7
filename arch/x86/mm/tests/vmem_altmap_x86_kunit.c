// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what only x86_64 promises about a memmap with and without a
 * struct vmem_altmap:
 *
 *  - The memmap of a section is mapped by one huge leaf, with the attributes of
 *    kernel data. Only where RAM has no huge page left, and there is no altmap, it
 *    is mapped by base pages.
 *  - Sections take one block of PMD_SIZE after the other from the altmap.
 *  - When the altmap has no room for a section, that is -ENOMEM: System RAM does
 *    not step in, and the sections before it stay as they are.
 *  - To populate what is populated changes nothing.
 *
 * For what all architectures have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/cpufeature.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define PMD_NR	(PMD_SIZE >> PAGE_SHIFT)

static unsigned long leaf_pfn(struct kunit *test, unsigned int unit)
{
	struct vmemmap_altmap_leaf leaf =
		vmemmap_altmap_leaf(vmemmap_altmap_addr(test->priv, unit));

	KUNIT_EXPECT_EQ_MSG(test, leaf.size, PMD_SIZE, "section %u", unit);
	return leaf.pfn;
}

/*
 * Test that the huge leaf is writable, global or not like all of the kernel,
 * cached, and neither executable nor open to user space.
 */
static void huge_leaf_has_the_attributes_of_kernel_data(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, PMD_NR);
	unsigned long addr = vmemmap_altmap_addr(f, 0);
	pmdval_t pmd;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	pmd = pmd_val(*pmd_off_k(addr));

	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PRESENT);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PSE);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_RW);
	KUNIT_EXPECT_FALSE(test, pmd & _PAGE_USER);
	KUNIT_EXPECT_FALSE(test, pmd & (_PAGE_PWT | _PAGE_PCD | _PAGE_PAT_LARGE));
	KUNIT_EXPECT_EQ(test, !!(pmd & _PAGE_NX), boot_cpu_has(X86_FEATURE_NX));
	KUNIT_EXPECT_EQ(test, pmd & _PAGE_GLOBAL, pgprot_val(PAGE_KERNEL_LARGE) &
			_PAGE_GLOBAL);

	vmemmap_altmap_free(f, 0, 1, altmap);
}

/* Test that sections take one block after the other, and are freed in one go. */
static void several_sections_take_consecutive_blocks(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 1, 4 * PMD_NR + PMD_NR - 1);
	unsigned int section;

	vmemmap_altmap_populate_ok(f, 0, 4, altmap);
	for (section = 0; section < 4; section++)
		KUNIT_EXPECT_EQ(test, leaf_pfn(test, section),
				f->dev_pfn + (section + 1) * PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 4 * PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->align, PMD_NR - 1);
	vmemmap_altmap_expect_usable(f, 0, 4);
	vmemmap_altmap_expect_device_intact(f);
	vmemmap_altmap_free(f, 0, 4, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
}

/* Test that sections may come and go in an order of their own. */
static void sections_are_freed_in_any_order(struct kunit *test)
{
	static const unsigned int order[] = { 2, 0, 3, 1 };
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 4 * PMD_NR);
	unsigned int i;

	for (i = 0; i < 4; i++)
		vmemmap_altmap_populate_ok(f, order[i], 1, altmap);
	vmemmap_altmap_expect_usable(f, 0, 4);
	for (i = 0; i < 4; i++) {
		unsigned int section = order[3 - i];

		if (altmap)
			KUNIT_EXPECT_EQ(test, leaf_pfn(test, section),
					f->dev_pfn + (3 - i) * PMD_NR);
		vmemmap_altmap_free(f, section, 1, altmap);
		vmemmap_altmap_expect_unmapped(f, section, 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, (3 - i) * PMD_NR);
	}
}

/*
 * Test that the first section for which the altmap has no room is refused with
 * -ENOMEM, alone and as the first of three, and that those before it stay.
 */
static void section_without_room_is_enomem(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	/* One block behind the alignment gap. The gap lacks a page for another. */
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 1, PMD_NR - 1 + PMD_NR);
	u64 salt;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	salt = vmemmap_altmap_fill(f, 0, 1);
	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), f->dev_pfn + PMD_NR);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 1, 1, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 1, 3, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 1, 3, altmap);

	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), f->dev_pfn + PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);
	vmemmap_altmap_expect_unmapped(f, 1, 3);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_device_intact(f);
}

/* Test that System RAM does not step in for an altmap that is too small. */
static void exhausted_altmap_takes_no_ram(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 0, PMD_NR - 1);
	struct vmemmap_altmap_counters now;

	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 0, 1, altmap), -ENOMEM);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves, f->before.leaves);
	KUNIT_EXPECT_EQ(test, now.ram - f->before.ram, now.tables - f->before.tables);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_as_before(f);
}

/* Test that to populate a section again takes nothing and changes nothing. */
static void populated_section_is_not_populated_twice(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 2 * PMD_NR);
	struct vmemmap_altmap_counters once, twice;
	unsigned long pfn;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	pfn = leaf_pfn(test, 0);
	vmemmap_altmap_count(f, &once);

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), pfn);
	vmemmap_altmap_count(f, &twice);
	KUNIT_EXPECT_EQ(test, twice.ram, once.ram);
	KUNIT_EXPECT_EQ(test, twice.tables, once.tables);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);

	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_unmapped(f, 0, 1);
}

/*
 * Test that without an altmap, and when RAM has no huge page left, the memmap is
 * mapped by base pages, and that all of these are returned.
 */
static void fragmented_ram_gives_base_pages(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;

	f->fail_huge = true;
	vmemmap_altmap_populate_ok(f, 0, 2, NULL);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves - f->before.leaves, 2 * PMD_NR);
	KUNIT_EXPECT_EQ(test, now.ram - f->before.ram,
			2 * PMD_NR + now.tables - f->before.tables);
	vmemmap_altmap_expect_usable(f, 0, 2);
	vmemmap_altmap_free(f, 0, 2, NULL);
	vmemmap_altmap_expect_unmapped(f, 0, 2);
	vmemmap_altmap_expect_as_before(f);
}

static struct kunit_case vmem_altmap_x86_cases[] = {
	KUNIT_CASE_PARAM(huge_leaf_has_the_attributes_of_kernel_data, vmemmap_altmap_backings),
	KUNIT_CASE(several_sections_take_consecutive_blocks),
	KUNIT_CASE_PARAM(sections_are_freed_in_any_order, vmemmap_altmap_backings),
	KUNIT_CASE(section_without_room_is_enomem),
	KUNIT_CASE(exhausted_altmap_takes_no_ram),
	KUNIT_CASE_PARAM(populated_section_is_not_populated_twice, vmemmap_altmap_backings),
	KUNIT_CASE(fragmented_ram_gives_base_pages),
	{}
};

static int vmem_altmap_x86_suite_init(struct kunit_suite *suite)
{
	/* Some debugging options, KMSAN for example, make struct page larger. */
	if (PAGES_PER_SECTION * sizeof(struct page) != PMD_SIZE) {
		kunit_mark_skipped(suite, "sizeof(struct page) is %zu, not 64",
				   sizeof(struct page));
		return 0;
	}
	return vmemmap_altmap_suite_init(suite);
}

static struct kunit_suite vmem_altmap_x86_suite = {
	.name = "vmem_altmap_x86",
	.suite_init = vmem_altmap_x86_suite_init,
	.init = vmemmap_altmap_init,
	.exit = vmemmap_altmap_exit,
	.test_cases = vmem_altmap_x86_cases,
};

kunit_test_suite(vmem_altmap_x86_suite);

MODULE_DESCRIPTION("KUnit tests for a memmap with an altmap on x86_64");
MODULE_LICENSE("GPL");
