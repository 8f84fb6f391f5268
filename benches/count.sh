#!/usr/bin/env bash
# Exact instruction counts: one window on each engine, one frame of 1 and 16 persons; callgrind on x86-64, a qemu plugin on aarch64.
#
#   benches/count.sh             print the counts beside those of benches/instruction_counts.csv
#   benches/count.sh --check     the same, and fail when one has grown by more than 2 %
#   benches/count.sh --update    write the counts into the table
#   benches/count.sh --twice     count everything twice and fail when a single instruction differs
#   benches/count.sh --program   build only, and print the program's path (for benches/model.sh)
#   ... x86_64 aarch64           only these (default: whatever can be counted here)
#
# A count depends on the compiler, so the table has one set per architecture and compiler (RUSTC_AARCH64 and RUSTC_X86_64 name others,
# as Debian's /usr/bin/rustc). Where the table has no set for a compiler, --check says SKIPPED. It needs: valgrind; a compiler
# with aarch64's std, aarch64-linux-gnu-gcc, gcc and Debian's dynamic qemu-aarch64. Counts are no times: see benches/README.md.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly TABLE=benches/instruction_counts.csv
readonly PACKAGE=benches/instruction_counts
readonly GROWTH_PERCENT_MAX=2
readonly ARM=aarch64-unknown-linux-gnu
# The nearest that qemu 7.2 has to an Orin's A78AE. It decides which of libc's copies run, nothing else.
readonly ARM_CPU=cortex-a76

mode=print
times=1
wanted=()
for argument in "$@"; do
  case $argument in
    --check) mode=check ;;
    --update) mode=update ;;
    --twice) times=2 ;;
    --program) mode=program ;;
    x86_64 | aarch64) wanted+=("$argument") ;;
    *)
      sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
target=${CARGO_TARGET_DIR:-target}/instruction_counts

# Without the environment, whose size moves the stack, and without randomised addresses: a copy's length in instructions may depend on
# where its ends lie.
bare() { env -i PATH=/usr/bin:/bin setarch --addr-no-randomize "$@"; }

# Names and counts of one run on x86-64, one "case,count" a line.
count_x86_64() {
  # Collects within counted_call only, and writes a file each time it ends. Two patterns, since callgrind keeps one option for each.
  bare valgrind --tool=callgrind --callgrind-out-file="$scratch/callgrind" --toggle-collect='*counted_call*' \
    --dump-after='*::counted_call*' "$1" >"$scratch/names" 2>"$scratch/log" || { cat "$scratch/log" >&2; return 1; }
  local number=1 name
  while read -r name; do
    printf '%s,%s\n' "$name" "$(awk '/^totals:/ { print $2 }' "$scratch/callgrind.$number")"
    number=$((number + 1))
  done <"$scratch/names"
  rm -f "$scratch"/callgrind*
}

count_aarch64() {
  gcc -O2 -shared -fPIC -o "$scratch/qemu_count.so" "$PACKAGE/qemu_count.c"
  bare qemu-aarch64 -cpu "$ARM_CPU" -plugin "$scratch/qemu_count.so,out=$scratch/counts" "$1" >"$scratch/names"
  paste -d, "$scratch/names" "$scratch/counts"
}

# Takes what the marks cost off, and makes one frame of the second of frames.
settle() {
  awk -F, '
    $1 == "nothing" { nothing = $2; next }
    {
      count = $2 - nothing
      # "30 frames of 16 persons" becomes "frame of 16 persons".
      if (match($1, /^[0-9]+ frames /)) {
        count = int(count / ($1 + 0) + 0.5)
        sub(/^[0-9]+ frames/, "frame", $1)
      }
      print $1 "," count
    }'
}

# Builds for one architecture; prints the program's path. Always from the same folder and with the same flags.
build() {
  local flags=(--release --locked --quiet --manifest-path "$PACKAGE/Cargo.toml" --target-dir "$target")
  case $1 in
    x86_64)
      RUSTC=$x86_rustc RUSTFLAGS='' cargo build "${flags[@]}" --target x86_64-unknown-linux-gnu >&2
      echo "$target/x86_64-unknown-linux-gnu/release/instruction_counts"
      ;;
    aarch64)
      # Static: no loader, and no library of another machine.
      RUSTC=$arm_rustc RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        cargo build "${flags[@]}" --target "$ARM" >&2
      echo "$target/$ARM/release/instruction_counts"
      ;;
  esac
}

# Why an architecture cannot be counted here; nothing when it can.
obstacle() {
  local tool
  command -v setarch >/dev/null || echo "there is no setarch"
  if [ "$1" = x86_64 ]; then
    [ "$(uname -m)" = x86_64 ] || echo "this is no x86-64 machine"
    command -v valgrind >/dev/null || echo "there is no valgrind"
    grep -qw avx2 /proc/cpuinfo || echo "this processor has no AVX2"
    return
  fi
  for tool in qemu-aarch64 aarch64-linux-gnu-gcc gcc; do command -v "$tool" >/dev/null || echo "there is no $tool"; done
  [ -n "$arm_rustc" ] || echo "no compiler has std for $ARM"
}

has_arm() { [ -d "$("$1" --print sysroot)/lib/rustlib/$ARM" ]; }

# The toolchain's own compiler where it has the target, or else Debian's.
arm_rustc=${RUSTC_AARCH64:-}
if [ -z "$arm_rustc" ]; then
  for candidate in "$(rustup which rustc 2>/dev/null || command -v rustc)" /usr/bin/rustc; do
    if [ -x "$candidate" ] && has_arm "$candidate"; then
      arm_rustc=$candidate
      break
    fi
  done
fi

x86_rustc=${RUSTC_X86_64:-rustc}

# Prints this architecture's counts beside the table's, appends them to $scratch/new; fails when one has grown too much.
report() {
  local architecture=$1 compiler=$2 counts=$3 grown
  echo "$architecture, rustc $compiler"
  awk -F, -v architecture="$architecture" -v compiler="$compiler" -v limit="$GROWTH_PERCENT_MAX" '
    FNR == NR { if ($1 == architecture && $2 == compiler) before[$3] = $4; next }
    {
      change = "not in the table"
      if ($1 in before) {
        change = sprintf("%+.2f %%", 100 * ($2 - before[$1]) / before[$1])
        if ($2 > before[$1] * (1 + limit / 100)) { change = change "  GROWN"; grown++ }
      }
      printf "  %-26s %12d %12s  %s\n", $1, $2, ($1 in before) ? before[$1] : "", change
      counted[$1] = 1
    }
    END {
      for (name in before) if (!(name in counted)) { printf "  %-26s is in the table, but was not counted\n", name; grown++ }
      exit grown > 0
    }' "$TABLE" "$counts" && grown=0 || grown=$?
  sed "s/^/$architecture,$compiler,/" "$counts" >>"$scratch/new"
  return "$grown"
}

[ -f "$TABLE" ] || echo 'architecture,compiler,case,instructions' >"$TABLE"
: >"$scratch/new"
failed=0
for architecture in "${wanted[@]:-x86_64 aarch64}"; do
  for architecture in $architecture; do
    why=$(obstacle "$architecture" | paste -sd, | sed 's/,/, /g')
    if [ -n "$why" ]; then
      echo "SKIPPED: $architecture: $why"
      # Whoever names an architecture wants it.
      [ ${#wanted[@]} -eq 0 ] || failed=1
      continue
    fi
    compiler=$(if [ "$architecture" = aarch64 ]; then "$arm_rustc" --version; else "$x86_rustc" --version; fi | cut -d' ' -f2)
    program=$(build "$architecture")
    if [ "$mode" = program ]; then
      echo "$program"
      continue
    fi
    for ((turn = 1; turn <= times; turn++)); do
      "count_$architecture" "$program" >"$scratch/raw.$turn"
    done
    if [ "$times" = 2 ]; then
      if ! diff "$scratch/raw.1" "$scratch/raw.2"; then
        echo "$architecture: two runs DIFFER"
        failed=1
      else
        echo "$architecture: two runs gave the same counts, to the instruction"
      fi
    fi
    settle <"$scratch/raw.1" >"$scratch/counts"
    if ! report "$architecture" "$compiler" "$scratch/counts" && [ "$mode" = check ]; then failed=1; fi
    if [ "$mode" = check ] && ! grep -q "^$architecture,$compiler," "$TABLE"; then
      echo "SKIPPED: $TABLE has no counts of rustc $compiler on $architecture to compare with: add them with --update"
    fi
  done
done

if [ "$mode" = update ]; then
  # What was not counted now stays as it was.
  awk -F, 'FNR == NR { fresh[$1 "," $2] = 1; next } FNR == 1 || !(($1 "," $2) in fresh)' "$scratch/new" "$TABLE" >"$scratch/table"
  { head -n 1 "$scratch/table"; { tail -n +2 "$scratch/table"; cat "$scratch/new"; } | LC_ALL=C sort -s -t, -k1,2; } >"$TABLE"
  echo "written: $TABLE"
elif [ "$failed" = 1 ] && [ "$mode" = check ]; then
  echo "FAILED: a count has grown by more than $GROWTH_PERCENT_MAX %, or is missing. If that is meant, say why in the commit and run benches/count.sh --update"
fi
exit "$failed"
