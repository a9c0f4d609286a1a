//! gatewatch joins the cameras of a customs border gate with the declarations in clearance.
//!
//! ```text
//!  camera (own thread)            analysis workers         keeper                    tokio
//!  RTSP -> access units           regions -> detect        annotate, JPEG            deliver: priority lanes,
//!   -> decode gate -> decoder ->   -> track -> rules   ->  event + outbox row    ->   window, PUBACK -> done
//!      Frame (newest wins)         -> link                 in one transaction
//! ```
//!
//! Frames may be lost, and are counted. Events may not be lost, ever: everything before the rules keeps only the
//! newest and drops; everything after them is written down before it is acted on.

pub mod agent;
pub mod camera;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod customs;
pub mod desk;
pub mod event;
pub mod evidence;
pub mod footage;
pub mod geometry;
mod http_range;
pub mod ids;
pub mod mqtt;
pub mod objects;
pub mod rules;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod track;
pub mod vision;

/// Chooses the TLS provider of this process; once is enough, more does no harm.
pub fn install_crypto() {
    // Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
