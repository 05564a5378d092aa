//! Finds the server programs of an installed Postgres and says how to install them where there are none. It must not
//! download or install anything.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Identity;
use super::error::EmbeddedPostgresError;

/// `PostgreSQL` 13 has been out of support since November 2025.
const OLDEST_MAJOR: u32 = 14;

/// A directory with `initdb` and `postgres`, and their version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) dir: PathBuf,
    pub(super) major: u32,
    /// As the program prints it, for example `15.18`.
    pub(super) version: String,
}

impl Binaries {
    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}

/// Chooses the programs for data of the given major version, else the newest ones. A directory that was named, in the
/// settings or in `PG_BIN_DIR`, is the only one looked at: whoever names one wants no other.
pub(super) fn choose(
    named: Option<&Path>,
    data_major: Option<(&Path, &str)>,
    identity: &Identity,
) -> Result<Binaries, EmbeddedPostgresError> {
    let named = named.map(Path::to_path_buf).or_else(|| {
        env::var_os("PG_BIN_DIR")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
    });
    let found = match &named {
        Some(dir) => vec![inspect(dir).ok_or_else(|| EmbeddedPostgresError::UnusableBinaries {
            dir: dir.clone(),
            oldest: OLDEST_MAJOR,
        })?],
        None => candidates().iter().filter_map(|dir| inspect(dir)).collect(),
    };
    let chosen = pick(found, data_major)?;
    identity.check_can_reach(&chosen.dir)?;
    Ok(chosen)
}

fn pick(found: Vec<Binaries>, data_major: Option<(&Path, &str)>) -> Result<Binaries, EmbeddedPostgresError> {
    let installed: Vec<String> = found.iter().map(|one| one.version.clone()).collect();
    let fitting = match data_major {
        Some((_, major)) => found.into_iter().find(|one| one.major.to_string() == major),
        // The first of equals: an earlier place is the more likely one.
        None => found
            .into_iter()
            .reduce(|best, next| if next.major > best.major { next } else { best }),
    };
    match (fitting, data_major) {
        (Some(one), _) => Ok(one),
        (None, Some((dir, major))) if !installed.is_empty() => Err(EmbeddedPostgresError::AnotherMajor {
            dir: dir.to_path_buf(),
            data: major.to_owned(),
            installed: installed.join(", "),
        }),
        (None, _) => Err(EmbeddedPostgresError::NoBinaries {
            install: install_advice(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        }),
    }
}

/// What lies in a directory, if it is both programs in a version that is new enough.
fn inspect(dir: &Path) -> Option<Binaries> {
    let dir = dir.canonicalize().ok()?;
    if !dir.join("initdb").is_file() {
        return None;
    }
    let text = output_of(Command::new(dir.join("postgres")).arg("--version"))?;
    let version = version_in(&text)?.to_owned();
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    (major >= OLDEST_MAJOR).then_some(Binaries { dir, major, version })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → `15.18`.
fn version_in(text: &str) -> Option<&str> {
    text.split_once("(PostgreSQL)")?.1.split_whitespace().next()
}

/// Where distributions and Homebrew put the server programs; most of them are not in `PATH`.
fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr/libexec", "postgresql"),
        ("/usr/lib", "postgresql"),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                dirs.push(entry.path().join("bin"));
                dirs.push(entry.path());
            }
        }
    }
    dirs.push("/usr/local/pgsql/bin".into());
    dirs.extend(output_of(Command::new("pg_config").arg("--bindir")).map(|text| PathBuf::from(text.trim())));
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    dirs.retain(|dir| dir.join("postgres").exists());
    dirs
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// A sentence naming the command that installs the server here, from the text of os-release.
fn install_advice(os_release: &str) -> String {
    let command = if cfg!(target_os = "macos") {
        Some("brew install postgresql@17")
    } else {
        install_command(os_release)
    };
    match command {
        Some(command) if command.starts_with("brew") || rustix::process::geteuid().is_root() => {
            format!("Install them with `{command}`")
        }
        Some(command) => format!("Install them with `sudo {command}`"),
        None => "Install the PostgreSQL server with this system's package manager".to_owned(),
    }
}

/// `ID` comes first, `ID_LIKE` names the families a derivative belongs to.
fn install_command(os_release: &str) -> Option<&'static str> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    };
    let families = format!(
        "{} {}",
        value("ID=").unwrap_or_default(),
        value("ID_LIKE=").unwrap_or_default()
    );
    families.split_whitespace().find_map(|family| match family {
        "debian" | "ubuntu" => Some("apt-get install postgresql"),
        "fedora" | "rhel" | "centos" | "amzn" => Some("dnf install postgresql-server"),
        "alpine" => Some("apk add postgresql"),
        "arch" => Some("pacman -S postgresql"),
        "opensuse" | "suse" | "sles" => Some("zypper install postgresql-server"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(version: &str, dir: &str) -> Binaries {
        Binaries {
            dir: dir.into(),
            major: version.split('.').next().unwrap().parse().unwrap(),
            version: version.into(),
        }
    }

    #[test]
    fn the_newest_version_is_chosen_for_new_data() {
        let found = vec![
            installed("15.3", "/a"),
            installed("17.1", "/b"),
            installed("17.0", "/c"),
        ];
        assert_eq!(pick(found, None).unwrap().dir, Path::new("/b"));
    }

    #[test]
    fn existing_data_keeps_its_major_version() {
        let found = vec![installed("17.1", "/b"), installed("15.3", "/a")];
        let data = Some((Path::new("/data"), "15"));
        assert_eq!(pick(found, data).unwrap().dir, Path::new("/a"));
    }

    #[test]
    fn data_of_a_version_that_is_not_installed_is_refused_with_both_versions_named() {
        let error = pick(vec![installed("15.3", "/a")], Some((Path::new("/data"), "18"))).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("PostgreSQL 18") && text.contains("15.3") && text.contains("/data"),
            "{text}"
        );
    }

    #[test]
    fn without_any_programs_the_command_that_installs_them_is_named() {
        let text = pick(Vec::new(), None).unwrap_err().to_string();
        assert!(text.contains("PG_BIN_DIR") && text.contains("nstall"), "{text}");
        assert!(install_advice("ID=debian").contains('`'), "a command");
        assert!(install_advice("ID=plan9").contains("package manager") || cfg!(target_os = "macos"));
        let other_data = pick(Vec::new(), Some((Path::new("/data"), "15"))).unwrap_err();
        assert!(matches!(other_data, EmbeddedPostgresError::NoBinaries { .. }));
    }

    #[test]
    fn the_version_is_read_from_what_the_program_prints() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(version_in(debian), Some("15.18"));
        assert_eq!(version_in("postgres (PostgreSQL) 18beta1\n"), Some("18beta1"));
        assert_eq!(version_in("something else"), None);
    }

    #[test]
    fn every_family_of_systems_gets_its_own_command() {
        for (os_release, command) in [
            ("NAME=x\nID=debian\n", "apt-get install postgresql"),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                "apt-get install postgresql",
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "dnf install postgresql-server",
            ),
            ("ID=alpine", "apk add postgresql"),
            ("ID=manjaro\nID_LIKE=arch\n", "pacman -S postgresql"),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n",
                "zypper install postgresql-server",
            ),
        ] {
            assert_eq!(install_command(os_release), Some(command), "{os_release}");
        }
        assert_eq!(install_command("ID=plan9"), None);
    }
}
