//! From the class scores of one box to its best class and probability.

use crate::vision::sidecar::{Activation, Background};

/// What the scores of a model are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scores {
    pub(super) activation: Activation,
    pub(super) background: Background,
}

/// Best class and its score; `Err` when they are not numbers.
pub(super) type Best = Result<Option<(usize, f32)>, ()>;

impl Scores {
    /// The best class, when its probability reaches `floor`. A background class is no class.
    pub(super) fn best(self, values: impl Iterator<Item = f32> + Clone, floor: f32) -> Best {
        let classes = values.clone().count();
        let (skip, classes) = match self.background {
            Background::None => (0, classes),
            Background::First => (1, classes),
            Background::Last => (0, classes.saturating_sub(1)),
        };
        let mut best = (0, f32::NEG_INFINITY);
        for (class, v) in values.clone().take(classes).skip(skip).enumerate() {
            if v.is_nan() {
                return Err(());
            }
            if v > best.1 {
                best = (class, v);
            }
        }
        let score = match self.activation {
            Activation::None => best.1,
            Activation::Sigmoid => sigmoid(best.1),
            Activation::Softmax => softmax(best.1, values),
        };
        if score == f32::INFINITY || score.is_nan() {
            return Err(());
        }
        Ok((score >= floor).then_some((best.0, score)))
    }
}

pub(super) fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}

/// Share of `v` among all.
fn softmax(v: f32, all: impl Iterator<Item = f32> + Clone) -> f32 {
    let most = all.clone().fold(f32::NEG_INFINITY, f32::max);
    (v - most).exp() / all.map(|a| (a - most).exp()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(activation: Activation, background: Background, values: &[f32]) -> Best {
        Scores { activation, background }.best(values.iter().copied(), 0.2)
    }

    #[test]
    fn the_background_is_no_class_and_scores_become_probabilities() {
        assert_eq!(best(Activation::None, Background::None, &[0.1, 0.7, 0.3]), Ok(Some((1, 0.7))));
        assert_eq!(best(Activation::None, Background::First, &[0.9, 0.1, 0.3]), Ok(Some((1, 0.3))));
        assert_eq!(best(Activation::None, Background::Last, &[0.1, 0.3, 0.9]), Ok(Some((1, 0.3))));
        assert_eq!(best(Activation::Sigmoid, Background::None, &[-4.0, 0.0]), Ok(Some((1, 0.5))));
        let Ok(Some((1, score))) = best(Activation::Softmax, Background::Last, &[0.0, 1.0, 1.0]) else { panic!() };
        assert!((score - 0.422).abs() < 0.001, "{score}");
        assert_eq!(best(Activation::Softmax, Background::None, &[0.0; 10]), Ok(None), "0.1 each");
        assert_eq!(best(Activation::Sigmoid, Background::None, &[0.0, f32::NAN]), Err(()));
    }
}
