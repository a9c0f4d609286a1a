//! Numbers in and out of a session: the picture's tensor in the type the graph takes, the small inputs beside it, and
//! outputs of any type as `f32`.

use std::borrow::Cow;

use half::f16;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use super::layout::{InputSpec, Output};

/// Side of the input when neither graph nor side-car says it.
const USUAL_SIDE: u32 = 640;

/// Everything a run is given.
#[derive(Debug)]
pub(super) struct Inputs {
    name: String,
    element: TensorElementType,
    dims: [usize; 4],
    /// The picture; `fill` writes here.
    pub(super) picture: Vec<f32>,
    halves: Vec<f16>,
    bytes: Vec<u8>,
    more: Vec<Beside>,
}

/// A small input beside the picture.
#[derive(Debug)]
struct Beside {
    name: String,
    element: TensorElementType,
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

/// The picture's input and its size; what the graph leaves open is `size` (width, height), else 640.
///
/// # Errors
/// When there is no input for a picture.
pub(super) fn picture_input(session: &Session, size: Option<[u32; 2]>) -> Result<(usize, InputSpec), String> {
    let inputs = session.inputs().iter().enumerate();
    let mut fitting = inputs.filter_map(|(i, input)| Some((i, spec(input, size)?)));
    fitting.next().ok_or_else(|| "needs an input [1,3,H,W] or [1,H,W,3] of float32, float16 or uint8".into())
}

/// Whether the graph leaves the size of the picture open.
pub(super) fn is_open(session: &Session, index: usize) -> bool {
    let shape = session.inputs().get(index).and_then(|i| i.dtype().tensor_shape());
    shape.is_some_and(|s| s.iter().skip(1).any(|n| *n < 0))
}

fn spec(input: &Outlet, size: Option<[u32; 2]>) -> Option<InputSpec> {
    use TensorElementType::{Float16, Float32, Uint8};
    input.dtype().tensor_type().filter(|t| matches!(t, Float32 | Float16 | Uint8))?;
    let [width, height] = size.unwrap_or([USUAL_SIDE; 2]);
    let or = |n: i64, open: u32| u32::try_from(n).ok().filter(|n| *n > 0).unwrap_or(open);
    let one = |n: i64| n == 1 || n < 0;
    match input.dtype().tensor_shape()?[..] {
        [b, 3, h, w] if one(b) => Some(InputSpec { width: or(w, width), height: or(h, height), channels_last: false }),
        [b, h, w, 3] if one(b) => Some(InputSpec { width: or(w, width), height: or(h, height), channels_last: true }),
        _ => None,
    }
}

impl Inputs {
    /// Buffers for a session whose picture is input `index`.
    ///
    /// # Errors
    /// When the graph wants something else that nobody can give.
    pub(super) fn new(session: &Session, index: usize, input: &InputSpec) -> Result<Self, String> {
        let (w, h) = (input.width as usize, input.height as usize);
        let picture = &session.inputs()[index];
        let element = picture.dtype().tensor_type().unwrap_or(TensorElementType::Float32);
        let others = session.inputs().iter().enumerate().filter(|(i, _)| *i != index);
        let more = others.map(|(_, o)| beside(o, input)).collect::<Result<_, _>>()?;
        let dims = if input.channels_last { [1, h, w, 3] } else { [1, 3, h, w] };
        let (halves, bytes) = (Vec::new(), Vec::new());
        Ok(Self { name: picture.name().to_owned(), element, dims, picture: vec![0.0; 3 * w * h], halves, bytes, more })
    }

    /// Names of the inputs beside the picture.
    pub(super) fn more_names(&self) -> Vec<String> {
        self.more.iter().map(|m| m.name.clone()).collect()
    }

    /// The picture is given in whole grey levels.
    pub(super) fn is_bytes(&self) -> bool {
        self.element == TensorElementType::Uint8
    }

    /// The picture and the rest for one run.
    pub(super) fn values(&mut self) -> Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>, ort::Error> {
        let picture: SessionInputValue<'_> = match self.element {
            TensorElementType::Float16 => {
                self.halves.clear();
                self.halves.extend(self.picture.iter().map(|v| f16::from_f32(*v)));
                TensorRef::from_array_view((self.dims, self.halves.as_slice()))?.into()
            }
            TensorElementType::Uint8 => {
                self.bytes.clear();
                self.bytes.extend(self.picture.iter().map(|v| *v as u8));
                TensorRef::from_array_view((self.dims, self.bytes.as_slice()))?.into()
            }
            _ => TensorRef::from_array_view((self.dims, self.picture.as_slice()))?.into(),
        };
        let mut all = vec![(Cow::Borrowed(self.name.as_str()), picture)];
        for m in &self.more {
            all.push((Cow::Borrowed(m.name.as_str()), m.value()?));
        }
        Ok(all)
    }
}

impl Beside {
    fn value(&self) -> Result<SessionInputValue<'static>, ort::Error> {
        let shape = self.shape.clone();
        Ok(match self.element {
            TensorElementType::Int64 => {
                Tensor::from_array((shape, self.numbers.iter().map(|n| *n as i64).collect::<Vec<_>>()))?.into()
            }
            TensorElementType::Int32 => {
                Tensor::from_array((shape, self.numbers.iter().map(|n| *n as i32).collect::<Vec<_>>()))?.into()
            }
            _ => Tensor::from_array((shape, self.numbers.clone()))?.into(),
        })
    }
}

/// The size of the picture (so that boxes come in input pixels), or a scale of 1.
fn beside(outlet: &Outlet, input: &InputSpec) -> Result<Beside, String> {
    let name = outlet.name().to_owned();
    let unknown = || format!("has an input {name} that is neither a size nor a scale of the picture");
    let rank = outlet.dtype().tensor_shape().ok_or_else(unknown)?.len();
    let element = outlet.dtype().tensor_type().ok_or_else(unknown)?;
    let (w, h) = (input.width as f32, input.height as f32);
    let numbers = match name.as_str() {
        n if n.contains("im_shape") => vec![h, w],
        n if n.contains("size") || n.contains("shape") => vec![w, h],
        n if n.contains("scale") => vec![1.0, 1.0],
        _ => return Err(unknown()),
    };
    let shape = if rank == 1 { vec![2] } else { vec![1, 2] };
    Ok(Beside { name, element, shape, numbers })
}

/// All outputs of a run as `f32`.
///
/// # Errors
/// When an output is no tensor of numbers.
pub(super) fn outputs<'a>(outputs: &'a SessionOutputs<'_>) -> Result<Vec<Output<'a>>, String> {
    (0..outputs.len())
        .map(|i| {
            let (name, value) = outputs.iter().nth(i).map(|(n, _)| n).zip(Some(&outputs[i])).ok_or("no output")?;
            let (shape, data) = numbers(value).map_err(|e| format!("output {name}: {e}"))?;
            Ok(Output { name, shape, data })
        })
        .collect()
}

fn numbers(value: &DynValue) -> Result<(Vec<usize>, Cow<'_, [f32]>), String> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return Err("is no tensor".into()) };
    let sides = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
    macro_rules! converted {
        ($type:ty, $convert:expr) => {
            Cow::Owned(value.try_extract_tensor::<$type>().map_err(|e| e.to_string())?.1.iter().map($convert).collect())
        };
    }
    let data = match ty {
        TensorElementType::Float32 => Cow::Borrowed(value.try_extract_tensor::<f32>().map_err(|e| e.to_string())?.1),
        TensorElementType::Float16 => converted!(f16, |v| v.to_f32()),
        TensorElementType::Float64 => converted!(f64, |v| *v as f32),
        TensorElementType::Int64 => converted!(i64, |v| *v as f32),
        TensorElementType::Int32 => converted!(i32, |v| *v as f32),
        TensorElementType::Uint8 => converted!(u8, |v| f32::from(*v)),
        other => return Err(format!("holds {other:?}, not numbers that are known here")),
    };
    Ok((sides, data))
}
