#!/bin/sh
# Installs the Debian packages named below that are missing. Usage: packages.sh run|test
# Says what it will install first; nothing is asked, nothing is done when nothing is missing.
set -eu

run_packages="
ca-certificates cmake fonts-dejavu-core gcc libc6-dev make nasm pkg-config python3 python3-pip
libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav
"
test_packages="chromium chromium-driver ffmpeg mosquitto openssl postgresql"

case "${1:-run}" in
run) packages=$run_packages ;;
test) packages=$test_packages ;;
*)
    echo "usage: packages.sh run|test" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "This is not Debian: install what these packages hold yourself:" $packages >&2
    exit 0
fi

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "Missing packages:$missing" >&2
        echo "Run as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    }
    sudo=sudo
fi

echo "Installing Debian packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Shown only when it fails: thousands of lines otherwise.
quiet() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
}
quiet $sudo env DEBIAN_FRONTEND=noninteractive apt-get update
quiet $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
# A broker for the tests is started by the tests; the one of the system is not wanted.
case "$missing" in
*mosquitto*)
    if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
        $sudo systemctl disable --now mosquitto >/dev/null 2>&1 || true
    fi
    ;;
esac
echo "Packages are installed."
