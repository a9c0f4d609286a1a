//! One ONNX Runtime session: the provider it computes on, what the graph declares, and its metadata.

use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProviderDispatch, OpenVINO, TensorRT};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{Outlet, TensorElementType};

use super::detector::DetectorError;
use super::runtime;
use super::sidecar::SideCar;
use crate::config::{DetectorConfig, ExecutionProvider};

/// An open session and where it computes.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) provider: &'static str,
}

/// Name of a provider as the configuration writes it.
#[must_use]
pub fn provider_name(provider: ExecutionProvider) -> &'static str {
    match provider {
        ExecutionProvider::Cpu => "cpu",
        ExecutionProvider::Openvino => "openvino",
        ExecutionProvider::Cuda => "cuda",
        ExecutionProvider::Tensorrt => "tensorrt",
    }
}

/// A session on the configured provider, or on the processor with a warning when the library, a driver or the graph
/// does not allow it.
pub(super) fn open(config: &DetectorConfig, bytes: &[u8]) -> Result<Opened, DetectorError> {
    let (environment, _) = runtime::environment(config.runtime_library.as_deref())?;
    let wanted = config.execution_provider;
    if let Some(provider) = dispatch(wanted) {
        match commit(&environment, config, Some(provider), bytes) {
            Ok(session) => return Ok(Opened { session, provider: provider_name(wanted) }),
            Err(why) => tracing::warn!(
                provider = provider_name(wanted),
                why,
                "computing on the processor; set detector.runtime_library to a library with this provider, \
                 or detector.execution_provider to \"cpu\""
            ),
        }
    }
    let refuse = |why| DetectorError::Model {
        path: config.model.display().to_string(),
        reason: format!("{why}; set detector.model to an ONNX model this runtime can run"),
    };
    let session = commit(&environment, config, None, bytes).map_err(refuse)?;
    Ok(Opened { session, provider: "cpu" })
}

fn dispatch(provider: ExecutionProvider) -> Option<ExecutionProviderDispatch> {
    let provider = match provider {
        ExecutionProvider::Cpu => return None,
        ExecutionProvider::Openvino => OpenVINO::default().build(),
        ExecutionProvider::Cuda => CUDA::default().build(),
        ExecutionProvider::Tensorrt => TensorRT::default().build(),
    };
    Some(provider.error_on_failure())
}

fn commit(
    environment: &Environment,
    config: &DetectorConfig,
    provider: Option<ExecutionProviderDispatch>,
    bytes: &[u8],
) -> Result<Session, String> {
    let mut builder = builder(environment, config.intra_threads as usize)?;
    if let Some(provider) = provider {
        builder = builder.with_execution_providers([provider]).map_err(|e| e.to_string())?;
    }
    builder.commit_from_memory(bytes).map_err(|e| e.to_string())
}

/// Idle threads sleep: spinning ones would take the processor from the decoders. Memory is asked for piece by piece in every run
/// as in the first; planned from it, in one piece, it comes beside what the first run holds (8 MB of a small model).
fn builder(environment: &Environment, threads: usize) -> Result<SessionBuilder, String> {
    let builder = Session::builder(environment).map_err(|e| e.to_string())?;
    let builder = builder.with_intra_threads(threads).map_err(|e| e.to_string())?;
    let builder = builder.with_inter_threads(1).map_err(|e| e.to_string())?;
    let builder = builder.with_memory_pattern(false).map_err(|e| e.to_string())?;
    builder.with_intra_op_spinning(false).map_err(|e| e.to_string())
}

/// What the graph's metadata says of the model.
pub(super) fn metadata(session: &Session) -> SideCar {
    SideCar::from_metadata(|key| entry(session, key))
}

/// One entry of the graph's metadata.
pub(super) fn entry(session: &Session, key: &str) -> Option<String> {
    session.metadata().ok().and_then(|m| m.custom(key))
}

/// Inputs and outputs as the graph declares them, one a line.
pub(super) fn declared(session: &Session) -> Vec<String> {
    let inputs = session.inputs().iter().map(|o| format!("input {}", outlet(o)));
    inputs.chain(session.outputs().iter().map(|o| format!("output {}", outlet(o)))).collect()
}

fn outlet(outlet: &Outlet) -> String {
    let shape = outlet.dtype().tensor_shape().map(|s| s.to_vec()).unwrap_or_default();
    let side = |n: &i64| if *n < 0 { "?".to_owned() } else { n.to_string() };
    let shape = shape.iter().map(side).collect::<Vec<_>>().join(", ");
    let element = outlet.dtype().tensor_type().map_or("no tensor", element_name);
    format!("{} [{shape}] {element}", outlet.name())
}

fn element_name(element: TensorElementType) -> &'static str {
    match element {
        TensorElementType::Float32 => "float32",
        TensorElementType::Float16 => "float16",
        TensorElementType::Uint8 => "uint8",
        TensorElementType::Int8 => "int8",
        TensorElementType::Int32 => "int32",
        TensorElementType::Int64 => "int64",
        TensorElementType::Float64 => "float64",
        _ => "of another type",
    }
}
