// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what is specific to x86_64 when the memmap is in a struct vmem_altmap,
 * or in System RAM.
 *
 *  - The memmap of a section is mapped by one huge page, with the attributes of kernel
 *    data. Base pages are used instead if System RAM has no huge page.
 *  - Sections take blocks of PMD_SIZE from the altmap, one after the other.
 *  - If the altmap has no room for a section, populating fails with -ENOMEM, does not use
 *    System RAM instead, and does not affect the sections before it.
 *  - Base pages of the altmap and of System RAM return to their owners.
 *  - A huge page that is freed in parts is returned with the last part.
 *  - The page table of a huge page that HVO has split is unaccounted when it is freed.
 *  - Populating a section again changes nothing.
 *
 * After each case, vmt_exit() expects that nothing is mapped, all counters are as before,
 * the altmaps are unused, and the device's pages are intact.
 *
 * "Section" means what a PMD of memmap describes. With a struct page of 64 bytes, this is
 * a section.
 *
 * Not covered: what all architectures have in common, see mm/tests/vmemmap_altmap_kunit.c.
 * For ranges that begin or end within a PMD, see vmem_altmap_x86_base_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/cpufeature.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define PMD_NR	(PMD_SIZE >> PAGE_SHIFT)

/* The pfn of the huge page that maps the memmap of a section. */
static unsigned long leaf_pfn(struct kunit *test, unsigned int section)
{
	struct vmt_leaf leaf = vmt_leaf(vmt_addr(test->priv, section));

	KUNIT_EXPECT_EQ_MSG(test, leaf.size, PMD_SIZE, "section %u", section);
	return leaf.pfn;
}

/*
 * Test that the huge page is writable, cached, neither executable nor accessible to user
 * space, and global if kernel mappings are.
 */
static void huge_leaf_has_the_attributes_of_kernel_data(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, PMD_NR);
	pmdval_t pmd;

	vmt_populate_ok(f, 0, 1, altmap);
	pmd = pmd_val(*pmd_off_k(vmt_addr(f, 0)));

	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PRESENT);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PSE);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_RW);
	KUNIT_EXPECT_FALSE(test, pmd & _PAGE_USER);
	KUNIT_EXPECT_FALSE(test, pmd & (_PAGE_PWT | _PAGE_PCD | _PAGE_PAT_LARGE));
	KUNIT_EXPECT_EQ(test, !!(pmd & _PAGE_NX), boot_cpu_has(X86_FEATURE_NX));
	KUNIT_EXPECT_EQ(test, pmd & _PAGE_GLOBAL,
			pgprot_val(PAGE_KERNEL_LARGE) & _PAGE_GLOBAL);

	vmt_free(f, 0, 1, altmap);
}

/* Test that sections take consecutive blocks, and can be freed at once. */
static void several_sections_take_consecutive_blocks(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 1, 4 * PMD_NR + PMD_NR - 1);
	unsigned int section;

	vmt_populate_ok(f, 0, 4, altmap);
	for (section = 0; section < 4; section++)
		KUNIT_EXPECT_EQ(test, leaf_pfn(test, section),
				f->dev.pfn + (section + 1) * PMD_NR);
	vmt_expect_altmap(test, altmap, 4 * PMD_NR, PMD_NR - 1);
	vmt_expect_usable(f, 0, 4);
	vmt_expect_device_intact(&f->dev);
	vmt_free(f, 0, 4, altmap);
}

/* Test that sections can be populated and freed in any order. */
static void sections_are_freed_in_any_order(struct kunit *test)
{
	static const unsigned int order[] = { 2, 0, 3, 1 };
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, 4 * PMD_NR);
	int i;

	for (i = 0; i < 4; i++)
		vmt_populate_ok(f, order[i], 1, altmap);
	vmt_expect_usable(f, 0, 4);
	for (i = 3; i >= 0; i--) {
		if (altmap)
			KUNIT_EXPECT_EQ(test, leaf_pfn(test, order[i]), f->dev.pfn + i * PMD_NR);
		vmt_free(f, order[i], 1, altmap);
		vmt_expect_unmapped(f, order[i], 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, i * PMD_NR);
	}
}

/*
 * Test that a section for which the altmap has no room fails with -ENOMEM, alone and as
 * the first of three, and that the section before it stays as it is.
 */
static void section_without_room_is_enomem(struct kunit *test)
{
	struct vmt *f = test->priv;
	/* A gap of PMD_NR - 1 pages and a block: a page less than two sections need. */
	struct vmem_altmap *altmap = vmt_altmap(f, 1, PMD_NR - 1 + PMD_NR);
	u64 salt;

	vmt_populate_ok(f, 0, 1, altmap);
	salt = vmt_fill(f, 0, 1);
	KUNIT_EXPECT_EQ(test, vmt_populate(f, 1, 1, altmap), -ENOMEM);
	vmt_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_populate(f, 1, 3, altmap), -ENOMEM);
	vmt_free(f, 1, 3, altmap);

	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), f->dev.pfn + PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);
	vmt_expect_unmapped(f, 1, 3);
	vmt_expect_filled(f, 0, 1, salt);
	vmt_free(f, 0, 1, altmap);
}

/* Test that memmap does not use System RAM if the altmap is too small. */
static void exhausted_altmap_takes_no_ram(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 0, PMD_NR - 1);

	KUNIT_EXPECT_EQ(test, vmt_populate(f, 0, 1, altmap), -ENOMEM);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
	vmt_free(f, 0, 1, altmap);
}

/* Test that populating a section again takes no page and changes no mapping. */
static void populated_section_is_not_populated_twice(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, 2 * PMD_NR);
	struct vmt_counters once;
	unsigned long pfn;

	vmt_populate_ok(f, 0, 1, altmap);
	pfn = leaf_pfn(test, 0);
	vmt_count(f, &once);

	vmt_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), pfn);
	vmt_expect_same(f, &once);
	vmt_expect_altmap(test, altmap, PMD_NR, 0);
	vmt_free(f, 0, 1, altmap);
}

/* Test that memmap is mapped by base pages if System RAM has no huge page. */
static void fragmented_ram_gives_base_pages(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmt_counters now;

	f->ram.fail_huge = true;
	vmt_populate_ok(f, 0, 2, NULL);
	vmt_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves - f->before.leaves, 2 * PMD_NR);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 2 * PMD_NR);
	vmt_expect_usable(f, 0, 2);
	vmt_free(f, 0, 2, NULL);
}

/*
 * Test that if a page table exists, base pages of the altmap are mapped beside those of
 * System RAM, and that each of them returns to its owner.
 */
static void base_pages_beside_others_return_to_their_owner(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 0, 2 * PMD_NR);
	unsigned long start = vmt_addr(f, 0), end = vmt_addr(f, 2);

	vmt_set_unit(f, PAGE_SIZE);
	vmt_populate_ok(f, 0, PMD_NR / 4, NULL);
	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR + PMD_NR * 3 / 4);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), PMD_NR / 4);
	vmt_free_range(f, start, end, altmap);
}

/* What fills the unused parts of a huge page, see arch/x86/mm/init_64.c. */
#define UNUSED_BYTE	0xfd

/*
 * Test that freeing a part of a huge page marks this part as unused and keeps the others,
 * and that the huge page is freed with the last part.
 */
static void huge_page_goes_with_its_last_part(struct kunit *test)
{
	/* Either half goes first. */
	static const unsigned int orders[2][4] = { { 2, 3, 0, 1 }, { 1, 0, 3, 2 } };
	const unsigned int *order = orders[vmt_has_altmap(test)];
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, PMD_NR);
	unsigned long addr = vmt_addr(f, 0);
	unsigned int i, k;
	u64 salt;

	vmt_populate_ok(f, 0, 1, altmap);
	vmt_set_unit(f, PMD_SIZE / 4);
	salt = vmt_fill(f, 0, 4);
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_EQ(test, vmt_leaf(addr).size, PMD_SIZE);
		for (k = i; k < 4; k++)
			vmt_expect_filled(f, order[k], 1, salt);
		for (k = 0; k < i; k++)
			KUNIT_EXPECT_NULL(test, memchr_inv((void *)vmt_addr(f, order[k]),
							   UNUSED_BYTE, f->unit_size));
		vmt_free(f, order[i], 1, altmap);
	}
	KUNIT_EXPECT_EQ(test, vmt_leaf(addr).size, 0);
}

/*
 * Test that the page table of a huge page that HVO has split is unaccounted when it is
 * freed. HVO allocates it with pte_alloc_one_kernel().
 */
static void split_huge_page_is_unaccounted(struct kunit *test)
{
	struct vmt *f = test->priv;
	unsigned long addr = vmt_addr(f, 0), pfn, i;
	struct ptdesc *table;
	pte_t *ptes;
	int accounted;

	vmt_populate_ok(f, 0, 1, NULL);
	pfn = leaf_pfn(test, 0);
	ptes = pte_alloc_one_kernel(&init_mm);
	KUNIT_ASSERT_NOT_NULL(test, ptes);
	for (i = 0; i < PMD_NR; i++)
		set_pte_at(&init_mm, addr + i * PAGE_SIZE, ptes + i,
			   pfn_pte(pfn + i, PAGE_KERNEL));
	/* From now on, each page of the block is freed on its own. */
	split_page(pfn_to_page(pfn), PMD_ORDER);
	/* Keep the page table, to look at it after it was freed. */
	table = virt_to_ptdesc(ptes);
	get_page(ptdesc_page(table));
	pmd_populate_kernel(&init_mm, pmd_off_k(addr), ptes);
	vmt_expect_usable(f, 0, 1);

	vmt_free(f, 0, 1, NULL);
	accounted = PageTable(ptdesc_page(table));
	KUNIT_EXPECT_FALSE_MSG(test, accounted, "the page table still counts in NR_PAGETABLE");
	if (accounted)
		pagetable_dtor(table);
	put_page(ptdesc_page(table));
}

static struct kunit_case vmem_altmap_x86_cases[] = {
	KUNIT_CASE_PARAM(huge_leaf_has_the_attributes_of_kernel_data, vmt_backings),
	KUNIT_CASE(several_sections_take_consecutive_blocks),
	KUNIT_CASE_PARAM(sections_are_freed_in_any_order, vmt_backings),
	KUNIT_CASE(section_without_room_is_enomem),
	KUNIT_CASE(exhausted_altmap_takes_no_ram),
	KUNIT_CASE_PARAM(populated_section_is_not_populated_twice, vmt_backings),
	KUNIT_CASE(fragmented_ram_gives_base_pages),
	KUNIT_CASE(base_pages_beside_others_return_to_their_owner),
	KUNIT_CASE_PARAM(huge_page_goes_with_its_last_part, vmt_backings),
	KUNIT_CASE(split_huge_page_is_unaccounted),
	{}
};

static int vmem_altmap_x86_init(struct kunit *test)
{
	int err = vmt_init(test);

	/* If struct page does not have 64 bytes, a section is not a PMD of memmap. */
	if (!err)
		vmt_set_unit(test->priv, PMD_SIZE);
	return err;
}

static struct kunit_suite vmem_altmap_x86_suite = {
	.name = "vmem_altmap_x86",
	.suite_init = vmt_suite_init,
	.init = vmem_altmap_x86_init,
	.exit = vmt_exit,
	.test_cases = vmem_altmap_x86_cases,
};

kunit_test_suite(vmem_altmap_x86_suite);

MODULE_DESCRIPTION("KUnit tests for a memmap with an altmap on x86_64");
MODULE_LICENSE("GPL");
