//! What the system shows of other processes. A process ID alone proves nothing: the process may be a zombie, or a stranger
//! that got the same ID. It must not signal anything.

use std::path::Path;

use rustix::process::Pid;

/// Whether the process is a living server for this data directory. The command line tells: a zombie has none, and unlike the
/// working directory it may be read of another account's process without the right to trace it (root in a container has
/// not).
#[cfg(target_os = "linux")]
pub(super) fn is_postmaster(pid: Pid, data: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;

    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = line.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    program.ends_with(b"postgres") && arguments.any(|argument| argument == data.as_os_str().as_bytes())
}

/// Where there is no /proc, `ps` tells the state (Z is a zombie) and the command line.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_postmaster(pid: Pid, data: &Path) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "stat=", "-o", "command=", "-p", &pid.to_string()])
        .output();
    output.is_ok_and(|output| {
        let line = String::from_utf8_lossy(&output.stdout);
        let line = line.trim();
        !line.starts_with('Z') && line.contains("postgres") && line.contains(&*data.to_string_lossy())
    })
}

/// A process of any server, dead or alive, that works in this data directory.
#[cfg(target_os = "linux")]
pub(super) fn first_server_process_in(data: &Path) -> Option<Pid> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let works_here = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data);
        let is_server = || std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"postgres"));
        (works_here && is_server()).then_some(pid)
    })
}

/// Without /proc nobody can tell; Postgres' own check of the shared memory remains.
#[cfg(not(target_os = "linux"))]
pub(super) fn first_server_process_in(_data: &Path) -> Option<Pid> {
    None
}
