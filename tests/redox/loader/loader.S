/*
 * Boots the Redox kernel on x86-64 without a boot loader or a disk.
 *
 * A multiboot (version 1) program: qemu -kernel loader -initrd "kernel,initfs"
 * puts it at 1 MiB with the two files behind it as modules, and enters it in
 * 32-bit protected mode.  It leaves the machine to the kernel in the state in
 * which Redox's own boot loader would: long mode, the first 8 GiB mapped both
 * at 0 and at PHYSICAL_OFFSET, the kernel's file mapped as it is at
 * KERNEL_OFFSET, and a KernelArgs structure (kernel: src/startup/mod.rs).
 *
 * Words of the command line (-append "NAME=VALUE ...") become lines of the
 * kernel's environment, which userspace reads in /scheme/sys/env.
 *
 * Everything that goes wrong is told on the first serial port, and stops.
 */

	.intel_syntax noprefix

	.set	MULTIBOOT_MAGIC, 0x1badb002
	.set	MULTIBOOT_LOADED, 0x2badb002
	.set	MULTIBOOT_PAGE_ALIGN, 1 << 0	/* modules start on pages */
	.set	MULTIBOOT_MEMORY_INFO, 1 << 1
	.set	MULTIBOOT_FLAGS, MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO

	/* The structure that multiboot hands over: offsets, and bits of its flags. */
	.set	INFO_FLAGS, 0
	.set	INFO_COMMAND_LINE, 16
	.set	INFO_MODULE_COUNT, 20
	.set	INFO_MODULES, 24
	.set	INFO_MAP_SIZE, 44
	.set	INFO_MAP, 48
	.set	INFO_HAS_COMMAND_LINE, 1 << 2
	.set	INFO_HAS_MODULES, 1 << 3
	.set	INFO_HAS_MAP, 1 << 6

	/* An entry of its list of modules. */
	.set	MODULE_START, 0
	.set	MODULE_END, 4
	.set	MODULE_ENTRY_SIZE, 16

	/* An entry of its memory map; the size does not count the size field. */
	.set	MAP_ENTRY_SIZE, 0
	.set	MAP_ENTRY_BASE, 4
	.set	MAP_ENTRY_LENGTH, 12
	.set	MAP_ENTRY_TYPE, 20
	.set	MAP_TYPE_USABLE, 1

	/* What the kernel expects (src/startup/memory.rs). */
	.set	AREA_FREE, 1
	.set	AREA_RECLAIM, 2
	.set	AREA_RESERVED, 3
	.set	AREA_ENTRY_SIZE, 24
	.set	AREA_COUNT_MAXIMUM, 64

	.set	ENVIRONMENT_SIZE, 4096

	.set	PAGE_SIZE, 0x1000
	.set	PAGE_PRESENT, 1 << 0
	.set	PAGE_WRITABLE, 1 << 1
	.set	PAGE_LARGE, 1 << 7
	.set	PAGE_TABLE_FLAGS, PAGE_PRESENT | PAGE_WRITABLE

	/* The top level entry of PHYSICAL_OFFSET, 0xffff800000000000, and the two
	   entries of KERNEL_OFFSET, 0xffffffff80000000. */
	.set	PHYSICAL_OFFSET_ENTRY, 256
	.set	KERNEL_OFFSET_ENTRY, 511
	.set	KERNEL_OFFSET_SECOND_ENTRY, 510

	.set	DIRECT_GIGABYTES, 8
	.set	KERNEL_TABLES, 16		/* of 2 MiB each: a kernel of 32 MiB at most */

	.set	CR0_PROTECTED_MODE, 1 << 0
	.set	CR0_WRITE_PROTECT, 1 << 16
	.set	CR0_PAGING, 1 << 31
	.set	CR4_PHYSICAL_ADDRESS_EXTENSION, 1 << 5
	.set	CR4_GLOBAL_PAGES, 1 << 7
	.set	CR4_FXSAVE, 1 << 9
	.set	EFER, 0xc0000080
	.set	EFER_LONG_MODE, 1 << 8
	.set	EFER_NO_EXECUTE, 1 << 11

	.set	SERIAL_DATA, 0x3f8
	.set	SERIAL_LINE_STATUS, 0x3fd
	.set	SERIAL_TRANSMITTER_EMPTY, 1 << 5

	.set	ELF_CLASS_AND_DATA, 4		/* offset */
	.set	ELF_64_BIT_LITTLE_ENDIAN, 0x0102
	.set	ELF_ENTRY, 24			/* offset */

	.section .multiboot, "a"
	.balign	4
	.long	MULTIBOOT_MAGIC
	.long	MULTIBOOT_FLAGS
	.long	-(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.text
	.code32

	.globl	_start
_start:
	cli
	cld
	lea	esp, [stack_end]
	lea	esi, [text_not_multiboot]
	cmp	eax, MULTIBOOT_LOADED
	jne	fail
	mov	ebp, ebx			/* ebp: multiboot's structure, until the end */

	call	find_modules
	call	check_kernel
	call	find_acpi
	call	write_environment
	call	write_areas
	call	map_memory
	call	map_kernel
	jmp	enter_kernel


/* Takes the two modules: kernel_base, kernel_size, bootstrap_base, bootstrap_size. */
find_modules:
	lea	esi, [text_no_modules]
	test	dword ptr [ebp + INFO_FLAGS], INFO_HAS_MODULES
	jz	fail
	cmp	dword ptr [ebp + INFO_MODULE_COUNT], 2
	jne	fail
	mov	ebx, [ebp + INFO_MODULES]

	/* Whole pages, as the modules are page-aligned and are mapped where they are. */
	mov	eax, [ebx + MODULE_START]
	mov	ecx, [ebx + MODULE_END]
	sub	ecx, eax
	add	ecx, PAGE_SIZE - 1
	and	ecx, -PAGE_SIZE
	mov	[kernel_base], eax
	mov	[kernel_size], ecx

	mov	eax, [ebx + MODULE_ENTRY_SIZE + MODULE_START]
	mov	ecx, [ebx + MODULE_ENTRY_SIZE + MODULE_END]
	sub	ecx, eax
	add	ecx, PAGE_SIZE - 1
	and	ecx, -PAGE_SIZE
	mov	[bootstrap_base], eax
	mov	[bootstrap_size], ecx
	ret


/*
 * Checks the first module, and takes the kernel's entry from it.  Its segments
 * need no loading: the kernel is linked so that every byte lies in its file at
 * the offset that it has from KERNEL_OFFSET, zeroed memory included.
 */
check_kernel:
	mov	ebx, [kernel_base]
	lea	esi, [text_no_kernel]
	cmp	dword ptr [ebx], 0x464c457f	/* 0x7f "ELF" */
	jne	fail
	cmp	word ptr [ebx + ELF_CLASS_AND_DATA], ELF_64_BIT_LITTLE_ENDIAN
	jne	fail
	mov	eax, [ebx + ELF_ENTRY]
	mov	[kernel_entry], eax
	mov	eax, [ebx + ELF_ENTRY + 4]
	mov	[kernel_entry + 4], eax
	lea	esi, [text_kernel_too_large]
	cmp	dword ptr [kernel_size], KERNEL_TABLES * 512 * PAGE_SIZE
	ja	fail

	lea	esi, [text_no_initfs]
	mov	ebx, [bootstrap_base]
	cmp	dword ptr [ebx], 0x6f646552	/* "Redo" */
	jne	fail
	cmp	dword ptr [ebx + 4], 0x77744678	/* "xFtw" */
	jne	fail
	ret


/*
 * Looks for ACPI's root pointer where a BIOS leaves it.  The kernel does not
 * look by itself, and without it starts no second processor.  Not finding any
 * is no error: the kernel then runs on one processor.
 */
find_acpi:
	mov	ebx, 0xe0000
1:	cmp	dword ptr [ebx], 0x20445352	/* "RSD " */
	jne	3f
	cmp	dword ptr [ebx + 4], 0x20525450	/* "PTR " */
	jne	3f
	mov	ecx, 20				/* the part that every version sums up to 0 */
	xor	eax, eax
2:	add	al, [ebx + ecx - 1]
	loop	2b
	test	al, al
	jz	4f
3:	add	ebx, 16
	cmp	ebx, 0x100000
	jb	1b
	ret
4:	mov	eax, 20
	cmp	byte ptr [ebx + 15], 2		/* the revision, from 2 on with a length */
	jb	5f
	mov	eax, [ebx + 20]
5:	mov	[acpi_base], ebx
	mov	[acpi_size], eax
	ret


/*
 * Writes the kernel's environment: lines of NAME=VALUE.  ACPI's root pointer is
 * in it too, for drivers, as with Redox's boot loader.
 */
write_environment:
	lea	edi, [environment]
	cmp	dword ptr [acpi_base], 0
	je	1f
	lea	esi, [text_acpi_base]
	call	append_text
	mov	edx, [acpi_base]
	call	append_number
	lea	esi, [text_acpi_size]
	call	append_text
	mov	edx, [acpi_size]
	call	append_number
	mov	al, '\n'
	stosb
1:	test	dword ptr [ebp + INFO_FLAGS], INFO_HAS_COMMAND_LINE
	jz	5f
	mov	esi, [ebp + INFO_COMMAND_LINE]
2:	lodsb					/* the first word is this program's name */
	test	al, al
	jz	5f
	cmp	al, ' '
	jne	2b
3:	lodsb
	cmp	edi, offset environment + ENVIRONMENT_SIZE - 1
	jae	6f
	test	al, al
	jz	4f
	cmp	al, ' '
	jne	7f
	mov	al, '\n'
7:	stosb
	jmp	3b
4:	mov	al, '\n'
	stosb
5:	sub	edi, offset environment
	mov	[environment_size], edi
	ret
6:	lea	esi, [text_command_line_too_long]
	jmp	fail

/* Appends the text at esi to what edi points to. */
append_text:
	lodsb
	test	al, al
	jz	1f
	stosb
	jmp	append_text
1:	ret

/* Appends edx as 16 hexadecimal digits. */
append_number:
	mov	ecx, 8
	mov	al, '0'
	rep stosb
	mov	ecx, 8
1:	rol	edx, 4
	mov	eax, edx
	and	eax, 15
	mov	al, [hexadecimal_digits + eax]
	stosb
	loop	1b
	ret


/*
 * Writes the kernel's list of memory areas: the machine's memory map, and this
 * program itself, whose page tables are in use until the kernel has its own.
 * The kernel adds its own file, the initfs and the environment by itself.
 */
write_areas:
	lea	esi, [text_no_memory_map]
	test	dword ptr [ebp + INFO_FLAGS], INFO_HAS_MAP
	jz	fail
	lea	edi, [areas]
	mov	dword ptr [edi], offset loader_start
	mov	dword ptr [edi + 8], offset loader_size
	mov	dword ptr [edi + 16], AREA_RECLAIM
	add	edi, AREA_ENTRY_SIZE

	mov	ebx, [ebp + INFO_MAP]
	mov	edx, [ebp + INFO_MAP_SIZE]
	add	edx, ebx			/* edx: the map's end */
1:	cmp	ebx, edx
	jae	3f
	lea	esi, [text_too_many_areas]
	cmp	edi, offset areas_end
	jae	fail
	mov	eax, [ebx + MAP_ENTRY_BASE]
	mov	[edi], eax
	mov	eax, [ebx + MAP_ENTRY_BASE + 4]
	mov	[edi + 4], eax
	mov	eax, [ebx + MAP_ENTRY_LENGTH]
	mov	[edi + 8], eax
	mov	eax, [ebx + MAP_ENTRY_LENGTH + 4]
	mov	[edi + 12], eax
	mov	dword ptr [edi + 16], AREA_FREE
	cmp	dword ptr [ebx + MAP_ENTRY_TYPE], MAP_TYPE_USABLE
	je	2f
	mov	dword ptr [edi + 16], AREA_RESERVED
2:	add	edi, AREA_ENTRY_SIZE
	add	ebx, [ebx + MAP_ENTRY_SIZE]
	add	ebx, 4
	jmp	1b
3:	sub	edi, offset areas
	mov	[areas_size], edi
	ret


/* Maps the first DIRECT_GIGABYTES at 0 and at PHYSICAL_OFFSET, in pages of 2 MiB. */
map_memory:
	mov	eax, offset direct_second_table + PAGE_TABLE_FLAGS
	mov	[top_table], eax
	mov	[top_table + PHYSICAL_OFFSET_ENTRY * 8], eax

	lea	edi, [direct_second_table]
	mov	eax, offset direct_third_tables + PAGE_TABLE_FLAGS
	mov	ecx, DIRECT_GIGABYTES
1:	mov	[edi], eax
	add	edi, 8
	add	eax, PAGE_SIZE
	loop	1b

	lea	edi, [direct_third_tables]
	mov	eax, PAGE_TABLE_FLAGS | PAGE_LARGE
	xor	edx, edx			/* edx:eax is the entry */
	mov	ecx, DIRECT_GIGABYTES * 512
2:	mov	[edi], eax
	mov	[edi + 4], edx
	add	edi, 8
	add	eax, 0x200000
	adc	edx, 0
	loop	2b
	ret


/* Maps the kernel's file at KERNEL_OFFSET, in pages of 4 KiB as it need not lie on 2 MiB. */
map_kernel:
	mov	eax, offset kernel_second_table + PAGE_TABLE_FLAGS
	mov	[top_table + KERNEL_OFFSET_ENTRY * 8], eax
	mov	eax, offset kernel_third_table + PAGE_TABLE_FLAGS
	mov	[kernel_second_table + KERNEL_OFFSET_SECOND_ENTRY * 8], eax

	lea	edi, [kernel_third_table]
	mov	eax, offset kernel_fourth_tables + PAGE_TABLE_FLAGS
	mov	ecx, KERNEL_TABLES
1:	mov	[edi], eax
	add	edi, 8
	add	eax, PAGE_SIZE
	loop	1b

	lea	edi, [kernel_fourth_tables]
	mov	eax, [kernel_base]
	or	eax, PAGE_TABLE_FLAGS
	mov	ecx, [kernel_size]
	shr	ecx, 12
2:	mov	[edi], eax
	add	edi, 8
	add	eax, PAGE_SIZE
	loop	2b
	ret


/* Switches to long mode, and jumps to the kernel. */
enter_kernel:
	mov	eax, cr4
	or	eax, CR4_PHYSICAL_ADDRESS_EXTENSION | CR4_GLOBAL_PAGES | CR4_FXSAVE
	mov	cr4, eax
	lea	eax, [top_table]
	mov	cr3, eax
	mov	ecx, EFER
	rdmsr
	or	eax, EFER_LONG_MODE | EFER_NO_EXECUTE
	wrmsr
	mov	eax, cr0
	or	eax, CR0_PAGING | CR0_WRITE_PROTECT | CR0_PROTECTED_MODE
	mov	cr0, eax

	lgdt	[descriptor_table_pointer]
	mov	eax, offset data_descriptor - descriptor_table
	mov	ds, eax
	mov	es, eax
	mov	fs, eax
	mov	gs, eax
	mov	ss, eax
	mov	ebx, offset kernel_entry
	mov	edi, offset kernel_arguments
	/* A far jump loads the code segment; spelled in bytes, as assemblers differ on its form. */
	.byte	0xea
	.long	enter_kernel_64
	.word	code_descriptor - descriptor_table

	.code64
enter_kernel_64:
	/* The upper halves of registers are not defined after the switch. */
	mov	edi, edi			/* the first argument of the C calling convention */
	mov	esp, esp
	mov	ebx, ebx
	jmp	[rbx]
	.code32


/* Tells the text at esi, and stops. */
fail:
	push	esi
	lea	esi, [text_failure]
	call	print
	pop	esi
	call	print
1:	hlt
	jmp	1b

/* Prints the text at esi on the first serial port. */
print:
	lodsb
	test	al, al
	jz	2f
	mov	ah, al
	mov	dx, SERIAL_LINE_STATUS
1:	in	al, dx
	test	al, SERIAL_TRANSMITTER_EMPTY
	jz	1b
	mov	dx, SERIAL_DATA
	mov	al, ah
	out	dx, al
	jmp	print
2:	ret


	.section .rodata
text_failure:			.asciz "loader: "
text_not_multiboot:		.asciz "not started by a multiboot loader\r\n"
text_no_modules:		.asciz "needs two modules: the kernel, the initfs\r\n"
text_no_kernel:			.asciz "the first module is no 64-bit ELF file\r\n"
text_kernel_too_large:		.asciz "the kernel is larger than 32 MiB\r\n"
text_no_initfs:			.asciz "the second module is no initfs\r\n"
text_no_memory_map:		.asciz "no memory map\r\n"
text_too_many_areas:		.asciz "too many areas in the memory map\r\n"
text_command_line_too_long:	.asciz "the command line is too long\r\n"
text_acpi_base:			.asciz "RSDP_ADDR="
text_acpi_size:			.asciz "\nRSDP_SIZE="
hexadecimal_digits:		.ascii "0123456789abcdef"

	.data
	.balign	16
descriptor_table:
	.quad	0
code_descriptor:
	.quad	0x00af9a000000ffff		/* 64-bit code */
data_descriptor:
	.quad	0x00cf92000000ffff
descriptor_table_end:
descriptor_table_pointer:
	.word	descriptor_table_end - descriptor_table - 1
	.long	descriptor_table

	.balign	8
kernel_entry:		.quad	0

/* KernelArgs. All addresses are physical. */
kernel_arguments:
kernel_base:		.quad	0
kernel_size:		.quad	0
	.long	stack, 0, stack_end - stack, 0	/* the kernel brings its own */
	.long	environment, 0
environment_size:	.quad	0
acpi_base:		.quad	0
acpi_size:		.quad	0
	.long	areas, 0
areas_size:		.quad	0
bootstrap_base:		.quad	0
bootstrap_size:		.quad	0

	.bss
	.balign	PAGE_SIZE
top_table:		.skip	PAGE_SIZE
direct_second_table:	.skip	PAGE_SIZE
direct_third_tables:	.skip	PAGE_SIZE * DIRECT_GIGABYTES
kernel_second_table:	.skip	PAGE_SIZE
kernel_third_table:	.skip	PAGE_SIZE
kernel_fourth_tables:	.skip	PAGE_SIZE * KERNEL_TABLES
environment:		.skip	ENVIRONMENT_SIZE
areas:			.skip	AREA_ENTRY_SIZE * AREA_COUNT_MAXIMUM
areas_end:
	.balign	16
stack:			.skip	4096
stack_end:

	.section .note.GNU-stack, "", @progbits
