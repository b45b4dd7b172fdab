#!/bin/sh
# Installs what the lockfile names, the compiler too. Our own `prepare` waits for tools/docker/build.sh, which has the sources.
set -eu
npm ci --ignore-scripts
