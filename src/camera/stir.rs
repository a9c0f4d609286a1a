//! Whether something stirs in a stream that is not decoded, by the sizes of its predicted pictures, or what they would be at one quantiser
//! (`effort`): a coder spends bits on what changes. Pure; compares a moment with what was usual in the last minute, so that noise, rain and encoders that
//! hold their bit rate become usual too.

use std::collections::VecDeque;

/// Pictures whose sizes are added up: patterns of B-pictures repeat after two, three, four or six and do not matter then.
pub(super) const TOGETHER: usize = 12;
/// Of these, so many are looked at for what has only begun.
const FEW: usize = 3;
/// Sums remembered: a minute at 25 pictures a second.
const REMEMBERED: usize = 125;
/// Before so many sums nothing is usual yet: five seconds.
const LEARNT: usize = 10;
/// Above the lower quarter of the sums by so many times the distance between tenth and half: for noise of a normal
/// distribution, four and a half deviations above the mean.
const SPREADS: f32 = 4.0;
/// And by so much of the lower quarter.
const SHARE: f32 = 0.35;
/// And by so many bytes: nothing visible costs less.
const LEAST_BYTES: f32 = 1200.0;

/// Sizes of the predicted pictures of one connection.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    last: VecDeque<u32>,
    since_sum: usize,
    sums: VecDeque<f32>,
    /// What stirs is larger than this, bytes in [`TOGETHER`] pictures.
    limit: Option<f32>,
}

impl Sizes {
    /// Takes the size of a predicted picture, bytes. Whether something stirs: also while nothing is usual yet.
    pub fn take(&mut self, bytes: usize) -> bool {
        self.last.push_back(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.last.len() > TOGETHER {
            self.last.pop_front();
        }
        if self.last.len() < TOGETHER {
            return self.limit.is_none();
        }
        let sum: f32 = self.last.iter().map(|&b| b as f32).sum();
        let stirs = self.limit.is_none_or(|limit| sum > limit);
        self.since_sum += 1;
        if self.since_sum >= TOGETHER {
            self.since_sum = 0;
            self.remember(sum);
        }
        stirs
    }

    /// Whether something may have begun to stir that the sums do not tell yet: in the last few pictures alone there was as much
    /// more as all of them together need.
    pub fn suspects(&self) -> bool {
        let sum: f32 = self.last.iter().rev().take(FEW).map(|&b| b as f32).sum();
        self.limit.is_some_and(|limit| sum > limit * FEW as f32 / TOGETHER as f32)
    }

    /// Whether it is known what is usual.
    pub fn learnt(&self) -> bool {
        self.limit.is_some()
    }

    /// What comes next does not follow what came before.
    pub fn gap(&mut self) {
        self.last.clear();
        self.since_sum = 0;
    }

    fn remember(&mut self, sum: f32) {
        if self.sums.len() == REMEMBERED {
            self.sums.pop_front();
        }
        self.sums.push_back(sum);
        if self.sums.len() < LEARNT {
            return;
        }
        let mut sorted: Vec<f32> = self.sums.iter().copied().collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let quantile = |share: usize| sorted[(sorted.len() - 1) * share / 100];
        let (tenth, quarter, half) = (quantile(10), quantile(25), quantile(50));
        self.limit = Some(quarter + (SPREADS * (half - tenth)).max(SHARE * quarter).max(LEAST_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around `mean` with uniform noise of `noise` either way; always the same ones.
    fn noisy(n: usize, mean: f32, noise: f32) -> impl Iterator<Item = usize> {
        let mut state = 1_u32;
        (0..n).map(move |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let unit = (state >> 8) as f32 / (1 << 24) as f32;
            (mean + noise * (2.0 * unit - 1.0)) as usize
        })
    }

    fn stirred(sizes: &mut Sizes, of: impl Iterator<Item = usize>) -> usize {
        of.filter(|&b| sizes.take(b)).count()
    }

    #[test]
    fn nothing_is_usual_at_first() {
        let mut sizes = Sizes::default();
        assert_eq!(stirred(&mut sizes, noisy(120, 300.0, 50.0)), 120);
        stirred(&mut sizes, noisy(20, 300.0, 50.0));
        assert!(!sizes.take(300), "after five seconds it is");
    }

    #[test]
    fn a_person_in_a_still_picture_stirs_and_noise_does_not() {
        let mut sizes = Sizes::default();
        stirred(&mut sizes, noisy(200, 300.0, 60.0));
        assert_eq!(stirred(&mut sizes, noisy(1500, 300.0, 60.0)), 0);
        assert!(stirred(&mut sizes, noisy(25, 700.0, 100.0)) >= 20);
    }

    #[test]
    fn a_constant_bit_rate_with_b_pictures_is_usual_and_a_truck_in_it_is_not() {
        let pattern = |scale: f32| {
            move |(i, noise): (usize, usize)| ((if i % 3 == 0 { 9000.0 } else { 3000.0 }) * scale) as usize + noise
        };
        let mut sizes = Sizes::default();
        stirred(&mut sizes, noisy(500, 500.0, 400.0).enumerate().map(pattern(1.0)));
        assert_eq!(stirred(&mut sizes, noisy(1500, 500.0, 400.0).enumerate().map(pattern(1.0))), 0);
        assert!(stirred(&mut sizes, noisy(40, 500.0, 400.0).enumerate().map(pattern(2.0))) >= 30);
    }

    #[test]
    fn rain_becomes_usual_and_the_dry_picture_after_it_again() {
        let mut sizes = Sizes::default();
        stirred(&mut sizes, noisy(500, 300.0, 60.0));
        assert!(stirred(&mut sizes, noisy(250, 3000.0, 800.0)) > 200);
        stirred(&mut sizes, noisy(1500, 3000.0, 800.0));
        assert_eq!(stirred(&mut sizes, noisy(500, 3000.0, 800.0)), 0);
        stirred(&mut sizes, noisy(1500, 300.0, 60.0));
        assert!(stirred(&mut sizes, noisy(25, 900.0, 100.0)) >= 20);
    }
}
