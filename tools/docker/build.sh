#!/bin/sh
# Compiles, then removes what a running server does not need: the compiler, and ONNX Runtime's libraries for other platforms.
set -eu
npm run build
npm prune --omit=dev --ignore-scripts
here="$(node -p 'process.platform + "/" + process.arch')"
for library in node_modules/onnxruntime-node/bin/napi-v6/*/*; do
  case "$library" in
    */"$here") ;;
    *) rm -rf "$library" ;;
  esac
done
