//! All integration tests, a module a theme: one binary, one link.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a panic is what a failed test is")]

mod agent;
mod agent_page;
mod camera;
mod config;
mod coverage;
mod customs;
mod decode;
mod desk;
mod desk_box;
mod desk_browser;
mod desk_chain;
mod desk_chromium;
mod desk_facts;
mod desk_footage;
mod desk_ingest;
mod desk_load;
mod desk_shift;
mod desk_store;
mod desk_story;
mod desk_workers;
mod docs;
mod drain;
mod event;
mod evidence;
mod evidence_tools;
mod fetch;
mod footage;
mod footage_box;
mod footage_store;
mod health;
mod model;
mod mqtt;
mod parity;
mod rules;
mod simulate;
mod store;
mod support;
mod tips;
mod track;
mod vision;
mod vision_decode;
