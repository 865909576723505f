//! Memory available to this process: the limits of its cgroups (versions 1 and 2) and of the machine.

use std::path::{Path, PathBuf};

/// Memory available to this process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStatus {
    /// The smallest limit of the machine, the process's cgroup and its ancestors.
    pub limit: u64,
    /// Bytes left below the limits. Cached files count as free, because the kernel drops them when memory is short.
    pub available: u64,
}

impl MemoryStatus {
    /// Returns the smaller of each value.
    fn min(self, other: Self) -> Self {
        Self { limit: self.limit.min(other.limit), available: self.available.min(other.available) }
    }
}

/// Returns the current state, or None if the system does not report it.
pub fn memory_status() -> Option<MemoryStatus> {
    status_under(Path::new("/"))
}

/// Version of the cgroup interface.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

fn status_under(root: &Path) -> Option<MemoryStatus> {
    let machine = parse_meminfo(&read(&root.join("proc/meminfo"))?)?;
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut status = machine;
    for (version, group) in groups.lines().filter_map(parse_cgroup) {
        let Some((mounted, mount_point)) = mounts.lines().find_map(|line| parse_mount(line, version)) else { continue };
        let mount_point = root.join(mount_point.strip_prefix("/").unwrap_or(&mount_point));
        let mut folder = cgroup_folder(&mount_point, &mounted, group);
        loop {
            if let Some(of_group) = cgroup_status(&folder, version, machine.limit) {
                status = status.min(of_group);
            }
            if folder == mount_point || !folder.pop() {
                break;
            }
        }
    }
    Some(status)
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Parses a line of `/proc/self/cgroup` of the memory controller: `4:memory:/path` or `0::/path`.
fn parse_cgroup(line: &str) -> Option<(Version, &str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.split(',').any(|controller| controller == "memory") {
        return Some((Version::One, path));
    }
    (number == "0" && controllers.is_empty()).then_some((Version::Two, path))
}

/// Parses a line of `/proc/self/mountinfo` that mounts `version`: returns the mounted cgroup and the mount point.
fn parse_mount(line: &str, version: Version) -> Option<(String, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (group, mount_point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    let fits = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::Two => kind == "cgroup2",
    };
    // mountinfo writes spaces in octal.
    fits.then(|| (group.to_owned(), mount_point.replace("\\040", " ").into()))
}

/// Returns the folder of `group`, given that `mounted` is mounted at `mount_point`. A group outside of `mounted` (a
/// container sees only its own) counts as `mounted`.
fn cgroup_folder(mount_point: &Path, mounted: &str, group: &str) -> PathBuf {
    match Path::new(group).strip_prefix(mounted) {
        Ok(rest) if !rest.components().any(|part| part.as_os_str() == "..") => mount_point.join(rest),
        _ => mount_point.into(),
    }
}

fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// Unreclaimable memory in the statistics of a cgroup, descendants included.
const UNRECLAIMABLE_V1: [&str; 2] = ["total_rss", "total_shmem"];
const UNRECLAIMABLE_V2: [&str; 7] =
    ["anon", "shmem", "kernel_stack", "pagetables", "slab_unreclaimable", "percpu", "sock"];

/// Returns the status of one cgroup; None without a limit below `machine_limit`.
fn cgroup_status(folder: &Path, version: Version, machine_limit: u64) -> Option<MemoryStatus> {
    // The value "max" does not parse, so it is no limit.
    let (limits, counted, all): (&[&str], &[&str], &str) = match version {
        Version::One => (&["memory.limit_in_bytes"], &UNRECLAIMABLE_V1, "memory.usage_in_bytes"),
        Version::Two => (&["memory.max", "memory.high"], &UNRECLAIMABLE_V2, "memory.current"),
    };
    let limit =
        limits.iter().filter_map(|name| number(&folder.join(name))).min().filter(|&limit| limit < machine_limit)?;
    let used = match read(&folder.join("memory.stat")) {
        Some(stat) => {
            // Version 1 only: kernel memory, which memory.stat omits.
            let kernel = number(&folder.join("memory.kmem.usage_in_bytes")).unwrap_or(0);
            kernel.saturating_add(sum(&stat, counted))
        }
        None => number(&folder.join(all)).unwrap_or(0),
    };
    Some(MemoryStatus { limit, available: limit.saturating_sub(used) })
}

/// Returns the sum of the `name number` lines with these names.
fn sum(text: &str, names: &[&str]) -> u64 {
    let of_line = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        names.contains(&name).then(|| number.trim().parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(of_line).fold(0, u64::saturating_add)
}

/// Parses `/proc/meminfo`.
fn parse_meminfo(text: &str) -> Option<MemoryStatus> {
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
    };
    Some(MemoryStatus { limit: kilobytes("MemTotal")?, available: kilobytes("MemAvailable")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates fake system files.
    fn files(of: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in of {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:       8000 kB\nMemFree:        100 kB\nMemAvailable:   6000 kB\n");
    const UNIFIED: &str = "30 29 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    fn status(of: &[(&str, &str)]) -> Option<(u64, u64)> {
        let root = files(of);
        status_under(root.path()).map(|status| (status.limit, status.available))
    }

    #[test]
    fn without_a_group_limit_the_machine_limits() {
        assert_eq!(status(&[MEMINFO]), Some((8000 << 10, 6000 << 10)));
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[("proc/meminfo", "MemTotal: many kB\nMemAvailable: 1 kB\n")]), None);
        // Unusable group lines, and a group without a limit.
        let unlimited = [
            MEMINFO,
            ("proc/self/cgroup", "9:name=systemd:/\nrubbish\n0::/a\n"),
            ("proc/self/mountinfo", UNIFIED),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 5\n"),
        ];
        assert_eq!(status(&unlimited), Some((8000 << 10, 6000 << 10)));
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_its_ancestors_applies_with_its_usage() {
        let of = [
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", UNIFIED),
            ("sys/fs/cgroup/a/b/memory.max", "3000000\n"),
            ("sys/fs/cgroup/a/b/memory.high", "2500000\n"),
            ("sys/fs/cgroup/a/b/memory.stat", "anon 400000\nfile 900000\nshmem 100000\nanon_thp 7\n"),
            ("sys/fs/cgroup/a/memory.max", "4000000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 3500000\nfile 10\npagetables 100000\n"),
        ];
        // The limit comes from the inner group, the available memory from the outer one.
        assert_eq!(status(&of), Some((2_500_000, 400_000)));
    }

    #[test]
    fn version_one_is_read_if_it_has_the_memory_controller() {
        let mounts = "32 31 0:29 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let group = |path: &'static str| {
            [
                MEMINFO,
                ("proc/self/cgroup", path),
                ("proc/self/mountinfo", mounts),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "rss 1\ntotal_rss 300000\ntotal_shmem 50000\ntotal_cache 9\n"),
                ("sys/fs/cgroup/memory/memory.kmem.usage_in_bytes", "20000\n"),
                ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "1000000\n"),
                ("sys/fs/cgroup/memory/inner/memory.usage_in_bytes", "600000\n"),
                ("sys/fs/y/memory.limit_in_bytes", "500000\n"),
            ]
        };
        assert_eq!(status(&group("4:cpu,memory:/docker/x\n0::/\n")), Some((2_000_000, 1_630_000)));
        assert_eq!(status(&group("4:memory:/docker/x/inner\n")), Some((1_000_000, 400_000)));
        // A path outside of the container's view.
        assert_eq!(status(&group("4:memory:/other\n")), Some((2_000_000, 1_630_000)));
        assert_eq!(status(&group("4:memory:/docker/x/../../y\n")), Some((2_000_000, 1_630_000)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_reports_its_memory() {
        let status = memory_status().unwrap();
        assert!(status.available <= status.limit && status.limit > 64 << 20, "{status:?}");
    }
}
