//! CPU time and resident memory of processes, from `/proc`.

use std::fs;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one: a session is a file.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If the limit stays, a run that needs more files fails with that reason.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// CPU time so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    /// CPU time of the server's processes together; `None` without any, or if one is gone.
    pub(super) server: Option<f64>,
    /// CPU time of this process.
    pub(super) own: f64,
}

impl Cpu {
    /// Returns the CPU time used since `earlier`.
    pub(super) fn since(self, earlier: Cpu) -> Cpu {
        let server = self.server.zip(earlier.server).map(|(now, earlier)| now - earlier);
        Cpu { server, own: self.own - earlier.own }
    }

    /// Adds the CPU times of two intervals.
    pub(super) fn plus(self, other: Cpu) -> Cpu {
        let server = self.server.zip(other.server).map(|(one, other)| one + other);
        Cpu { server, own: self.own + other.own }
    }
}

/// The processes of the server.
pub(super) struct Probe {
    pids: Vec<u32>,
}

impl Probe {
    /// *Errors*: a process that does not exist.
    pub(super) fn new(pids: &[u32]) -> Result<Probe> {
        let probe = Probe { pids: pids.to_vec() };
        probe.server_cpu()?;
        Ok(probe)
    }

    fn server_cpu(&self) -> Result<f64> {
        self.pids.iter().map(|pid| cpu_seconds(&pid.to_string())).sum()
    }

    /// Returns the CPU time so far.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let server = self.server_cpu().ok().filter(|_| !self.pids.is_empty());
        Ok(Cpu { server, own: cpu_seconds("self")? })
    }

    /// Returns the resident memory of the server's processes together, in bytes; `None` without any, or if one is gone.
    pub(super) fn resident(&self) -> Option<u64> {
        let sum = self.pids.iter().map(|pid| resident_bytes(*pid)).sum::<Result<u64>>().ok();
        sum.filter(|_| !self.pids.is_empty())
    }
}

/// Reads fields 14 and 15 of proc_pid_stat(5): utime and stime, in clock ticks.
fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process}"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat has no CPU time")?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// Parses the fields behind the command's name: field 2, in parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has no memory")?;
    let kib = line.trim().strip_suffix(" kB").context("VmRSS is not in kB")?;
    Ok(kib.parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_survives_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 2 0 0 0 30 12 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let probe = Probe::new(&[std::process::id()]).expect("this process runs");
        assert!(probe.resident().is_some_and(|bytes| bytes > 100_000));
        assert!(Probe::new(&[u32::MAX]).is_err());
    }
}
