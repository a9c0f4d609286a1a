#!/bin/sh
# Puts the ONNX Runtime library of the official Python wheel (version and digests: onnxruntime.txt) into
# .deps/onnxruntime. Does nothing when it is there and whole.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=$(dirname "$here")/.deps/onnxruntime
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$here/onnxruntime.txt")
library=$target/libonnxruntime.so.$version
arch=$(uname -m)

case "$arch" in
x86_64 | aarch64) ;;
*)
    echo "No wheel is pinned for $arch: build ONNX Runtime $version and name it in detector.runtime_library." >&2
    exit 1
    ;;
esac

if [ -f "$target/SHA256SUMS" ] && (cd "$target" && sha256sum --status -c SHA256SUMS 2>/dev/null) && [ -f "$library" ]; then
    exit 0
fi

echo "Fetching ONNX Runtime $version ($arch, 28 MB) ..."
rm -rf "$target"
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The wheel is only a container for the library, so its Python version does not matter to the one used here.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --platform "manylinux_2_27_$arch" --platform "manylinux_2_28_$arch" \
    --python-version 3.11 --implementation cp --abi cp311 \
    --dest "$work" -r "$here/onnxruntime.txt"
python3 - "$work" "$target" <<'PYTHON'
import pathlib, shutil, sys, zipfile

work, target = map(pathlib.Path, sys.argv[1:])
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    wanted = [n for n in archive.namelist() if n.startswith("onnxruntime/capi/libonnxruntime")]
    wanted += [n for n in archive.namelist() if pathlib.PurePath(n).name in ("LICENSE", "ThirdPartyNotices.txt")]
    for name in wanted:
        with archive.open(name) as source, open(target / pathlib.PurePath(name).name, "wb") as copy:
            shutil.copyfileobj(source, copy)
PYTHON
ln -sf "libonnxruntime.so.$version" "$target/libonnxruntime.so"
# Last: a broken-off run leaves no sums and is repeated.
(cd "$target" && sha256sum libonnxruntime*.so* >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
echo "ONNX Runtime is in .deps/onnxruntime."
