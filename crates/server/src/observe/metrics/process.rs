//! Process metrics from the system, under the standard names of Prometheus clients.
//!
//! Source: `io.prometheus.client.hotspot.StandardExports`, `proc(5)`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use super::family::{Family, Kind};

/// Returns the available process metrics.
pub(crate) fn families(open_files: i64, open_files_max: i64) -> Vec<Family> {
    let mut families = vec![
        Family::one("process_open_fds", Kind::Gauge, "Number of open file descriptors.", open_files as f64),
        Family::one("process_max_fds", Kind::Gauge, "Maximum number of open file descriptors.", open_files_max as f64),
    ];
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program name, in parentheses, may contain anything; the fields after it are numbers.
    let fields: Vec<f64> = stat.rsplit(") ").next().unwrap_or_default().split(' ').map(number).collect();
    let (Some([user, system]), Some(&began), Some(&[virtual_len, resident_pages])) =
        (fields.get(11..13), fields.get(19), fields.get(20..22).and_then(|pair| pair.first_chunk::<2>()))
    else {
        return families;
    };
    let ticks = clock_ticks_per_second() as f64;
    families.extend([
        Family::one(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Total user and system CPU time spent in seconds.",
            (user + system) / ticks,
        ),
        Family::one("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory size in bytes.", virtual_len),
        Family::one(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory size in bytes.",
            resident_pages * page_size() as f64,
        ),
    ]);
    if let Some(boot) = boot_time() {
        let help = "Start time of the process since unix epoch in seconds.";
        families.push(Family::one("process_start_time_seconds", Kind::Gauge, help, boot + began / ticks));
    }
    families
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(0.0)
}

/// Returns the boot time of the system, Unix s.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")).map(number)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_system_tells() {
        let families = families(7, 1024);
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name == name);
            family.unwrap_or_else(|| panic!("{name} is there")).samples[0].value
        };
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_secs_f64();
        assert!((0.0..3600.0).contains(&(now_s - value("process_start_time_seconds"))));
        let (resident, whole) = (value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"));
        assert!(resident > 100_000.0 && resident <= whole, "{resident} of {whole}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert_eq!([value("process_open_fds"), value("process_max_fds")], [7.0, 1024.0]);
    }
}
