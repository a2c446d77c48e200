# The start of a test guest: from the PVH entry, in 32-bit protected mode without paging, to Rust
# in long mode; and the exception entries there.
.set TEXT_64, 8
.set DATA, 16

.section .boot, "ax"
.code32
.globl guest_entry
guest_entry:
    cli
    cld
    mov esp, offset boot_stack_end
    mov esi, ebx

    # Identity map of the first 4 GiB by 2 MiB pages.
    mov eax, offset boot_pdpt
    or eax, 7
    mov [boot_pml4], eax
    mov eax, offset boot_directories
    or eax, 7
    mov [boot_pdpt], eax
    add eax, 0x1000
    mov [boot_pdpt + 8], eax
    add eax, 0x1000
    mov [boot_pdpt + 16], eax
    add eax, 0x1000
    mov [boot_pdpt + 24], eax
    mov edi, offset boot_directories
    mov eax, 0xe7
    mov ecx, 2048
2:  mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop 2b

    mov eax, offset boot_pml4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x620                   # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080             # EFER: LME, NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033             # PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    push TEXT_64
    mov eax, offset boot_64
    push eax
    retf

.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .long boot_gdt

.code64
boot_64:
    mov eax, DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [rip + boot_stack_end]
    mov edi, esi
    xor ebp, ebp
    call guest_start
    ud2

# One entry per vector, 16 bytes each: an error code where the CPU gives none, then the vector.
.text
.balign 16
.globl exception_stubs
exception_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if vector != 8 && vector != 10 && vector != 11 && vector != 12 && vector != 13 && vector != 14 && vector != 17
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp exception_common
    .set vector, vector + 1
.endr

exception_common:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    xor ebp, ebp
    call exception_entry
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

# attempt_raw(code, registers): calls the code with the registers loaded. The exception handler
# comes back through `attempt_fault` while gs:[8] holds its address.
.globl attempt_raw
attempt_raw:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    pushfq
    push rsi
    mov gs:[16], rsp
    mov gs:[24], rdi
    lea rax, [rip + attempt_fault]
    mov gs:[8], rax
    mov rax, [rsi]
    mov rbx, [rsi + 8]
    mov rcx, [rsi + 16]
    mov rdx, [rsi + 24]
    mov rdi, [rsi + 40]
    mov rbp, [rsi + 48]
    mov r8, [rsi + 56]
    mov r9, [rsi + 64]
    mov rsi, [rsi + 32]
    call gs:[24]
    xchg rax, [rsp]
    mov [rax + 8], rbx
    mov [rax + 16], rcx
    mov [rax + 24], rdx
    mov [rax + 32], rsi
    mov [rax + 40], rdi
    mov [rax + 48], rbp
    mov [rax + 56], r8
    mov [rax + 64], r9
    pop rcx
    mov [rax], rcx
    jmp 3f
attempt_fault:
    pop rsi
3:  mov qword ptr gs:[8], 0
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# Code for attempt_raw: goes to r8:rcx with stack r9:rdx and flags rbp, by IRETQ.
.globl go_elsewhere
go_elsewhere:
    mov ds, r9d                     # IRET would clear what privilege level 3 must not use
    mov es, r9d
    push r9
    push rdx
    push rbp
    push r8
    push rcx
    iretq

.bss
.balign 4096
.globl boot_pml4, boot_pdpt, boot_directories
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_directories: .skip 4 * 4096
.globl boot_stack, boot_stack_end
boot_stack: .skip 65536
boot_stack_end:
