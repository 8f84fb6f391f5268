#!/usr/bin/env bash
# Builds alfred-edge for 64-bit ARM boards: one file that starts on JetPack 5 (glibc 2.31) and later; checks that, and runs it.
#
#   board/cross.sh [--onnx] [--static] [--toolchain debian|rustup] [--out FOLDER]
#
# --onnx       with the engine for any ONNX file (tract: about 16 minutes of one processor more)
# --static     no glibc at all on the board instead of an old one; host names cannot be looked up then, only addresses
# --toolchain  default: every one that is here. rustup: `rustup target add aarch64-unknown-linux-gnu`. Debian: packages rustc-web and
#              libstd-rust-web-dev:arm64 (`dpkg --add-architecture arm64` first)
# --out        where the stripped binaries go (default: target/cross)
#
# It needs Debian's gcc-aarch64-linux-gnu and libc6-dev-arm64-cross, qemu-user-static to run what it built, and Python, whose package
# `ziglang` is the linker that knows old glibcs (a venv in the target folder; ZIG names another one). Without zig it says so and goes on as
# with --static. It fails when the binary asks for a newer glibc than FLOOR, when its self-test fails, or when it does not score like
# the build for this machine, from a file and live through the socket. For the latter a dynamic binary needs libc6:arm64: with the glibc of
# libc6-arm64-cross 2.36-8 a program hangs under qemu when it makes its first thread.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly TARGET=aarch64-unknown-linux-gnu
# JetPack 5 is Ubuntu 20.04.
readonly FLOOR=2.31
readonly MODEL=models/pretrained/stg_nf_synthetic/weights.safetensors

features=()
is_static=0
toolchains=()
target_folder=${CARGO_TARGET_DIR:-target}/cross
out=
while [ $# -gt 0 ]; do
  case $1 in
    --onnx) features=(--features onnx) ;;
    --static) is_static=1 ;;
    --toolchain) toolchains=("${2:?--toolchain debian or rustup}") && shift ;;
    --out) out=${2:?--out FOLDER} && shift ;;
    *)
      sed -n '2,20s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
  shift
done
out=${out:-$target_folder}
mkdir -p "$target_folder/tools" "$out"
target_folder=$(realpath "$target_folder")

has_target() { [ -x "$1" ] && [ -d "$("$1" --print sysroot)/lib/rustlib/$TARGET" ]; }

rustc_of() {
  case $1 in
    debian) echo /usr/bin/rustc ;;
    rustup) rustup which rustc 2>/dev/null || true ;;
    *) echo "there is no toolchain $1: debian or rustup" >&2 && exit 2 ;;
  esac
}

for tool in aarch64-linux-gnu-gcc aarch64-linux-gnu-objdump aarch64-linux-gnu-strip; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2; exit 1; }
done
if [ ${#toolchains[@]} -eq 0 ]; then
  for toolchain in rustup debian; do
    if has_target "$(rustc_of $toolchain)"; then toolchains+=("$toolchain"); else echo "SKIPPED: $toolchain: no compiler with $TARGET"; fi
  done
fi
[ ${#toolchains[@]} -gt 0 ] || { echo "no compiler for $TARGET is here" >&2; exit 1; }

# Puts a script that links with zig into the tools' folder.
make_zig_linker() {
  local zig=${ZIG:-$(command -v zig || true)} venv=$target_folder/tools/venv
  if [ -z "$zig" ]; then
    if ! [ -x "$venv/bin/python" ]; then
      { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check ziglang; } >&2 || return 1
    fi
    zig="$venv/bin/python -m ziglang"
    $zig version >/dev/null || return 1
  fi
  cat >"$target_folder/tools/zig-linker" <<WRAPPER
#!/usr/bin/env bash
# Links like gcc, against the symbols of glibc $FLOOR. Made by board/cross.sh.
arguments=()
for argument in "\$@"; do
  case \$argument in
    # zig's own: libgcc's unwinder under its LLVM name.
    -lgcc_s) arguments+=(-lunwind) ;;
    # zig's linker knows neither the erratum of the first Cortex-A53 nor any other processor's.
    -Wl,--fix-cortex-a53-843419) ;;
    *) arguments+=("\$argument") ;;
  esac
done
exec $zig cc -target aarch64-linux-gnu.$FLOOR "\${arguments[@]}"
WRAPPER
  chmod +x "$target_folder/tools/zig-linker"
}

flags=
linker=$target_folder/tools/zig-linker
if [ "$is_static" = 0 ] && ! make_zig_linker; then
  echo "zig cannot be had (PyPI: ziglang): building a static binary instead, which needs no glibc and cannot look host names up"
  is_static=1
fi
if [ "$is_static" = 1 ]; then
  flags="-C target-feature=+crt-static"
  linker=aarch64-linux-gnu-gcc
fi

# Fails when the binary asks for a newer glibc than the floor.
check_floor() {
  local newest
  newest=$(aarch64-linux-gnu-objdump -T "$1" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 || true)
  if [ -z "$newest" ]; then
    echo "  glibc: none needed (static)"
  elif [ "$(printf '%s\n' "${newest#GLIBC_}" "$FLOOR" | sort -V | tail -n 1)" = "$FLOOR" ]; then
    echo "  glibc: ${newest#GLIBC_} needed at most, the floor is $FLOOR"
  else
    echo "  FAILED: it needs glibc ${newest#GLIBC_}, newer than $FLOOR: $(aarch64-linux-gnu-objdump -T "$1" | grep "$newest" | awk '{ print $NF }' | paste -sd' ')"
    return 1
  fi
}

# Self-test, and a clip scored to the same bytes as on this machine.
check_run() {
  if ! command -v qemu-aarch64-static >/dev/null; then
    echo "  SKIPPED: not run: qemu-user-static is missing"
    return
  fi
  local play=(timeout 300 qemu-aarch64-static -L /usr/aarch64-linux-gnu "$1") here clip=$target_folder/clip.json
  "${play[@]}" self-test | sed 's/^/  /'
  # Three people who walk, from nothing but arithmetic, in AlphaPose's form.
  awk 'BEGIN {
    printf "{"
    for (person = 1; person <= 3; person++) {
      printf "%s\"%d\": {", (person > 1 ? "," : ""), person
      for (frame = 0; frame < 120; frame++) {
        printf "%s\"%04d\": {\"keypoints\": [", (frame > 0 ? "," : ""), frame
        for (point = 0; point < 17; point++) {
          swing = sin(frame * 0.3 + point + person)
          printf "%s%.2f,%.2f,0.9", (point > 0 ? "," : ""), 200 + 150 * person + frame + 4 * swing, 100 + 9 * point + 2 * swing
        }
        printf "], \"scores\": 1.0}"
      }
      printf "}"
    }
    print "}"
  }' >"$clip"
  "${play[@]}" score --lane exact --model "$MODEL" --poses "$clip" >"$target_folder/scores.arm"
  echo "  scored $(($(wc -l <"$target_folder/scores.arm") - 1)) frames of a clip"
  here=${CARGO_TARGET_DIR:-target}/debug/alfred-edge
  if [ -x "$here" ]; then
    "$here" score --lane exact --model "$MODEL" --poses "$clip" >"$target_folder/scores.here"
    cmp "$target_folder/scores.here" "$target_folder/scores.arm" && echo "  the same bytes as from $here on this machine"
  else
    echo "  SKIPPED: not compared: $here is not built"
  fi
}

readonly LIVE_FRAMES=120
# A frame is decided so many frames later.
readonly LIVE_DELAY=23

# Waits for half a minute at most until a command succeeds.
until_it() {
  local waited
  for ((waited = 0; waited < 300; waited++)); do
    "$@" && return
    sleep 0.1
  done
}

decided() { [ "$(grep -c '^{"frame":' "$1")" -ge "$2" ]; }

# Feeds poses to the socket of a program's `run` and leaves what it said of each frame in $live/NAME, without when the frames came.
live_decisions() {
  local name=$1 process
  shift
  printf '[model]\nfile = "%s"\nlane = "exact"\n[input]\nsource = "socket"\nsocket = "%s"\n[output]\nframes = true\n' \
    "$PWD/$MODEL" "$live/$name.sock" >"$live/$name.toml"
  "$@" run --config "$live/$name.toml" >"$live/$name.lines" 2>"$live/$name.errors" &
  process=$!
  until_it test -S "$live/$name.sock"
  timeout 120 python3 runtime/examples/feed_ultralytics.py "$live/$name.sock" "$LIVE_FRAMES" 30 || true
  # The last one has come when the one before it by the delay is decided.
  until_it decided "$live/$name.lines" $((LIVE_FRAMES - LIVE_DELAY))
  kill -TERM "$process" 2>/dev/null || true
  if ! wait "$process"; then
    echo "  FAILED: $name: $(tail -n 1 "$live/$name.errors")"
    return 1
  fi
  grep '^{"frame":' "$live/$name.lines" | sed 's/"captured_ns":[0-9]*,//' >"$live/$name"
}

# The live process, its threads and its socket, emulated and here.
check_live() {
  local here=${CARGO_TARGET_DIR:-target}/debug/alfred-edge live shed status=0
  if ! command -v qemu-aarch64-static >/dev/null || ! command -v python3 >/dev/null || ! [ -x "$here" ]; then
    echo "  SKIPPED: not run live: qemu-user-static, python3 or $here is missing"
    return
  elif [ "$is_static" = 0 ] && ! [ -e /lib/ld-linux-aarch64.so.1 ]; then
    echo "  SKIPPED: not run live: libc6:arm64 is missing"
    return
  fi
  live=$(mktemp -d)
  live_decisions emulated timeout --kill-after=5 240 qemu-aarch64-static "$1" && live_decisions native timeout --kill-after=5 240 "$here" || status=1
  if [ "$status" = 0 ]; then
    shed=$(cat "$live"/*.lines | grep -o '"frames_shed":[0-9]*' | sort -u | paste -sd' ')
    if [ "$shed" != '"frames_shed":0' ]; then
      echo "  live: this machine was too busy for 30 frames per second, so what was decided is not compared ($shed)"
    elif [ "$(wc -l <"$live/emulated")" = "$LIVE_FRAMES" ] && cmp "$live/native" "$live/emulated"; then
      echo "  live: $LIVE_FRAMES frames through the socket and three threads, the same decisions as from $here"
    else
      echo "  FAILED: live: $(wc -l <"$live/emulated") of $LIVE_FRAMES frames decided, or not as here"
      status=1
    fi
  fi
  rm -rf "$live"
  return "$status"
}

for toolchain in "${toolchains[@]}"; do
  compiler=$(rustc_of "$toolchain")
  has_target "$compiler" || { echo "$toolchain has no $TARGET" >&2; exit 1; }
  echo "$toolchain: $("$compiler" --version)"
  RUSTC=$compiler CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags \
    cargo build --locked --quiet --profile firmware --target "$TARGET" --target-dir "$target_folder" -p alfred-runtime --bin alfred-edge \
    --no-default-features "${features[@]}"
  binary=$out/alfred-edge-$toolchain
  aarch64-linux-gnu-strip -o "$binary" "$target_folder/$TARGET/firmware/alfred-edge"
  echo "  $binary: $(stat -c %s "$binary") bytes stripped"
  check_floor "$binary"
  check_run "$binary"
  check_live "$binary"
done
