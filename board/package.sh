#!/usr/bin/env bash
# Builds the Debian package of alfred-edge, and proves that it installs, upgrades and purges cleanly.
#
#   board/package.sh build [--binary FILE | --features LIST] [--profile NAME] [--arch ARCH] [--version V] [--out FOLDER]
#   board/package.sh test FILE.deb    in a throw-away copy of this system (an overlay in a mount namespace); SKIPPED where that cannot be had
#   board/package.sh test-here FILE.deb    on this very system: installs, upgrades and purges for real
#
# Without --binary it builds one: natively, without the ONNX engine unless --features onnx asks for it. What goes where, dependencies and
# maintainer scripts stand in runtime/Cargo.toml ([package.metadata.deb], the form of cargo-deb, which builds the same package where it is
# installed); here plain dpkg-deb does it, since building cargo-deb first would cost more than the package.
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

fail() { echo "package: $*" >&2; exit 1; }

# Writes the staging tree from the manifest; prints the package's file name.
stage() {
  python3 - "$1" "$2" "$3" "$4" <<'PYTHON'
import os, pathlib, shutil, sys, tomllib

binary, architecture, version, folder = sys.argv[1:]
workspace = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["workspace"]["package"]
manifest = tomllib.loads(pathlib.Path("runtime/Cargo.toml").read_text())
deb = manifest["package"]["metadata"]["deb"]
version = version or workspace["version"]
root = pathlib.Path(folder)
size = 0
for source, target, mode in deb["assets"]:
    # cargo-deb's own way of naming the built binary; other paths start at the manifest.
    source = pathlib.Path(binary) if source.startswith("target/release/") else pathlib.Path("runtime") / source
    path = root / (target + source.name if target.endswith("/") else target)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    path.chmod(int(mode, 8))
    size += path.stat().st_size
control = root / "DEBIAN"
control.mkdir()
fields = {
    "Package": deb["name"],
    "Version": version,
    "Architecture": architecture,
    "Maintainer": deb["maintainer"],
    "Depends": deb["depends"],
    "Section": deb["section"],
    "Priority": deb["priority"],
    "Installed-Size": str((size + 1023) // 1024),
    "Description": manifest["package"]["description"].rstrip(".") + "\n " + deb["extended-description"].strip().replace("\n", "\n "),
}
(control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
(control / "conffiles").write_text("".join(f"{path}\n" for path in deb["conf-files"]))
for name in ("postinst", "prerm", "postrm"):
    shutil.copyfile(pathlib.Path("runtime") / deb["maintainer-scripts"] / name, control / name)
    (control / name).chmod(0o755)
for path in [root, *root.rglob("*")]:
    if path.is_dir():
        path.chmod(0o755)
print(f"{deb['name']}_{version}_{architecture}.deb")
PYTHON
}

build() {
  local binary="" features="" profile=firmware arch="" version="" out=target/package
  while [ $# -gt 0 ]; do
    case $1 in
      --binary) binary=$2 ;;
      --features) features=$2 ;;
      --profile) profile=$2 ;;
      --arch) arch=$2 ;;
      --version) version=$2 ;;
      --out) out=$2 ;;
      *) fail "unknown option $1" ;;
    esac
    shift 2
  done
  if [ -z "$binary" ]; then
    cargo build --profile "$profile" -p alfred-runtime --no-default-features ${features:+--features "$features"}
    binary=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")/alfred-edge
  fi
  [ -x "$binary" ] || fail "$binary is no program"
  [ -n "$arch" ] || arch=$(dpkg --print-architecture)
  local work stripped
  work=$(mktemp -d)
  trap 'rm -rf "$work"' RETURN
  stripped=$work/alfred-edge
  cp "$binary" "$stripped"
  # A binary of another architecture may be beyond this strip; the firmware profile has done it already.
  strip "$stripped" 2>/dev/null || true
  mkdir "$work/tree" && mkdir -p "$out"
  local name
  name=$(stage "$stripped" "$arch" "$version" "$work/tree")
  dpkg-deb --root-owner-group -Zxz --build "$work/tree" "$out/$name" >/dev/null
  echo "$out/$name: $(stat -c %s "$out/$name") bytes, binary $(stat -c %s "$stripped") bytes"
}

# The whole life of the package on the system that this runs on.
life() {
  local old=$1 new=$2 unit=/lib/systemd/system/alfred-edge.service conf=/etc/alfred/edge.toml
  holds() { "$@" || fail "does not hold: $*"; }
  if dpkg -s alfred-edge >/dev/null 2>&1; then fail "alfred-edge is installed here already"; fi

  dpkg -i "$old" >/dev/null
  holds test -x /usr/bin/alfred-edge
  holds id alfred-edge >/dev/null
  holds test "$(stat -c '%U %a' /var/lib/alfred-edge)" = "alfred-edge 700"
  holds alfred-edge self-test >/dev/null
  alfred-edge run --check-config --config "$conf" 2>/dev/null || fail "the packaged configuration is refused"
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

# The same in an overlay over this system: nothing of it stays.
test_apart() {
  local work script
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
  test) test_apart "$(realpath "${2:?give a .deb}")" ;;
  test-here) test_here "$(realpath "${2:?give a .deb}")" ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
