# One stub for each vector: error code (or a zero in its place), vector, then the common part.
.section .text.interrupt_stubs, "ax"
.balign 16
.globl interrupt_stubs
interrupt_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push 0
    .endif
    push vector
    jmp interrupt_common
    .set vector, vector + 1
.endr

.balign 16
interrupt_common:
    cld
    push rbp
    mov rbp, rsp
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    sub rsp, 8
    mov rdi, [rbp + 8]              # vector
    mov rsi, [rbp + 16]             # error code
    lea rdx, [rbp + 24]             # RIP, CS, RFLAGS, RSP, SS
    mov rcx, [rbp]                  # the interrupted frame
    call kernel_interrupt
    add rsp, 8
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    pop rbp
    add rsp, 16
    iretq
.text
