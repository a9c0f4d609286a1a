//! The duty room. Here so far: the live page.
