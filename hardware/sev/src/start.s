# The start of a program that an IGVM file loads: from 32-bit protected mode without paging, where all
# memory is private, to `stub_main` in long mode. The place of the C-bit comes from the CPUID page, so that one file serves CPUs
# that have it at different places.
.set CODE_64, 0x10
.set DATA, 0x18

.section .boot.sev, "ax"
.code32
.globl start
start:
    cli
    cld
    mov esp, offset stack_end

    # Function 8000_001Fh in the CPUID page: EBX has the place of the C-bit.
    mov ecx, dword ptr [{cpuid}]
    cmp ecx, 64
    ja 3f
    mov esi, {cpuid} + 0x10
2:  test ecx, ecx
    jz 3f
    cmp dword ptr [esi], 0x8000001f
    je 4f
    add esi, 0x30
    dec ecx
    jmp 2b
3:  hlt
    jmp 3b
4:  mov ecx, dword ptr [esi + 0x1c]
    and ecx, 0x3f
    sub ecx, 32
    jb 3b
    mov edx, 1
    shl edx, cl

    # Identity map of the first 4 GiB by private 2 MiB pages.
    mov dword ptr [root], offset directories_root + 3
    mov dword ptr [root + 4], edx
    mov eax, offset directories + 3
    mov edi, offset directories_root
    mov ecx, 4
5:  mov [edi], eax
    mov [edi + 4], edx
    add eax, 0x1000
    add edi, 8
    loop 5b
    mov edi, offset directories
    mov eax, 0x83
    mov ecx, 2048
6:  mov [edi], eax
    mov [edi + 4], edx
    add eax, 0x200000
    add edi, 8
    loop 6b

    # Walks of page tables are private without the C-bit, too, which CR3 has no room for here.
    mov eax, offset root
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620                   # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080             # EFER: LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, 0x80010033             # PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [gdt_pointer]
    push CODE_64
    mov eax, offset start_64
    push eax
    retf

.balign 8
gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word 31
    .long gdt

.code64
start_64:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    xor ebp, ebp
    call stub_main
7:  hlt
    jmp 7b

.section .bss
.balign 4096
.globl page_table_root
page_table_root:
root: .skip 4096
.globl directories_root
.globl directories
directories_root: .skip 4096
directories: .skip 4 * 4096
stack: .skip 32768
.globl stack_end
stack_end:
