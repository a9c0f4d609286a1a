//! The facts of a drill on their way into a register, each when its time has come, with all that the agent derives from them.

use super::drills::{Drill, START};
use crate::config::RegisterConfig;
use crate::customs::Register;
use crate::customs::feed::parse_json;

/// What a drill tells customs, as far as it was told.
pub(super) struct Facts<'a> {
    drill: &'a Drill,
    fed: usize,
}

impl<'a> Facts<'a> {
    /// Nothing was told yet.
    pub fn of(drill: &'a Drill) -> Self {
        Self { drill, fed: 0 }
    }

    /// Tells what is due at `t` seconds of the script.
    ///
    /// # Errors
    /// When a feed of the drill cannot be read.
    pub fn feed(&mut self, register: &Register, config: &RegisterConfig, t: f64) -> anyhow::Result<()> {
        while let Some((at, feed)) = self.drill.facts.get(self.fed).filter(|f| f.0 <= t) {
            let feed = parse_json(feed.to_string().as_bytes()).map_err(anyhow::Error::msg)?;
            anyhow::ensure!(feed.problems.is_empty(), "drill {}: {:?}", self.drill.name, feed.problems);
            #[expect(clippy::cast_possible_truncation, reason = "drills last minutes")]
            let heard = START.plus_ms((at * 1000.0).round() as i64);
            let rehearsed = register.rehearse(feed.facts, heard, config);
            let given = rehearsed.given.into_iter().map(|(fact, _)| fact);
            register.apply_all(given.chain(rehearsed.derived).collect(), Some(heard));
            self.fed += 1;
        }
        Ok(())
    }
}
