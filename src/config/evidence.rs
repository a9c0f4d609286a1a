//! Keys of the evidence chain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Chain of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceConfig {
    /// The signed end of the chain is published so often, if it has grown; what was recorded since the last time could be
    /// taken out of the box without a trace elsewhere but the messages themselves.
    #[schemars(range(min = 10, max = 86_400))]
    pub publish_head_every_s: u32,
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        Self { publish_head_every_s: 600 }
    }
}
