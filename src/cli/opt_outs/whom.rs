//! Which suppression group and which number an operator means.
//!
//! Nothing is guessed: where several groups or several readings of a number are possible, the operator is asked to say which.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::cli::endpoint;
use crate::cli::failure::Failure;
use crate::config::Config;
use crate::phone::{self, Address, Kind, NumberFormat};

/// One suppression group.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct Scope {
    /// The suppression group [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(super) group: Option<String>,
    /// An endpoint of the suppression group, instead of its name
    #[arg(long, value_name = "NAME", conflicts_with = "group")]
    pub(super) endpoint: Option<String>,
}

/// One suppression group, or all of them.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct Reach {
    #[command(flatten)]
    pub(super) scope: Scope,
    /// Every suppression group of the configuration: somebody who wants nothing from anybody
    #[arg(long, conflicts_with_all = ["group", "endpoint"])]
    pub(super) all_groups: bool,
}

/// A suppression group and how its numbers are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) numbers: NumberFormat,
}

/// Every suppression group there is.
pub(super) fn groups(config: &Config) -> Vec<Group<'_>> {
    let groups = config.suppression_groups().into_iter();
    groups
        .map(|(name, endpoint)| Group {
            name,
            numbers: endpoint.reading.numbers,
        })
        .collect()
}

/// The group called `name`.
pub(super) fn named<'a>(config: &'a Config, name: &str) -> Result<Group<'a>, Failure> {
    groups(config)
        .into_iter()
        .find(|group| group.name == name)
        .ok_or_else(|| Failure::usage(format!("there is no suppression group `{name}`"), known(config)))
}

/// The names of all groups, for who named another.
pub(super) fn known(config: &Config) -> String {
    let names: Vec<&str> = groups(config).iter().map(|group| group.name).collect();
    format!("the configuration has `{}`", names.join("`, `"))
}

/// The group that is meant, if one is named.
pub(super) fn chosen<'a>(config: &'a Config, scope: &Scope) -> Result<Option<Group<'a>>, Failure> {
    match (&scope.group, &scope.endpoint) {
        (Some(group), _) => named(config, group).map(Some),
        (None, Some(name)) => {
            let endpoint = endpoint::choose(config, Some(name))?;
            Ok(Some(Group {
                name: endpoint.suppression_group(),
                numbers: endpoint.reading.numbers,
            }))
        }
        (None, None) => Ok(None),
    }
}

/// The group that is meant: the one named, else the only one.
pub(super) fn one<'a>(config: &'a Config, scope: &Scope) -> Result<Group<'a>, Failure> {
    match (chosen(config, scope)?, groups(config).as_slice()) {
        (Some(group), _) | (None, &[group]) => Ok(group),
        (None, _) => Err(Failure::usage(
            "which suppression group is meant?",
            format!("add `--group NAME`; {}", known(config)),
        )),
    }
}

/// The groups that are meant.
pub(super) fn each<'a>(config: &'a Config, reach: &Reach) -> Result<Vec<Group<'a>>, Failure> {
    if reach.all_groups {
        return Ok(groups(config));
    }
    one(config, &reach.scope).map(|group| vec![group])
}

/// `number` as it is read in `group`; `None` if it is not a number there.
pub(super) fn read(number: &str, group: Group<'_>) -> Option<Address> {
    let address = phone::normalise(number, &group.numbers);
    matches!(address.kind(), Kind::Number | Kind::Short).then_some(address)
}

/// As [`read`], of what somebody has typed.
pub(super) fn typed(number: &str, group: Group<'_>) -> Result<Address, Failure> {
    read(number, group).ok_or_else(|| no_number(number))
}

/// The one number that `number` is in all of these groups.
pub(super) fn typed_for(number: &str, groups: &[Group<'_>]) -> Result<Address, Failure> {
    let mut read: Vec<Address> = groups.iter().filter_map(|&group| read(number, group)).collect();
    read.sort_by_key(Address::suppression_key);
    read.dedup_by_key(|address| address.suppression_key());
    match read.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(no_number(number)),
        several => {
            let keys: Vec<&str> = several.iter().map(Address::key).collect();
            Err(Failure::usage(
                format!("`{number}` may be {}", keys.join(" or ")),
                "write it with its country code, or name a group",
            ))
        }
    }
}

fn no_number(number: &str) -> Failure {
    Failure::usage(
        format!("`{number}` is not a number"),
        "write it with its country code, as in `+12025550143`",
    )
}

/// When somebody asked, as typed: RFC 3339, and not ahead.
pub(super) fn asked_at(text: &str) -> Result<DateTime<Utc>, String> {
    let at = DateTime::parse_from_rfc3339(text)
        .map_err(|_| "write it as in RFC 3339: 2026-11-20T16:30:00-05:00".to_owned())?;
    if at > Utc::now() {
        return Err("that lies ahead".to_owned());
    }
    Ok(at.to_utc())
}

/// Whether `path` means standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::endpoint::tests::{TWO_ENDPOINTS, configured};

    fn scope(group: Option<&str>, endpoint: Option<&str>) -> Scope {
        Scope {
            group: group.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
        }
    }

    #[test]
    fn a_number_gets_its_one_spelling_and_the_group_of_its_endpoint() {
        let config = configured(TWO_ENDPOINTS);
        let asked = |number: &str, scope: &Scope| {
            let group = one(&config, scope).unwrap();
            (group.name.to_owned(), typed(number, group).unwrap().key().to_owned())
        };
        let pair = |group: &str| (group.to_owned(), "+12025550143".to_owned());
        assert_eq!(asked("+1 (202) 555-0143", &scope(None, Some("main"))), pair("main"));
        assert_eq!(asked("12025550143", &scope(Some("other"), None)), pair("other"));
    }

    #[test]
    fn two_groups_need_a_name_and_a_name_is_no_number() {
        let config = configured(TWO_ENDPOINTS);
        for (wrong, says) in [
            (
                scope(None, None),
                "add `--group NAME`; the configuration has `main`, `other`",
            ),
            (scope(Some("third"), None), "there is no suppression group `third`"),
            (scope(None, Some("third")), "there is no endpoint `third`"),
        ] {
            let said = one(&config, &wrong).unwrap_err().to_string();
            assert!(said.contains(says) && said.contains("`main`, `other`"), "{said}");
        }
        let main = named(&config, "main").unwrap();
        assert!(matches!(typed("AMAZON", main), Err(Failure::Usage { .. })));
    }

    #[test]
    fn one_group_needs_no_name_and_all_are_each() {
        let config =
            configured(&TWO_ENDPOINTS.replace("suppression_group = \"other\"", "suppression_group = \"main\""));
        assert_eq!(one(&config, &Scope::default()).unwrap().name, "main");
        let config = configured(TWO_ENDPOINTS);
        let all = Reach {
            all_groups: true,
            ..Reach::default()
        };
        let names: Vec<&str> = each(&config, &all).unwrap().iter().map(|group| group.name).collect();
        assert_eq!(names, ["main", "other"]);
    }

    #[test]
    fn a_number_that_two_countries_read_otherwise_is_asked_about() {
        let national = |name, format: &str| Group {
            name,
            numbers: format.parse().unwrap(),
        };
        let groups = [national("us", "national:US"), national("in", "national:IN")];
        let said = typed_for("2025550143", &groups).unwrap_err().to_string();
        assert!(said.contains(" or ") && said.contains("country code"), "{said}");
        assert_eq!(typed_for("+44 7911 123456", &groups).unwrap().key(), "+447911123456");
    }

    #[test]
    fn a_time_is_rfc_3339_and_not_ahead() {
        assert_eq!(
            asked_at("2026-01-02T03:04:05+01:00").unwrap().to_rfc3339(),
            "2026-01-02T02:04:05+00:00"
        );
        assert!(asked_at("yesterday").unwrap_err().contains("RFC 3339"));
        assert!(asked_at("2999-01-01T00:00:00Z").unwrap_err().contains("ahead"));
    }
}
