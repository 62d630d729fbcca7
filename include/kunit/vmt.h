/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vmt: helpers for KUnit tests that populate and free the vmemmap.
 *
 *   mm/tests/vmt_walk.c    how this machine maps the vmemmap, and a page-table walker
 *   mm/tests/vmt_ram.c     a ledger of the System RAM that a case uses, and counters
 *   mm/tests/vmt_device.c  a fake device: RAM of the test, with canaries and altmaps
 *   mm/tests/vmt_hole.c    a hole in the vmemmap, where nothing is disturbed
 *   mm/tests/vmt_case.c    a case's context: it populates the hole, and accounts for it
 *   mm/tests/vmt_memmap.c  writes struct pages and checks them
 *
 * A suite of cases that use the hole sets .suite_init to vmt_suite_init(), .init to
 * vmt_init() and .exit to vmt_exit(). test->priv is then a struct vmt:
 *
 *   the hole:    unit 0 | unit 1 | ...                      (vmemmap addresses)
 *                   |        |
 *                   v        v
 *   the device:  reserve | window of the altmap | data      (RAM of the test)
 *                CCCCCCC                          CCCC      (canaries)
 */
#ifndef _KUNIT_VMT_H
#define _KUNIT_VMT_H

#include <kunit/test.h>
#include <linux/memremap.h>
#include <linux/mm.h>

/**
 * struct vmt_traits - how this machine maps the vmemmap
 * @leaf_size: the largest mapping, in bytes
 * @page_tables: by page tables. The hash MMU of powerpc has a list of blocks
 *	instead, and each block counts as a leaf
 * @ram_tables: page tables come from vmemmap_alloc_block()
 * @ram_fallback: System RAM is used when the altmap has no room
 * @base_pages: base pages of the altmap are used where no huge page fits
 */
struct vmt_traits {
	unsigned long leaf_size;
	bool page_tables;
	bool ram_tables;
	bool ram_fallback;
	bool base_pages;
};

/**
 * struct vmt_leaf - how an address is mapped
 * @size: size of the mapping in bytes, 0 if there is none
 * @pfn: first pfn of the mapping
 */
struct vmt_leaf {
	unsigned long size;
	unsigned long pfn;
};

/* What vmt_pfn() returns for an address that is not mapped. */
#define VMT_UNMAPPED	ULONG_MAX

struct vmt_traits vmt_traits(void);
struct vmt_leaf vmt_leaf(unsigned long addr);
unsigned long vmt_pfn(unsigned long addr);
void vmt_count_entries(unsigned long start, unsigned long end, long *tables, long *leaves);

/**
 * struct vmt_ram - a ledger of the System RAM that vmemmap_alloc_block() returned
 * @nr_good_allocs: fail after so many allocations; %UINT_MAX by default
 * @fail_huge: fail every allocation of more than a page
 * @next_block: pages to return for the next allocation of @next_nr pages, or %NULL
 * @next_nr: size of @next_block, in pages
 * @test: the running test
 * @blocks: the blocks in use
 *
 * A case may set the first four. The others are private to the ledger.
 */
struct vmt_ram {
	unsigned int nr_good_allocs;
	bool fail_huge;
	struct page *next_block;
	unsigned long next_nr;
	struct kunit *test;
	struct list_head blocks;
};

/*
 * The number of references that the ledger and the fake device hold on a page, on
 * top of its user's. A page that is freed by mistake, or twice, is then noticed and
 * not reused. In a larger block, this is only true for the first page.
 */
#define VMT_HOLD	2

/**
 * struct vmt_counters - everything that has to return to its value
 * @ram: pages in the ledger: memmap, and page tables if &vmt_traits.ram_tables
 * @tables: page-table pages below the top of the range
 * @leaves: leaf entries in the range
 * @nr_memmap: pages accounted as memmap, system-wide
 */
struct vmt_counters {
	long ram;
	long tables;
	long leaves;
	long nr_memmap;
};

int vmt_ram_init(struct vmt_ram *ram, struct kunit *test);
void vmt_ram_pause(struct vmt_ram *ram);
void vmt_ram_resume(struct vmt_ram *ram);
void vmt_ram_sweep(struct vmt_ram *ram);
bool vmt_ram_owns(const struct vmt_ram *ram, unsigned long pfn);

void vmt_count_range(struct vmt_ram *ram, unsigned long start, unsigned long end,
		     struct vmt_counters *now);
void vmt_expect_counters(struct kunit *test, const struct vmt_counters *now,
			 const struct vmt_counters *before);
void vmt_expect_balanced(struct kunit *test, void (*cycle)(struct kunit *test, void *arg),
			 void *arg);

/**
 * struct vmt_device - RAM of the test that plays the memory of a device
 * @pfn: first page, aligned to the device's size. A case may move the device to pfns
 *	that the hole describes; the memmap must then not be accessed
 * @nr: number of pages
 * @test: the running test
 * @page: the RAM
 * @lost: a page was freed as RAM, or may still be mapped: never free the device
 * @altmaps: the altmaps of the case
 *
 * @test and what follows are private to the device.
 */
struct vmt_device {
	unsigned long pfn;
	unsigned long nr;
	struct kunit *test;
	struct page *page;
	bool lost;
	struct list_head altmaps;
};

/* The value in each word of page @i of a device, and of real memory, that nobody wrote to. */
static inline u64 vmt_canary(unsigned long i)
{
	return 0x63616e6172794d4dULL + i;
}

int vmt_device_init(struct vmt_device *dev, struct kunit *test, unsigned long nr);
struct vmem_altmap *vmt_device_altmap(struct vmt_device *dev, unsigned long base_pfn,
				      unsigned long end_pfn, unsigned long reserve,
				      unsigned long free);
unsigned long vmt_device_ram(const struct vmt_device *dev, unsigned long pfn);
struct page *vmt_device_shrink(struct vmt_device *dev, unsigned long nr);
void vmt_expect_device_intact(struct vmt_device *dev);
void vmt_expect_altmaps_unused(struct vmt_device *dev);

bool vmt_in_window(const struct vmem_altmap *altmap, unsigned long pfn);
void vmt_expect_altmap(struct kunit *test, const struct vmem_altmap *altmap,
		       unsigned long alloc, unsigned long align);

/* The least size of the hole, and of the device, in units. */
#define VMT_HOLE_UNITS		4
#define VMT_DEVICE_UNITS	8

/* A range of memmap that a case has populated. */
struct vmt_range {
	struct list_head list;
	unsigned long start, end;
	struct vmem_altmap *altmap;
};

/**
 * struct vmt - the context of a case
 * @test: the running test
 * @traits: how this machine maps the vmemmap
 * @leaf_size: the largest mapping, in bytes
 * @leaf_nr: the largest mapping, in pages
 * @hole_pfn: first pfn that the hole describes
 * @hole_size: size of the hole, in bytes of memmap
 * @unit_size: size of a unit, in bytes of memmap, see vmt_set_unit()
 * @unit_nr: size of a unit, in pages of memmap
 * @nr_units: size of the hole, in units of the default size
 * @ram: the ledger
 * @dev: the device
 * @before: the counters when the case began
 * @salt: makes the pattern of each vmt_fill() unique
 * @populated: ranges that vmt_exit() has to free
 *
 * A unit is the memmap of a section, rounded up to whole leaves: one section on
 * x86_64. Elsewhere it may describe many sections, and end inside a struct page.
 */
struct vmt {
	struct kunit *test;
	struct vmt_traits traits;
	unsigned long leaf_size;
	unsigned long leaf_nr;
	unsigned long hole_pfn;
	unsigned long hole_size;
	unsigned long unit_size;
	unsigned long unit_nr;
	unsigned int nr_units;
	struct vmt_ram ram;
	struct vmt_device dev;
	struct vmt_counters before;
	u64 salt;
	struct list_head populated;
};

unsigned long vmt_hole_unit(void);
unsigned long vmt_hole_size(void);
unsigned long vmt_hole_last_pfn(unsigned long first_pfn);
unsigned long vmt_find_hole(void);
unsigned long vmt_find_hole_across(unsigned long addr, unsigned long boundary);

int vmt_suite_init(struct kunit_suite *suite);
int vmt_init(struct kunit *test);
void vmt_exit(struct kunit *test);
int vmt_straddle(struct vmt *f, unsigned long boundary);

const void *vmt_backings(struct kunit *test, const void *prev, char *desc);
bool vmt_has_altmap(const struct kunit *test);
struct vmem_altmap *vmt_altmap(struct vmt *f, unsigned long reserve, unsigned long free);
struct vmem_altmap *vmt_backing(struct vmt *f, unsigned long reserve, unsigned long free);
void vmt_no_ram_fallback(struct vmt *f, const struct vmem_altmap *altmap);

void vmt_set_unit(struct vmt *f, unsigned long size);
unsigned long vmt_addr(const struct vmt *f, unsigned int unit);
int vmt_populate_range(struct vmt *f, unsigned long start, unsigned long end,
		       struct vmem_altmap *altmap);
void vmt_free_range(struct vmt *f, unsigned long start, unsigned long end,
		    struct vmem_altmap *altmap);
int vmt_populate(struct vmt *f, unsigned int unit, unsigned int nr_units,
		 struct vmem_altmap *altmap);
void vmt_populate_ok(struct vmt *f, unsigned int unit, unsigned int nr_units,
		     struct vmem_altmap *altmap);
void vmt_free(struct vmt *f, unsigned int unit, unsigned int nr_units,
	      struct vmem_altmap *altmap);

void vmt_count(struct vmt *f, struct vmt_counters *now);
long vmt_ram_memmap(struct vmt *f);
void vmt_expect_same(struct vmt *f, const struct vmt_counters *before);
void vmt_expect_as_before(struct vmt *f);
void vmt_expect_unmapped(struct vmt *f, unsigned int unit, unsigned int nr_units);

u64 vmt_fill(struct vmt *f, unsigned int unit, unsigned int nr_units);
void vmt_expect_filled(struct vmt *f, unsigned int unit, unsigned int nr_units, u64 salt);
void vmt_expect_usable(struct vmt *f, unsigned int unit, unsigned int nr_units);

int vmt_add_section(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap);
void vmt_remove_section(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap);
unsigned long vmt_write_struct_pages(unsigned long pfn, unsigned long nr);
unsigned long vmt_wrong_struct_pages(unsigned long pfn, unsigned long nr);
unsigned long vmt_struct_pages_in(const struct vmem_altmap *altmap, unsigned long pfn,
				  unsigned long nr);

#endif /* _KUNIT_VMT_H */
