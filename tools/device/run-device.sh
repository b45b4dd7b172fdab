#!/bin/sh
# Unpacks the archive next to this script and runs it. Results go to $OUT, or to ./results.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
OUT="${OUT:-$PWD/results}"
work="${TMPDIR:-/tmp}/lorikeet-device-run"
mkdir -p "$OUT" "$work"
cat "$here"/lorikeet-device.tar.xz.* | if command -v xz >/dev/null; then
  tar -xJ -C "$work"
else
  python3 -c 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz").extractall(sys.argv[1])' "$work"
fi
export OUT
cd "$work/lorikeet-device"
exec sh tools/device/measure.sh
