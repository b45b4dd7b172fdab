#!/bin/sh
# Runs, in this order: what the machine is, the oracle of task models and their benchmark (tasks), the oracle of decoders (oracle), the
# benchmark of each shape (bench), PEFT on the same shapes (peft). A step that fails or takes too long does not stop the next. Each writes a
# file to $OUT, and a line to its summary.txt.
#
# DEVICE       device to run on (default webgpu; `cpu` rehearses)
# STEPS        what to run (default "tasks oracle bench peft")
# SHAPES       shapes of the benchmark (default "360M 1B 8B")
# DTYPES       types of the weights (default int4)
# STEP_SECONDS longest time of a step (default 240)
# SOFTWARE=1   allows a software driver
set -u
: "${OUT:?names the folder for results}"
DEVICE="${DEVICE:-webgpu}"
STEPS="${STEPS:-tasks oracle bench peft}"
SHAPES="${SHAPES:-360M 1B 8B}"
STEP_SECONDS="${STEP_SECONDS:-240}"
export LORIKEET_TEST_DEVICE="$DEVICE" LORIKEET_CACHE_DIR="${LORIKEET_CACHE_DIR:-$PWD/cache}"
export PATH="$PWD/bin:$PATH"
software=""
[ "${SOFTWARE:-0}" = 1 ] && software="--allow-software-gpu"

ldconfig -p 2>/dev/null | grep -q libvulkan.so.1 || export LD_LIBRARY_PATH="$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Where containers find NVIDIA's driver if it was mounted outside the loader's own folders.
mounted=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "${VK_DRIVER_FILES:-}" ] && [ -e "$mounted" ] && [ ! -e /usr/share/vulkan/icd.d/nvidia_icd.json ] && [ ! -e /etc/vulkan/icd.d/nvidia_icd.json ]; then
  export VK_DRIVER_FILES="$mounted" VK_ICD_FILENAMES="$mounted"
fi

: >"$OUT/summary.txt"
step() { # name, file, command...
  name="$1" file="$OUT/$2"
  shift 2
  began=$(date +%s)
  timeout "$STEP_SECONDS" "$@" >"$file" 2>"$file.err"
  code=$?
  echo "$name: $([ $code = 0 ] && echo done || echo "failed with $code") after $(($(date +%s) - began)) s" | tee -a "$OUT/summary.txt"
}

runs() { # name: whether it is among the steps
  case " $STEPS " in *" $1 "*) true ;; *) false ;; esac
}

machine() {
  uname -a
  nvidia-smi
  node --version
  node dist/src/runtime/device/vulkan-main.js
}
machine >"$OUT/machine.txt" 2>&1
if runs tasks; then
  step "oracle of task models" tasks-oracle.txt node --test --test-reporter=spec dist/test/engine/task/oracle.test.js
  step "bench of task models" tasks-bench.json node dist/src/cli/main.js bench tasks --json --device "$DEVICE" $software
fi
if runs oracle; then
  step "oracle" oracle.txt node --test --test-reporter=spec dist/test/engine/oracle.test.js
fi
if runs bench; then
  for shape in $SHAPES; do
    step "bench $shape" "bench-$shape.json" node dist/src/cli/main.js bench engine --json --quick --device "$DEVICE" $software \
      --shape "$shape" --dtype "${DTYPES:-int4}"
  done
fi
if runs peft; then
  for shape in $SHAPES; do
    step "PEFT $shape" "peft-$shape.json" python3 tools/device/peft_decode.py "$LORIKEET_CACHE_DIR/bench/$shape.1/model"
  done
fi
