/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Appended to mm/vmem_altmap.c by tools/mutants.py: mutant=N selects a mutant. Without one, the guest lists at its end
 * which mutants were reached.
 */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/reboot.h>

unsigned int mutant_selected;
unsigned char mutant_reached[MUTANTS + 1];

static int __init select_mutant(char *value)
{
	return kstrtouint(value, 0, &mutant_selected);
}
early_param("mutant", select_mutant);

static int list_mutants(struct notifier_block *block, unsigned long action, void *data)
{
	unsigned int number;

	for (number = 1; !mutant_selected && number <= MUTANTS; number++)
		if (mutant_reached[number])
			pr_info("mutant %u reached\n", number);
	return NOTIFY_DONE;
}

static struct notifier_block list_block = { .notifier_call = list_mutants };

static int __init list_at_shutdown(void)
{
	return register_reboot_notifier(&list_block);
}
late_initcall(list_at_shutdown);
