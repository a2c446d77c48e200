# The entry that a PVH loader jumps to: 32-bit protected mode without paging.
#
# Conventional memory is free at this time, but for what the loader left there, which nobody needs.
# It holds the first stack and the first page tables, so that they cost the image nothing; the
# whole of it is erased before the guest runs.
.set LOAD_BASE, 0x100000
.set EARLY_STACK_TOP, 0x70000
.set EARLY_TABLES, 0x70000

.section .boot, "ax"
.code32
.globl pvh_entry
pvh_entry:
    cli
    cld
    mov esp, EARLY_STACK_TOP
    mov esi, ebx

    # Long mode or nothing.
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, 29
    jnc no_long_mode

    # Identity map of the first 4 GiB by 2 MiB pages.
    xor eax, eax
    mov edi, EARLY_TABLES
    mov ecx, 6 * 1024
    rep stosd
    mov dword ptr [EARLY_TABLES], EARLY_TABLES + 0x1003
    mov dword ptr [EARLY_TABLES + 0x1000], EARLY_TABLES + 0x2003
    mov dword ptr [EARLY_TABLES + 0x1008], EARLY_TABLES + 0x3003
    mov dword ptr [EARLY_TABLES + 0x1010], EARLY_TABLES + 0x4003
    mov dword ptr [EARLY_TABLES + 0x1018], EARLY_TABLES + 0x5003
    mov edi, EARLY_TABLES + 0x2000
    mov eax, 0x83
    mov ecx, 2048
2:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop 2b

    mov eax, EARLY_TABLES
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20                    # PAE
    mov cr4, eax
    mov ecx, 0xc0000080             # EFER: LME, NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033             # PG, WP, NE, ET, MP, PE
    mov cr0, eax
    .att_syntax prefix
    movl $(LOAD_BASE + boot_gdt_pointer - pvh_entry), %eax
    .intel_syntax noprefix
    lgdt [eax]
    push 8
    .att_syntax prefix
    movl $(LOAD_BASE + long_entry - pvh_entry), %eax
    .intel_syntax noprefix
    push eax
    retf

no_long_mode:
    # The exit status for a CPU that cannot do it, for whoever watches; then nothing.
    mov al, {status_cpu}
    out 0xf4, al
3:  hlt
    jmp 3b

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long LOAD_BASE + (boot_gdt - pvh_entry)

.code64
long_entry:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov esp, EARLY_STACK_TOP
    mov edi, esi
    xor ebp, ebp
    call image_early
    ud2

# The page that other CPUs start in, in real mode. It is copied below 1 MiB; the image's own copy
# is never run.
.section .rodata.trampoline, "a"
.balign 16
.globl trampoline_start, trampoline_end, trampoline_slots
.code16
trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    xor ebx, ebx
    mov bx, cs
    shl ebx, 4
    .att_syntax prefix
    movl $(trampoline_gdt - trampoline_start), %eax
    .intel_syntax noprefix
    add eax, ebx
    .att_syntax prefix
    movw $(trampoline_gdt_pointer - trampoline_start), %di
    .intel_syntax noprefix
    mov [di + 2], eax
    lgdt [di]
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, EARLY_TABLES
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    .att_syntax prefix
    movl $(trampoline_long - trampoline_start), %edx
    .intel_syntax noprefix
    add edx, ebx
    .att_syntax prefix
    movw $(trampoline_target - trampoline_start), %di
    .intel_syntax noprefix
    mov [di], edx
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0x66                      # a 32-bit offset
    ljmp [di]
.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
trampoline_gdt_pointer:
    .word 23
    .long 0
trampoline_target:
    .long 0
    .word 8
.code64
trampoline_long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    # Tickets count the CPUs in: each takes the stack of its number.
    mov edi, 1
    lock xadd [rip + slot_ticket], edi
    cmp edi, [rip + slot_limit]
    jae 4f
    mov rcx, [rip + slot_stacks]
    mov esi, edi
    mov rsp, [rcx + rsi * 8]
    mov rax, [rip + slot_page_tables]
    mov rdx, [rip + slot_entry]
    jmp [rip + slot_continue]
4:  hlt
    jmp 4b
.balign 8
trampoline_slots:
slot_ticket: .quad 1
slot_limit: .quad 0
slot_page_tables: .quad 0
slot_stacks: .quad 0
slot_entry: .quad 0
slot_continue: .quad 0
trampoline_end:

# The final tables do not let low memory be run, so the switch is made from the image.
.text
.globl trampoline_continue
trampoline_continue:
    mov cr3, rax
    xor ebp, ebp
    call rdx
    ud2
