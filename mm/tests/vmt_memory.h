/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the suites of memory_hotplug_altmap_kunit: real memory that the kernel does not use,
 * see vmt_memory.c.
 */
#ifndef _MM_TESTS_VMT_MEMORY_H
#define _MM_TESTS_VMT_MEMORY_H

#include <kunit/vmt.h>

/* How memory is added. */
enum vmt_level {
	SECTIONS,	/* __add_pages(): sections and their memmap */
	MEMORY,		/* arch_add_memory(): and the direct map */
	DEVICE,		/* memremap_pages(): and struct pages that are in use */
};

extern const char * const vmt_level_names[];

/* A range of memory that a case adds, which vmt_memory_exit() removes if need be. */
struct vmt_span {
	struct list_head list;
	enum vmt_level level;
	unsigned long pfn;
	unsigned long nr;
	struct vmem_altmap *altmap;	/* %NULL, or that of @pgmap */
	struct dev_pagemap pgmap;
	u64 salt;
};

/* Everything that must be what it was after memory was removed, or could not be added. */
struct vmt_machine {
	unsigned long max_pfn;
	unsigned long max_low_pfn;
	void *high_memory;
	unsigned long sections;
	unsigned long subsections;
	unsigned long blocks;
	unsigned long resources;
	unsigned long readable;
	unsigned long present;
	unsigned long managed;
	long map_tables;
	long map_leaves;
	struct vmt_counters counters;
};

/**
 * struct vmt_memory - the context of a case, test->priv
 * @traits: how this machine maps the vmemmap
 * @ram: the ledger
 * @first_pfn: start of the hidden RAM, aligned to sections
 * @nr_pfns: size of the hidden RAM, in pages of whole sections
 * @nr_early: hidden pages before @first_pfn, in a section that also has boot memory
 * @before: the machine when the case began
 * @added: what is to be removed when the case ends
 */
struct vmt_memory {
	struct vmt_traits traits;
	struct vmt_ram ram;
	unsigned long first_pfn;
	unsigned long nr_pfns;
	unsigned long nr_early;
	struct vmt_machine before;
	struct list_head added;
};

int vmt_memory_suite_init(struct kunit_suite *suite);
unsigned long vmt_hidden_nr(void);
int vmt_memory_init(struct kunit *test);
void vmt_memory_exit(struct kunit *test);

void vmt_look(struct kunit *test, struct vmt_machine *m);
void vmt_expect_machine(struct kunit *test, const struct vmt_machine *before);
void vmt_expect_removed(struct kunit *test, const struct vmt_machine *before);
bool vmt_readable(unsigned long pfn);
struct memory_block *vmt_block(unsigned long pfn);

struct vmt_span *vmt_span(struct kunit *test, enum vmt_level level, unsigned long pfn,
			  unsigned long nr);
void vmt_set_range(struct vmt_span *s, unsigned long base_pfn, unsigned long end_pfn,
		   unsigned long reserve, unsigned long free);
void vmt_set_altmap(struct vmt_span *s, unsigned long reserve, unsigned long free);
int vmt_add(struct kunit *test, struct vmt_span *s);
void vmt_add_ok(struct kunit *test, struct vmt_span *s);
void vmt_remove(struct vmt_span *s);
void vmt_fill_span(struct vmt_span *s);
void vmt_expect_span(struct kunit *test, const struct vmt_span *s);
void vmt_expect_unused(struct kunit *test, const struct vmem_altmap *altmap);
void vmt_expect_no_trace(struct kunit *test, const struct vmt_span *s, int err,
			 const struct vmt_machine *before);

unsigned long vmt_memmap_nr(unsigned long nr);
unsigned long vmt_section_nr(void);
unsigned long vmt_share(struct kunit *test, const struct vmt_span *s, unsigned long *nr_ram);

#endif /* _MM_TESTS_VMT_MEMORY_H */
