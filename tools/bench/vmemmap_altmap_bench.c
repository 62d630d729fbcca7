// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it costs to populate and to free the memmap of a section, for each memory
 * that it may be stored in. Built in by tools/bench.py, with our patches and
 * without, and not part of the series.
 *
 * The sections are absent ones, far above all RAM, and the device with the altmap is
 * RAM of the test, as in mm/tests/vmemmap_altmap_fixture.c. One line for each memory:
 *
 *   bench: ram_base populate_ns=1 populate_spread=0 free_ns=2 free_spread=0 ...
 *   bench: altmap_base error=-ENOMEM
 *
 * Times and counts are those of all SECTIONS. A time is the sum, over the sections, of
 * the shortest of REPETITIONS, for an interrupt only makes it longer. The spread is how
 * much more the median takes, where that is most. Under QEMU's -icount, a
 * nanosecond is an instruction.
 */
#include <kunit/test.h>
#include <kunit/test-bug.h>
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/sort.h>
#include <asm/hpet.h>

/* On x86_64, they describe 1 GiB. */
#define SECTIONS	8
#define REPETITIONS	31

#define SECTION_SIZE	(PAGES_PER_SECTION * sizeof(struct page))
#define PMD_NR		(PMD_SIZE >> PAGE_SHIFT)

/* Two blocks for each section, so that there is room for a window that has none. */
#define DEVICE_NR	(2 * PMD_NR * SECTIONS)

/**
 * struct memory - what a memmap is stored in
 * @name: its name in the output
 * @basepages: whether to ask for base pages of System RAM
 * @sections: how many sections share an altmap, 0 if there is none
 * @reserve: pages in front of the window of an altmap
 * @free: pages of the window
 */
struct memory {
	const char *name;
	bool basepages;
	unsigned int sections;
	unsigned long reserve;
	unsigned long free;
};

static const struct memory memories[] = {
	{ "ram_huge" },
	{ "ram_base", .basepages = true },
	{ "altmap_huge", .sections = SECTIONS, .free = SECTIONS * PMD_NR },
	/* No aligned block in the window. */
	{ "altmap_base", .sections = 1, .reserve = 1, .free = PMD_NR },
	/* Blocks for all sections but one. That gets what is in front of them and behind. */
	{ "mixed", .sections = SECTIONS, .reserve = 1, .free = SECTIONS * PMD_NR },
};

KUNIT_ARRAY_PARAM_DESC(memories, memories, name);

/**
 * struct counts - what is in the page tables
 * @pmd_tables: tables of PMDs
 * @pte_tables: tables of PTEs
 * @pmd: huge pages mapped
 * @pte: base pages mapped
 * @ram_pages: pages of System RAM in use: memmap and tables
 * @device_pages: the device's pages in use
 */
struct counts {
	unsigned long pmd_tables, pte_tables, pmd, pte, ram_pages, device_pages;
};

/* Set by suite_init, constant afterwards. */
static unsigned long hole;	/* vmemmap address */
static struct page *device;
static u64 clock_ns;		/* what it takes to read the clock */

static struct vmem_altmap altmaps[SECTIONS];
static u64 populate_ns[SECTIONS][REPETITIONS];
static u64 free_ns[SECTIONS][REPETITIONS];

static pud_t *find_pud(unsigned long addr)
{
	pgd_t *pgd = pgd_offset_k(addr);
	p4d_t *p4d;

	if (pgd_none(pgdp_get(pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	return p4d_none(p4dp_get(p4d)) ? NULL : pud_offset(p4d, addr);
}

static void count_page(struct counts *c, unsigned long pfn, unsigned long nr)
{
	unsigned long first = page_to_pfn(device);

	if (pfn >= first && pfn < first + DEVICE_NR)
		c->device_pages += nr;
	else
		c->ram_pages += nr;
}

/* All sections are below one PUD. */
static struct counts count(void)
{
	pud_t *pud = find_pud(hole);
	struct counts c = {};
	unsigned long addr;
	unsigned int i;

	if (!pud || pud_none(pudp_get(pud)))
		return c;
	c.pmd_tables++;
	count_page(&c, pud_pfn(pudp_get(pud)), 1);
	for (addr = hole; addr < hole + SECTIONS * SECTION_SIZE; addr += PMD_SIZE) {
		pmd_t pmd = pmdp_get(pmd_offset(pud, addr));
		pte_t *pte;

		if (pmd_none(pmd))
			continue;
		count_page(&c, pmd_pfn(pmd), pmd_leaf(pmd) ? PMD_NR : 1);
		if (pmd_leaf(pmd)) {
			c.pmd++;
			continue;
		}
		c.pte_tables++;
		pte = pte_offset_kernel(pmd_offset(pud, addr), addr);
		for (i = 0; i < PTRS_PER_PTE; i++) {
			if (pte_none(ptep_get(pte + i)))
				continue;
			c.pte++;
			count_page(&c, pte_pfn(ptep_get(pte + i)), 1);
		}
	}
	return c;
}

/*
 * The range of an altmap ends with what the hole describes: no huge page may describe
 * more. The hole lies above all RAM.
 */
static void make_altmaps(const struct memory *m)
{
	struct page *end = (struct page *)(hole + SECTIONS * SECTION_SIZE);
	unsigned int i;

	for (i = 0; m->sections && i < SECTIONS / m->sections; i++) {
		const struct vmem_altmap new = {
			.base_pfn = page_to_pfn(device) + i * 2 * PMD_NR,
			.end_pfn = page_to_pfn(end) - 1,
			.reserve = m->reserve,
			.free = m->free,
		};

		memcpy(altmaps + i, &new, sizeof(new));
	}
}

static struct vmem_altmap *altmap_of(const struct memory *m, unsigned int section)
{
	return m->sections ? altmaps + section / m->sections : NULL;
}

static int populate(const struct memory *m, unsigned int section, u64 *ns)
{
	struct vmem_altmap *altmap = altmap_of(m, section);
	unsigned long addr = hole + section * SECTION_SIZE;
	u64 start;
	int err;

	mem_hotplug_begin();
	start = ktime_get_ns();
	if (m->basepages)
		err = vmemmap_populate_basepages(addr, addr + SECTION_SIZE, first_memory_node,
						 altmap);
	else
		err = vmemmap_populate(addr, addr + SECTION_SIZE, first_memory_node, altmap);
	*ns = ktime_get_ns() - start;
	mem_hotplug_done();
	return err;
}

static void free(const struct memory *m, unsigned int section, u64 *ns)
{
	struct vmem_altmap *altmap = altmap_of(m, section);
	unsigned long addr = hole + section * SECTION_SIZE;
	u64 start;

	mem_hotplug_begin();
	start = ktime_get_ns();
	vmemmap_free(addr, addr + SECTION_SIZE, altmap);
	*ns = ktime_get_ns() - start;
	mem_hotplug_done();
}

/* The first error. Frees all if there is one, as callers of vmemmap_populate() do. */
static int populate_all(const struct memory *m, unsigned int repetition)
{
	unsigned int i;
	int err = 0;

	make_altmaps(m);
	for (i = 0; i < SECTIONS && !err; i++)
		err = populate(m, i, &populate_ns[i][repetition]);
	while (err && i--)
		free(m, i, &free_ns[i][repetition]);
	return err;
}

static void free_all(const struct memory *m, unsigned int repetition)
{
	unsigned int i;

	for (i = 0; i < SECTIONS; i++)
		free(m, i, &free_ns[i][repetition]);
}

static int compare(const void *a, const void *b)
{
	return cmp_int(*(const u64 *)a, *(const u64 *)b);
}

static u64 sum(u64 (*ns)[REPETITIONS], u64 *spread)
{
	u64 total = 0;
	unsigned int i;

	*spread = 0;
	for (i = 0; i < SECTIONS; i++) {
		sort(ns[i], REPETITIONS, sizeof(ns[i][0]), compare, NULL);
		*spread = max(*spread, ns[i][REPETITIONS / 2] - ns[i][0]);
		total += ns[i][0] - min(ns[i][0], clock_ns);
	}
	return total;
}

static int measure(const struct memory *m, struct counts *c)
{
	/* The last section below the same PUD. With it, the table of PMDs stays. */
	const unsigned int neighbour = PUD_SIZE / SECTION_SIZE - 1;
	static const struct memory ram = {};
	unsigned int i;
	u64 ns;
	int err;

	err = populate_all(m, 0);
	if (err)
		return err;
	*c = count();
	free_all(m, 0);

	err = populate(&ram, neighbour, &ns);
	for (i = 0; i < REPETITIONS && !err; i++) {
		err = populate_all(m, i);
		if (!err)
			free_all(m, i);
	}
	free(&ram, neighbour, &ns);
	return err;
}

static void expect_nothing_left(struct kunit *test)
{
	struct counts c = count();
	unsigned int i, lost = 0;

	KUNIT_EXPECT_EQ(test, c.pmd_tables, 0);
	for (i = 0; i < DEVICE_NR; i++)
		lost += page_count(device + i) != 1;
	KUNIT_EXPECT_EQ(test, lost, 0);
}

static void cost(struct kunit *test)
{
	const struct memory *m = test->param_value;
	u64 populate_sum, populate_spread, free_sum, free_spread;
	struct counts c;
	bool running;
	int err;

	/* No static stubs, as if no test ran. */
	static_branch_dec(&kunit_running);
	running = static_key_enabled(&kunit_running);
	err = measure(m, &c);
	static_branch_inc(&kunit_running);

	KUNIT_EXPECT_FALSE(test, running);
	expect_nothing_left(test);
	if (err) {
		kunit_info(test, "bench: %s error=%pe\n", m->name, ERR_PTR(err));
		return;
	}
	populate_sum = sum(populate_ns, &populate_spread);
	free_sum = sum(free_ns, &free_spread);
	kunit_info(test, "bench: %s populate_ns=%llu populate_spread=%llu free_ns=%llu free_spread=%llu ram_pages=%lu device_pages=%lu pmd_tables=%lu pte_tables=%lu pmd=%lu pte=%lu\n",
		   m->name, populate_sum, populate_spread, free_sum, free_spread, c.ram_pages,
		   c.device_pages, c.pmd_tables, c.pte_tables, c.pmd, c.pte);
	KUNIT_EXPECT_EQ(test, c.pmd * PMD_NR + c.pte, SECTIONS * PMD_NR);
	KUNIT_EXPECT_EQ(test, c.ram_pages + c.device_pages,
			SECTIONS * PMD_NR + c.pmd_tables + c.pte_tables);
}

static struct kunit_case vmemmap_altmap_bench_cases[] = {
	KUNIT_CASE_PARAM(cost, memories_gen_params),
	{}
};

/*
 * On a busy host, TSC calibration against the PIT fails, and then there is no clock
 * but jiffies. QEMU has a HPET, only that nobody tells a kernel without ACPI.
 */
static int __init use_hpet(char *arg)
{
	hpet_address = 0xfed00000;
	return 0;
}
early_param("bench_hpet", use_hpet);

/* Looks for sections with a table of PMDs of their own, see the fixture. */
static unsigned long find_hole(void)
{
	unsigned long last = PHYS_PFN(mhp_get_pluggable_range(true).end);
	unsigned long nr = PUD_SIZE / sizeof(struct page);
	unsigned long pfn, at;

	for (pfn = nr; pfn + nr <= last; pfn += nr) {
		unsigned long addr = (unsigned long)pfn_to_page(pfn);
		pud_t *pud = find_pud(addr);

		if (!IS_ALIGNED(addr, PUD_SIZE) || (pud && !pud_none(pudp_get(pud))))
			continue;
		for (at = pfn; at < pfn + nr; at += PAGES_PER_SECTION)
			if (present_section_nr(pfn_to_section_nr(at)))
				break;
		if (at >= pfn + nr)
			return addr;
	}
	return 0;
}

static int vmemmap_altmap_bench_suite_init(struct kunit_suite *suite)
{
	static const struct memory ram = {};
	unsigned int i;
	u64 ns;
	int err;

	if (SECTION_SIZE != PMD_SIZE) {
		kunit_err(suite, "sizeof(struct page) is %zu\n", sizeof(struct page));
		return -EINVAL;
	}
	hole = find_hole();
	if (!hole) {
		kunit_err(suite, "no absent sections without page tables found\n");
		return -ENXIO;
	}
	device = alloc_contig_pages(DEVICE_NR, GFP_KERNEL, first_memory_node, NULL);
	if (!device)
		return -ENOMEM;
	clock_ns = U64_MAX;
	for (i = 0; i < REPETITIONS; i++) {
		u64 start = ktime_get_ns();

		clock_ns = min(clock_ns, ktime_get_ns() - start);
	}
	if (!clock_ns) {
		kunit_err(suite, "the clock is too coarse\n");
		return -EINVAL;
	}
	/* Page tables of the upper levels stay once they are there. */
	err = populate(&ram, 0, &ns);
	free(&ram, 0, &ns);
	return err;
}

static void vmemmap_altmap_bench_suite_exit(struct kunit_suite *suite)
{
	if (device)
		free_contig_range(page_to_pfn(device), DEVICE_NR);
}

static struct kunit_suite vmemmap_altmap_bench_suite = {
	.name = "vmemmap_altmap_bench",
	.suite_init = vmemmap_altmap_bench_suite_init,
	.suite_exit = vmemmap_altmap_bench_suite_exit,
	.test_cases = vmemmap_altmap_bench_cases,
};

kunit_test_suite(vmemmap_altmap_bench_suite);

MODULE_DESCRIPTION("Cost of populating and freeing a memmap");
MODULE_LICENSE("GPL");
