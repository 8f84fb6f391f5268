#!/usr/bin/env bash
# How many cycles one window might take on ARM processors, by llvm-mca: A MODEL, NOT A MEASUREMENT. Nothing here has run on such a processor.
#
#   benches/model.sh             print the model's cycles
#   benches/model.sh --update    and write them into benches/cycle_model.csv
#
# What is modelled is what runs, not a loop cut out of it: qemu's plugin (instruction_counts/qemu_count.c) writes down every instruction
# of one window on the fast lane (the case "stg-nf fast" of benches/count.sh), and llvm-mca plays the whole trace through each processor's
# schedule. It knows no caches (everything is in the first one), predicts every branch, and does not fetch; so it is a lower bound as
# far as the schedule is right. A78AE, the processor of Jetson Orin, has no schedule of its own in LLVM: it lies between the rows.
# Needs what benches/count.sh needs for aarch64, and Debian's llvm-19 (llvm-mc-19, llvm-mca-19; or LLVM_SUFFIX=-20 and the like).
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly TABLE=benches/cycle_model.csv
readonly PACKAGE=benches/instruction_counts
readonly ARM_CPU=cortex-a76
readonly CASE="stg-nf fast"
readonly FEATURES=+v8.2a,+fullfp16,+dotprod,+lse,+rdm,+crc
readonly PROCESSORS=(cortex-a57 neoverse-n1 neoverse-v1)
suffix=${LLVM_SUFFIX:--19}

case ${1:-} in
  "" | --update) ;;
  *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
for tool in "llvm-mc$suffix" "llvm-mca$suffix" qemu-aarch64 gcc; do
  command -v "$tool" >/dev/null || { echo "there is no $tool" >&2; exit 1; }
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Builds, and prints the program's path last.
program=$(benches/count.sh --program aarch64 | tail -n 1)
gcc -O2 -shared -fPIC -o "$scratch/qemu_count.so" "$PACKAGE/qemu_count.c"
trace() {
  env -i PATH=/usr/bin:/bin setarch --addr-no-randomize qemu-aarch64 -cpu "$ARM_CPU" \
    -plugin "$scratch/qemu_count.so,out=$scratch/counts,trace=$scratch/trace,case=$1" "$program" >"$scratch/names"
}
trace -1
number=$(grep -nx "$CASE" "$scratch/names" | cut -d: -f1) || { echo "there is no case $CASE" >&2; exit 1; }
trace $((number - 1))

# Assembly of the trace. Where a branch goes to does not matter: the next instruction of the trace is what came after it.
od -An -v -tx1 -w4 "$scratch/trace" | sed 's/ \(..\)/0x\1 /g' |
  "llvm-mc$suffix" --disassemble --triple=aarch64-linux-gnu --mattr="$FEATURES" >"$scratch/trace.s" 2>"$scratch/complaints"
instructions=$(grep -c $'^\t[a-z]' "$scratch/trace.s")
if [ -s "$scratch/complaints" ] || [ "$instructions" != $(($(stat -c %s "$scratch/trace") / 4)) ]; then
  head -5 "$scratch/complaints" >&2
  echo "the trace has instructions that llvm-mc does not know" >&2
  exit 1
fi

# The callee's instructions follow in the trace: a call is a jump like any other, not the hundred cycles that llvm-mca makes of one.
sed -i -E 's/^\tbl\t/\tb\t/; s/^\tblr\t/\tbr\t/; s/^\tret$/\tbr\tx30/' "$scratch/trace.s"

version=$("llvm-mca$suffix" --version | sed -n 's/.*LLVM version \([0-9.]*\).*/\1/p')
echo "MODEL, no measurement: llvm-mca $version, one window, $CASE, $instructions instructions"
printf '%-14s %10s %22s\n' "processor" "cycles" "instructions a cycle"
echo 'what,llvm,case,processor,instructions,cycles' >"$scratch/table"
for processor in "${PROCESSORS[@]}"; do
  "llvm-mca$suffix" --mtriple=aarch64-linux-gnu --mcpu="$processor" --mattr="$FEATURES" --iterations=1 \
    --instruction-info=false --resource-pressure=false "$scratch/trace.s" >"$scratch/report"
  cycles=$(awk '/^Total Cycles:/ { print $3 }' "$scratch/report")
  printf '%-14s %10d %22s\n' "$processor" "$cycles" "$(awk -v i="$instructions" -v c="$cycles" 'BEGIN { printf "%.2f", i / c }')"
  echo "model,$version,$CASE,$processor,$instructions,$cycles" >>"$scratch/table"
done
if [ "${1:-}" = --update ]; then
  cp "$scratch/table" "$TABLE"
  echo "written: $TABLE"
fi
