// SPDX-License-Identifier: GPL-2.0-only
/*
 * How this machine maps the vmemmap, and a page-table walker.
 *
 * The walker only reads. It has its own knowledge of page tables, so that tests do not
 * depend on the code that they test. It works on any kernel address, for example on the
 * direct map, but does not take locks: nobody may change the page tables meanwhile.
 */
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/cpufeature.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>

/**
 * vmt_traits - describe how this machine maps the vmemmap
 *
 * All that differs between architectures is here.
 *
 * Return: the traits.
 */
struct vmt_traits vmt_traits(void)
{
#if defined(CONFIG_PPC_BOOK3S_64)
	if (radix_enabled())
		return (struct vmt_traits) {
			.leaf_size = PMD_SIZE,
			.page_tables = true, .ram_fallback = true, .base_pages = true,
		};
	return (struct vmt_traits) {
		.leaf_size = 1UL << mmu_psize_defs[mmu_vmemmap_psize].shift,
		.ram_fallback = true,
	};
#elif defined(CONFIG_S390)
	/* QEMU does not emulate huge pages. */
	return (struct vmt_traits) {
		.leaf_size = cpu_has_edat1() ? PMD_SIZE : PAGE_SIZE,
		.page_tables = true,
	};
#else
	/* arm64 has huge pages for memmap only with base pages of 4 KiB. */
	return (struct vmt_traits) {
		.leaf_size = IS_ENABLED(CONFIG_ARM64) && PAGE_SIZE != SZ_4K ?
			     PAGE_SIZE : PMD_SIZE,
		.page_tables = true, .ram_tables = true, .base_pages = true,
	};
#endif
}
EXPORT_SYMBOL_IF_KUNIT(vmt_traits);

#ifdef CONFIG_PPC_BOOK3S_64
static struct vmt_leaf find_block(unsigned long addr)
{
	unsigned long size = vmt_traits().leaf_size;
	struct vmemmap_backing *b;

	for (b = vmemmap_list; b; b = b->list)
		if (b->virt_addr == ALIGN_DOWN(addr, size))
			return (struct vmt_leaf) { size, PHYS_PFN(b->phys) };
	return (struct vmt_leaf) {};
}

static long count_blocks(unsigned long start, unsigned long end)
{
	struct vmemmap_backing *b;
	long nr = 0;

	for (b = vmemmap_list; b; b = b->list)
		nr += b->virt_addr >= start && b->virt_addr < end;
	return nr;
}
#else
static struct vmt_leaf find_block(unsigned long addr)
{
	return (struct vmt_leaf) {};
}

static long count_blocks(unsigned long start, unsigned long end)
{
	return 0;
}
#endif

/*
 * Walks down to the lowest entry for @addr. Returns the number of tables below the top
 * on the way, and sets @span to the size of what the entry maps or would map.
 */
static unsigned int walk(unsigned long addr, unsigned long *span, struct vmt_leaf *leaf)
{
	pgd_t *pgd = pgd_offset_k(addr);
	p4d_t *p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;
	pte_t pte;

	*leaf = (struct vmt_leaf) {};
	*span = PGDIR_SIZE;
	if (pgd_none(pgdp_get(pgd)))
		return 0;
	p4d = p4d_offset(pgd, addr);
	*span = P4D_SIZE;
	if (p4d_none(p4dp_get(p4d)))
		return 0;
	pudp = pud_offset(p4d, addr);
	pud = pudp_get(pudp);
	*span = PUD_SIZE;
	if (pud_none(pud))
		return 1;
	if (pud_leaf(pud)) {
		*leaf = (struct vmt_leaf) { PUD_SIZE, pud_pfn(pud) };
		return 1;
	}
	pmdp = pmd_offset(pudp, addr);
	pmd = pmdp_get(pmdp);
	*span = PMD_SIZE;
	if (pmd_none(pmd))
		return 2;
	if (pmd_leaf(pmd)) {
		*leaf = (struct vmt_leaf) { PMD_SIZE, pmd_pfn(pmd) };
		return 2;
	}
	pte = ptep_get(pte_offset_kernel(pmdp, addr));
	*span = PAGE_SIZE;
	if (!pte_none(pte))
		*leaf = (struct vmt_leaf) { PAGE_SIZE, pte_pfn(pte) };
	return 3;
}

/**
 * vmt_leaf - look up how an address is mapped
 * @addr: the address
 *
 * Return: size and first pfn of the mapping that contains @addr.
 */
struct vmt_leaf vmt_leaf(unsigned long addr)
{
	struct vmt_leaf leaf;
	unsigned long span;

	if (!vmt_traits().page_tables)
		return find_block(addr);
	walk(addr, &span, &leaf);
	return leaf;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_leaf);

/**
 * vmt_pfn - look up which page backs an address
 * @addr: the address
 *
 * Return: the pfn, or %VMT_UNMAPPED.
 */
unsigned long vmt_pfn(unsigned long addr)
{
	struct vmt_leaf leaf = vmt_leaf(addr);

	if (!leaf.size)
		return VMT_UNMAPPED;
	return leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_pfn);

/**
 * vmt_count_entries - count page tables and leaves
 * @start: first address
 * @end: end address
 * @tables: set to the number of page tables below the top
 * @leaves: set to the number of leaves
 *
 * Tables that also serve other addresses are counted, too: compare only differences.
 */
void vmt_count_entries(unsigned long start, unsigned long end, long *tables, long *leaves)
{
	/* What a table of each kind spans. */
	const unsigned long table_span[] = { P4D_SIZE, PUD_SIZE, PMD_SIZE };
	unsigned long addr, span;
	struct vmt_leaf leaf;
	unsigned int i, nr;

	*tables = 0;
	*leaves = 0;
	if (!vmt_traits().page_tables) {
		*leaves = count_blocks(start, end);
		return;
	}
	/* The end of the span may be the end of the address space. */
	for (addr = start; addr < end; addr = min(addr | (span - 1), end - 1) + 1) {
		nr = walk(addr, &span, &leaf);
		/* Count each table where its first address is. */
		for (i = 0; i < nr; i++)
			*tables += addr == start || IS_ALIGNED(addr, table_span[i]);
		*leaves += !!leaf.size;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmt_count_entries);
