# Enters Linux at RDI with RSI at its parameters.
.text
.globl enter_linux
enter_linux:
    xor ebx, ebx
    xor ebp, ebp
    jmp rdi

