#!/bin/sh
# Installs the lockfile's packages, including the compiler. The `prepare` script is left to tools/docker/build.sh, which has the sources.
set -eu
npm ci --ignore-scripts
