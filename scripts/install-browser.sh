#!/bin/sh
# Install headless Chromium and its driver for the browser tests. Does nothing where both are there already.
set -eu

if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then
  exit 0
fi

manual() {
  echo "$1 Install Chromium and its driver so that 'chromium' and 'chromedriver' are on the PATH" >&2
  echo "(Debian and Ubuntu call the packages chromium and chromium-driver), then run this again." >&2
  exit 1
}

command -v apt-get >/dev/null 2>&1 || manual "There is no apt-get here."
if [ "$(id -u)" -eq 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1; then
  as_root="sudo"
else
  manual "Installing packages needs root, and there is no sudo here."
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q
$as_root apt-get install -y -q --no-install-recommends chromium chromium-driver
