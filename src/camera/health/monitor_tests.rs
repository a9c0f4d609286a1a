//! Tests of the monitor as a whole, on pictures made here. The scripted set is in `simulate/health`.
