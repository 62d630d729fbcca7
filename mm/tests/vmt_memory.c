// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adds and removes real memory for the suites of memory_hotplug_altmap_kunit, and checks
 * what has to be as before: sections, resources, direct map, max_pfn, memory blocks, zones,
 * page tables, and the accounting of the memmap.
 *
 * The memory is hidden RAM: the kernel was booted with mem=, or on x86_64 with
 * memmap=exactmap. The module parameter "hidden" says where it is:
 *
 *   memmap=exactmap memmap=639K@0 memmap=383M@1M
 *   memory_hotplug_altmap_kunit.hidden=512M@384M
 *
 * If it begins inside a section, the rest of that section must be boot memory.
 *
 * Does not bring memory online; that is up to the cases.
 */
#include <kunit/visibility.h>
#include <linux/ioport.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/uaccess.h>

#include "vmt_memory.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

static char *hidden;
module_param(hidden, charp, 0);
MODULE_PARM_DESC(hidden, "RAM that the kernel does not use: size@start");

const char * const vmt_level_names[] = { "sections", "memory", "device" };

/* What "hidden" says. Set once, before the first case, and the same for all suites. */
static unsigned long first_pfn, nr_pfns, nr_early;

static unsigned long count_sections(void)
{
	unsigned long pfn, nr = 0;

	for (pfn = first_pfn; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SECTION)
		nr += present_section_nr(pfn_to_section_nr(pfn));
	return nr;
}

static unsigned long count_subsections(void)
{
	unsigned long pfn, nr = 0;

	for (pfn = first_pfn - nr_early; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SUBSECTION)
		nr += pfn_valid(pfn);
	return nr;
}

/* The memory block of @pfn, or %NULL; to be put. */
struct memory_block *vmt_block(unsigned long pfn)
{
	return memory_block_get(pfn / PHYS_PFN(memory_block_size_bytes()));
}

static unsigned long count_blocks(void)
{
	unsigned long pfn, nr = 0, step = PHYS_PFN(memory_block_size_bytes());

	for (pfn = ALIGN(first_pfn, step); pfn + step <= first_pfn + nr_pfns; pfn += step) {
		struct memory_block *mem = vmt_block(pfn);

		if (mem)
			memory_block_put(mem);
		nr += !!mem;
	}
	return nr;
}

static unsigned long count_resources(void)
{
	struct resource *r;
	unsigned long nr = 0;

	for (r = iomem_resource.child; r; r = r->sibling)
		nr += r->start < PFN_PHYS(first_pfn + nr_pfns) &&
		      r->end >= PFN_PHYS(first_pfn - nr_early);
	return nr;
}

/* Can the direct map of @pfn be read? */
bool vmt_readable(unsigned long pfn)
{
	u64 word;

	return !copy_from_kernel_nofault(&word, __va(PFN_PHYS(pfn)), sizeof(word));
}

static unsigned long count_readable(void)
{
	unsigned long pfn, nr = nr_early ? vmt_readable(first_pfn - nr_early) : 0;

	/* Only one page of each section: each takes a fault where there is no mapping. */
	for (pfn = first_pfn; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SECTION)
		nr += vmt_readable(pfn);
	return nr;
}

/* Reads everything that vmt_expect_machine() compares. */
void vmt_look(struct kunit *test, struct vmt_machine *m)
{
	struct vmt_memory *f = test->priv;
	int nid, zid;

	*m = (struct vmt_machine) {
		.max_pfn = max_pfn,
		.max_low_pfn = max_low_pfn,
		.high_memory = high_memory,
		.sections = count_sections(),
		.subsections = count_subsections(),
		.blocks = count_blocks(),
		.resources = count_resources(),
		.readable = count_readable(),
	};
	for_each_online_node(nid) {
		for (zid = 0; zid < MAX_NR_ZONES; zid++) {
			struct zone *zone = NODE_DATA(nid)->node_zones + zid;

			m->present += zone->present_pages;
			m->managed += zone_managed_pages(zone);
		}
	}
	vmt_count_entries((unsigned long)__va(PFN_PHYS(first_pfn)),
			  (unsigned long)__va(PFN_PHYS(first_pfn + nr_pfns)),
			  &m->map_tables, &m->map_leaves);
	vmt_count_range(&f->ram, (unsigned long)pfn_to_page(first_pfn),
			(unsigned long)pfn_to_page(first_pfn + nr_pfns), &m->counters);
}

/* Expects that an add that failed left no trace. */
void vmt_expect_machine(struct kunit *test, const struct vmt_machine *before)
{
	KUNIT_EXPECT_EQ(test, max_pfn, before->max_pfn);
	KUNIT_EXPECT_EQ(test, max_low_pfn, before->max_low_pfn);
	KUNIT_EXPECT_PTR_EQ(test, high_memory, before->high_memory);
	vmt_expect_removed(test, before);
}

/* Expects that memory was removed. The kernel never lowers max_pfn and its like then. */
void vmt_expect_removed(struct kunit *test, const struct vmt_machine *before)
{
	struct vmt_machine now;

	vmt_look(test, &now);
	KUNIT_EXPECT_EQ(test, now.sections, before->sections);
	KUNIT_EXPECT_EQ(test, now.subsections, before->subsections);
	KUNIT_EXPECT_EQ(test, now.blocks, before->blocks);
	KUNIT_EXPECT_EQ(test, now.resources, before->resources);
	KUNIT_EXPECT_EQ(test, now.readable, before->readable);
	KUNIT_EXPECT_EQ(test, now.present, before->present);
	KUNIT_EXPECT_EQ(test, now.managed, before->managed);
	KUNIT_EXPECT_EQ(test, now.map_tables, before->map_tables);
	KUNIT_EXPECT_EQ(test, now.map_leaves, before->map_leaves);
	vmt_expect_counters(test, &now.counters, &before->counters);
}

/* A span of the hidden RAM that can be added. */
struct vmt_span *vmt_span(struct kunit *test, enum vmt_level level, unsigned long pfn,
			  unsigned long nr)
{
	struct vmt_span *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_ASSERT_GE(test, pfn, first_pfn - nr_early);
	KUNIT_ASSERT_LE(test, pfn + nr, first_pfn + nr_pfns);
	s->level = level;
	s->pfn = pfn;
	s->nr = nr;
	s->pgmap.type = MEMORY_DEVICE_GENERIC;
	s->pgmap.nr_range = 1;
	s->pgmap.range.start = PFN_PHYS(pfn);
	s->pgmap.range.end = PFN_PHYS(pfn + nr) - 1;
	return s;
}

/* Gives @s an altmap for any range. */
void vmt_set_range(struct vmt_span *s, unsigned long base_pfn, unsigned long end_pfn,
		   unsigned long reserve, unsigned long free)
{
	const struct vmem_altmap altmap = {
		.base_pfn = base_pfn,
		.end_pfn = end_pfn,
		.reserve = reserve,
		.free = free,
	};

	s->altmap = memcpy(&s->pgmap.altmap, &altmap, sizeof(altmap));
	s->pgmap.flags |= PGMAP_ALTMAP_VALID;
}

/* Gives @s an altmap for its own range. */
void vmt_set_altmap(struct vmt_span *s, unsigned long reserve, unsigned long free)
{
	vmt_set_range(s, s->pfn, s->pfn + s->nr - 1, reserve, free);
}

/* Adds @s, and returns 0 or an error. */
int vmt_add(struct kunit *test, struct vmt_span *s)
{
	struct vmt_memory *f = test->priv;
	struct mhp_params params = {
		.altmap = s->altmap,
		.pgprot = pgprot_mhp(PAGE_KERNEL),
	};
	int err;

	if (s->level == DEVICE) {
		err = PTR_ERR_OR_ZERO(memremap_pages(&s->pgmap, first_memory_node));
	} else {
		mem_hotplug_begin();
		if (s->level == MEMORY)
			err = arch_add_memory(first_memory_node, PFN_PHYS(s->pfn),
					      PFN_PHYS(s->nr), &params);
		else
			err = __add_pages(first_memory_node, s->pfn, s->nr, &params);
		mem_hotplug_done();
	}
	if (!err)
		list_add(&s->list, &f->added);
	return err;
}

/* Adds @s, or ends the case. */
void vmt_add_ok(struct kunit *test, struct vmt_span *s)
{
	KUNIT_ASSERT_EQ_MSG(test, vmt_add(test, s), 0, "in %pS", (void *)_RET_IP_);
}

/* Removes @s. */
void vmt_remove(struct vmt_span *s)
{
	list_del(&s->list);
	if (s->level == DEVICE) {
		memunmap_pages(&s->pgmap);
		return;
	}
	mem_hotplug_begin();
	if (s->level == MEMORY)
		arch_remove_memory(PFN_PHYS(s->pfn), PFN_PHYS(s->nr), s->altmap, NULL);
	else
		__remove_pages(s->pfn, s->nr, s->altmap, NULL);
	mem_hotplug_done();
}

/* Writes to each struct page, unless the kernel uses them. */
void vmt_fill_span(struct vmt_span *s)
{
	/* No two spans have the same salt, not even in different cases. */
	static u64 salt;
	unsigned long i;

	if (s->level == DEVICE)
		return;
	s->salt = ++salt << 48;
	for (i = 0; i < s->nr; i++)
		WRITE_ONCE(*(u64 *)pfn_to_page(s->pfn + i), s->salt ^ (s->pfn + i));
}

/* Expects each struct page to hold what vmt_fill_span(), or the kernel, wrote. */
void vmt_expect_span(struct kunit *test, const struct vmt_span *s)
{
	unsigned long i, wrong = 0;
	struct page copy;

	/* Those before a device's data have no pgmap. */
	for (i = s->level == DEVICE ? vmem_altmap_offset(s->altmap) : 0; i < s->nr; i++) {
		if (copy_from_kernel_nofault(&copy, pfn_to_page(s->pfn + i), sizeof(copy)))
			wrong++;
		else if (s->level == DEVICE)
			wrong += ((struct folio *)&copy)->pgmap != &s->pgmap;
		else
			wrong += *(u64 *)&copy != (s->salt ^ (s->pfn + i));
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages of pfn %#lx to %#lx changed",
			    s->pfn, s->pfn + s->nr - 1);
	if (s->level != SECTIONS)
		KUNIT_EXPECT_TRUE(test, vmt_readable(s->pfn));
}

/* Expects @altmap, if there is one, to be as good as new. */
void vmt_expect_unused(struct kunit *test, const struct vmem_altmap *altmap)
{
	if (!altmap)
		return;
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	KUNIT_EXPECT_EQ(test, altmap->align, 0);
	KUNIT_EXPECT_EQ(test, altmap->gap, 0);
}

/* Expects that adding @s failed with -ENOMEM and changed nothing. */
void vmt_expect_no_trace(struct kunit *test, const struct vmt_span *s, int err,
			 const struct vmt_machine *before)
{
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	vmt_expect_machine(test, before);
	vmt_expect_unused(test, s->altmap);
}

/* The pages of memmap for @nr pages. */
unsigned long vmt_memmap_nr(unsigned long nr)
{
	return DIV_ROUND_UP(nr * sizeof(struct page), PAGE_SIZE);
}

/* The memory that a page of memmap describes, rounded up to sections, in pages. */
unsigned long vmt_section_nr(void)
{
	return round_up(PAGE_SIZE / sizeof(struct page), PAGES_PER_SECTION);
}

/*
 * How many pages the altmap of @s has to give: the parts of its memmap that describe
 * nothing else and do not exist yet. The other blocks, *@nr_ram of them, are in System RAM.
 */
unsigned long vmt_share(struct kunit *test, const struct vmt_span *s, unsigned long *nr_ram)
{
	struct vmt_memory *f = test->priv;
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long block = f->traits.base_pages ? PAGE_SIZE : f->traits.leaf_size;
	unsigned long addr, nr = 0, others = 0;

	for (addr = ALIGN_DOWN(start, block); addr < end; addr += block) {
		if (vmt_leaf(addr).size)
			continue;
		if (addr >= start && addr + block <= end)
			nr += block >> PAGE_SHIFT;
		else
			others++;
	}
	if (nr_ram)
		*nr_ram = others;
	return nr;
}

/* Makes the page tables of the upper levels, which are never freed. */
static int make_page_tables(void)
{
	unsigned long old_max_pfn = max_pfn, old_max_low_pfn = max_low_pfn;
	struct mhp_params params = { .pgprot = pgprot_mhp(PAGE_KERNEL) };
	void *old_high_memory = high_memory;
	int err;

	mem_hotplug_begin();
	err = arch_add_memory(first_memory_node, PFN_PHYS(first_pfn), PFN_PHYS(nr_pfns), &params);
	if (!err)
		arch_remove_memory(PFN_PHYS(first_pfn), PFN_PHYS(nr_pfns), NULL, NULL);
	mem_hotplug_done();
	max_pfn = old_max_pfn;
	max_low_pfn = old_max_low_pfn;
	high_memory = old_high_memory;
	return err;
}

/* Parses "hidden", and skips the suite if it is not set. */
int vmt_memory_suite_init(struct kunit_suite *suite)
{
	u64 start, size, first;
	char *p;

	if (!hidden) {
		kunit_mark_skipped(suite, "needs RAM that the kernel does not use: mem=, and %s",
				   "memory_hotplug_altmap_kunit.hidden=size@start");
		return 0;
	}
	size = memparse(hidden, &p);
	start = *p == '@' ? memparse(p + 1, &p) : 0;
	first = ALIGN(start, PFN_PHYS(PAGES_PER_SECTION));
	if (*p || !start || !IS_ALIGNED(start, PFN_PHYS(PAGES_PER_SUBSECTION)) ||
	    !IS_ALIGNED(start + size, PFN_PHYS(PAGES_PER_SECTION)) ||
	    start + size < first + 4 * PFN_PHYS(PAGES_PER_SECTION)) {
		kunit_err(suite, "hidden=%s: expected size@start with at least four sections\n",
			  hidden);
		return -EINVAL;
	}
	first_pfn = PHYS_PFN(first);
	nr_early = PHYS_PFN(first - start);
	nr_pfns = PHYS_PFN(start + size - first);
	if (count_sections() || count_resources() ||
	    (nr_early && !early_section(__pfn_to_section(first_pfn - 1)))) {
		kunit_err(suite, "hidden=%s: not hidden from the kernel\n", hidden);
		return -EBUSY;
	}
	return make_page_tables();
}

/* Size of the hidden RAM from the first whole section on, in pages. */
unsigned long vmt_hidden_nr(void)
{
	return nr_pfns;
}

/* Sets up the context of a case. */
int vmt_memory_init(struct kunit *test)
{
	struct vmt_memory *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int err;

	if (!f)
		return -ENOMEM;
	err = vmt_ram_init(&f->ram, test);
	if (err)
		return err;
	f->traits = vmt_traits();
	f->first_pfn = first_pfn;
	f->nr_pfns = nr_pfns;
	f->nr_early = nr_early;
	INIT_LIST_HEAD(&f->added);
	test->priv = f;
	vmt_look(test, &f->before);
	return f->before.sections || f->before.blocks || f->before.readable ? -EBUSY : 0;
}

/* Removes what a case has added, and expects that nothing of it is left. */
void vmt_memory_exit(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	struct vmt_span *s, *tmp;

	if (!f)
		return;
	list_for_each_entry_safe(s, tmp, &f->added, list)
		vmt_remove(s);
	max_pfn = f->before.max_pfn;
	max_low_pfn = f->before.max_low_pfn;
	high_memory = f->before.high_memory;
	vmt_expect_machine(test, &f->before);
}
