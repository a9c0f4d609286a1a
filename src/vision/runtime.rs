//! Finds and loads the ONNX Runtime shared library, once per process. Sessions are made in `detector`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;

use super::detector::DetectorError;

#[cfg(target_os = "macos")]
const STEM: &str = "libonnxruntime.dylib";
#[cfg(not(target_os = "macos"))]
const STEM: &str = "libonnxruntime.so";

static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

/// Loads the library and says which. Later calls answer with the library already loaded, whatever they ask for.
///
/// # Errors
/// When no library is found, or the one found cannot be used.
pub fn init(configured: Option<&Path>) -> Result<PathBuf, DetectorError> {
    environment(configured).map(|(_, path)| path)
}

pub(super) fn environment(configured: Option<&Path>) -> Result<(Environment, PathBuf), DetectorError> {
    let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(ready) = &*loaded {
        return Ok(ready.clone());
    }
    let path = find(configured)?;
    let unusable = |reason: String| DetectorError::Runtime(format!("{} cannot be used: {reason}", path.display()));
    let builder = ort::init_from(&path).map_err(|e| unusable(e.to_string()))?;
    let environment =
        builder.with_name("gatewatch").with_telemetry(false).build().map_err(|e| unusable(e.to_string()))?;
    tracing::info!(library = %path.display(), "ONNX Runtime loaded");
    *loaded = Some((environment.clone(), path.clone()));
    Ok((environment, path))
}

/// Configuration, `ORT_DYLIB_PATH`, beside the binary, `.deps/onnxruntime`, the system.
fn find(configured: Option<&Path>) -> Result<PathBuf, DetectorError> {
    let named = configured.map(Path::to_path_buf).map(|p| (p, "detector.runtime_library"));
    let variable = std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty());
    if let Some((path, who)) = named.or_else(|| variable.map(|v| (PathBuf::from(v), "ORT_DYLIB_PATH"))) {
        return if path.is_file() {
            // The loader takes a relative path as one beside the binary.
            Ok(path.canonicalize().unwrap_or(path))
        } else {
            Err(DetectorError::Runtime(format!("{who} names {}, which is not a file", path.display())))
        };
    }
    folders().iter().find_map(|f| library_in(f)).ok_or_else(|| {
        DetectorError::Runtime("not found beside the binary, in .deps/onnxruntime or in the system".into())
    })
}

fn folders() -> Vec<PathBuf> {
    let exe = std::env::current_exe().and_then(|p| p.canonicalize()).ok();
    let beside = exe.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let above = exe.iter().flat_map(|p| p.ancestors().skip(1)).map(Path::to_path_buf);
    let deps = std::env::current_dir().ok().into_iter().chain(above).map(|p| p.join(".deps/onnxruntime"));
    let system =
        ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    beside.into_iter().chain(deps).chain(system.map(PathBuf::from)).collect()
}

/// The library in a folder, or one folder below; the longest name is the one with the full version.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = |f: &Path| -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(f).into_iter().flatten().flatten().map(|e| e.path()).collect();
        all.sort();
        all
    };
    let is_library = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(STEM)) && p.is_file();
    let direct = files(folder).into_iter().rfind(is_library);
    let in_deps = folder.ends_with(".deps/onnxruntime");
    direct.or_else(|| in_deps.then(|| files(&folder.join("lib")).into_iter().rfind(is_library)).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_library_that_is_missing_is_named_with_the_next_command() {
        let message = find(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err().to_string();
        assert!(message.contains("/nowhere/libonnxruntime.so") && message.contains("make deps"), "{message}");
    }

    #[test]
    fn the_library_is_found_whatever_its_version() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(library_in(dir.path()), None);
        let deps = dir.path().join(".deps/onnxruntime");
        std::fs::create_dir_all(&deps).unwrap();
        std::fs::write(deps.join("libonnxruntime.so.1.30.0"), b"").unwrap();
        std::fs::write(deps.join("libonnxruntime_providers_shared.so"), b"").unwrap();
        assert_eq!(library_in(&deps), Some(deps.join("libonnxruntime.so.1.30.0")));
    }
}
