//! Evidence: what makes a message, a picture or a piece of footage stand elsewhere. The hash chain and its signed heads, the box's
//! key, bundles for third parties and their check. What is asked for and by whom is written into the chain before anything
//! is given out. For people: `docs/evidence.md`.

pub mod chain;
pub mod collect;
pub mod coverage;
pub mod custody;
pub mod export;
pub mod footage;
pub mod keys;
pub mod manifest;
pub mod proof;
pub mod report;
pub mod report_words;
pub mod request;
pub mod signer;
pub mod statement;
pub mod verify;
pub mod verify_chain;
pub mod verify_coverage;
pub mod verify_files;
pub mod zip;
