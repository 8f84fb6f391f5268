// Counts guest instructions between two getppid system calls; one line per pair on the file named by out=FILE. With trace=FILE and
// case=N it also writes the four bytes of every instruction that ran between the marks of pair N (the first is 0), in order.
//
// A plugin of qemu-user (Debian's qemu-aarch64; the static one loads none). Counts are exact: each instruction calls back when it
// runs. The declarations follow qemu's documentation of its plugin interface; Debian ships no header for it.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*callback)(unsigned int, void *),
                                                   enum qemu_plugin_cb_flags flags, void *userdata);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                                 void (*callback)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t,
                                                                  uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

// The interface's oldest version has all of these.
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

// getppid in the table of system calls that aarch64 shares with all newer architectures.
static const int64_t MARK = 173;

static FILE *out;
static FILE *trace;
static long traced_case = -1;
static long current_case;
static uint64_t count;
static int is_counting;

// userdata is the instruction itself.
static void instruction(unsigned int vcpu, void *userdata) {
  (void)vcpu;
  count += is_counting;
  if (trace && is_counting && current_case == traced_case) {
    uint32_t word = (uint32_t)(uintptr_t)userdata;
    fwrite(&word, sizeof word, 1, trace);
  }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  size_t length = qemu_plugin_tb_n_insns(tb);
  for (size_t index = 0; index < length; index++) {
    struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, index);
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
    qemu_plugin_register_vcpu_insn_exec_cb(insn, instruction, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)word);
  }
}

static void system_call(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                        uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != MARK) return;
  if (is_counting) {
    fprintf(out, "%" PRIu64 "\n", count);
    fflush(out);
    if (trace) fflush(trace);
    current_case++;
  }
  is_counting = !is_counting;
  count = 0;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info;
  for (int index = 0; index < argc; index++) {
    if (strncmp(argv[index], "out=", 4) == 0) out = fopen(argv[index] + 4, "w");
    if (strncmp(argv[index], "trace=", 6) == 0) trace = fopen(argv[index] + 6, "wb");
    if (strncmp(argv[index], "case=", 5) == 0) traced_case = atol(argv[index] + 5);
  }
  if (!out) {
    fprintf(stderr, "qemu_count: out=FILE is missing, or the file cannot be written\n");
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, system_call);
  return 0;
}
