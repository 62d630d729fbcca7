/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fixture for KUnit tests that populate and free the vmemmap.
 *
 * The memory of a device is RAM that the test owns page by page. The memmap
 * that it backs is that of sections which do not exist: a hole in the vmemmap
 * that the fixture looks for, so nothing in the running system is disturbed.
 *
 *   the hole:    unit 0 | unit 1 | ...                      (vmemmap addresses)
 *                   |        |
 *                   v        v
 *   the device:  reserve | window of the altmap | data      (RAM of the test)
 *                CCCCCCC                          CCCC      (canaries)
 *
 * A unit is the memmap of a section, rounded up to whole leaves, the largest
 * mapping that the architecture uses for it: one section on x86_64. With other
 * sizes of pages, it may describe many sections, and end within a struct page.
 *
 * powerpc's hash MMU has no page tables for the memmap, but a list of its blocks.
 * They count as leaves.
 *
 * With KUNIT_CASE_PARAM(..., vmemmap_altmap_backings), a case runs twice: as
 * "altmap", and as "ram", where vmemmap_altmap_backing() gives %NULL.
 *
 * A suite calls vmemmap_altmap_suite_init(), _init() and _exit() from its
 * functions of these names. _exit() fails the case that left anything behind.
 */
#ifndef _KUNIT_VMEMMAP_ALTMAP_H
#define _KUNIT_VMEMMAP_ALTMAP_H

#include <kunit/test.h>
#include <linux/memremap.h>
#include <linux/mm.h>

/* Least sizes of the hole, and of the device, in units. */
#define VMEMMAP_ALTMAP_HOLE_UNITS	4
#define VMEMMAP_ALTMAP_DEVICE_UNITS	8

/**
 * struct vmemmap_altmap_counters - everything that has to return to its value
 * @ram: pages of System RAM that vmemmap_alloc_block() gave for the hole, and that
 *	were not freed: memmap, and page tables if &vmemmap_altmap_fixture.ram_tables
 * @tables: page-table pages below the top of the hole
 * @leaves: leaf entries in the hole
 * @nr_memmap: pages accounted as memmap, system-wide
 * @nr_pagetable: pages accounted as page tables, system-wide
 * @free_pages: free pages, system-wide, per-cpu lists included
 *
 * Others change the last two as well, at any time: compare them only over many
 * cycles.
 */
struct vmemmap_altmap_counters {
	long ram;
	long tables;
	long leaves;
	long nr_memmap;
	long nr_pagetable;
	long free_pages;
};

/**
 * struct vmemmap_altmap_fixture - what a case works with
 * @test: the running test
 * @hole_pfn: first described pfn of the hole
 * @hole_size: size of the hole, in bytes of memmap
 * @unit_size: size of a unit, in bytes of memmap; a case may choose another one
 * @unit_nr: size of a unit, in pages of memmap
 * @leaf_size: size of the largest mapping, in bytes
 * @leaf_nr: size of the largest mapping, in pages
 * @dev_pfn: first page of the device, aligned to the device's size. A case may move
 *	the device to the pfns that the hole describes, and then has to keep
 *	accesses to the memmap from going there, see vmemmap_altmap_ram_pfn().
 * @dev_nr: number of pages of the device
 * @ram_tables: whether page tables come from vmemmap_alloc_block()
 * @ram_fallback: whether System RAM steps in for an altmap that has no room
 * @base_pages: whether base pages of an altmap are mapped where no huge page fits
 * @nr_units: size of the hole, in units
 * @before: the counters when the case began
 * @nr_good_allocs: blocks and page tables of System RAM that are still to be had,
 *	for the case to set; UINT_MAX, as many as there are
 * @fail_huge: whether only single pages of System RAM are to be had, likewise
 * @next_block: System RAM that vmemmap_alloc_block() is to give next, or %NULL
 * @next_nr: size of that, in pages
 * @salt: makes the pattern of each vmemmap_altmap_fill() unlike all others
 * @device_lost: a page of the device was freed as RAM; never free the device
 * @dev_page: the RAM that stands in for the device, private to the fixture
 * @altmaps: what vmemmap_altmap_new() made, private to the fixture
 * @blocks: blocks of System RAM in use, private to the fixture
 * @populated: ranges that _exit() has to free, private to the fixture
 */
struct vmemmap_altmap_fixture {
	struct kunit *test;
	unsigned long hole_pfn;
	unsigned long hole_size;
	unsigned long unit_size;
	unsigned long unit_nr;
	unsigned long leaf_size;
	unsigned long leaf_nr;
	unsigned long dev_pfn;
	unsigned long dev_nr;
	bool ram_tables;
	bool ram_fallback;
	bool base_pages;
	unsigned int nr_units;
	struct vmemmap_altmap_counters before;
	unsigned int nr_good_allocs;
	bool fail_huge;
	struct page *next_block;
	unsigned long next_nr;
	u64 salt;
	bool device_lost;
	struct page *dev_page;
	struct list_head altmaps;
	struct list_head blocks;
	struct list_head populated;
};

/**
 * struct vmemmap_altmap_leaf - how an address is mapped
 * @size: size of the mapping in bytes, 0 if there is none
 * @pfn: first pfn of the mapping
 */
struct vmemmap_altmap_leaf {
	unsigned long size;
	unsigned long pfn;
};

int vmemmap_altmap_suite_init(struct kunit_suite *suite);
int vmemmap_altmap_init(struct kunit *test);
int vmemmap_altmap_init_at(struct kunit *test, unsigned long pfn, unsigned long nr);
void vmemmap_altmap_exit(struct kunit *test);

const void *vmemmap_altmap_backings(struct kunit *test, const void *prev, char *desc);
bool vmemmap_altmap_has_altmap(const struct kunit *test);

struct vmem_altmap *vmemmap_altmap_new(struct vmemmap_altmap_fixture *f,
				       unsigned long reserve, unsigned long free);
struct vmem_altmap *vmemmap_altmap_new_range(struct vmemmap_altmap_fixture *f,
					     unsigned long base_pfn, unsigned long end_pfn,
					     unsigned long reserve, unsigned long free);
struct vmem_altmap *vmemmap_altmap_backing(struct vmemmap_altmap_fixture *f,
					   unsigned long reserve, unsigned long free);
unsigned long vmemmap_altmap_addr(const struct vmemmap_altmap_fixture *f,
				  unsigned int unit);
unsigned long vmemmap_altmap_ram_pfn(const struct vmemmap_altmap_fixture *f,
				     unsigned long pfn);
void vmemmap_altmap_ram_behind_device(struct vmemmap_altmap_fixture *f, unsigned long nr);
int vmemmap_altmap_populate_range(struct vmemmap_altmap_fixture *f, unsigned long start,
				  unsigned long end, struct vmem_altmap *altmap);
void vmemmap_altmap_free_range(struct vmemmap_altmap_fixture *f, unsigned long start,
			       unsigned long end, struct vmem_altmap *altmap);
int vmemmap_altmap_populate(struct vmemmap_altmap_fixture *f, unsigned int unit,
			    unsigned int nr_units, struct vmem_altmap *altmap);
void vmemmap_altmap_populate_ok(struct vmemmap_altmap_fixture *f, unsigned int unit,
				unsigned int nr_units, struct vmem_altmap *altmap);
void vmemmap_altmap_free(struct vmemmap_altmap_fixture *f, unsigned int unit,
			 unsigned int nr_units, struct vmem_altmap *altmap);

struct vmemmap_altmap_leaf vmemmap_altmap_leaf(unsigned long addr);
void vmemmap_altmap_count_entries(unsigned long addr, unsigned long end,
				  long *tables, long *leaves);
void vmemmap_altmap_sweep(struct vmemmap_altmap_fixture *f);
void vmemmap_altmap_count(const struct vmemmap_altmap_fixture *f,
			  struct vmemmap_altmap_counters *now);

void vmemmap_altmap_expect_same(struct vmemmap_altmap_fixture *f,
				const struct vmemmap_altmap_counters *before);
int vmemmap_altmap_straddle(struct vmemmap_altmap_fixture *f, unsigned long boundary);
void vmemmap_altmap_expect_as_before(struct vmemmap_altmap_fixture *f);
void vmemmap_altmap_expect_unmapped(struct vmemmap_altmap_fixture *f,
				    unsigned int unit, unsigned int nr_units);
void vmemmap_altmap_expect_device_intact(struct vmemmap_altmap_fixture *f);

u64 vmemmap_altmap_fill(struct vmemmap_altmap_fixture *f,
			unsigned int unit, unsigned int nr_units);
void vmemmap_altmap_expect_filled(struct vmemmap_altmap_fixture *f, unsigned int unit,
				  unsigned int nr_units, u64 salt);
void vmemmap_altmap_expect_usable(struct vmemmap_altmap_fixture *f,
				  unsigned int unit, unsigned int nr_units);

#endif /* _KUNIT_VMEMMAP_ALTMAP_H */
