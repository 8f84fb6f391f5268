#!/usr/bin/env bash
# Core, wire and the native STG-NF scorer without an operating system: builds tests/no_std_reach for bare targets, prints how much flash
# and memory it takes, and runs it in an emulator of the processor to compare the exact lane's bits.
#
#   board/reach.sh [--debian] [aarch64-unknown-none] [thumbv8m.main-none-eabihf]      (default: both)
#
# The compiler is the toolchain's where it has the target (rustup target add TARGET). Otherwise, or with --debian, Debian's rustc, whose std
# sources (packages rust-web-src, lld) are compiled on the way: RUSTC_BOOTSTRAP=1 and -Zbuild-std=core. Emulators are qemu-user's (package
# qemu-user-static); without them the bits are not compared, and the script says so. Sizes are those of this program: all stages, both
# lanes' code that the target has, pose messages in, output messages out.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly PACKAGE=tests/no_std_reach
target_folder=${CARGO_TARGET_DIR:-target}/no_std_reach
is_debian=0
targets=()
for argument in "$@"; do
  case $argument in
    --debian) is_debian=1 ;;
    aarch64-unknown-none | thumbv8m.main-none-eabihf) targets+=("$argument") ;;
    *)
      sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || targets=(aarch64-unknown-none thumbv8m.main-none-eabihf)

# How one builds for a target: words before cargo's own, and after.
choose_compiler() {
  environment=(RUSTFLAGS=)
  extra=()
  local own
  own=$(rustc --print sysroot)
  if [ "$is_debian" = 0 ] && [ -d "$own/lib/rustlib/$1/lib" ]; then
    compiler="$(rustc --version | cut -d' ' -f1-2)"
  elif [ -d /usr/lib/rustlib/src/rust/library ]; then
    environment=(RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=)
    extra=(-Zbuild-std=core)
    # Debian's rustc has no rust-lld: its package lld is what the bare targets are linked with.
    command -v ld.lld >/dev/null || { echo "SKIPPED: $1: there is no ld.lld (package lld)"; return 1; }
    local name=${1//[-.]/_}
    environment+=("CARGO_TARGET_${name^^}_LINKER=ld.lld")
    target_folder=${target_folder%/debian}/debian
    compiler="$(/usr/bin/rustc --version | cut -d' ' -f1-2), core compiled from rust-web-src"
  else
    return 1
  fi
}

# Bytes of the sections that lie in flash, and of those in memory.
sizes() {
  local flash=0 memory=0 name type address offset size entry flags rest
  while read -r name type address offset size entry flags rest; do
    # Allocated ones; NOBITS need no flash, writable ones need memory.
    case "$type $flags" in
      PROGBITS\ *A* | ARM_EXIDX\ *A*) flash=$((flash + 16#$size)) ;;
      NOBITS\ *A*) ;;
      *) continue ;;
    esac
    case $flags in *W*) memory=$((memory + 16#$size)) ;; esac
  done < <(readelf --sections --wide "$1" | sed -n 's/^ *\[ *[0-9]*\] *//p')
  printf 'flash %d bytes, static memory %d bytes' "$flash" "$memory"
}

# The processor that plays the target, or nothing.
emulator() {
  case $1 in
    aarch64-*) command -v qemu-aarch64-static >/dev/null && echo "qemu-aarch64-static -cpu cortex-a76" ;;
    # qemu-user 7.2 plays no M-profile processor. Every instruction of ARMv8-M's main line in use here is one of ARMv8-A's 32-bit set, too.
    thumbv8m.main-*) command -v qemu-arm-static >/dev/null && echo "qemu-arm-static -cpu max" ;;
  esac || true
}

# Builds the program with some features; prints its path.
build() {
  env "${environment[@]}" cargo build --release --locked --quiet --manifest-path "$PACKAGE/Cargo.toml" --target "$1" \
    --target-dir "$target_folder" --features "$2" "${extra[@]}" >&2
  echo "$target_folder/$1/release/no_std_reach"
}

failed=0
for target in "${targets[@]}"; do
  if ! choose_compiler "$target"; then
    echo "SKIPPED: $target: no compiler has it (rustup target add $target, or Debian's rustc-web, rust-web-src and lld)"
    continue
  fi
  echo "$target ($compiler)"
  for features in "" full; do
    program=$(build "$target" "$features")
    echo "  $([ -z "$features" ] && echo "8 tracks, 800 poses" || echo "64 tracks, 4096 poses"): $(sizes "$program")"
  done
  player=$(emulator "$target")
  if [ -z "$player" ]; then
    echo "  SKIPPED: not run: qemu-user-static is missing"
    continue
  fi
  case $target in thumb*) program=$(build "$target" linux_calls) ;; *) program=$(build "$target" "") ;; esac
  if said=$(timeout 120 $player "$program" 2>&1); then
    # Its numbers are hexadecimal; all but the bits are counts.
    echo "  in $player: $(for word in $said; do
      [[ $word =~ ^(0{8}[0-9a-f]{8})(,?)$ ]] && word=$((16#${BASH_REMATCH[1]}))${BASH_REMATCH[2]}
      printf '%s ' "$word"
    done)"
  else
    echo "  FAILED in $player: $said"
    failed=1
  fi
done
exit "$failed"
