#!/bin/sh
# Installs what reaches a card: Vulkan's loader, Mesa's drivers for AMD and Intel, and what NVIDIA's driver, mounted from the host, links to.
set -eu
apt-get update -qq
apt-get install -y -qq --no-install-recommends libvulkan1 mesa-vulkan-drivers libxext6 libegl1
rm -rf /var/lib/apt/lists/*
