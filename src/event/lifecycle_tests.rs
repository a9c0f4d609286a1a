//! The life of events over scripted frames.
