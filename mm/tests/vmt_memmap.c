// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in the memmap of a case: writes struct pages and checks that they keep their
 * values, and are in memory of their owner.
 *
 * The checks look at the mapping first. So they fail where memmap is missing or in memory
 * of somebody else, and do not crash or overwrite it.
 */
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/uaccess.h>

/* One word in this many bytes is filled: at least one in each struct page. */
#define STRIDE		32
#define PAGE_WORDS	(PAGE_SIZE / sizeof(u64))

/**
 * vmt_expect_unmapped - expect some units not to be mapped
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 */
void vmt_expect_unmapped(struct vmt *f, unsigned int unit, unsigned int nr_units)
{
	unsigned long start = vmt_addr(f, unit), end = vmt_addr(f, unit + nr_units);
	unsigned long step = max(f->leaf_size / 64, PAGE_SIZE), addr;
	u64 word;

	for (addr = start; addr < end; addr += PAGE_SIZE)
		if (vmt_pfn(addr) != VMT_UNMAPPED)
			break;
	KUNIT_EXPECT_EQ_MSG(f->test, addr, end, "mapped to pfn %#lx", vmt_pfn(addr));
	if (addr < end)
		return;

	/* The hardware may have a stale TLB or hash table entry. */
	for (addr = start; addr < end; addr += step)
		if (!copy_from_kernel_nofault(&word, (void *)addr, sizeof(word)))
			break;
	KUNIT_EXPECT_GE_MSG(f->test, addr, end, "mapped nowhere, but readable");
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_unmapped);

/* The altmap from which the memmap at @addr was populated, or %NULL. */
static struct vmem_altmap *altmap_at(const struct vmt *f, unsigned long addr)
{
	struct vmt_range *p;

	list_for_each_entry(p, &f->populated, list)
		if (addr >= p->start && addr < p->end)
			return p->altmap;
	return NULL;
}

/*
 * The RAM that backs @addr. 0, and the case fails, if nothing does, or a page that is
 * neither in the window of the altmap nor in the ledger.
 */
static unsigned long backing_pfn(struct vmt *f, unsigned long addr)
{
	const struct vmem_altmap *altmap = altmap_at(f, addr);
	unsigned long pfn = vmt_pfn(addr);

	if (pfn != VMT_UNMAPPED &&
	    (vmt_in_window(altmap, pfn) ||
	     ((!altmap || f->traits.ram_fallback) && vmt_ram_owns(&f->ram, pfn))))
		return vmt_device_ram(&f->dev, pfn);
	KUNIT_FAIL(f->test, "memmap at %#lx is backed by pfn %#lx, which is not its owner's",
		   addr, pfn);
	return 0;
}

static u64 pattern(u64 salt, unsigned long addr)
{
	return salt ^ ~(u64)addr;
}

/**
 * vmt_fill - write to all struct pages of some units
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 *
 * Each struct page gets a value that no other has or had. Nothing is written unless every
 * page is backed by its owner.
 *
 * Return: the salt, to be passed to vmt_expect_filled().
 */
u64 vmt_fill(struct vmt *f, unsigned int unit, unsigned int nr_units)
{
	unsigned long start = vmt_addr(f, unit), end = vmt_addr(f, unit + nr_units), addr;

	f->salt += 1ULL << 48;
	for (addr = start; addr < end; addr += PAGE_SIZE)
		if (!backing_pfn(f, addr))
			return f->salt;
	for (addr = start; addr < end; addr += STRIDE)
		WRITE_ONCE(*(u64 *)addr, pattern(f->salt, addr));
	return f->salt;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_fill);

/**
 * vmt_expect_filled - expect struct pages to hold what was written
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 * @salt: what vmt_fill() returned
 *
 * The values must be readable through the vmemmap, and through the direct map at the pfn
 * that backs it: no two struct pages may share memory.
 */
void vmt_expect_filled(struct vmt *f, unsigned int unit, unsigned int nr_units, u64 salt)
{
	unsigned long addr = vmt_addr(f, unit), end = vmt_addr(f, unit + nr_units);
	unsigned long i, wrong = 0;

	for (; addr < end; addr += PAGE_SIZE) {
		unsigned long pfn = backing_pfn(f, addr);
		u64 *mapped = (u64 *)addr, *direct;

		if (!pfn)
			return;
		direct = page_address(pfn_to_page(pfn));
		for (i = 0; i < PAGE_WORDS; i += STRIDE / sizeof(u64)) {
			u64 expected = pattern(salt, (unsigned long)(mapped + i));

			if (READ_ONCE(mapped[i]) == expected && READ_ONCE(direct[i]) == expected)
				continue;
			if (!wrong++)
				kunit_info(f->test, "%#lx: %#llx in the vmemmap, %#llx at pfn %#lx\n",
					   (unsigned long)(mapped + i), mapped[i], direct[i],
					   pfn);
		}
	}
	KUNIT_EXPECT_EQ_MSG(f->test, wrong, 0, "in %pS", (void *)_RET_IP_);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_filled);

/**
 * vmt_expect_usable - expect that struct pages can be written and read back
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 */
void vmt_expect_usable(struct vmt *f, unsigned int unit, unsigned int nr_units)
{
	vmt_expect_filled(f, unit, nr_units, vmt_fill(f, unit, nr_units));
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_usable);

/**
 * vmt_add_section - add a section, or a part of it, without memory
 * @pfn: first pfn
 * @nr: number of pages
 * @altmap: where to take the memmap from, or %NULL
 *
 * Return: what sparse_add_section() returned.
 */
int vmt_add_section(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap)
{
	int err;

	mem_hotplug_begin();
	err = sparse_add_section(first_memory_node, pfn, nr, altmap, NULL);
	mem_hotplug_done();
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_add_section);

/**
 * vmt_remove_section - remove what vmt_add_section() added
 * @pfn: first pfn
 * @nr: number of pages
 * @altmap: the altmap, or %NULL
 */
void vmt_remove_section(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap)
{
	mem_hotplug_begin();
	sparse_remove_section(pfn, nr, altmap, NULL);
	mem_hotplug_done();
}
EXPORT_SYMBOL_IF_KUNIT(vmt_remove_section);

/**
 * vmt_write_struct_pages - write to struct pages of a range
 * @pfn: first pfn
 * @nr: number of pages
 *
 * Return: how many struct pages are not mapped.
 */
unsigned long vmt_write_struct_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long unmapped = 0;

	for (; nr--; pfn++) {
		if (vmt_pfn((unsigned long)pfn_to_page(pfn)) == VMT_UNMAPPED)
			unmapped++;
		else
			WRITE_ONCE(*(u64 *)pfn_to_page(pfn), ~(u64)pfn);
	}
	return unmapped;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_write_struct_pages);

/**
 * vmt_wrong_struct_pages - check what vmt_write_struct_pages() wrote
 * @pfn: first pfn
 * @nr: number of pages
 *
 * Return: how many struct pages changed, or cannot be read.
 */
unsigned long vmt_wrong_struct_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long wrong = 0;
	u64 word;

	for (; nr--; pfn++)
		wrong += copy_from_kernel_nofault(&word, pfn_to_page(pfn), sizeof(word)) ||
			 word != ~(u64)pfn;
	return wrong;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_wrong_struct_pages);

/**
 * vmt_struct_pages_in - count struct pages in the window of an altmap
 * @altmap: the altmap, or %NULL
 * @pfn: first pfn
 * @nr: number of pages
 *
 * Return: how many of the struct pages are in the window.
 */
unsigned long vmt_struct_pages_in(const struct vmem_altmap *altmap, unsigned long pfn,
				  unsigned long nr)
{
	unsigned long found = 0;

	for (; nr--; pfn++)
		found += vmt_in_window(altmap, vmt_pfn((unsigned long)pfn_to_page(pfn)));
	return found;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_struct_pages_in);
