"""The C program and the linker script that run an exported policy on a Cortex-M under QEMU, with semihosting."""

from __future__ import annotations

LINKER = """\
MEMORY {
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = $FLASH$
    RAM (rw) : ORIGIN = 0x20000000, LENGTH = $RAM$
}
stack_top = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.exidx*) . = ALIGN(4); } > FLASH
    .data : { data_start = .; *(.data*) . = ALIGN(4); data_end = .; } > RAM AT > FLASH
    data_load = LOADADDR(.data);
    .bss (NOLOAD) : { bss_start = .; *(.bss*) *(COMMON) . = ALIGN(4); bss_end = .; } > RAM
}
"""

PROGRAM = """\
/* Reads sensors from the file `sensors`, one control step after the other, and writes targets, estimates and what the
 * step took to `answers`. A step is a flag that begins a trial, the sensors in the order of $NAME$_act, a command. */
#include <stdint.h>
#include "$HEADER$"

#define IN (1 + $SENSORS$)
#define OUT ($JOINTS$ + $ESTIMATES$)

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010; /* control, reload, value */
static volatile uint32_t *const coprocessors = (volatile uint32_t *)0xE000ED88;
static $NAME$_state robot;
static float in[IN], out[OUT + 2];

static int32_t host(int32_t operation, const void *argument)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int32_t file(const char *name, int32_t length, int32_t mode)
{
    const int32_t open[3] = {(int32_t)name, mode, length};
    return host(0x01, open);
}

static int32_t move(int32_t operation, int32_t handle, void *bytes, int32_t count) /* bytes that were not moved */
{
    const int32_t block[3] = {handle, (int32_t)bytes, count};
    return host(operation, block);
}

static void leave(void)
{
    for (;;) host(0x18, (const void *)0x20026);
}

__attribute__((noinline)) static int step(void)
{
    return $NAME$_act(&robot, $ARGUMENTS$, out, $ESTIMATE$);
}

__attribute__((noinline)) static void run(void)
{
    const int32_t sensors = file("sensors", 7, 1), answers = file("answers", 7, 5);
    uint32_t *painted, begin, ticks;
    systick[1] = systick[2] = 0xFFFFFF;
    systick[0] = 5; /* on, by the core's clock */
    for (;;) {
        if (move(0x06, sensors, in, sizeof in)) leave();
        if (in[0] != 0.0f) $NAME$_reset(&robot);
        for (painted = bss_end; painted < (uint32_t *)__builtin_frame_address(0) - 16; ++painted) *painted = 0xA5A5A5A5;
        begin = systick[2];
        if (!step()) leave();
        ticks = (begin - systick[2]) & 0xFFFFFF;
        for (painted = bss_end; *painted == 0xA5A5A5A5; ++painted) {}
        out[OUT] = (float)ticks;
        out[OUT + 1] = (float)(4 * (stack_top - painted));
        move(0x05, answers, out, sizeof out);
    }
}

void start(void)
{
    uint32_t *from = data_load, *to = data_start;
    *coprocessors |= 0xF << 20; /* the floating-point unit */
    __asm__ volatile("dsb\\n isb");
    while (to < data_end) *to++ = *from++;
    for (to = bss_start; to < bss_end; ++to) *to = 0;
    run();
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, start, leave, leave, leave, leave, leave, 0, 0, 0, 0, leave, leave, 0, leave, leave,
};
"""
