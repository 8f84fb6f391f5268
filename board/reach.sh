#!/usr/bin/env bash
# Core, wire and the native STG-NF scorer without an operating system: builds tests/no_std_reach for bare targets, prints how much flash
# and memory it takes, and runs it in an emulator of the processor to compare the exact lane's bits.
#
#   board/reach.sh [aarch64-unknown-none] [thumbv8m.main-none-eabihf]      (default: both)
#
# The compiler is the toolchain's where it has the target (rustup target add TARGET). Otherwise Debian's rustc, whose std sources
# (package rust-web-src) are compiled on the way: RUSTC_BOOTSTRAP=1 and -Zbuild-std=core. Emulators are qemu-user's (package
# qemu-user-static); without them the bits are not compared, and the script says so. Sizes are those of this program: all stages, both
# lanes' code that the target has, pose messages in, output messages out.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly PACKAGE=tests/no_std_reach
target_folder=${CARGO_TARGET_DIR:-target}/no_std_reach
targets=("$@")
[ $# -gt 0 ] || targets=(aarch64-unknown-none thumbv8m.main-none-eabihf)

# How one builds for a target: words before cargo's own, and after.
choose_compiler() {
  environment=(RUSTFLAGS=)
  extra=()
  local own
  own=$(rustc --print sysroot)
  if [ -d "$own/lib/rustlib/$1/lib" ]; then
    compiler="$(rustc --version | cut -d' ' -f1-2)"
  elif [ -d /usr/lib/rustlib/src/rust/library ] || [ -d /usr/src/rustc-*/library ] 2>/dev/null; then
    environment=(RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=)
    extra=(-Zbuild-std=core)
    compiler="$(/usr/bin/rustc --version | cut -d' ' -f1-2), core compiled from rust-web-src"
  else
    return 1
  fi
}

# Bytes of the sections that lie in flash, and of those in memory.
sizes() {
  readelf --sections --wide "$1" | sed 's/^ *\[ *[0-9]*\] *//' | awk '
    # Name Type Address Offset Size EntrySize Flags: allocated ones; NOBITS need no flash, writable ones need memory.
    $2 ~ /^(PROGBITS|NOBITS|ARM_EXIDX|INIT_ARRAY)$/ && $7 ~ /A/ {
      bytes = strtonum("0x" $5)
      if ($2 != "NOBITS") flash += bytes
      if ($7 ~ /W/) memory += bytes
    }
    END { printf "flash %d bytes, static memory %d bytes", flash, memory }'
}

# The processor that plays the target, or nothing.
emulator() {
  case $1 in
    aarch64-*) command -v qemu-aarch64-static >/dev/null && echo "qemu-aarch64-static -cpu cortex-a76" ;;
    # An M33: one with Arm's smaller floating-point unit, which knows no f64.
    thumbv8m.main-*) command -v qemu-arm-static >/dev/null && echo "qemu-arm-static -cpu cortex-m33" ;;
  esac || true
}

failed=0
for target in "${targets[@]}"; do
  if ! choose_compiler "$target"; then
    echo "SKIPPED: $target: no compiler has it (rustup target add $target, or Debian's rustc-web and rust-web-src)"
    continue
  fi
  echo "$target ($compiler)"
  for features in "" full; do
    env "${environment[@]}" cargo build --release --locked --quiet --manifest-path "$PACKAGE/Cargo.toml" --target "$target" \
      --target-dir "$target_folder" --features "$features" "${extra[@]}"
    program=$target_folder/$target/release/no_std_reach
    printf '  %s: %s\n' "$([ -z "$features" ] && echo "8 tracks, 800 poses" || echo "64 tracks, 4096 poses")" "$(sizes "$program")"
    player=$(emulator "$target")
    if [ -z "$player" ]; then
      echo "  SKIPPED: not run: qemu-user-static is missing"
    # Its numbers are hexadecimal.
    elif said=$(timeout 120 $player "$program" 2>&1); then
      echo "  in $player: $(printf '%s' "$said" | sed -E 's/\b0{4,}([0-9a-f]+)\b/0x\1/g')"
    else
      echo "  FAILED in $player: $said"
      failed=1
    fi
  done
done
exit "$failed"
