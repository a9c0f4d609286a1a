//! The process as the kernel counts it: memory, CPU time, open files. Linux only; elsewhere all is `None`.

use std::fs;

/// One look at `/proc/self`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// User and system time since start, seconds.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
}

/// How it is now.
#[must_use]
pub fn usage() -> Usage {
    Usage {
        resident_bytes: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes),
        cpu_seconds: fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds),
        open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Fields 14 and 15, in ticks of 1/100 s (`USER_HZ`, the same on every Linux we run on). The name in field 2 may hold
/// spaces and brackets, hence the search for the last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2_097_152));
        assert_eq!(cpu_seconds("7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20"), Some(3.0));
        assert_eq!((resident_bytes(""), cpu_seconds("7 (a) S")), (None, None));
    }
}
