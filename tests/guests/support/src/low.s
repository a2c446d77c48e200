# The part below 64 KiB: ways into the operating modes without long mode and back, exception
# entries for them, and the entry of the other processors.
#
# In each of these modes segments start at zero, so an offset is a physical address.
.set LOW_TEXT_64, 8
.set LOW_DATA_32, 16
.set LOW_TEXT_32, 24
.set LOW_TEXT_16, 32
.set LOW_DATA_16, 40
.set LOW_STACK, 0x7ff0
.set SNIPPET, 0xe000
.set FRAME_WORDS, 16

.section .low, "awx"
.balign 16
low_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cf9b000000ffff
    .quad 0x00009b000000ffff
    .quad 0x000093000000ffff
low_gdt_pointer:
    .word 47
    .quad low_gdt
.balign 8
.globl low_idt
low_idt: .skip 256 * 8
low_idt_pointer:
    .word 256 * 8 - 1
    .quad low_idt
real_idt_pointer:
    .word 0x3ff
    .quad 0

# What Rust passes and gets.
.balign 16
.globl low_request, low_frame
low_request:
request_mode: .long 0               # 0: 32-bit; 1: 16-bit; 2: real; 3: real with flat limits
request_cr0: .long 0
request_cr3: .long 0
request_cr4: .long 0
request_registers: .skip 7 * 4      # EAX, EBX, ECX, EDX, ESI, EDI, EBP
low_frame: .skip FRAME_WORDS * 4    # EDI to EAX as PUSHAD leaves them, then the stack's top
frame_cr2: .long 0

saved_cr0: .quad 0
saved_cr3: .quad 0
saved_cr4: .quad 0
saved_efer: .quad 0
saved_gs: .quad 0
saved_rsp: .quad 0
saved_gdt: .skip 16
saved_idt: .skip 16

.code64
.globl low_enter
low_enter:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    pushfq
    cli
    mov [saved_rsp], rsp
    mov rax, cr0
    mov [saved_cr0], rax
    mov rax, cr3
    mov [saved_cr3], rax
    mov rax, cr4
    mov [saved_cr4], rax
    mov ecx, 0xc0000101
    rdmsr
    mov [saved_gs], eax
    mov [saved_gs + 4], edx
    mov ecx, 0xc0000080
    rdmsr
    and eax, 0xfffffbff             # LMA is the CPU's
    mov [saved_efer], eax
    sgdt [saved_gdt]
    sidt [saved_idt]
    lgdt [low_gdt_pointer]
    lidt [low_idt_pointer]
    push LOW_TEXT_32
    push offset enter_32
    retfq

.code32
enter_32:
    mov eax, LOW_DATA_32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov esp, LOW_STACK
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov ecx, 0xc0000080
    rdmsr
    and eax, 0xfffffeff
    wrmsr
    mov eax, [request_cr4]
    mov cr4, eax
    mov eax, [request_cr3]
    mov cr3, eax
    mov eax, [request_cr0]
    mov cr0, eax
    cmp dword ptr [request_mode], 0
    jne 2f
    call load_registers_32
    .byte 0xea                      # JMP FAR LOW_TEXT_32:SNIPPET
    .long SNIPPET
    .word LOW_TEXT_32
2:  .byte 0xea                      # JMP FAR LOW_TEXT_16:enter_16
    .long enter_16
    .word LOW_TEXT_16

load_registers_32:
    mov eax, [request_registers]
    mov ebx, [request_registers + 4]
    mov ecx, [request_registers + 8]
    mov edx, [request_registers + 12]
    mov esi, [request_registers + 16]
    mov edi, [request_registers + 20]
    mov ebp, [request_registers + 24]
    ret

.code16
enter_16:
    mov ax, LOW_DATA_16
    mov ss, ax
    cmp dword ptr [request_mode], 3
    je 3f
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
3:  cmp dword ptr [request_mode], 1
    je run_16
    lidt [real_idt_pointer]
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea                      # JMP FAR 0:enter_real
    .word enter_real
    .word 0
enter_real:
    xor ax, ax
    mov ss, ax
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
run_16:
    mov eax, [request_registers]
    mov ebx, [request_registers + 4]
    mov ecx, [request_registers + 8]
    mov edx, [request_registers + 12]
    mov esi, [request_registers + 16]
    mov edi, [request_registers + 20]
    mov ebp, [request_registers + 24]
    .byte 0xe9                      # JMP SNIPPET
    .word SNIPPET - (. + 2)

# Interrupt entries in real mode: 5 bytes each.
.globl real_stubs
real_stubs:
.set vector, 0
.rept 256
    .byte 0x6a, vector
    .byte 0xe9
    .word real_common - (. + 2)
    .set vector, vector + 1
.endr
real_common:
    pushad
    xor ax, ax
    mov ds, ax
    mov es, ax
    movzx esi, sp
    mov edi, offset low_frame
    mov ecx, FRAME_WORDS
    cld
    rep movsd
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                # JMP FAR LOW_TEXT_32:leave_32
    .long leave_32
    .word LOW_TEXT_32

# Interrupt entries in 16- and 32-bit protected mode: 7 bytes each.
.code32
.globl protected_stubs
protected_stubs:
.set vector, 0
.rept 256
    .byte 0x6a, vector
    .byte 0xe9
    .long protected_common - (. + 4)
    .set vector, vector + 1
.endr
protected_common:
    pushad
    mov esi, esp
    mov ax, LOW_DATA_32
    mov ds, ax
    mov es, ax
    mov edi, offset low_frame
    mov ecx, FRAME_WORDS
    cld
    rep movsd
    mov eax, cr2
    mov [frame_cr2], eax

leave_32:
    mov eax, LOW_DATA_32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov eax, [saved_cr4]
    mov cr4, eax
    mov eax, [saved_cr3]
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, [saved_efer]
    xor edx, edx
    wrmsr
    mov eax, [saved_cr0]
    mov cr0, eax
    .byte 0xea                      # JMP FAR LOW_TEXT_64:leave_64
    .long leave_64
    .word LOW_TEXT_64

.code64
leave_64:
    lgdt [saved_gdt]
    lidt [saved_idt]
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov ecx, 0xc0000101
    mov eax, [saved_gs]
    mov edx, [saved_gs + 4]
    wrmsr
    mov rsp, [saved_rsp]
    mov eax, 16
    mov ss, eax
    mov ds, eax
    mov es, eax
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

# Where another processor starts after SIPI.
.balign 4096
.code16
.globl ap_start
ap_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [low_gdt_pointer]
    mov eax, 0x11
    mov cr0, eax
    .byte 0x66, 0xea                # JMP FAR LOW_TEXT_32:ap_32
    .long ap_32
    .word LOW_TEXT_32
.code32
ap_32:
    mov eax, LOW_DATA_32
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 0x620                  # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    mov eax, 0x900                  # LME, NXE
    xor edx, edx
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0xea                      # JMP FAR LOW_TEXT_64:ap_64
    .long ap_64
    .word LOW_TEXT_64
.code64
ap_64:
    mov rsp, [ap_stack]
    mov rdi, [ap_processor]
    xor ebp, ebp
    mov rax, [ap_entry]
    call rax
    ud2
.balign 8
.globl ap_stack, ap_processor, ap_entry
ap_stack: .quad 0
ap_processor: .quad 0
ap_entry: .quad 0
