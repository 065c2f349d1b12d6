#!/bin/sh
# Installs the Debian packages named in a list file, if any is missing. Usage: install-packages.sh LIST
set -eu
wanted=$(sed 's/#.*//' "$1")
missing=
for package in $wanted; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
    missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "Installing:$missing"
root=
[ "$(id -u)" -eq 0 ] || root=sudo
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends \
  -o DPkg::Lock::Timeout=500 $missing
