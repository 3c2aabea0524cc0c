//! The limits of the control group that this process is in, version 2 or 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::Memory;

/// Where the files of the group are, one folder per controller. A process stays in its group.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlGroup {
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    unified: bool,
}

impl ControlGroup {
    /// The group of this process.
    pub(super) fn own() -> &'static Self {
        static OWN: OnceLock<ControlGroup> = OnceLock::new();
        OWN.get_or_init(|| {
            let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            Self::find(Path::new("/sys/fs/cgroup"), &groups)
        })
    }

    /// The group that the lines of `/proc/self/cgroup` tell of, with controllers mounted under `root` (cgroups(7)).
    fn find(root: &Path, groups: &str) -> Self {
        let path = |controller: &str| {
            groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })
        };
        // In a container the path is that of the host, and the group's files are at the root of what is mounted.
        let folder = |mount: &Path, path: &str| {
            let own = mount.join(path.trim_start_matches('/'));
            if own.is_dir() { own } else { mount.to_owned() }
        };
        if root.join("cgroup.controllers").is_file() {
            let own = path("").map(|path| folder(root, path));
            return Self { cpu: own.clone(), memory: own, unified: true };
        }
        let of = |controller: &str| path(controller).map(|path| folder(&root.join(controller), path));
        Self { cpu: of("cpu"), memory: of("memory"), unified: false }
    }

    /// For how long the quota has kept the group from running, in seconds.
    pub(super) fn throttled_seconds(&self) -> Option<f64> {
        let text = fs::read_to_string(self.cpu.as_ref()?.join("cpu.stat")).ok()?;
        let (name, scale) = if self.unified { ("throttled_usec", 1e6) } else { ("throttled_time", 1e9) };
        Some(field(&text, name)? as f64 / scale)
    }

    /// How many cores the quota gives; absent without a quota.
    pub(super) fn cores(&self) -> Option<f64> {
        let folder = self.cpu.as_ref()?;
        if self.unified {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            return Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?);
        }
        let quota = number(&folder.join("cpu.cfs_quota_us"))?;
        Some(quota as f64 / number(&folder.join("cpu.cfs_period_us"))?.max(1) as f64)
    }

    /// The memory that the group may have; absent without a limit.
    pub(super) fn memory(&self) -> Option<Memory> {
        let folder = self.memory.as_ref()?;
        let (limit, used, reclaimable) = match self.unified {
            true => ("memory.max", "memory.current", "inactive_file"),
            false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        };
        let total = number(&folder.join(limit))?;
        let used = number(&folder.join(used))?;
        let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        // Pages of files that were not used lately are given up when memory is wanted.
        let used = used.saturating_sub(field(&statistics, reclaimable).unwrap_or(0));
        Some(Memory { total, available: total.saturating_sub(used) })
    }
}

/// A file of one number; `max` and negative numbers, which mean that there is no limit, are none.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A line of a name and a number.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn version_2_tells_quota_throttling_and_memory_without_what_can_be_given_up() {
        let root = mounted(&[
            ("cgroup.controllers", "cpu memory\n"),
            ("job/cpu.max", "150000 100000\n"),
            ("job/cpu.stat", "usage_usec 9\nthrottled_usec 2500000\n"),
            ("job/memory.max", "1000\n"),
            ("job/memory.current", "600\n"),
            ("job/memory.stat", "anon 300\ninactive_file 200\n"),
        ]);
        let group = ControlGroup::find(root.path(), "0::/job\n");
        assert_eq!((group.cores(), group.throttled_seconds()), (Some(1.5), Some(2.5)));
        assert_eq!(group.memory(), Some(Memory { total: 1000, available: 600 }));
    }

    #[test]
    fn version_1_has_a_folder_per_controller_and_no_limit_is_absent() {
        let root = mounted(&[
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpu/cpu.stat", "nr_throttled 3\nthrottled_time 500000000\n"),
            ("memory/job/memory.limit_in_bytes", "4000\n"),
            ("memory/job/memory.usage_in_bytes", "1000\n"),
        ]);
        let group = ControlGroup::find(root.path(), "4:memory:/job\n2:cpuacct,cpu:/elsewhere\n0::/\n");
        assert_eq!((group.cores(), group.throttled_seconds()), (None, Some(0.5)));
        assert_eq!(group.memory(), Some(Memory { total: 4000, available: 3000 }));
    }
}
