#!/bin/sh
# Puts axe-core, the accessibility checker, out of a pinned Python wheel (version and digest: axe.txt) into .deps/axe, for
# the tests. Does nothing when it is there and whole.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=$(dirname "$here")/.deps/axe

if [ -f "$target/SHA256SUMS" ] && (cd "$target" && sha256sum --status -c SHA256SUMS 2>/dev/null) &&
    cmp -s "$here/axe.txt" "$target/axe.txt"; then
    exit 0
fi

echo "Fetching axe-core ..."
rm -rf "$target"
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --python-version 3.11 --dest "$work" -r "$here/axe.txt"
python3 -c 'import glob, sys, zipfile; open(sys.argv[2], "wb").write(zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]).read("axe_playwright_python/axe.min.js"))' \
    "$work" "$target/axe.min.js"
cp "$here/axe.txt" "$target/axe.txt"
(cd "$target" && sha256sum axe.min.js >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
echo "axe-core is in .deps/axe."
