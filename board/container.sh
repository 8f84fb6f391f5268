#!/usr/bin/env bash
# Builds the host's container and tries what its first lines promise: that it starts as its own user, answers, stops, and keeps its state.
#
#   board/container.sh base     makes the base image from Debian's packages (mmdebstrap), where no registry can be reached
#   board/container.sh build    board/host.Containerfile, from target/release/alfred-host or what BINARY names below target
#   board/container.sh check    runs the image and looks at it from outside; needs root, to enter the container's network
#
# ENGINE: podman (default) or docker, with options. RUN_OPTIONS: options of `run`. BASE: another base image. BINARY: another binary. In a sandbox
# without overlayfs, netavark or the right to raise limits this works as root, with Debian's packages podman and runc:
#   STORAGE_DRIVER=vfs ENGINE="podman --runtime runc" NETWORK=host RUN_OPTIONS="--ulimit nofile=1024:1024 --ulimit nproc=1000:1000"
set -euo pipefail
cd "$(dirname "$0")/.."

readonly IMAGE=alfred-host
readonly BASE_MADE=localhost/debian:12-slim
# As in board/host.toml.
readonly PORT=8710
read -ra engine <<<"${ENGINE:-podman}"
read -ra run_options <<<"${RUN_OPTIONS:-}"
command -v "${engine[0]}" >/dev/null || { echo "${engine[0]} is missing: apt-get install podman, or ENGINE=docker" >&2; exit 1; }

fail() { echo "container: $*" >&2; exit 1; }

# Debian without what a slim image leaves out, too: documents and other languages.
base() {
  command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
  local work
  work=$(mktemp -d)
  mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$work/base.tar"
  "${engine[@]}" import "$work/base.tar" "$BASE_MADE" >/dev/null
  rm -rf "$work"
  echo "$BASE_MADE is there: BASE=$BASE_MADE board/container.sh build"
}

build() {
  local arguments=()
  [ -z "${BASE:-}" ] || arguments+=(--build-arg "BASE=$BASE")
  [ -z "${BINARY:-}" ] || arguments+=(--build-arg "BINARY=$BINARY")
  [ -z "${NETWORK:-}" ] || arguments+=(--network "$NETWORK")
  "${engine[@]}" build --file board/host.Containerfile --tag "$IMAGE" "${arguments[@]}" .
  "${engine[@]}" image inspect --format 'image of {{.Size}} bytes, user {{.Config.User}}' "$IMAGE"
}

# Starts the daemon with its state in the volume; sets inside to what goes before a command that shall see its network.
start() {
  # Its own network with nothing in it but itself: no port of this machine is taken, and none has to be free.
  "${engine[@]}" run --detach --name "$name" --network none --read-only --cap-drop all "${run_options[@]}" \
    --volume "$name:/var/lib/alfred" "$IMAGE" >/dev/null
  inside=(nsenter --target "$("${engine[@]}" inspect --format '{{.State.Pid}}' "$name")" --net)
  local waited=0
  until "${engine[@]}" logs "$name" 2>&1 | grep -q 'review page and API'; do
    [ "$waited" -lt 300 ] || fail "the daemon does not say that it serves: $("${engine[@]}" logs "$name" 2>&1)"
    waited=$((waited + 1))
    sleep 0.1
  done
}

# Status of a request to the daemon.
status() { "${inside[@]}" curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }

login() {
  status --header 'content-type: application/json' --data "{\"reviewer\": \"ann\", \"token\": \"$token\"}" "http://127.0.0.1:$PORT/api/login"
}

check() {
  local inside=() token said
  for tool in curl nsenter; do command -v "$tool" >/dev/null || fail "$tool is missing"; done
  [ "$(id -u)" = 0 ] || fail "only root may enter the container's network"
  name=alfred-check-$$
  trap '"${engine[@]}" rm --force "$name" >/dev/null 2>&1; "${engine[@]}" volume rm "$name" >/dev/null 2>&1' EXIT
  expect() { [ "$2" = "$3" ] || fail "$1: $2 in place of $3"; echo "$1: $2"; }

  "${engine[@]}" run --rm --network none "${run_options[@]}" "$IMAGE" --version
  start
  expect "user of the process" "$(awk '/^Uid:/ { print $2 }' "/proc/$("${engine[@]}" inspect --format '{{.State.Pid}}' "$name")/status")" 10001
  expect "GET /" "$(status "http://127.0.0.1:$PORT/")" 200
  expect "GET /api/openapi.json" "$(status "http://127.0.0.1:$PORT/api/openapi.json")" 200
  expect "GET /api/queue without a session" "$(status "http://127.0.0.1:$PORT/api/queue")" 401
  said=$("${engine[@]}" exec "$name" alfred-host user add ann --database /var/lib/alfred/host.sqlite)
  token=$(tail -n 1 <<<"$said")
  [ -n "$token" ] || fail "user add printed no token: $said"
  expect "login with the token that user add printed" "$(login)" 200
  "${engine[@]}" stop --time 20 "$name" >/dev/null
  expect "exit code after SIGTERM" "$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$name")" 0
  "${engine[@]}" rm "$name" >/dev/null
  start
  expect "login in a new container with the old volume" "$(login)" 200
  echo "the container holds what it promises"
}

case ${1:-} in
  base | build | check) "$1" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
