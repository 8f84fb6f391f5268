#!/usr/bin/env bash
# Builds the Debian package of alfred-edge with cargo-deb, and proves that it installs, upgrades and purges cleanly.
#
#   board/package.sh build [--onnx] [--version V] [--out FOLDER]        for this machine
#   board/package.sh build --binary FILE [--target TRIPLE] [...]        from a binary that is built already, as by board/cross.sh
#   board/package.sh lint FILE.deb         what lintian has to say
#   board/package.sh test FILE.deb         in a throw-away copy of this system (an overlay in a mount namespace); SKIPPED where that cannot be had
#   board/package.sh test-here FILE.deb    on this very system: installs, upgrades and purges for real
#
# What goes where, dependencies and maintainer scripts stand in runtime/Cargo.toml, [package.metadata.deb]. It needs cargo-deb
# (cargo install cargo-deb --locked: a minute and a half of one processor) and dpkg-dev; a binary for another target is packaged as it is,
# which board/cross.sh has stripped. A package for arm64 is tested where this system takes such packages (dpkg --add-architecture arm64,
# libc6:arm64) and qemu-user-static plays its program.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

fail() { echo "package: $*" >&2; exit 1; }

build() {
  local binary="" target="" variant=() version=() out=target/package
  while [ $# -gt 0 ]; do
    case $1 in
      --onnx) variant=(--variant onnx) && shift && continue ;;
      --binary) binary=$(realpath "${2:?--binary FILE}") ;;
      --target) target=${2:?--target TRIPLE} ;;
      --version) version=(--deb-version "${2:?--version V}") ;;
      --out) out=${2:?--out FOLDER} ;;
      *) fail "unknown option $1" ;;
    esac
    shift 2
  done
  command -v cargo-deb >/dev/null || fail "cargo-deb is missing: cargo install cargo-deb --locked"
  command -v dpkg-shlibdeps >/dev/null || fail "dpkg-shlibdeps is missing: apt-get install dpkg-dev"
  mkdir -p "$out"
  local options=(--package alfred-runtime --output "$out" "${variant[@]}" "${version[@]}" ${target:+--target "$target"})
  if [ -z "$binary" ]; then
    cargo deb "${options[@]}"
    return
  fi
  [ -x "$binary" ] || fail "$binary is no program"
  local work
  work=$(mktemp -d)
  trap 'rm -rf "$work"' RETURN
  # Where cargo would have left it.
  install -D "$binary" "$work/${target:+$target/}firmware/alfred-edge"
  [ -n "$target" ] || strip "$work/firmware/alfred-edge"
  [ "$target" != aarch64-unknown-linux-gnu ] || options+=(--variant jetpack)
  CARGO_TARGET_DIR=$work cargo deb --no-build --no-strip --compress-system "${options[@]}"
}

# The whole life of the package on the system that this runs on.
life() {
  local old=$1 new=$2 unit=/usr/lib/systemd/system/alfred-edge.service conf=/etc/alfred/edge.toml
  holds() { "$@" || fail "does not hold: $*"; }
  # Itself, or played where it is another processor's.
  local program=(alfred-edge)
  [ "$(dpkg-deb -f "$old" Architecture)" = "$(dpkg --print-architecture)" ] || program=(qemu-aarch64-static /usr/bin/alfred-edge)
  if dpkg -s alfred-edge >/dev/null 2>&1; then fail "alfred-edge is installed here already"; fi

  dpkg -i "$old" >/dev/null
  holds test -x /usr/bin/alfred-edge
  holds id alfred-edge >/dev/null
  holds test "$(stat -c '%U %a' /var/lib/alfred-edge)" = "alfred-edge 700"
  holds "${program[@]}" self-test >/dev/null
  "${program[@]}" run --check-config --config "$conf" 2>/dev/null || fail "the packaged configuration is refused"
  if command -v systemd-analyze >/dev/null; then
    local complaints
    complaints=$(systemd-analyze verify "$unit" 2>&1 || true)
    [ -z "$complaints" ] || fail "systemd-analyze verify: $complaints"
    echo "systemd-analyze verify: nothing to say"
    systemd-analyze security --no-pager --offline=true "$unit" | grep 'Overall exposure'
    # Below 3 of 10, where 10 is a service without any confinement.
    systemd-analyze security --no-pager --offline=true --threshold=30 "$unit" >/dev/null || fail "the unit is exposed too much"
  else
    echo "SKIPPED: systemd-analyze is not here"
  fi

  # An upgrade keeps what people wrote, and what the device stored.
  echo '# written by hand' >>"$conf"
  echo state >/var/lib/alfred-edge/journal.alfred
  dpkg -i --force-confold "$new" >/dev/null
  holds grep -q 'written by hand' "$conf"
  holds test "$(cat /var/lib/alfred-edge/journal.alfred)" = state
  holds test "$(dpkg-query -W -f '${Version}' alfred-edge)" = "$(dpkg-deb -f "$new" Version)"

  # Removing keeps both; purging keeps nothing.
  dpkg -r alfred-edge >/dev/null
  holds test -f "$conf" && holds test -f /var/lib/alfred-edge/journal.alfred && holds test ! -e /usr/bin/alfred-edge
  dpkg -P alfred-edge >/dev/null
  local left
  for left in "$conf" /etc/alfred /var/lib/alfred-edge "$unit" /usr/share/alfred-edge /usr/share/doc/alfred-edge; do
    holds test ! -e "$left"
  done
  ! id alfred-edge >/dev/null 2>&1 || fail "the user is still there"
  ! dpkg -s alfred-edge >/dev/null 2>&1 || fail "dpkg still knows the package"
  echo "installed, upgraded, removed and purged"
}

# A second version of the same package, to upgrade to.
successor() {
  local work
  work=$(mktemp -d)
  dpkg-deb -R "$1" "$work/tree"
  sed -i 's/^Version: .*/&+next/' "$work/tree/DEBIAN/control"
  dpkg-deb --root-owner-group -Zgzip --build "$work/tree" "$2" >/dev/null
  rm -rf "$work"
}

test_here() {
  local next
  next=$(mktemp --suffix=.deb)
  successor "$1" "$next"
  life "$1" "$next"
  rm -f "$next"
}

# Nothing to say, or everything that it says.
lint() {
  command -v lintian >/dev/null || { echo "SKIPPED: lintian is not here (apt-get install lintian)"; return; }
  lintian --allow-root --fail-on error,warning "$1" && echo "lintian: nothing to say"
}

# Why a package cannot be installed here; nothing when it can.
obstacle() {
  local architecture
  architecture=$(dpkg-deb -f "$1" Architecture)
  [ "$architecture" = "$(dpkg --print-architecture)" ] && return
  dpkg --print-foreign-architectures | grep -qx "$architecture" || echo "this system takes no packages for $architecture"
  dpkg -s "libc6:$architecture" >/dev/null 2>&1 || echo "there is no libc6:$architecture"
  command -v qemu-aarch64-static >/dev/null || echo "there is no qemu-aarch64-static"
}

# The same in an overlay over this system: nothing of it stays.
test_apart() {
  local work script why
  why=$(obstacle "$1" | paste -sd, | sed 's/,/, /g')
  [ -z "$why" ] || { echo "SKIPPED: $(basename "$1") was not installed: $why"; return; }
  work=$(mktemp -d)
  script=$(realpath "$0")
  mkdir "$work/layers"
  cp "$1" "$work/package.deb"
  local status=0
  unshare --mount --propagation private bash -eu -c '
    mount -t tmpfs tmpfs "$1/layers" && mkdir "$1/layers/upper" "$1/layers/scratch" "$1/layers/new"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layers/upper,workdir=$1/layers/scratch" "$1/layers/new" || exit 77
    for folder in proc sys dev; do mount --rbind "/$folder" "$1/layers/new/$folder"; done
    mkdir -p "$1/layers/new/tmp/package" && cp "$1/package.deb" "$1/layers/new/tmp/package/"
    mkdir -p "$1/layers/new/tmp/package/board" && cp "$2" "$1/layers/new/tmp/package/board/package.sh"
    chroot "$1/layers/new" bash /tmp/package/board/package.sh test-here /tmp/package/package.deb
  ' apart "$work" "$script" || status=$?
  rm -rf "$work"
  if [ "$status" = 77 ]; then
    echo "SKIPPED: no overlay can be mounted here; board/package.sh test-here would install for real"
    return
  fi
  return "$status"
}

case ${1:-} in
  build) shift; build "$@" ;;
  lint) lint "${2:?give a .deb}" ;;
  test) test_apart "$(realpath "${2:?give a .deb}")" ;;
  test-here) test_here "$(realpath "${2:?give a .deb}")" ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
